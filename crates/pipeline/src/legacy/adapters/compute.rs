//! Adapters that compute: from one value another.

use super::super::document::{Step, field, plain};
use super::super::{Refusal, write};
use super::{Arg, Form, INJECTED, Previous, Request, Step1, Walk, refuse};
use crate::error::excerpt;
use crate::value::Value;

impl Walk<'_> {
    pub(super) fn jsonparse(&mut self, task: &Step) -> Step1 {
        self.unknown_params(task, &["path"]);
        let data = self.value_of(&task.place)?;
        let mut attributes = vec![("data", format!("\"{data}\""))];
        match self.arg(task, "path") {
            Arg::Literal(value) => {
                let keys = keys(task, &value)?;
                if !keys.is_empty() {
                    let (path, separator) = joined(task, &keys)?;
                    attributes.push(("path", write::text(&task.place, &path)?));
                    if separator != "," {
                        attributes.push(("separator", write::quoted(separator)));
                    }
                }
            }
            Arg::Request(expression) => {
                attributes.push(("path", format!("\"{expression}\"")));
                attributes.push(("separator", "\".\"".into()));
            }
            Arg::Absent => {}
        }
        attributes.push(("lax", "true".into()));
        let id = self.chain.add("pick", "jsonparse", &attributes);
        self.done(&id);
        Ok(())
    }

    pub(super) fn copy(&mut self, task: &Step) -> Step1 {
        self.unknown_params(task, &["copyPath"]);
        let path = match field(&task.params, "copyPath") {
            Some(value) if *value != Value::Null => keys(task, value)?,
            _ => {
                return refuse(
                    task,
                    "its copyPath comes from the request, and no task takes a path into what a request brought",
                    "write the path into the spec",
                );
            }
        };
        if path.is_empty() {
            return refuse(
                task,
                "its copyPath is empty",
                "write the path of what to copy",
            );
        }
        match self.previous.clone() {
            Previous::Bridge(bridge) => {
                let mut whole = vec!["data".to_owned()];
                whole.extend(path);
                let (path, separator) = joined(task, &whole)?;
                let mut attributes = vec![
                    ("data", format!("\"$({bridge})\"")),
                    ("path", write::text(&task.place, &path)?),
                ];
                if separator != "," {
                    attributes.push(("separator", write::quoted(separator)));
                }
                let id = self.chain.add("copied", "jsonparse", &attributes);
                self.done(&id);
                Ok(())
            }
            Previous::Value(_) | Previous::Word { .. } if path == ["result"] => Ok(()),
            Previous::Value(_) | Previous::Word { .. } if path[0] == "result" => refuse(
                task,
                "it goes into the result of the task before, which is text or a number",
                "use a jsonparse task",
            ),
            _ => {
                let simple = |key: &String| {
                    key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !key.is_empty()
                };
                if !path.iter().all(simple) {
                    return refuse(
                        task,
                        "its copyPath has characters that an expression cannot have",
                        "let the requester use plain names",
                    );
                }
                if self.request == Request::Nothing {
                    return refuse(task, "there is nothing to copy from", "remove it");
                }
                if matches!(self.request, Request::Log { .. }) && INJECTED.contains(&&*path[0]) {
                    return refuse(
                        task,
                        &format!(
                            "{} was put among the parameters by 0.x itself, and is not there today",
                            path[0]
                        ),
                        "write the job in TOML: the contract is $(jobRun.logAddress), the words of the request are those of its ethabidecodelog task",
                    );
                }
                let expression = format!("$({}.{})", self.request_id(), path.join("."));
                self.previous = Previous::Value(expression);
                Ok(())
            }
        }
    }

    pub(super) fn multiply(&mut self, task: &Step) -> Step1 {
        self.unknown_params(task, &["times"]);
        let input = self.value_of(&task.place)?;
        let times = match self.arg(task, "times") {
            Arg::Literal(value) => {
                let text = number(task, &value, "times")?;
                write::text(&task.place, &text)?
            }
            Arg::Request(_) => {
                let request = self.request_id();
                let id = self.chain.add(
                    "opts",
                    "merge",
                    &[
                        ("left", "<{\"times\": 1}>".into()),
                        ("right", format!("\"$({request})\"")),
                    ],
                );
                format!("\"$({id}.times)\"")
            }
            Arg::Absent => return Ok(()),
        };
        let id = self.chain.add(
            "scaled",
            "multiply",
            &[("input", format!("\"{input}\"")), ("times", times)],
        );
        self.done(&id);
        Ok(())
    }

    pub(super) fn quotient(&mut self, task: &Step) -> Step1 {
        self.unknown_params(task, &["dividend"]);
        let divisor = self.value_of(&task.place)?;
        let dividend = match self.arg(task, "dividend") {
            Arg::Literal(value) => write::text(&task.place, &number(task, &value, "dividend")?)?,
            Arg::Request(expression) => format!("\"{expression}\""),
            Arg::Absent => return refuse(task, "it has no dividend", "add one to its params"),
        };
        self.warnings.push(format!("{}: quotients are rounded to 16 decimal places today; whether 0.x gave the same digits beyond that is not known", task.place));
        let id = self.chain.add(
            "quotient",
            "divide",
            &[("input", dividend), ("divisor", format!("\"{divisor}\""))],
        );
        self.done(&id);
        Ok(())
    }

    pub(super) fn compare(&mut self, task: &Step) -> Step1 {
        self.unknown_params(task, &["operator", "value"]);
        let result = format!("\"{}\"", self.value_of(&task.place)?);
        let operator = field(&task.params, "operator").and_then(plain);
        let value = match self.arg(task, "value") {
            Arg::Literal(value) => write::text(&task.place, &number(task, &value, "value")?)?,
            Arg::Request(expression) => format!("\"{expression}\""),
            Arg::Absent => {
                return refuse(
                    task,
                    "it has no value to compare with",
                    "add one to its params",
                );
            }
        };
        let (left, right) = match operator.as_deref() {
            Some("lt") => (result, value),
            Some("gt") => (value, result),
            Some(other @ ("eq" | "neq" | "gte" | "lte")) => {
                return refuse(
                    task,
                    &format!("no task compares with {other:?}"),
                    "rewrite it with lt or gt, or compare inside a bridge",
                );
            }
            Some(other) => {
                return refuse(
                    task,
                    &format!("the operator {:?} does not exist", excerpt(other, 20)),
                    "use lt or gt",
                );
            }
            None => {
                return refuse(
                    task,
                    "its operator comes from the request",
                    "write it into the spec",
                );
            }
        };
        let id = self
            .chain
            .add("less", "lessthan", &[("left", left), ("right", right)]);
        self.done(&id);
        Ok(())
    }

    pub(super) fn word(&mut self, task: &Step, form: Form) -> Step1 {
        self.unknown_params(task, &[]);
        let mut of = self.value_of(&task.place)?;
        if form == Form::Bytes32 {
            self.warnings.push(format!("{}: text becomes bytes as before; a number is encoded as a number today, 0.x took its digits as text", task.place));
            let hex = self
                .chain
                .add("hex", "hexencode", &[("input", format!("\"{of}\""))]);
            let bytes = self
                .chain
                .add("bytes", "hexdecode", &[("input", format!("\"$({hex})\""))]);
            of = format!("$({bytes})");
        }
        let ty = match form {
            Form::Uint => "uint256",
            Form::Int => "int256",
            Form::Bool => "bool",
            Form::Bytes32 => "bytes32",
        };
        let id = self.chain.add(
            "word",
            "ethabiencode",
            &[
                ("abi", format!("\"({ty} value)\"")),
                ("data", write::json(&format!("{{\"value\": {of}}}"))),
            ],
        );
        self.previous = Previous::Word {
            word: format!("$({id})"),
            of,
            form,
        };
        Ok(())
    }
}

