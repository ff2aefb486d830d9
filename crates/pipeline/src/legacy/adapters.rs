//! The adapters of 0.x, one after another, each as tasks of today.

mod compute;
mod fetch;

use std::collections::BTreeSet;

use alloy::primitives::Address;

use super::chain::Chain;
use super::document::{Step, field};
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
}

pub(super) fn refuse<T>(task: &Step, reason: &str, instead: &str) -> Result<T, Refusal> {
    Err(Refusal::new(&task.place, reason, instead))
}
