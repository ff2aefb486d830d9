//! A parsed pipeline: tasks, what waits for what, and in which order they are numbered.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use alloy::primitives::{B256, keccak256};

use crate::dot::{self, ParseError, Place};
use crate::duration::parse_duration;
use crate::nearest::nearest;
use crate::task_type::{BASE_ATTRIBUTES, Nature, TaskType};
use crate::value::expression_at;

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
    /// Attribute texts by lower-case name.
    attributes: BTreeMap<String, String>,
    /// Tasks whose results are handed over as inputs, in order.
    inputs: Vec<usize>,
    /// Tasks that must have finished before: inputs and those named in expressions.
    waits_for: Vec<usize>,
    /// Tasks that wait for this one.
    feeds: Vec<usize>,
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
        self.attributes
            .get(&name.to_ascii_lowercase())
            .map(String::as_str)
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

struct Builder<'a> {
    source: &'a str,
    graph: dot::Graph,
}

impl Builder<'_> {
    fn build(mut self) -> Result<Pipeline, ParseError> {
        let mut tasks = Vec::with_capacity(self.graph.nodes.len());
        let mut warnings = std::mem::take(&mut self.graph.warnings);
        for node in &self.graph.nodes {
            let task = self.task(node, &mut warnings)?;
            tasks.push(task);
        }
        let explicit: HashSet<(usize, usize)> = self.graph.edges.iter().copied().collect();
        let mut edges = self.graph.edges.clone();
        edges.extend(self.implicit_edges(&explicit));
        let order = self.order(&edges)?;
        warnings.extend(tasks.iter().flat_map(crate::check::warnings));
        Ok(Pipeline {
            source_hash: keccak256(self.source),
            tasks: number(tasks, &order, &edges, &explicit),
            warnings,
        })
    }

    fn task(&self, node: &dot::Node, warnings: &mut Vec<String>) -> Result<TaskDef, ParseError> {
        let attribute = |name: &str| {
            node.attributes
                .iter()
                .find(|a| a.name.eq_ignore_ascii_case(name))
        };
        let type_text = attribute("type").map_or("", |a| a.value.as_str());
        let kind = TaskType::parse(type_text).map_err(|error| {
            let at = attribute("type").map_or(node.at, |a| a.value_at);
            ParseError::at(self.source, at, format!("task `{}`: {error}", node.id))
        })?;
        for a in &node.attributes {
            let known = || BASE_ATTRIBUTES.iter().chain(kind.attributes()).copied();
            if !known().any(|k| k.eq_ignore_ascii_case(&a.name)) {
                let hint = nearest(&a.name, known())
                    .map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
                warnings.push(format!(
                    "task `{}`: a {} task has no attribute `{}`, it is ignored{hint}",
                    node.id,
                    kind.name(),
                    a.name
                ));
            }
        }
        let refuse = |a: &dot::Attribute, why: String| {
            ParseError::at(
                self.source,
                a.value_at,
                format!("task `{}`: {}: {why}", node.id, a.name),
            )
        };
        let typed = |name: &str| attribute(name).filter(|a| !a.value.is_empty());
        let duration = |name: &str| {
            typed(name)
                .map(|a| parse_duration(&a.value).map_err(|e| refuse(a, e)))
                .transpose()
        };
        let index = match typed("index") {
            Some(a) => parse_index(&a.value)
                .ok_or_else(|| refuse(a, format!("{:?} is not a 32-bit integer", a.value)))?,
            None => 0,
        };
        let retries = match typed("retries") {
            Some(a) => a
                .value
                .parse()
                .map_err(|_| refuse(a, format!("{:?} is not a number of attempts", a.value)))?,
            None => 0,
        };
        let flag = |name: &str| match typed(name) {
            Some(a) => crate::params::parse_bool(&a.value)
                .ok_or_else(|| refuse(a, format!("{:?} is neither true nor false", a.value))),
            None => Ok(false),
        };
        if kind == TaskType::EthCall {
            flag("extractRevertReason")?;
        }
        let task = TaskDef {
            dot_id: node.id.clone(),
            kind,
            index,
            timeout: duration("timeout")?,
            fail_early: flag("failEarly")?,
            retries,
            min_backoff: duration("minBackoff")?,
            max_backoff: duration("maxBackoff")?,
            place: dot::place_of(self.source, node.at),
            attributes: node
                .attributes
                .iter()
                .map(|a| (a.name.to_ascii_lowercase(), a.value.clone()))
                .collect(),
            inputs: Vec::new(),
            waits_for: Vec::new(),
            feeds: Vec::new(),
        };
        crate::check::refuse(&task).map_err(|(name, why)| match attribute(name) {
            Some(a) => refuse(a, why),
            None => ParseError::at(
                self.source,
                node.at,
                format!("task `{}`: {name}: {why}", node.id),
            ),
        })?;
        Ok(task)
    }

    /// An expression `$(x...)` in an attribute makes its task wait for the task `x`.
    fn implicit_edges(&self, explicit: &HashSet<(usize, usize)>) -> Vec<(usize, usize)> {
        let ids: HashMap<&str, usize> = self
            .graph
            .nodes
            .iter()
            .enumerate()
            .map(|(n, node)| (node.id.as_str(), n))
            .collect();
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        for (to, node) in self.graph.nodes.iter().enumerate() {
            for path in node.attributes.iter().flat_map(|a| expressions(&a.value)) {
                let first = path.split('.').next().unwrap_or(path);
                let Some(&from) = ids.get(first) else {
                    continue;
                };
                let edge = (from, to);
                if from != to && !explicit.contains(&edge) && seen.insert(edge) {
                    found.push(edge);
                }
            }
        }
        found
    }

    /// Positions in the order of execution; ties by first appearance.
    fn order(&self, edges: &[(usize, usize)]) -> Result<Vec<usize>, ParseError> {
        let count = self.graph.nodes.len();
        let mut waiting = vec![0usize; count];
        let mut feeds = vec![Vec::new(); count];
        for &(from, to) in edges {
            waiting[to] += 1;
            feeds[from].push(to);
        }
        let mut ready: BinaryHeap<Reverse<usize>> = (0..count)
            .filter(|n| waiting[*n] == 0)
            .map(Reverse)
            .collect();
        let mut order = Vec::with_capacity(count);
        while let Some(Reverse(n)) = ready.pop() {
            order.push(n);
            for &to in &feeds[n] {
                waiting[to] -= 1;
                if waiting[to] == 0 {
                    ready.push(Reverse(to));
                }
            }
        }
        if order.len() == count {
            return Ok(order);
        }
        Err(self.cycle(edges, &waiting))
    }

    /// Names one cycle among the tasks that still wait.
    fn cycle(&self, edges: &[(usize, usize)], waiting: &[usize]) -> ParseError {
        let mut before = HashMap::new();
        for &(from, to) in edges {
            if waiting[from] > 0 && waiting[to] > 0 {
                before.entry(to).or_insert(from);
            }
        }
        let Some(mut at) = waiting.iter().position(|w| *w > 0) else {
            return ParseError::whole("a cycle was detected");
        };
        // Walking back from any waiting task ends in a cycle, because each waits for a waiting one.
        let mut path: Vec<usize> = Vec::new();
        let mut position = HashMap::new();
        while let Entry::Vacant(entry) = position.entry(at) {
            entry.insert(path.len());
            path.push(at);
            match before.get(&at) {
                Some(from) => at = *from,
                None => break,
            }
        }
        let mut cycle = path.split_off(position.get(&at).copied().unwrap_or(0));
        cycle.reverse();
        let first = cycle
            .iter()
            .enumerate()
            .min_by_key(|(_, n)| **n)
            .map_or(0, |(i, _)| i);
        cycle.rotate_left(first);
        let mut names: Vec<&str> = cycle
            .iter()
            .take(8)
            .map(|n| self.graph.nodes[*n].id.as_str())
            .collect();
        if cycle.len() > 8 {
            names.push("…");
        }
        names.push(names[0]);
        let message = format!(
            "a cycle was detected: {} (an expression $(x) also makes a task wait for x)",
            names.join(" -> ")
        );
        ParseError::at(self.source, self.graph.nodes[cycle[0]].at, message)
    }
}

