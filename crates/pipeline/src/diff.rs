//! What is different between two jobs, as what they mean and not as how they are written.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Pipeline;
use crate::spec::{JobKind, JobSpec, SpecError};

const INITIATORS: &str = "externalInitiators";

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Fields by name, with values in one notation.
    pub fields: BTreeMap<String, String>,
    /// The pipeline.
    pub pipeline: Pipeline,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `contractAddress`, `task fetch`, `task fetch: url`, `edge a -> b`.
    pub what: String,
    /// On the left side; none: it is not there.
    pub left: Option<String>,
    /// On the right side.
    pub right: Option<String>,
}

impl Side {
    /// From a job spec.
    pub fn of_spec(toml: &str) -> Result<Self, SpecError> {
        let spec = JobSpec::parse(toml)?;
        let table: toml::Table = toml
            .parse()
            .map_err(|e: toml::de::Error| SpecError::Toml(e.to_string()))?;
        let initiators = match &spec.kind {
            JobKind::Webhook(webhook) => webhook
                .external_initiators
                .iter()
                .map(|it| (it.name.clone(), it.spec.clone()))
                .collect(),
            _ => Vec::new(),
        };
        let fields = table
            .iter()
            .filter(|(key, _)| !["observationSource", INITIATORS].contains(&key.as_str()))
            .map(|(key, value)| {
                let text = match value {
                    toml::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                (key.clone(), text)
            });
        Ok(Self::new(fields, spec.pipeline).listing(initiators))
    }

    /// The same with external initiators: name, and the JSON text the job has for it. Names are compared without
    /// letter case, texts as the JSON they are, and the order does not matter.
    #[must_use]
    pub fn listing(mut self, initiators: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut listed: Vec<String> = initiators
            .into_iter()
            .map(|(name, spec)| {
                let spec = match crate::value::read_json(&spec) {
                    Ok(value) => value.to_output_json(),
                    Err(_) => spec,
                };
                format!("{}: {spec}", name.to_lowercase())
            })
            .collect();
        listed.sort();
        if !listed.is_empty() {
            self.fields.insert(INITIATORS.to_owned(), listed.join("\n"));
        }
        self
    }

    /// From fields in any usual notation and the pipeline.
    pub fn new(fields: impl IntoIterator<Item = (String, String)>, pipeline: Pipeline) -> Self {
        let fields = fields
            .into_iter()
            .map(|(key, value)| {
                let value = plain(&value);
                (key, value)
            })
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Self { fields, pipeline }
    }
}

/// Durations, addresses, ids and numbers in one notation each.
fn plain(value: &str) -> String {
    let text = value.trim();
    if let Ok(id) = uuid::Uuid::parse_str(text) {
        return id.to_string();
    }
    let hex = text.len() > 2 && text.starts_with("0x");
    if hex {
        return text.to_lowercase();
    }
    let has_unit = text.ends_with(|c: char| c.is_ascii_lowercase());
    match crate::duration::parse_duration(text) {
        Ok(duration) if has_unit => format!("{duration:?}"),
        _ if text.starts_with('[') => text.to_lowercase().replace(' ', ""),
        _ => text.to_owned(),
    }
}

/// All differences: fields first, then tasks in order of the left side, then edges.
pub fn diff(left: &Side, right: &Side) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |what: String, a: Option<&str>, b: Option<&str>| {
        if a != b {
            changes.push(Change {
                what,
                left: a.map(str::to_owned),
                right: b.map(str::to_owned),
            });
        }
    };
    let keys: BTreeSet<&String> = left.fields.keys().chain(right.fields.keys()).collect();
    for key in keys {
        let of = |side: &Side| side.fields.get(key).cloned();
        compare(key.clone(), of(left).as_deref(), of(right).as_deref());
    }
    let tasks = left.pipeline.tasks().chain(
        right
            .pipeline
            .tasks()
            .filter(|t| left.pipeline.task(&t.dot_id).is_none()),
    );
    for task in tasks {
        let id = &task.dot_id;
        let (a, b) = (left.pipeline.task(id), right.pipeline.task(id));
        compare(
            format!("task {id}"),
            a.map(|t| t.type_name()),
            b.map(|t| t.type_name()),
        );
        let (Some(a), Some(b)) = (a, b) else { continue };
        let names: BTreeSet<&str> = a
            .attributes()
            .chain(b.attributes())
            .map(|(n, _)| n)
            .collect();
        for name in names.into_iter().filter(|name| *name != "type") {
            compare(
                format!("task {id}: {name}"),
                a.attribute(name),
                b.attribute(name),
            );
        }
    }
    let (a, b) = (edges(&left.pipeline), edges(&right.pipeline));
    for (edge, here, there) in a.union(&b).map(|e| (e, a.contains(e), b.contains(e))) {
        let mark = |there: bool| there.then_some("there");
        compare(format!("edge {edge}"), mark(here), mark(there));
    }
    changes
}

