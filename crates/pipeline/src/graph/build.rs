//! From statements to tasks: types and base attributes are checked, expressions become edges, and
//! the tasks get their numbers.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use alloy::primitives::keccak256;

use super::{Pipeline, TaskDef, expressions};
use crate::dot::{self, ParseError};
use crate::duration::parse_duration;
use crate::nearest::nearest;
use crate::task_type::{BASE_ATTRIBUTES, TaskType};

/// Variables every run begins with. A task may have their names, though nobody means it.
const SHADOWING: &[&str] = &["jobRun", "jobSpec", "jb"];

pub(super) struct Builder<'a> {
    pub(super) source: &'a str,
    pub(super) graph: dot::Graph,
}

impl Builder<'_> {
    pub(super) fn build(mut self) -> Result<Pipeline, ParseError> {
        let mut tasks = Vec::with_capacity(self.graph.nodes.len());
        let mut warnings = std::mem::take(&mut self.graph.warnings);
        // Nodes stand in the order of their first appearance.
        let mut walk = dot::Walk::through(self.source);
        for node in &self.graph.nodes {
            let task = self.task(node, walk.to(node.at), &mut warnings)?;
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

    fn task(
        &self,
        node: &dot::Node,
        place: dot::Place,
        warnings: &mut Vec<String>,
    ) -> Result<TaskDef, ParseError> {
        if SHADOWING.contains(&node.id.as_str()) {
            warnings.push(format!(
                "task `{0}`: its result hides the variable $({0}) from every task that runs after it",
                node.id
            ));
        }
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
            Some(a) => crate::convert::parse_bool(&a.value)
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
            place,
            attributes: node
                .attributes
                .iter()
                .map(|a| (a.name.to_ascii_lowercase(), a.value.clone()))
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .collect(),
            inputs: Vec::new(),
            waits_for: Vec::new(),
            feeds: Vec::new(),
            url_from_request: false,
            required_paths: Vec::new(),
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
    require(&mut tasks);
    let chosen: Vec<bool> = {
        let found = super::from_request(&tasks);
        let of_request = |first: &str| first == "jobRun" || found.contains(first);
        let chosen = |t: &TaskDef| {
            let url = t.attribute("url").unwrap_or_default();
            crate::params::whole_expression(url)
                .is_some_and(|path| of_request(path.split('.').next().unwrap_or(path)))
        };
        tasks
            .iter()
            .map(|t| t.kind == TaskType::Http && chosen(t))
            .collect()
    };
    for (task, chosen) in tasks.iter_mut().zip(chosen) {
        task.url_from_request = chosen;
    }
    tasks
}

/// Tells each bridge that asks for it which paths others need from its answer.
fn require(tasks: &mut [TaskDef]) {
    for n in 0..tasks.len() {
        let bridge = &tasks[n];
        if bridge.kind != TaskType::Bridge || bridge.attribute("checkRequired").is_none() {
            continue;
        }
        let paths = bridge
            .feeds
            .iter()
            .map(|next| &tasks[*next])
            .filter(|next| next.kind == TaskType::JsonParse)
            .filter_map(|next| {
                let first = next.inputs.first() == Some(&n);
                crate::tasks::jsonparse::required_path(next, &bridge.dot_id, first)
            })
            .collect();
        tasks[n].required_paths = paths;
    }
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