/// Puts the tasks into order and tells each whom it waits for and whom it feeds.
fn number(
    tasks: Vec<TaskDef>,
    order: &[usize],
    edges: &[(usize, usize)],
    explicit: &HashSet<(usize, usize)>,
) -> Vec<TaskDef> {
    let mut new_position = vec![0; order.len()];
    for (position, old) in order.iter().enumerate() {
        new_position[*old] = position;
    }
    let mut slots: Vec<Option<TaskDef>> = tasks.into_iter().map(Some).collect();
    let mut tasks: Vec<TaskDef> = order.iter().filter_map(|old| slots[*old].take()).collect();
    for edge @ &(from, to) in edges {
        let (a, b) = (new_position[from], new_position[to]);
        tasks[a].feeds.push(b);
        tasks[b].waits_for.push(a);
        if explicit.contains(edge) {
            tasks[b].inputs.push(a);
        }
    }
    let indexes: Vec<i32> = tasks.iter().map(|t| t.index).collect();
    for task in &mut tasks {
        task.inputs.sort_by_key(|n| (indexes[*n], *n));
        task.feeds.sort_unstable();
        task.waits_for.sort_unstable();
    }
    tasks
}

/// The paths of all expressions in a text.
pub(crate) fn expressions(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("$(")
        .filter_map(|(at, _)| expression_at(&text.as_bytes()[at..]).map(|(path, _)| path))
}

/// A 32-bit integer as Go reads one with an automatic base.
fn parse_index(text: &str) -> Option<i32> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match (
        lower.strip_prefix("0x"),
        lower.strip_prefix("0o"),
        lower.strip_prefix("0b"),
    ) {
        (Some(rest), _, _) => (16, rest),
        (_, Some(rest), _) => (8, rest),
        (_, _, Some(rest)) => (2, rest),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let size = i64::from_str_radix(digits, radix).ok()?;
    i32::try_from(if negative { -size } else { size }).ok()
}