fn edges(pipeline: &Pipeline) -> BTreeSet<String> {
    let defs = pipeline.defs();
    let of = |t: &crate::graph::TaskDef| -> Vec<String> {
        t.inputs()
            .iter()
            .map(|n| format!("{} -> {}", defs[*n].dot_id, t.dot_id))
            .collect()
    };
    defs.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(fields: &[(&str, &str)], source: &str) -> Side {
        let fields = fields
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Side::new(fields, Pipeline::parse(source).unwrap())
    }

    #[test]
    fn the_same_job_in_another_notation_is_the_same() {
        let a = side(
            &[
                ("maxTaskDuration", "60s"),
                ("contractAddress", "0xAB"),
                ("name", ""),
            ],
            "a [type=http URL=\"x\"]; b [type=jsonparse]; a -> b",
        );
        let b = side(
            &[("maxTaskDuration", "1m0s"), ("contractAddress", "0xab")],
            "// the same\nb [type=JSONPARSE]\na [type=http url=\"x\"]\na -> b",
        );
        let types: Vec<_> = diff(&a, &b)
            .into_iter()
            .filter(|c| c.what != "task b: type")
            .collect();
        assert_eq!(types, []);
    }

    #[test]
    fn initiators_are_compared_as_what_they_are_told() {
        let spec = |list: &str| {
            let toml = format!(
                "type = \"webhook\"\nschemaVersion = 1\nexternalInitiators = [{list}]\nobservationSource = \"a [type=fail]\""
            );
            Side::of_spec(&toml).unwrap()
        };
        let two = spec(r#"{ name = "B", spec = '{"x": 1,  "y": "Z"}' }, { name = "a" }"#);
        let shown = side(&[], "a [type=fail]");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let told = [pair("A", "null"), pair("b", r#"{"y":"Z","x":1}"#)];
        let changes = |right: Side| -> Vec<String> {
            let changes = diff(&two, &right).into_iter().map(|c| c.what);
            changes
                .filter(|what| !["type", "schemaVersion"].contains(&&**what))
                .collect()
        };
        assert_eq!(changes(shown.clone().listing(told)), [""; 0]);
        let other = [pair("a", "null"), pair("b", r#"{"y":"z","x":1}"#)];
        assert_eq!(changes(shown.clone().listing(other)), [INITIATORS]);
        assert_eq!(changes(shown), [INITIATORS]);
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let a = side(
            &[("name", "x")],
            "a [type=fail msg=1]; c [type=fail]; a -> c",
        );
        let b = side(
            &[("name", "y")],
            "a [type=fail msg=2]; d [type=fail]; a -> d",
        );
        let what: Vec<_> = diff(&a, &b).into_iter().map(|c| c.what).collect();
        assert_eq!(
            what,
            [
                "name",
                "task a: msg",
                "task c",
                "task d",
                "edge a -> c",
                "edge a -> d"
            ]
        );
    }
}
