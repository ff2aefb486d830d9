//! Pages of the documentation against what is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dodona_pipeline::{Pipeline, TaskType};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn page(name: &str) -> String {
    let path = format!("{ROOT}/docs/reference/{name}");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every piece of text between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Names of all functions in the tests and sources of the workspace.
fn functions() -> BTreeSet<String> {
    fn walk(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split("fn ").skip(1).filter_map(|rest| {
                    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
                    Some(rest[..end].to_owned())
                });
                found.extend(names);
            }
        }
    }
    let mut found = BTreeSet::new();
    for dir in ["crates", "tests"] {
        walk(&Path::new(ROOT).join(dir), &mut found);
    }
    found
}

/// What rows say, by type of task.
fn said() -> BTreeMap<String, Vec<toml::Table>> {
    let mut said: BTreeMap<String, Vec<toml::Table>> = BTreeMap::new();
    for (_, row) in crate::conformance::rows() {
        let source = format!("t [{}]", row["task"].as_str().unwrap());
        let kind = Pipeline::parse(&source)
            .unwrap()
            .task("t")
            .unwrap()
            .type_name();
        said.entry(kind.to_owned()).or_default().push(row);
    }
    said
}

#[test]
fn every_line_about_compatibility_is_held_by_a_test_or_a_row_that_exists() {
    let (functions, said) = (functions(), said());
    let text = page("compatibility.md");
    let mut quirks = Vec::new();
    let mut wrong = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        let held_by = cells.last().unwrap();
        if held_by.starts_with("---") || *held_by == "held by" {
            continue;
        }
        if let Some(number) = cells[0].trim().strip_prefix('Q') {
            quirks.push(number.parse::<u32>().unwrap());
        }
        let mut holders = 0;
        for holder in quoted(held_by) {
            holders += 1;
            let exists = match holder.split_once(' ') {
                Some(("test", name)) => functions.contains(name),
                Some(("row", rest)) => {
                    let (kind, says) = rest.split_once(": ").unwrap();
                    said[kind]
                        .iter()
                        .any(|row| row["says"].as_str() == Some(says))
                }
                _ => false,
            };
            if !exists {
                wrong.push(format!("there is no {holder}"));
            }
        }
        if holders == 0 {
            wrong.push(format!("held by nothing: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(quirks, (1..=22).collect::<Vec<_>>());
}

/// A part of the page about tasks, from its heading to the next one.
fn section<'a>(text: &'a str, kind: &str) -> &'a str {
    let (_, rest) = text
        .split_once(&format!("\n## `{kind}`\n"))
        .unwrap_or_else(|| panic!("{kind} is not on the page"));
    rest.split("\n## ").next().unwrap()
}

#[test]
fn every_attribute_and_every_error_on_the_page_about_tasks_has_its_row() {
    let (said, text) = (said(), page("tasks.md"));
    let mut wrong = Vec::new();
    for kind in TaskType::all() {
        let rows = said.get(kind.name()).map(Vec::as_slice).unwrap_or_default();
        for attribute in kind.attributes() {
            let named = |row: &&toml::Table| {
                row["task"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("{attribute}="))
            };
            if !rows.iter().any(|row| named(&row)) {
                wrong.push(format!("{}: no row says {attribute}=", kind.name()));
            }
            // Without a signature the source is refused.
            if *attribute != "abi" && rows.iter().all(|row| named(&row)) {
                wrong.push(format!("{}: no row leaves {attribute} out", kind.name()));
            }
        }
        let errors = section(&text, kind.name())
            .lines()
            .find_map(|line| line.strip_prefix("* Errors: "))
            .unwrap_or_else(|| panic!("the page names no errors of {}", kind.name()));
        for error in quoted(errors) {
            // A placeholder stands for anything.
            let pieces: Vec<&str> = error
                .split(['…'])
                .flat_map(|piece| piece.split("<url>"))
                .flat_map(|piece| piece.split('N'))
                .map(str::trim)
                .filter(|piece| !piece.is_empty())
                .collect();
            let shown = |row: &toml::Table| {
                let error = row
                    .get("error")
                    .and_then(|e| e.as_str())
                    .unwrap_or_default();
                let reply = row
                    .get("reply")
                    .and_then(|e| e.as_str())
                    .unwrap_or_default();
                let task = row["task"].as_str().unwrap_or_default();
                row.contains_key("error")
                    && pieces
                        .iter()
                        .all(|piece| format!("{error} {reply} {task}").contains(piece))
            };
            let elsewhere = ELSEWHERE.contains(&(kind.name(), error));
            if !elsewhere && !rows.iter().any(shown) {
                wrong.push(format!("{}: no row fails with {error:?}", kind.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What stands between backticks and is no error but another task, or is an error that rows cannot
/// bring about: the attack set does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ethabiencode2", "ethabiencode"),
    ("median", "mean"),
    ("mode", "mean"),
    ("sum", "mean"),
    ("http", "disallowed IP"),
];
