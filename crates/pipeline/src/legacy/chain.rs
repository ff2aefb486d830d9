//! The pipeline while it is being built: one task after another.

use std::collections::HashMap;
use std::fmt::Write as _;

/// Tasks in their order, each behind the one before.
#[derive(Debug, Default)]
pub(super) struct Chain {
    lines: Vec<String>,
    ids: Vec<String>,
    counts: HashMap<String, usize>,
}

impl Chain {
    /// Adds a task and gives its id: `base`, or `base2` and so on. Attribute texts are ready to be
    /// written.
    pub(super) fn add(&mut self, base: &str, kind: &str, attributes: &[(&str, String)]) -> String {
        let id = self.place(base, kind, attributes);
        self.ids.push(id.clone());
        id
    }

    /// The same, outside of the chain.
    pub(super) fn place(
        &mut self,
        base: &str,
        kind: &str,
        attributes: &[(&str, String)],
    ) -> String {
        let count = self.counts.entry(base.to_owned()).or_default();
        *count += 1;
        let id = match *count {
            1 => base.to_owned(),
            n => format!("{base}_{n}"),
        };
        let mut line = format!("  {id} [type={kind}");
        for (name, value) in attributes {
            let _ = write!(line, " {name}={value}");
        }
        line.push(']');
        self.lines.push(line);
        id
    }

    /// Says more about how tasks hang together.
    pub(super) fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The source of the pipeline.
    pub(super) fn source(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        if self.ids.len() > 1 {
            let _ = write!(text, "\n  {}\n", self.ids.join(" -> "));
        }
        text
    }
}
