//! A parsed pipeline: tasks, what waits for what, and in which order they are numbered.

mod build;

use std::collections::HashSet;
use std::time::Duration;

use alloy::primitives::B256;

use crate::dot::{self, ParseError, Place};
use crate::task_type::{Nature, TaskType};
use crate::value::expression_at;
use build::Builder;

/// Longest source that is read, in bytes.
pub const MAX_SOURCE_BYTES: usize = 256 * 1024;
/// Most tasks in one pipeline.
pub const MAX_TASKS: usize = 1_000;

/// A pipeline that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    source_hash: B256,
    tasks: Vec<TaskDef>,
    warnings: Vec<String>,
}

/// One task of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDef {
    /// Its name in the source, unique in the pipeline.
    pub dot_id: String,
    /// What it does.
    pub kind: TaskType,
    /// Position of its output among the run's outputs.
    pub index: i32,
    /// Longest time of one attempt; zero switches even the default limit off.
    pub timeout: Option<Duration>,
    /// Its failure drops the whole run.
    pub fail_early: bool,
    /// Attempts in total where this is more than one.
    pub retries: u32,
    /// Wait after the first failed attempt.
    pub min_backoff: Option<Duration>,
    /// Longest wait; counts only beside `min_backoff`.
    pub max_backoff: Option<Duration>,
    /// Where its name first stands.
    pub place: Place,
    /// Attribute texts by lower-case name, sorted: a map would take three times the memory, of each task of each job.
    attributes: Box<[(String, String)]>,
    /// Tasks whose results are handed over as inputs, in order.
    inputs: Vec<usize>,
    /// Tasks that must have finished before: inputs and those named in expressions.
    waits_for: Vec<usize>,
    /// Tasks that wait for this one.
    feeds: Vec<usize>,
    /// Of an `http` task: whoever made the request chose the URL.
    pub(crate) url_from_request: bool,
    /// Of a bridge with `checkRequired`: what others need from its answer.
    pub(crate) required_paths: Vec<Vec<String>>,
}

impl TaskDef {
    /// The type as written in job specs.
    pub fn type_name(&self) -> &'static str {
        self.kind.name()
    }

    /// What re-running it means: see [`Nature`].
    pub fn nature(&self) -> Nature {
        self.kind.nature()
    }

    /// The text of an attribute; its name in any letter case.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let at = self.attributes.binary_search_by(|(it, _)| it.cmp(&name));
        at.ok().map(|at| self.attributes[at].1.as_str())
    }

    /// Nothing waits for it: its result is one of the run's outputs.
    pub fn is_terminal(&self) -> bool {
        self.feeds.is_empty()
    }

    /// The run may have to wait for this task beyond one execution.
    pub fn suspends(&self) -> bool {
        match self.kind {
            TaskType::EthTx => true,
            TaskType::Bridge => self.attribute("async") == Some("true"),
            _ => false,
        }
    }

    /// All attributes with their names in lower case, sorted.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    pub(crate) fn waits_for(&self) -> &[usize] {
        &self.waits_for
    }

    pub(crate) fn feeds(&self) -> &[usize] {
        &self.feeds
    }
}

impl Pipeline {
    /// Parses an `observationSource`.
    ///
    /// Task types, base attributes and ABI texts are checked here; expressions are resolved when
    /// the tasks run.
    pub fn parse(source: &str) -> Result<Pipeline, ParseError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(ParseError::whole(format!(
                "the source is longer than {MAX_SOURCE_BYTES} bytes"
            )));
        }
        // Sources come from strangers: a mistake of ours in reading one must not end anything else.
        std::panic::catch_unwind(|| Self::read(source)).unwrap_or_else(|_| {
            Err(ParseError::whole(
                "the source could not be read because of a mistake in this program",
            ))
        })
    }

    fn read(source: &str) -> Result<Pipeline, ParseError> {
        let graph = dot::parse(source)?;
        if graph.nodes.is_empty() {
            return Err(ParseError::whole(
                "empty pipeline: the source has no task in it",
            ));
        }
        if graph.nodes.len() > MAX_TASKS {
            return Err(ParseError::whole(format!("more than {MAX_TASKS} tasks")));
        }
        Builder { source, graph }.build()
    }

    /// The tasks in their order of numbers: each stands after those it waits for.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskDef> {
        self.tasks.iter()
    }

    /// The task of this name.
    pub fn task(&self, dot_id: &str) -> Option<&TaskDef> {
        self.tasks.iter().find(|t| t.dot_id == dot_id)
    }

    /// Names of all bridges the pipeline calls, each once.
    pub fn bridges(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.tasks
            .iter()
            .filter(|t| t.kind == TaskType::Bridge)
            .filter_map(|t| t.attribute("name").map(str::trim))
            .filter(|name| seen.insert(*name))
            .collect()
    }

    /// A run of it may have to wait: it sends a transaction, or a bridge answers later.
    pub fn suspends(&self) -> bool {
        self.tasks.iter().any(TaskDef::suspends)
    }

    /// Tells one source from another; part of the key of cached bridge answers.
    pub fn source_hash(&self) -> B256 {
        self.source_hash
    }

    /// What is allowed and probably not meant, in sentences for whoever creates the job.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn defs(&self) -> &[TaskDef] {
        &self.tasks
    }
}

/// Names of tasks whose value a requester chooses: computed from the request and nothing else asked.
pub(crate) fn from_request(tasks: &[TaskDef]) -> HashSet<&str> {
    let mut found = HashSet::new();
    for task in tasks.iter().filter(|t| t.nature() == Nature::Pure) {
        let named = task
            .attributes()
            .flat_map(|(_, value)| expressions(value))
            .map(|path| path.split('.').next().unwrap_or(path))
            .any(|first| first == "jobRun" || found.contains(first));
        let handed = task
            .inputs()
            .iter()
            .any(|n| found.contains(tasks[*n].dot_id.as_str()));
        if named || handed {
            found.insert(task.dot_id.as_str());
        }
    }
    found
}

/// The paths of all expressions in a text.
pub(crate) fn expressions(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("$(")
        .filter_map(|(at, _)| expression_at(&text.as_bytes()[at..]).map(|(path, _)| path))
}
