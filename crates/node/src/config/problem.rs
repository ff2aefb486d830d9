//! What is wrong with the settings: everything at once, each with its place.

use std::fmt;
use std::sync::Arc;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A file name, `CL_CONFIG`, `environment variable X`, or `default`.
    pub source: Arc<str>,
    /// Counted from 1.
    pub line: Option<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => write!(f, "{}", self.source),
        }
    }
}

/// The kind of input a problem belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    Environment,
    Configuration,
    Secrets,
}

impl Root {
    fn title(self) -> &'static str {
        match self {
            Root::Environment => "invalid environment",
            Root::Configuration => "invalid configuration",
            Root::Secrets => "invalid secrets",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub root: Root,
    /// Dotted, with the numbers of list entries counted from 0: `EVM.0.Nodes.1.Name`.
    pub path: String,
    /// What is wrong and what would be right.
    pub what: String,
    pub at: Option<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.what)?;
        match &self.at {
            Some(at) => write!(f, " ({at})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, line by line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(
        &mut self,
        root: Root,
        path: impl Into<String>,
        what: impl Into<String>,
        at: Option<Origin>,
    ) {
        let problem = Problem {
            root,
            path: path.into(),
            what: what.into(),
            at,
        };
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Brings what stands in one file into the order of its lines.
    pub(super) fn sort(&mut self) {
        let mut sources: Vec<std::sync::Arc<str>> = Vec::new();
        for at in self.0.iter().filter_map(|problem| problem.at.as_ref()) {
            if !sources.contains(&at.source) {
                sources.push(at.source.clone());
            }
        }
        let place = |problem: &Problem| {
            let at = problem.at.as_ref()?;
            Some((
                sources.iter().position(|source| *source == at.source),
                at.line,
            ))
        };
        self.0.sort_by_key(place);
    }
}

impl std::error::Error for Problems {}

/// `invalid configuration: 2 errors:` and a line for each; a single one stays on its line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for root in [Root::Environment, Root::Configuration, Root::Secrets] {
            let mine: Vec<&Problem> = self
                .0
                .iter()
                .filter(|problem| problem.root == root)
                .collect();
            match mine.as_slice() {
                [] => continue,
                [only] => write!(f, "{between}{}: {only}", root.title())?,
                several => {
                    write!(f, "{between}{}: {} errors:", root.title(), several.len())?;
                    several
                        .iter()
                        .try_for_each(|problem| write!(f, "\n\t- {problem}"))?;
                }
            }
            between = "\n";
        }
        Ok(())
    }
}
