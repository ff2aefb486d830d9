//! Runs a pipeline once.
//!
//! Every task whose dependencies are done runs at once, beside the others, inside one future:
//! nothing is spawned, so dropping the future of [`execute`] stops everything. A failed task does
//! not stop those behind it; they see the error and normally fail at once because of it.

mod progress;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::{TaskError, text};
use crate::graph::{Pipeline, TaskDef};
use crate::observe;
use crate::outcome::{Limits, Outcome, RunInput, TaskResult};
use crate::ports::Ports;
use crate::task_type::TaskType;
use crate::tasks::{self, Done, Task};
use crate::value::MAX_DEPTH;
use crate::vars::{Finished, Vars};
use progress::Progress;

/// How long a bridge that did not answer in time may look for its last good answer.
const STAND_IN_TIME: Duration = Duration::from_secs(5);

/// Runs every task that has no result yet, as far as it goes.
///
/// Never fails as a whole: what goes wrong is the error of a task, and a panic inside a task is
/// that task's error too. The future may be dropped at any point; effects that were already sent
/// out stay out, which is why results are handed to [`Ports::finished`] as they come.
pub async fn execute(pipeline: &Pipeline, input: RunInput, ports: Arc<dyn Ports>) -> Outcome {
    let began = Instant::now();
    let run = Run {
        pipeline,
        ports: ports.as_ref(),
        deadline: input
            .limits
            .max_run_duration
            .filter(|d| !d.is_zero())
            .map(|d| began + d),
        limits: input.limits,
        run_id: input.run_id,
        task_run_ids: pipeline
            .tasks()
            .map(|t| {
                input
                    .task_run_ids
                    .get(&t.dot_id)
                    .copied()
                    .unwrap_or_else(Uuid::new_v4)
            })
            .collect(),
    };
    let mut progress = Progress::new(pipeline, input.vars, input.finished, &run.task_run_ids);
    let (cancel, cancelled) = watch::channel(false);
    let mut running: FuturesUnordered<BoxFuture<'_, TaskEnd>> = FuturesUnordered::new();
    loop {
        for n in std::mem::take(&mut progress.ready) {
            let (vars, inputs) = (
                progress.vars.clone(),
                progress.inputs_of(&pipeline.defs()[n]),
            );
            running.push(run.task(n, vars, inputs, cancelled.clone()).boxed());
        }
        let Some(end) = running.next().await else {
            break;
        };
        if end.drops_run {
            // Nobody is listening only when nothing else is running.
            let _ = cancel.send(true);
        }
        progress.settle(end);
    }
    let outcome = progress.outcome();
    observe::run_finished(&outcome, &progress.vars, began.elapsed());
    outcome
}

/// What stays the same during one execution.
struct Run<'a> {
    pipeline: &'a Pipeline,
    ports: &'a dyn Ports,
    limits: Limits,
    run_id: i64,
    deadline: Option<Instant>,
    /// By task number.
    task_run_ids: Vec<Uuid>,
}

/// A task after its last attempt.
struct TaskEnd {
    number: usize,
    result: Result<Done, TaskError>,
    started_at: SystemTime,
    finished_at: SystemTime,
    attempts: u32,
    /// It failed and says so with `failEarly`.
    drops_run: bool,
    /// It was stopped because another one did.
    cancelled: bool,
}

