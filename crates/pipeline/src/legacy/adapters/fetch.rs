//! Adapters that ask somebody: HTTP and bridges.

use std::collections::BTreeSet;

use super::super::document::{Fields, Step, field, plain};
use super::super::{Refusal, write};
use super::{Arg, BUILT_IN, INJECTED, Previous, Request, Step1, Walk, refuse};
use crate::error::excerpt;
use crate::value::Value;

enum Data {
    Expression(String),
    Json(String),
}

impl Walk<'_> {
    pub(super) fn http(&mut self, task: &Step, post: bool, unrestricted: bool) -> Step1 {
        let own = if post { "post" } else { "get" };
        self.unknown_params(
            task,
            &[own, "url", "body", "queryParams", "extPath", "headers"],
        );
        let literal = field(&task.params, own)
            .or_else(|| field(&task.params, "url"))
            .filter(|v| **v != Value::Null);
        let queries = field(&task.params, "queryParams");
        let path = field(&task.params, "extPath");
        let url = match literal {
            Some(value) => {
                let text = plain(value).unwrap_or_default();
                let mut url = url::Url::parse(text.trim())
                    .ok()
                    .filter(|u| matches!(u.scheme(), "http" | "https") && u.host().is_some())
                    .ok_or_else(|| {
                        Refusal::new(
                            &task.place,
                            format!("{:?} is no http URL", excerpt(&text, 100)),
                            "correct it",
                        )
                    })?;
                extend_path(task, &mut url, path)?;
                extend_query(task, &mut url, queries)?;
                // Untouched where nothing was added: parsing may have written it differently.
                let text = if path.is_none() && queries.is_none() {
                    text.trim().to_owned()
                } else {
                    url.to_string()
                };
                if self.request != Request::Nothing && (path.is_none() || queries.is_none()) {
                    self.warnings.push(format!("{}: where a request brought extPath or queryParams, 0.x added them to the URL; today they are not used, because no task builds texts", task.place));
                }
                write::text(&task.place, &text)?
            }
            None => {
                let Arg::Request(expression) = self.arg(task, own) else {
                    return refuse(task, "it has no URL", "add one to its params");
                };
                if path.is_some() || queries.is_some() {
                    return refuse(
                        task,
                        "the URL comes from the request and the spec adds a path or a query to it, but no task builds texts",
                        "let the requester send the whole URL",
                    );
                }
                self.warnings.push(format!("{}: the URL is taken from `{own}` of the request; `url`, `extPath` and `queryParams` of a request are not used", task.place));
                if unrestricted {
                    self.warnings.push(format!("{}: whoever makes a request chooses an address inside your network; use httpget unless that is meant", task.place));
                }
                format!("\"{expression}\"")
            }
        };
        let mut attributes = vec![
            ("method", if post { "POST" } else { "GET" }.to_owned()),
            ("url", url),
            ("allowUnrestrictedNetworkAccess", unrestricted.to_string()),
        ];
        if let Some(headers) = field(&task.params, "headers") {
            let flat = flat_headers(task, headers)?;
            attributes.push((
                "headers",
                write::json(&write::json_literal(&task.place, &flat)?),
            ));
        }
        if post {
            let body = self.body(task)?;
            attributes.push(("requestData", body));
        }
        for (name, value) in [
            ("retries", "5"),
            ("minBackoff", "\"1s\""),
            ("maxBackoff", "\"10s\""),
        ] {
            attributes.push((name, value.to_owned()));
        }
        let id = self.chain.add("fetch", "http", &attributes);
        self.done(&id);
        Ok(())
    }

    fn body(&mut self, task: &Step) -> Result<String, Refusal> {
        match field(&task.params, "body") {
            Some(Value::String(text)) => match crate::value::read_json(text) {
                Ok(map @ Value::Map(_)) => {
                    Ok(write::json(&write::json_literal(&task.place, &map)?))
                }
                _ => Err(Refusal::new(
                    &task.place,
                    "its body is no JSON object, and today's bodies are",
                    "put a bridge in front of that service",
                )),
            },
            Some(map @ Value::Map(_)) => Ok(write::json(&write::json_literal(&task.place, map)?)),
            Some(other) if *other != Value::Null => Err(Refusal::new(
                &task.place,
                format!(
                    "its body is {}, and today's bodies are JSON objects",
                    other.kind()
                ),
                "put a bridge in front of that service",
            )),
            _ => {
                if self.request != Request::Nothing {
                    self.warnings.push(format!("{}: everything the task was given is posted, as before; a `body` that a request brings is posted among it and not instead of it", task.place));
                }
                let data = self.input_data(&task.place, &Fields::new())?;
                Ok(match data {
                    Data::Expression(expression) => format!("\"{expression}\""),
                    Data::Json(text) => write::json(&text),
                })
            }
        }
    }

    /// What a task was given in 0.x: the request, over it the result before, over it `params`.
    fn input_data(&mut self, place: &str, params: &Fields) -> Result<Data, Refusal> {
        let mut entries = Vec::new();
        let mut whole = None;
        match self.previous.clone() {
            Previous::Nothing => {}
            Previous::Bridge(task) => {
                let id = self.chain.add(
                    "data",
                    "jsonparse",
                    &[("data", format!("\"$({task})\"")), ("path", "data".into())],
                );
                whole = Some(id);
            }
            Previous::Value(_) | Previous::Word { .. } => {
                if !params.contains_key("result") {
                    entries.push(format!("\"result\": {}", self.value_of(place)?));
                }
            }
        }
        for (key, value) in params {
            entries.push(format!(
                "{}: {}",
                write::json_literal(place, &Value::String(key.clone()))?,
                write::json_literal(place, value)?
            ));
        }
        let own = format!("{{{}}}", entries.join(", "));
        let mut under = match self.request {
            Request::Nothing => None,
            _ => Some(format!("$({})", self.request_id())),
        };
        if let Some(data) = whole {
            under = Some(match under {
                None => format!("$({data})"),
                Some(request) => {
                    let id = self.chain.add(
                        "over",
                        "merge",
                        &[
                            ("left", format!("\"{request}\"")),
                            ("right", format!("\"$({data})\"")),
                        ],
                    );
                    format!("$({id})")
                }
            });
        }
        Ok(match under {
            None => Data::Json(own),
            Some(under) if entries.is_empty() => Data::Expression(under),
            Some(under) => {
                let id = self.chain.add(
                    "given",
                    "merge",
                    &[
                        ("left", format!("\"{under}\"")),
                        ("right", write::json(&own)),
                    ],
                );
                Data::Expression(format!("$({id})"))
            }
        })
    }

    pub(super) fn bridge(&mut self, task: &Step) -> Step1 {
        let name = &task.kind;
        if let Some(known) = &self.options.bridges {
            if !known.contains_key(name) {
                return refuse(
                    task,
                    &format!("{name:?} is neither an adapter nor one of the bridges there are"),
                    "create the bridge first: dodona bridges create",
                );
            }
        } else {
            if let Some(near) = crate::nearest::nearest(name, BUILT_IN.iter().copied()) {
                return refuse(
                    task,
                    &format!("no adapter is called {name:?}"),
                    &format!(
                        "did you mean {near:?}? If it is a bridge of yours, convert with --bridges"
                    ),
                );
            }
            self.warnings.push(format!(
                "{}: taken for a bridge of that name, which must exist on this node",
                task.place
            ));
        }
        self.bridges.insert(name.clone());
        let data = self.input_data(&task.place, &task.params)?;
        let data = match data {
            Data::Expression(expression) => expression,
            Data::Json(text) => text,
        };
        let request = write::json(&format!(
            "{{\"id\": $(jobSpec.externalJobID), \"data\": {data}}}"
        ));
        self.warnings.push(format!("{}: the bridge gets meta in today's form and no Authorization header; an adapter that checks the bearer token will refuse", task.place));
        if matches!(self.request, Request::Log { .. }) {
            self.warnings.push(format!(
                "{}: 0.x put {} among the data it sent to the bridge; they are not there any more",
                task.place,
                INJECTED.join(", ")
            ));
        }
        let id = self.chain.add(
            "ask",
            "bridge",
            &[("name", write::quoted(name)), ("requestData", request)],
        );
        self.previous = Previous::Bridge(id);
        Ok(())
    }
}

