//! What an execution achieved, as rows.

use std::collections::BTreeMap;

use dodona_model::run::State;
use dodona_model::{RunId, Timestamp};
use dodona_pipeline::{Inputs, Outcome, Pipeline, RunState, TaskResult, TaskType, Value};
use dodona_runtime::clock;
use dodona_store::runs::{Finish, TaskRun};

/// One task's result as a row.
pub(crate) fn task_row(run: RunId, task: &TaskResult, source: bool) -> TaskRun {
    TaskRun {
        id: task.task_run_id,
        run_id: run,
        dot_id: task.dot_id.clone(),
        kind: task.task_type.to_owned(),
        task_index: i64::from(task.index),
        source,
        value: task
            .output
            .as_ref()
            .map(|value| value.to_stored().to_string()),
        output: task.output.as_ref().map(Value::to_output_json),
        error: task.error.clone(),
        attempts: task.attempts,
        created_at: clock::from_system(task.started_at),
        finished_at: Some(clock::from_system(task.finished_at)),
    }
}

/// Whether what each task did is kept with the run. Of runs that happen by themselves, again and again, only
/// the outcome is kept unless something went wrong or they had to wait.
pub(crate) fn keeps_tasks(job_type: &str, outcome: &Outcome, pipeline: &Pipeline) -> bool {
    let by_itself = matches!(job_type, "cron" | "fluxmonitor");
    !by_itself
        || pipeline.suspends()
        || outcome.state != RunState::Completed
        || outcome.all_errors.iter().any(Option::is_some)
}

/// Rows of the tasks whose answer may come later, as they are before it does.
pub(crate) fn may_wait(
    run: RunId,
    inputs: &Inputs,
    pipeline: &Pipeline,
) -> BTreeMap<String, TaskRun> {
    let sources = sources(pipeline);
    pipeline
        .tasks()
        .filter(|task| task.kind == TaskType::Bridge && task.suspends())
        .map(|task| {
            let row = TaskRun {
                id: inputs.task_run_id(&task.dot_id),
                run_id: run,
                dot_id: task.dot_id.clone(),
                kind: task.type_name().to_owned(),
                task_index: i64::from(task.index),
                source: sources.contains(&task.dot_id),
                value: None,
                output: None,
                error: None,
                attempts: 1,
                created_at: Timestamp::default(),
                finished_at: None,
            };
            (task.dot_id.clone(), row)
        })
        .collect()
}

/// Names of the tasks that fetch something.
pub(crate) fn sources(pipeline: &Pipeline) -> Vec<String> {
    pipeline
        .tasks()
        .filter(|task| task.nature() == dodona_pipeline::Nature::Source)
        .map(|task| task.dot_id.clone())
        .collect()
}

/// Everything the execution has to say about its tasks, the waiting ones included.
pub(crate) fn task_rows(
    run: RunId,
    outcome: &Outcome,
    pipeline: &Pipeline,
    now: Timestamp,
) -> Vec<TaskRun> {
    let sources = sources(pipeline);
    let done = outcome
        .results
        .iter()
        .map(|task| task_row(run, task, sources.contains(&task.dot_id)));
    let waiting = outcome.pending.iter().filter_map(|(dot_id, id)| {
        let task = pipeline.task(dot_id)?;
        Some(TaskRun {
            id: *id,
            run_id: run,
            dot_id: dot_id.clone(),
            kind: task.type_name().to_owned(),
            task_index: i64::from(task.index),
            source: sources.contains(dot_id),
            value: None,
            output: None,
            error: None,
            attempts: 1,
            created_at: now,
            finished_at: None,
        })
    });
    done.chain(waiting).collect()
}

/// The run's end or pause as its row has it.
pub(crate) fn finish(outcome: &Outcome) -> Finish {
    let state = match outcome.state {
        RunState::Completed => State::Completed,
        RunState::Suspended => State::Suspended,
        RunState::Errored | RunState::Dropped => State::Errored,
    };
    let outputs: Vec<String> = outcome
        .outputs
        .iter()
        .map(|value| {
            value
                .as_ref()
                .map_or_else(|| "null".to_owned(), Value::to_output_json)
        })
        .collect();
    Finish {
        state,
        outputs: format!("[{}]", outputs.join(",")),
        fatal_errors: texts(&outcome.fatal_errors),
        all_errors: texts(&outcome.all_errors),
    }
}

/// What was found cannot be used: that is the run's error, and no task's.
pub(crate) fn fail_run(outcome: &mut Outcome, why: &str) {
    outcome.state = RunState::Errored;
    outcome.outputs = vec![None];
    outcome.fatal_errors = vec![Some(why.to_owned())];
    outcome.all_errors.push(Some(why.to_owned()));
}

