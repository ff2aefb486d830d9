//! A run without consequences: no database, no transaction, and sources from a file or, where asked
//! for, from the world under the egress rules.

mod scene;
mod sources;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Bytes;
use bigdecimal::BigDecimal;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::decimal;
use crate::draw::{Label, Mark};
use crate::egress::{EgressClient, HttpError};
use crate::spec::{JobKind, JobSpec};
use crate::{
    BridgeTarget, EstimateGas, EthCall, EthCallError, GasLimits, HttpCall, HttpReply, Limits,
    Outcome, Pipeline, Ports, RunInput, RunState, TaskResult, execute,
};

pub use sources::{Sources, SourcesError};

/// Everything a rehearsal starts from.
pub struct Rehearsal<'a> {
    /// The job.
    pub spec: &'a JobSpec,
    /// What starts it: parameters of the request (JSON object), or the body of the call.
    pub input: &'a str,
    /// Answers from a file.
    pub sources: Sources,
    /// Whoever is not in the file is asked for real.
    pub live: Option<EgressClient>,
}

/// What a rehearsal came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The run.
    pub outcome: Outcome,
    /// By task, in their order.
    pub lines: Vec<Line>,
    /// What a flux monitor would submit, where the run came to an end.
    pub number: Option<Result<BigDecimal, String>>,
    /// The tasks with which it went wrong, where the run failed.
    pub causes: Vec<String>,
}

/// One task of a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub dot_id: String,
    /// Its type.
    pub kind: &'static str,
    /// Value, error, or what it waits for.
    pub text: String,
    /// How it ended.
    pub mark: Mark,
    /// From its first attempt to its last.
    pub took: Duration,
}

impl Rehearsal<'_> {
    /// Runs the job once. The error is a sentence about the input.
    pub async fn run(self) -> Result<Report, String> {
        let vars = scene::vars(self.spec, self.input)?;
        let ports = Arc::new(Stage {
            sources: self.sources,
            live: self.live,
        });
        let input = RunInput {
            run_id: 0,
            vars,
            finished: BTreeMap::new(),
            task_run_ids: BTreeMap::new(),
            limits: Limits {
                max_task_duration: self.spec.max_task_duration,
                gas: GasLimits {
                    of_job: Some(self.spec.gas_limit.map_or(500_000, u64::from)),
                    ..GasLimits::default()
                },
                ..Limits::default()
            },
        };
        let outcome = execute(&self.spec.pipeline, input, ports).await;
        let lines = self
            .spec
            .pipeline
            .tasks()
            .map(|def| line(def, &outcome))
            .collect();
        let submits = matches!(self.spec.kind, JobKind::FluxMonitor(_));
        let number = (submits && outcome.state == RunState::Completed).then(|| number(&outcome));
        let causes = causes(&self.spec.pipeline, &outcome);
        Ok(Report {
            outcome,
            lines,
            number,
            causes,
        })
    }
}

impl Report {
    /// For pictures.
    pub fn label(&self, dot_id: &str) -> Option<Label> {
        let line = self.lines.iter().find(|l| l.dot_id == dot_id)?;
        let words = match line.mark {
            Mark::Waiting => String::new(),
            _ => shown(line.took),
        };
        Some(Label {
            mark: line.mark,
            words,
        })
    }

    /// Nothing failed that matters: the run would complete, or wait for its transaction.
    pub fn is_good(&self) -> bool {
        let ends = matches!(
            self.outcome.state,
            RunState::Completed | RunState::Suspended
        );
        ends && !matches!(self.number, Some(Err(_)))
    }

    /// The end of the run in a sentence.
    pub fn verdict(&self) -> String {
        match self.outcome.state {
            RunState::Completed => match &self.number {
                None => "The run completes.".to_owned(),
                Some(Ok(number)) => format!(
                    "The run finds {} and would submit {}, if that is wanted then.",
                    decimal::to_text(number),
                    decimal::truncate(number)
                ),
                Some(Err(why)) => format!("The run's result cannot be submitted: {why}"),
            },
            RunState::Errored => format!("The run fails: {}", listed(&self.causes)),
            RunState::Dropped => format!(
                "The run is dropped, a task with failEarly failed: {}",
                listed(&self.causes)
            ),
            RunState::Suspended => match self.outcome.transactions.len() {
                0 => "The run waits for an answer of a bridge.".to_owned(),
                1 => "The run would send one transaction and wait for it.".to_owned(),
                n => format!("The run would send {n} transactions and wait for them."),
            },
        }
    }
}