impl Run<'_> {
    /// All attempts of one task.
    async fn task(
        &self,
        number: usize,
        vars: Vars,
        inputs: Vec<Finished>,
        mut cancelled: watch::Receiver<bool>,
    ) -> TaskEnd {
        let def = &self.pipeline.defs()[number];
        let started_at = SystemTime::now();
        let began = Instant::now();
        let mut attempts = 0;
        let mut stopped = false;
        let result = loop {
            attempts += 1;
            let result = self.attempt(number, &vars, &inputs).await;
            let again = result.is_err() && attempts < def.retries && !def.fail_early;
            if !again {
                break result;
            }
            let wait = backoff(def, attempts);
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() + wait >= deadline)
            {
                break result;
            }
            tokio::select! {
                biased;
                _ = cancelled.wait_for(|c| *c) => {
                    stopped = true;
                    break Err(TaskError::new(text::CANCELLED_FAIL_EARLY));
                }
                () = tokio::time::sleep(wait) => {}
            }
        };
        let end = TaskEnd {
            number,
            drops_run: def.fail_early && result.is_err(),
            result,
            started_at,
            finished_at: SystemTime::now(),
            attempts,
            cancelled: stopped,
        };
        observe::task_finished(def, &end.result, &vars, began.elapsed());
        if tasks::is_effect(def) && !matches!(end.result, Ok(Done::Pending)) {
            self.ports
                .finished(&end.report(def, self.task_run_ids[number]))
                .await;
        }
        end
    }

    async fn attempt(
        &self,
        number: usize,
        vars: &Vars,
        inputs: &[Finished],
    ) -> Result<Done, TaskError> {
        let def = &self.pipeline.defs()[number];
        let limit = self.attempt_limit(def);
        let task = Task {
            def,
            vars,
            inputs,
            ports: self.ports,
            limits: &self.limits,
            run_id: self.run_id,
            task_run_id: self.task_run_ids[number],
            source_hash: self.pipeline.source_hash(),
            time_limit: limit,
        };
        if let Some((limit, whose)) = limit
            && limit.is_zero()
            && tasks::reaches_out(def)
        {
            return Err(tasks::timed_out(def, limit, whose));
        }
        let guarded = AssertUnwindSafe(tasks::run(&task)).catch_unwind();
        // A bridge keeps the limit itself: when it is over, an earlier answer may still stand in.
        let outer = limit.map(|(limit, whose)| match def.kind {
            TaskType::Bridge => (limit.saturating_add(STAND_IN_TIME), whose),
            _ => (limit, whose),
        });
        let outcome = match outer {
            None => guarded.await,
            Some((limit, whose)) => match tokio::time::timeout(limit, guarded).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(tasks::timed_out(def, limit, whose)),
            },
        };
        match outcome {
            Ok(Ok(Done::Value(value))) if value.depth() > MAX_DEPTH => Err(TaskError::bad_input(
                format!("the value nests deeper than {MAX_DEPTH} levels"),
            )),
            Ok(result) => result,
            Err(panic) => Err(TaskError::new(format!(
                "{}: {}",
                text::PANICKED,
                panic_text(&*panic)
            ))),
        }
    }

    /// The shortest of all time limits that apply to one attempt, and whose it is.
    fn attempt_limit(&self, def: &TaskDef) -> Option<(Duration, &'static str)> {
        let left = self
            .deadline
            .map(|d| d.saturating_duration_since(Instant::now()));
        let over_http = matches!(def.kind, TaskType::Http | TaskType::Bridge);
        let default = self
            .limits
            .default_http_timeout
            .filter(|d| over_http && def.timeout.is_none() && !d.is_zero());
        [
            (def.timeout.filter(|d| !d.is_zero()), "the task's timeout"),
            (
                self.limits.max_task_duration.filter(|d| !d.is_zero()),
                "the job's maxTaskDuration",
            ),
            (default, "the node's default HTTP timeout"),
            (left, "the time left for the run"),
        ]
        .into_iter()
        .filter_map(|(limit, whose)| limit.map(|l| (l, whose)))
        .min_by_key(|(limit, _)| *limit)
    }
}

/// How long to wait before the next attempt. The interplay of the two attributes is that of the
/// reference node: a maximum counts only beside a minimum, and a minimum alone caps at ten seconds.
fn backoff(def: &TaskDef, failed_attempts: u32) -> Duration {
    let set = |d: Option<Duration>| d.filter(|d| !d.is_zero());
    let (min, max) = match set(def.min_backoff) {
        Some(min) => (min, set(def.max_backoff).unwrap_or(Duration::from_secs(10))),
        None => (Duration::from_secs(5), Duration::from_secs(60)),
    };
    let doublings = failed_attempts.saturating_sub(1).min(31);
    min.saturating_mul(1u32 << doublings).min(max)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    crate::error::excerpt(&text.unwrap_or_else(|| "no text".to_owned()), 500)
}

impl TaskEnd {
    fn report(&self, def: &TaskDef, task_run_id: Uuid) -> TaskResult {
        let (output, error) = match &self.result {
            Ok(Done::Value(value)) => (Some(value.clone()), None),
            Ok(Done::Transaction(_) | Done::Pending) => (None, None),
            Err(error) => (None, Some(error.to_string())),
        };
        TaskResult {
            dot_id: def.dot_id.clone(),
            task_run_id,
            task_type: def.kind.recorded_name(),
            index: def.index,
            output,
            error,
            started_at: self.started_at,
            finished_at: self.finished_at,
            attempts: self.attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(attributes: &str) -> Vec<u64> {
        let pipeline = Pipeline::parse(&format!("a [type=fail {attributes}]")).unwrap();
        (1..=6)
            .map(|n| backoff(&pipeline.defs()[0], n).as_millis() as u64)
            .collect()
    }

    #[test]
    fn the_waits_between_attempts_follow_the_reference_node() {
        assert_eq!(waits(""), [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
        assert_eq!(
            waits("minBackoff=\"1s\""),
            [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]
        );
        assert_eq!(waits("minBackoff=\"30s\"")[0], 10_000);
        assert_eq!(waits("maxBackoff=\"1s\""), waits(""));
        assert_eq!(
            waits("minBackoff=\"1s\" maxBackoff=\"3s\"")[..3],
            [1_000, 2_000, 3_000]
        );
    }
}
