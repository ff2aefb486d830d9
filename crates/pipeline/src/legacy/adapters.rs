//! The adapters of 0.x, one after another, each as tasks of today.

use std::collections::BTreeSet;

use alloy::primitives::Address;

use super::chain::Chain;
use super::document::{Fields, Step, field, plain};
use super::initiators::REQUEST_EVENT;
use super::{Options, Refusal, write};
use crate::error::excerpt;
use crate::value::Value;

/// Names of adapters that were built in, for "did you mean".
const BUILT_IN: &[&str] = &[
    "httpget",
    "httpgetwithunrestrictednetworkaccess",
    "httppost",
    "httppostwithunrestrictednetworkaccess",
    "jsonparse",
    "copy",
    "multiply",
    "quotient",
    "compare",
    "ethuint256",
    "ethint256",
    "ethbool",
    "ethbytes32",
    "ethtx",
    "ethtxabiencode",
    "resultcollect",
    "random",
    "noop",
    "nooppend",
    "sleep",
    "wasm",
];

/// What 0.x put among the parameters of a request by itself, for a bare `ethtx` at the end.
const INJECTED: [&str; 3] = ["address", "dataPrefix", "functionSelector"];

/// Where a run's parameters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// A request to this oracle contract (unknown when that was refused already).
    Log { contract: Option<Address> },
    /// The body of a call to the API.
    Body,
    /// Nowhere.
    Nothing,
}

/// The value a task finds when its turn comes.
#[derive(Debug, Clone)]
pub(super) enum Previous {
    /// There was no task before.
    Nothing,
    /// `$(x)`.
    Value(String),
    /// The whole answer of a bridge; its `data.result` is the value.
    Bridge(String),
    /// A word for the chain, and the value it was made of.
    Word {
        word: String,
        of: String,
        form: Form,
    },
}

/// What a word is the encoding of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Uint,
    Int,
    Bool,
    /// `of` is already bytes.
    Bytes32,
}

/// A parameter, once its places were looked at.
pub(super) enum Arg {
    Literal(Value),
    /// The request may bring it.
    Request(String),
    Absent,
}

/// The walk along the tasks.
pub(super) struct Walk<'a> {
    pub(super) options: &'a Options,
    pub(super) request: Request,
    pub(super) chain: Chain,
    pub(super) previous: Previous,
    pub(super) collected: Vec<Previous>,
    pub(super) bridges: BTreeSet<String>,
    pub(super) warnings: Vec<String>,
    pub(super) refusals: Vec<Refusal>,
    has_log: bool,
    has_request: bool,
}

type Step1 = Result<(), Refusal>;

impl<'a> Walk<'a> {
    pub(super) fn new(options: &'a Options, request: Request) -> Self {
        Self {
            options,
            request,
            chain: Chain::default(),
            previous: Previous::Nothing,
            collected: Vec::new(),
            bridges: BTreeSet::new(),
            warnings: Vec::new(),
            refusals: Vec::new(),
            has_log: false,
            has_request: false,
        }
    }

    pub(super) fn all(&mut self, tasks: &[Step]) {
        for task in tasks {
            if let Err(refusal) = self.one(task) {
                self.refusals.push(refusal);
                // Whatever comes after is looked at all the same, so that all is refused at once.
                self.previous = Previous::Value("$(unknown)".to_owned());
            }
        }
        if self.chain.is_empty() && self.refusals.is_empty() {
            self.refusals
                .push(Refusal::new("tasks", "nothing would be done", "add a task"));
        }
        if let (Previous::Bridge(_), true) = (&self.previous, self.refusals.is_empty()) {
            self.value_of("tasks").ok();
        }
        self.warnings.dedup();
    }

    fn one(&mut self, task: &Step) -> Step1 {
        match task.kind.as_str() {
            "httpget" => self.http(task, false, false),
            "httpgetwithunrestrictednetworkaccess" => self.http(task, false, true),
            "httppost" => self.http(task, true, false),
            "httppostwithunrestrictednetworkaccess" => self.http(task, true, true),
            "jsonparse" => self.jsonparse(task),
            "copy" => self.copy(task),
            "multiply" => self.multiply(task),
            "quotient" => self.quotient(task),
            "compare" => self.compare(task),
            "ethuint256" => self.word(task, Form::Uint),
            "ethint256" => self.word(task, Form::Int),
            "ethbool" => self.word(task, Form::Bool),
            "ethbytes32" => self.word(task, Form::Bytes32),
            "ethtx" => self.ethtx(task),
            "ethtxabiencode" => self.ethtxabiencode(task),
            "resultcollect" => {
                self.unknown_params(task, &[]);
                self.value_of(&task.place)?;
                self.collected.push(self.previous.clone());
                Ok(())
            }
            "noop" => Ok(()),
            "random" => refuse(
                task,
                "randomness needs a vrf job, which this version does not run",
                "keep the job where it is",
            ),
            "sleep" => refuse(
                task,
                "no task waits for a time",
                "remove it, or let the caller wait",
            ),
            "nooppend" => refuse(task, "it was for tests and never ends", "remove it"),
            "wasm" => refuse(
                task,
                "programs inside jobs no longer exist",
                "run it as a bridge",
            ),
            _ => self.bridge(task),
        }
    }

