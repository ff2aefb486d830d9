//! What is wrong with a job spec, and what is allowed but will hurt.
//!
//! Errors are what the node would refuse when the job is created. Warnings know the field: things
//! that parse, run, and cost an operator money or sleep. A note is worth a thought.

mod rules;
mod write;

use bigdecimal::BigDecimal;

use crate::dot::Place;
use crate::spec::{JobSpec, SpecError};

pub use write::{Checked, json, sarif, text};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth a thought.
    Note,
    /// Will hurt.
    Warning,
    /// The node would refuse it.
    Error,
}

impl Level {
    /// As SARIF names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Every rule with what it is about.
pub const RULES: &[(&str, &str)] = &[
    ("invalid-spec", "The node would refuse this spec."),
    (
        "unknown-key",
        "A key the job type does not have; it is ignored.",
    ),
    (
        "unknown-attribute",
        "An attribute the task does not have; it is ignored.",
    ),
    (
        "no-interpolation",
        "An expression inside a longer text, which is not filled in.",
    ),
    (
        "unreadable-json",
        "A parameter that cannot be read; the task will fail.",
    ),
    ("notation", "Allowed, and probably not meant."),
    (
        "wrong-inputs",
        "More or fewer edges into a task than it takes; the task will fail.",
    ),
    (
        "unrestricted-requester-url",
        "Whoever makes a request chooses an address inside the operator's network.",
    ),
    (
        "private-url",
        "An address inside the operator's network, which the task does not say it may reach.",
    ),
    ("requester-url", "Whoever makes a request chooses the URL."),
    (
        "plain-http",
        "A public source without TLS, whose answers anybody on the way can change.",
    ),
    (
        "zero-confirmations",
        "Something that cannot be undone is done for a request that may vanish.",
    ),
    ("unwatched-revert", "A transaction that may revert unseen."),
    (
        "missing-checksum",
        "An address without its checksum, where a typing error would not be seen.",
    ),
    (
        "abi-overflow",
        "A product that does not fit the type it is encoded as.",
    ),
    ("no-fail-early", "A condition that stops nothing."),
    (
        "one-source-is-enough",
        "An aggregate that goes on when all values but one have failed.",
    ),
    (
        "payment-below-cost",
        "The job answers for less than the answer costs.",
    ),
    ("unordered-outputs", "Several outputs with the same index."),
];

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// One of [`RULES`].
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// Where in the file.
    pub place: Place,
}

/// What a linter is told beside the spec.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What a unit of gas costs, in wei.
    pub gas_price_wei: Option<u128>,
    /// What a LINK costs, in ether.
    pub ether_per_link: Option<BigDecimal>,
}

/// Looks at a spec. Sorted by place; nothing found means nothing to say.
pub fn lint(toml: &str, facts: &Facts) -> Vec<Finding> {
    let map = SourceMap::of(toml);
    let mut found = match JobSpec::parse(toml) {
        Ok(spec) => rules::all(&spec, &map, facts),
        Err(error) => {
            let place = match &error {
                SpecError::Pipeline(error) => map.source_place(error.place),
                SpecError::Missing { .. } | SpecError::NoChainId | SpecError::NoPipeline => TOP,
                SpecError::Field { key, .. } => map.key(key),
                SpecError::SchemaVersion(_) => map.key("schemaVersion"),
                SpecError::Schedule(_) => map.key("schedule"),
                SpecError::UnknownType { .. } | SpecError::UnsupportedType(_) => map.key("type"),
                SpecError::Toml(text) => toml_place(text),
                _ => map.key("observationSource"),
            };
            vec![Finding {
                level: Level::Error,
                rule: "invalid-spec",
                message: error.to_string(),
                place,
            }]
        }
    };
    found.sort_by_key(|f| (f.place.line, f.place.column, std::cmp::Reverse(f.level)));
    found
}

/// What is found of a file that is no text or not there.
pub fn unreadable(why: &str) -> Finding {
    Finding {
        level: Level::Error,
        rule: "invalid-spec",
        message: why.to_owned(),
        place: TOP,
    }
}

const TOP: Place = Place { line: 1, column: 1 };

/// `TOML parse error at line 2, column 5`
fn toml_place(text: &str) -> Place {
    let number = |word: &str| {
        text.split_once(word).and_then(|(_, rest)| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        })
    };
    match (number("line "), number("column ")) {
        (Some(line), Some(column)) => Place { line, column },
        _ => TOP,
    }
}

/// Where things of the spec stand in the file.
struct SourceMap<'a> {
    toml: &'a str,
    /// Line on which the first line of the pipeline stands, and whether columns are those of the
    /// file too.
    source_line: usize,
    exact_columns: bool,
}

impl<'a> SourceMap<'a> {
    fn of(toml: &'a str) -> Self {
        let key = find_key(toml, "observationSource");
        let value = key.and_then(|at| toml[at..].find('=').map(|n| at + n + 1));
        let (mut source_line, mut exact_columns) = (1, false);
        if let Some(at) = value {
            let rest = toml[at..].trim_start_matches([' ', '\t']);
            let quote = toml.len() - rest.len();
            source_line = crate::Place::of(toml, quote).line;
            for fence in ["\"\"\"", "'''"] {
                if let Some(body) = rest.strip_prefix(fence)
                    && body.starts_with(['\n', '\r'])
                {
                    source_line += 1;
                    exact_columns = true;
                }
            }
        }
        Self {
            toml,
            source_line,
            exact_columns,
        }
    }

    /// A place in the pipeline as a place in the file.
    fn source_place(&self, place: Option<Place>) -> Place {
        match place {
            Some(place) => Place {
                line: self.source_line + place.line - 1,
                column: if self.exact_columns { place.column } else { 1 },
            },
            None => self.key("observationSource"),
        }
    }

    /// Where a key of the document stands; the top when it does not.
    fn key(&self, name: &str) -> Place {
        find_key(self.toml, name).map_or(TOP, |at| crate::Place::of(self.toml, at))
    }
}

/// The byte at which a line begins with `name =`.
fn find_key(toml: &str, name: &str) -> Option<usize> {
    let mut at = 0;
    for line in toml.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix(name)
            && rest.trim_start().starts_with('=')
        {
            return Some(at + line.len() - trimmed.len());
        }
        at += line.len();
    }
    None
}
