//! Prometheus' text format, the little of it we write ourselves.

use std::fmt::{Display, Write};

/// What a family counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Gauge,
    Counter,
}

/// A text that families are added to.
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins with what a recorder rendered.
    pub(super) fn after(mut recorded: String) -> Self {
        if !recorded.is_empty() && !recorded.ends_with('\n') {
            recorded.push('\n');
        }
        Self(recorded)
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// A family with one sample and no labels.
    pub(super) fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// A new family. A name that the recorder wrote already stays the recorder's: a family that
    /// appears twice would make scrapers refuse the whole answer.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let word = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let recorded = self.0.contains(&format!("# TYPE {name} "));
        if !recorded {
            let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {word}\n");
        }
        Family {
            out: (!recorded).then_some(&mut self.0),
            name,
        }
    }
}

/// Samples of one name.
pub(super) struct Family<'a> {
    out: Option<&'a mut String>,
    name: &'static str,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let Some(out) = &mut self.out else { return };
        out.push_str(self.name);
        for (n, (name, text)) in labels.iter().enumerate() {
            out.push(if n == 0 { '{' } else { ',' });
            let _ = write!(out, "{name}=\"");
            for c in text.chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    c => out.push(c),
                }
            }
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_a_name_is_written_once() {
        let mut out = Exposition::after("# TYPE health gauge\nhealth 1".to_owned());
        out.family("health", Kind::Gauge, "not again")
            .sample(&[], 0);
        out.family("jobs", Kind::Gauge, "by name")
            .sample(&[("name", "a \"b\"\\\nc"), ("id", "1")], 2);
        out.one("up", Kind::Counter, "always", 1);
        assert_eq!(
            out.into_text(),
            "# TYPE health gauge\nhealth 1\n# HELP jobs by name\n# TYPE jobs gauge\njobs{name=\"a \\\"b\\\"\\\\\\nc\",id=\"1\"} 2\n# HELP up always\n# TYPE up counter\nup 1\n"
        );
    }
}