/// Where it went wrong: of each failed output the failed tasks that had no failed task before them.
fn causes(pipeline: &Pipeline, outcome: &Outcome) -> Vec<String> {
    let tasks = pipeline.defs();
    let errors: HashMap<&str, &str> = outcome
        .results
        .iter()
        .filter(|r| r.attempts > 0)
        .filter_map(|r| Some((r.dot_id.as_str(), r.error.as_deref()?)))
        .collect();
    let failed = |n: usize| errors.contains_key(tasks[n].dot_id.as_str());
    let dropped = outcome.state == RunState::Dropped;
    let mut open: Vec<usize> = (0..tasks.len())
        .filter(|n| failed(*n) && (tasks[*n].is_terminal() || dropped && tasks[*n].fail_early))
        .collect();
    let mut seen: BTreeSet<usize> = open.iter().copied().collect();
    let mut first = BTreeSet::new();
    while let Some(n) = open.pop() {
        let before = tasks[n].waits_for().iter().copied();
        let failed_before: Vec<usize> = before.filter(|n| failed(*n)).collect();
        if failed_before.is_empty() {
            first.insert(n);
        }
        open.extend(failed_before.into_iter().filter(|n| seen.insert(*n)));
    }
    first
        .into_iter()
        .map(|n| {
            let (id, kind) = (tasks[n].dot_id.as_str(), tasks[n].type_name());
            format!("task `{id}` ({kind}): {}", errors[id])
        })
        .collect()
}

/// The first few.
fn listed(causes: &[String]) -> String {
    const MOST: usize = 3;
    let more = match causes.len() {
        n if n > MOST => format!("; and {} more tasks", n - MOST),
        _ => String::new(),
    };
    let shown: Vec<&str> = causes.iter().take(MOST).map(String::as_str).collect();
    format!("{}{more}", shown.join("; "))
}

/// The one number a flux monitor's pipeline ends with.
fn number(outcome: &Outcome) -> Result<BigDecimal, String> {
    match outcome.outputs.as_slice() {
        [Some(value)] => decimal::from_value(value).map_err(|why| why.to_string()),
        _ => Err("the pipeline does not end with one value".to_owned()),
    }
}

/// A time in words.
pub fn shown(took: Duration) -> String {
    match took.as_micros() {
        n if n < 1_000 => format!("{n}µs"),
        n if n < 1_000_000 => format!("{:.1}ms", n as f64 / 1e3),
        n => format!("{:.2}s", n as f64 / 1e6),
    }
}

fn line(def: &crate::TaskDef, outcome: &Outcome) -> Line {
    let result = outcome.results.iter().find(|r| r.dot_id == def.dot_id);
    let tx = outcome.transactions.iter().find(|t| t.dot_id == def.dot_id);
    let (text, mark) = match (result, tx) {
        (
            Some(TaskResult {
                error: Some(error), ..
            }),
            _,
        ) => (error.clone(), Mark::Failed),
        (_, Some(tx)) => (
            format!(
                "would send {} bytes to {} on chain {}: 0x{}",
                tx.data.len(),
                tx.to,
                tx.evm_chain_id,
                hex::encode(&tx.data)
            ),
            Mark::Waiting,
        ),
        (
            Some(TaskResult {
                output: Some(value),
                ..
            }),
            _,
        ) => (value.to_output_json(), Mark::Done),
        _ if outcome.pending.iter().any(|(id, _)| *id == def.dot_id) => {
            ("waits for the bridge to answer".to_owned(), Mark::Waiting)
        }
        _ => (
            "not run: waits for a task before it".to_owned(),
            Mark::Waiting,
        ),
    };
    Line {
        dot_id: def.dot_id.clone(),
        kind: def.type_name(),
        text,
        mark,
        took: result
            .and_then(|r| r.finished_at.duration_since(r.started_at).ok())
            .unwrap_or_default(),
    }
}

/// The words for what starts a job of this kind, for help texts.
pub fn input_of(kind: &JobKind) -> &'static str {
    match kind {
        JobKind::DirectRequest(_) => "the parameters of the request, a JSON object",
        JobKind::Webhook(_) => "the body of the call",
        JobKind::FluxMonitor(_) => "{\"latestAnswer\": …, \"updatedAt\": …}",
        JobKind::Cron(_) => "nothing",
    }
}

/// The outside of a rehearsal.
struct Stage {
    sources: Sources,
    live: Option<EgressClient>,
}

impl Ports for Stage {
    fn http(&self, call: HttpCall) -> BoxFuture<'_, Result<HttpReply, HttpError>> {
        if let Some(reply) = self.sources.http(&call) {
            return std::future::ready(reply).boxed();
        }
        match &self.live {
            Some(client) => client.send(call).boxed(),
            None => {
                let what = format!("{} {}", call.method, call.url);
                std::future::ready(Err(HttpError::Invalid(format!(
                    "no answer is recorded for {what}: add it to the file of sources, or ask for real with --live"
                ))))
                .boxed()
            }
        }
    }

    fn bridge(&self, name: &str) -> BoxFuture<'_, Result<BridgeTarget, String>> {
        std::future::ready(self.sources.bridge(name)).boxed()
    }

    fn eth_call(&self, call: EthCall) -> BoxFuture<'_, Result<Bytes, EthCallError>> {
        std::future::ready(self.sources.eth_call(&call)).boxed()
    }

    fn estimate_gas(&self, _: EstimateGas) -> BoxFuture<'_, Result<u64, EthCallError>> {
        std::future::ready(self.sources.gas()).boxed()
    }

    fn finished<'a>(&'a self, _: &'a TaskResult) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}