    /// Looks in the spec, then says where in the request it would be.
    pub(super) fn arg(&mut self, task: &Step, name: &str) -> Arg {
        match field(&task.params, name) {
            Some(value) if *value != Value::Null => Arg::Literal(value.clone()),
            _ => match self.request {
                Request::Nothing => Arg::Absent,
                _ => Arg::Request(format!("$({}.{name})", self.request_id())),
            },
        }
    }

    /// The task whose value is the map of what the request brought.
    fn request_id(&mut self) -> &'static str {
        if !self.has_request {
            self.has_request = true;
            match self.request {
                Request::Log { .. } => {
                    self.log_id();
                    self.chain
                        .add("req", "cborparse", &[("data", "\"$(log.data)\"".into())]);
                }
                _ => {
                    self.warnings.push("parameters come from the body of the call: it must be a JSON object now, {} where there is nothing to say".into());
                    self.chain.add(
                        "req",
                        "jsonparse",
                        &[("data", "\"$(jobRun.requestBody)\"".into())],
                    );
                }
            }
        }
        "req"
    }

    /// The task whose value is the decoded request.
    pub(super) fn log_id(&mut self) -> &'static str {
        if !self.has_log {
            self.has_log = true;
            let attributes = [
                ("abi", write::quoted(REQUEST_EVENT)),
                ("data", "\"$(jobRun.logData)\"".into()),
                ("topics", "\"$(jobRun.logTopics)\"".into()),
            ];
            self.chain.add("log", "ethabidecodelog", &attributes);
        }
        "log"
    }

    /// The `result` the task works on, as an expression. A bridge's is picked out of its answer.
    pub(super) fn value_of(&mut self, place: &str) -> Result<String, Refusal> {
        match self.previous.clone() {
            Previous::Value(expression) => Ok(expression),
            Previous::Word { word, .. } => Ok(word),
            Previous::Bridge(task) => {
                let id = self.chain.add(
                    "result",
                    "jsonparse",
                    &[
                        ("data", format!("\"$({task})\"")),
                        ("path", write::quoted("data,result")),
                    ],
                );
                self.previous = Previous::Value(format!("$({id})"));
                Ok(format!("$({id})"))
            }
            Previous::Nothing => match self.request {
                Request::Nothing => Err(Refusal::new(
                    place,
                    "it works on a result, and no task before it has one",
                    "put a task in front that fetches something",
                )),
                _ => {
                    let expression = format!("$({}.result)", self.request_id());
                    self.previous = Previous::Value(expression.clone());
                    Ok(expression)
                }
            },
        }
    }

    pub(super) fn done(&mut self, id: &str) {
        self.previous = Previous::Value(format!("$({id})"));
    }

    pub(super) fn unknown_params(&mut self, task: &Step, known: &[&str]) {
        for key in task.params.keys() {
            if !known.iter().any(|k| k.eq_ignore_ascii_case(key)) {
                self.warnings.push(format!(
                    "{}: the parameter {:?} meant nothing to this adapter and is left out",
                    task.place,
                    excerpt(key, 60)
                ));
            }
        }
    }

    fn http(&mut self, task: &Step, post: bool, unrestricted: bool) -> Step1 {
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

    fn jsonparse(&mut self, task: &Step) -> Step1 {
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

    fn copy(&mut self, task: &Step) -> Step1 {
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

    fn multiply(&mut self, task: &Step) -> Step1 {
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

    fn quotient(&mut self, task: &Step) -> Step1 {
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

    fn compare(&mut self, task: &Step) -> Step1 {
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

    fn word(&mut self, task: &Step, form: Form) -> Step1 {
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

    fn bridge(&mut self, task: &Step) -> Step1 {
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

enum Data {
    Expression(String),
    Json(String),
}

pub(super) fn refuse<T>(task: &Step, reason: &str, instead: &str) -> Result<T, Refusal> {
    Err(Refusal::new(&task.place, reason, instead))
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