/// The transaction could not be queued: that is the task's error. The run waits on for its other tasks, if there are
/// any it waits for, and has failed otherwise.
pub(crate) fn fail_task(outcome: &mut Outcome, pipeline: &Pipeline, dot_id: &str, why: String) {
    let now = std::time::SystemTime::now();
    let pending = outcome.pending.iter().position(|(name, _)| name == dot_id);
    if let Some(position) = pending {
        let (name, task_run_id) = outcome.pending.remove(position);
        outcome.results.push(TaskResult {
            index: pipeline.task(&name).map_or(0, |task| task.index),
            dot_id: name,
            task_run_id,
            task_type: "ethtx",
            output: None,
            error: Some(why.clone()),
            started_at: now,
            finished_at: now,
            attempts: 1,
        });
    } else if let Some(result) = outcome
        .results
        .iter_mut()
        .find(|result| result.dot_id == dot_id)
    {
        result.output = None;
        result.error = Some(why.clone());
    }
    let mut order: Vec<_> = pipeline.tasks().collect();
    order.sort_by_key(|task| task.index);
    let ours = order.iter().position(|task| task.dot_id == dot_id);
    if let Some(error) = ours.and_then(|at| outcome.all_errors.get_mut(at)) {
        *error = Some(why.clone());
    }
    outcome.state = match outcome.pending.is_empty() {
        true => RunState::Errored,
        false => RunState::Suspended,
    };
    // What would have come after it gets no further either.
    let terminal = order.iter().filter(|task| task.is_terminal());
    let ends = outcome.outputs.iter_mut().zip(&mut outcome.fatal_errors);
    for (task, (output, error)) in terminal.zip(ends) {
        let unsettled = output.is_none() && error.is_none();
        if task.dot_id == dot_id || (outcome.pending.is_empty() && unsettled) {
            (*output, *error) = (None, Some(why.clone()));
        }
    }
    // Its dependants did not wait for it and are done: the run has failed all the same.
    if outcome.state == RunState::Errored && outcome.fatal_errors.iter().all(Option::is_none) {
        outcome.fatal_errors = vec![Some(why); outcome.fatal_errors.len().max(1)];
        outcome.outputs = vec![None; outcome.fatal_errors.len()];
    }
}

/// A run that ends with one error of its own rather than a task's.
pub(crate) fn failed(what: &str) -> Finish {
    let errors = texts(&[Some(what.to_owned())]);
    Finish {
        state: State::Errored,
        outputs: "[null]".to_owned(),
        fatal_errors: errors.clone(),
        all_errors: errors,
    }
}

fn texts(list: &[Option<String>]) -> String {
    serde_json::Value::from(
        list.iter()
            .map(|text| text.clone().into())
            .collect::<Vec<serde_json::Value>>(),
    )
    .to_string()
}

/// The first error worth naming, with its task.
pub(crate) fn first_error(outcome: &Outcome) -> String {
    let failed = outcome.results.iter().find(|task| task.error.is_some());
    match failed {
        Some(task) => format!(
            "task {} ({}): {}",
            task.dot_id,
            task.task_type,
            task.error.as_deref().unwrap_or_default()
        ),
        None => outcome
            .fatal_errors
            .iter()
            .flatten()
            .next()
            .cloned()
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {

    use uuid::Uuid;

    use super::*;

    fn outcome(state: RunState, error: Option<&str>) -> Outcome {
        Outcome {
            state,
            results: vec![],
            pending: vec![("ask".to_owned(), Uuid::from_u128(1))],
            transactions: vec![],
            outputs: vec![],
            fatal_errors: vec![],
            all_errors: vec![None, error.map(str::to_owned)],
        }
    }

    #[test]
    fn of_a_cron_run_that_went_well_only_the_outcome_is_kept() {
        let plain = Pipeline::parse("a [type=memo value=1]").unwrap();
        let sends = Pipeline::parse("a [type=ethtx to=\"0x1\" data=\"0x\"]").unwrap();
        let good = outcome(RunState::Completed, None);
        let shaken = outcome(RunState::Completed, Some("once"));
        let bad = outcome(RunState::Errored, Some("no"));
        assert!(!keeps_tasks("cron", &good, &plain));
        assert!(keeps_tasks("cron", &shaken, &plain));
        assert!(keeps_tasks("cron", &bad, &plain));
        assert!(keeps_tasks("cron", &good, &sends));
        assert!(keeps_tasks("webhook", &good, &plain));
        assert!(keeps_tasks("directrequest", &good, &plain));
    }

    #[test]
    fn only_a_bridge_that_answers_later_is_waited_for() {
        let pipeline =
            Pipeline::parse("ask [type=bridge name=x async=true]; b [type=bridge name=x]").unwrap();
        let inputs = Inputs::new(&Value::Null);
        let rows = may_wait(5, &inputs, &pipeline);
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["ask"]);
        assert_eq!(rows["ask"].id, inputs.task_run_id("ask"));
        assert_eq!(rows["ask"].finished_at, None);
    }
}
