//! Findings for people, for scripts, and for code scanners.

use std::fmt::Write as _;

use serde_json::{Value as Json, json as object};

use super::{Finding, Level, RULES};

/// A file with what was found in it.
pub type Checked<'a> = (&'a str, &'a [Finding]);

/// `file:line:column: level: message [rule]`, one a line, and a sum.
pub fn text(files: &[Checked<'_>]) -> String {
    let mut out = String::new();
    for (file, findings) in files {
        for f in *findings {
            let _ = writeln!(
                out,
                "{file}:{}:{}: {}: {} [{}]",
                f.place.line,
                f.place.column,
                f.level.name(),
                f.message.replace('\n', "\n    "),
                f.rule
            );
        }
    }
    let count = |level| {
        files
            .iter()
            .flat_map(|(_, found)| *found)
            .filter(|f| f.level == level)
            .count()
    };
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let _ = writeln!(
        out,
        "{}: {}, {}, {}",
        plural(files.len(), "file"),
        plural(count(Level::Error), "error"),
        plural(count(Level::Warning), "warning"),
        plural(count(Level::Note), "note")
    );
    out
}

/// A list of findings.
pub fn json(files: &[Checked<'_>]) -> Json {
    let all = files.iter().flat_map(|(file, findings)| {
        findings.iter().map(move |f| {
            object!({
                "file": file, "line": f.place.line, "column": f.place.column,
                "level": f.level.name(), "rule": f.rule, "message": f.message,
            })
        })
    });
    Json::Array(all.collect())
}

/// A path as a URI reference: whatever could be read as something else is escaped, a colon too.
fn reference(path: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/-._~".contains(b);
    path.bytes().fold(String::new(), |mut out, byte| {
        match plain(&byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// SARIF 2.1.0, as code scanners read it.
pub fn sarif(files: &[Checked<'_>], version: &str) -> Json {
    let rules: Vec<Json> = RULES
        .iter()
        .map(|(id, about)| object!({"id": id, "shortDescription": {"text": about}}))
        .collect();
    let results = files.iter().flat_map(|(file, findings)| {
        findings.iter().map(move |f| {
            object!({
                "ruleId": f.rule,
                "ruleIndex": RULES.iter().position(|(id, _)| *id == f.rule),
                "level": f.level.name(),
                "message": {"text": f.message},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": reference(file)},
                    "region": {"startLine": f.place.line, "startColumn": f.place.column},
                }}],
            })
        })
    });
    object!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "dodona jobs lint", "version": version, "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}
