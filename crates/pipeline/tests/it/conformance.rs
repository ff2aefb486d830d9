//! Runs `testdata/pipeline/*.toml`: one row per documented behaviour of a task.

use std::collections::BTreeSet;

use dodona_pipeline::{Pipeline, RunInput, StoredResult, TaskType, Value};
use toml::Table;

use crate::fake::{World, input, run_in};

fn text<'a>(row: &'a Table, key: &str) -> Option<&'a str> {
    row.get(key).map(|v| {
        v.as_str()
            .unwrap_or_else(|| panic!("{key} of {row} is no text"))
    })
}

/// A value in the stored form, which says its type.
fn value(json: &str) -> Value {
    let json = serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"));
    Value::from_stored(&json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

/// Builds `in0 -> t; in1 -> t` with the inputs already there, and the variables `x` and those given.
fn scene(row: &Table) -> (String, RunInput) {
    let mut given = input([]);
    if let Some(vars) = text(row, "vars") {
        let Value::Map(vars) = value(vars) else {
            panic!("vars of {row} are no map")
        };
        given.vars.extend(vars);
    }
    let mut source = format!("t [{}]\n", text(row, "task").expect("each row has a task"));
    for (n, each) in row
        .get("inputs")
        .and_then(|v| v.as_array())
        .into_iter()
        .flatten()
        .enumerate()
    {
        let each = each.as_str().expect("inputs are texts");
        let output = match each.strip_prefix("ERROR ") {
            Some(error) => Err(error.to_owned()),
            None => Ok(value(each)),
        };
        source.push_str(&format!("in{n} [type=memo index={n}]; in{n} -> t\n"));
        given
            .finished
            .insert(format!("in{n}"), StoredResult { output });
    }
    if let Some(name) = text(row, "failed") {
        source.push_str(&format!("{name} [type=memo]\n"));
        given.finished.insert(
            name.to_owned(),
            StoredResult {
                output: Err("it failed".into()),
            },
        );
    }
    (source, given)
}

#[tokio::test]
async fn every_row_of_the_conformance_table_holds() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/pipeline");
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let table: Table = text.parse().unwrap();
        rows.extend(table["row"].as_array().unwrap().iter().cloned());
    }
    assert!(rows.len() >= 500, "{} rows", rows.len());
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for row in &rows {
        let row = row.as_table().unwrap();
        let says = text(row, "says").expect("each row says something");
        let (source, given) = scene(row);
        let pipeline = Pipeline::parse(&source).unwrap_or_else(|e| panic!("{says}: {e}"));
        seen.insert(pipeline.task("t").unwrap().type_name());
        let (outcome, _) = run_in(&source, World::default(), given).await;
        let result = crate::fake::result(&outcome, "t");
        match (text(row, "output"), text(row, "error")) {
            (Some(expected), None) => {
                let matches = result.output.as_ref() == Some(&value(expected));
                if !matches {
                    let got = result.output.as_ref().map(|v| v.to_stored().to_string());
                    wrong.push(format!(
                        "{says}: expected {expected}, got {got:?} {:?}",
                        result.error
                    ));
                }
            }
            (None, Some(expected)) => {
                if !result
                    .error
                    .as_deref()
                    .is_some_and(|e| e.contains(expected))
                {
                    wrong.push(format!(
                        "{says}: expected the error {expected:?}, got {:?} {:?}",
                        result.error, result.output
                    ));
                }
            }
            _ => panic!("{says}: a row has either an output or an error"),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
    // Those that reach outside have tests of their own.
    let elsewhere = [
        "http",
        "bridge",
        "ethcall",
        "ethtx",
        "estimategaslimit",
        "panic",
    ];
    for kind in TaskType::all() {
        assert!(
            seen.contains(kind.name()) || elsewhere.contains(&kind.name()),
            "no row for {}",
            kind.name()
        );
    }
}