/// `extPath` behind the path of the URL.
fn extend_path(task: &Step, url: &mut url::Url, path: Option<&Value>) -> Result<(), Refusal> {
    let Some(value) = path.filter(|v| **v != Value::Null) else {
        return Ok(());
    };
    let parts = texts(task, value, "extPath")?;
    let mut segments = url
        .path_segments_mut()
        .map_err(|()| Refusal::new(&task.place, "its URL takes no path", "correct it"))?;
    segments.pop_if_empty();
    for part in parts
        .iter()
        .flat_map(|part| part.split('/'))
        .filter(|part| !part.is_empty())
    {
        segments.push(part);
    }
    Ok(())
}

/// `queryParams` behind the query of the URL, unless it has that name already; the first value counts.
fn extend_query(task: &Step, url: &mut url::Url, query: Option<&Value>) -> Result<(), Refusal> {
    let Some(value) = query.filter(|v| **v != Value::Null) else {
        return Ok(());
    };
    let mut pairs: Vec<(String, String)> = match value {
        Value::String(text) => url::form_urlencoded::parse(text.trim_start_matches('?').as_bytes())
            .into_owned()
            .collect(),
        Value::List(_) => {
            let flat = texts(task, value, "queryParams")?;
            if flat.len() % 2 != 0 {
                return refuse(
                    task,
                    "its queryParams are an odd number of texts",
                    "write names and values in turn",
                );
            }
            flat.chunks_exact(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect()
        }
        _ => {
            return refuse(
                task,
                "its queryParams are neither text nor a list",
                "write \"a=1&b=2\"",
            );
        }
    };
    let mut taken: BTreeSet<String> = url
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    pairs.retain(|(name, _)| taken.insert(name.clone()));
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(())
}

/// `{"Name": ["a"]}` as names and values in turn.
fn flat_headers(task: &Step, value: &Value) -> Result<Value, Refusal> {
    let Value::Map(entries) = value else {
        return refuse(
            task,
            "its headers are no object",
            "write {\"Name\": [\"value\"]}",
        );
    };
    let mut flat = Vec::new();
    for (name, values) in entries {
        let values = texts(task, values, "headers")?;
        if values.len() > 1 {
            return refuse(
                task,
                &format!("the header {name:?} has several values, and today each header has one"),
                "join them with a comma if the service takes that",
            );
        }
        for value in values {
            flat.push(Value::String(name.clone()));
            flat.push(Value::String(value));
        }
    }
    Ok(Value::List(flat))
}

fn texts(task: &Step, value: &Value, what: &str) -> Result<Vec<String>, Refusal> {
    let wrong = || {
        Refusal::new(
            &task.place,
            format!("its {what} are neither text nor a list of texts"),
            "write a list of texts",
        )
    };
    match value {
        Value::List(items) => items
            .iter()
            .map(|item| plain(item).ok_or_else(wrong))
            .collect(),
        other => Ok(vec![plain(other).ok_or_else(wrong)?]),
    }
}