/// A decimal number given as number or text.
fn number(task: &Step, value: &Value, name: &str) -> Result<String, Refusal> {
    plain(value)
        .filter(|text| crate::decimal::parse(text).is_ok())
        .ok_or_else(|| {
            Refusal::new(
                &task.place,
                format!(
                    "its {name} is {}, not a number",
                    excerpt(&value.to_output_json(), 60)
                ),
                "write a number",
            )
        })
}

/// A path as 0.x reads it: a list, or one text cut at dots.
fn keys(task: &Step, value: &Value) -> Result<Vec<String>, Refusal> {
    let wrong = || {
        Refusal::new(
            &task.place,
            "its path is neither text nor a list of texts",
            "write [\"a\", \"b\"]",
        )
    };
    match value {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(text.split('.').map(str::to_owned).collect()),
        Value::List(items) => items
            .iter()
            .map(|item| plain(item).ok_or_else(wrong))
            .collect(),
        _ => Err(wrong()),
    }
}

/// The keys in one text, with a separator none of them has.
fn joined(task: &Step, keys: &[String]) -> Result<(String, &'static str), Refusal> {
    let separator = [",", ".", "/", "|", ";", "~", "^", "::"]
        .into_iter()
        .find(|separator| keys.iter().all(|key| !key.contains(separator)));
    match separator {
        Some(separator) if keys.len() > 1 || !keys[0].is_empty() => {
            Ok((keys.join(separator), separator))
        }
        _ => refuse(
            task,
            "its path cannot be written as one text",
            "use simpler names",
        ),
    }
}
