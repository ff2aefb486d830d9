//! Runs of jobs, with what each task gave.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use dodona_model::{JobId, RunId, Timestamp};
use dodona_pipeline::Value;
use dodona_store::jobs::{self, Job};
use dodona_store::runs::{self, Run, TaskRun};
use dodona_store::{Conn, StoreError};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::jobs::{PipelineSpec, find};
use crate::auth::View;
use crate::http::{LONG_LIST, Paging, Refusal, Resource, document, page};
use crate::server::App;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes<'a> {
    outputs: Vec<Option<String>>,
    /// The same as `fatalErrors`; old clients look here.
    errors: Box<RawValue>,
    all_errors: Box<RawValue>,
    fatal_errors: Box<RawValue>,
    inputs: Box<RawValue>,
    task_runs: Vec<Task<'a>>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    pipeline_spec: PipelineSpec<'a>,
    /// `running`, `suspended`, `completed`, `errored`. Ours.
    state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Task<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    output: Option<&'a str>,
    error: Option<&'a str>,
    dot_id: &'a str,
}

/// A JSON text from a row, as it is.
fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Variables as people read them instead of as the pipeline stores them. What else a run keeps with them (the
/// seed of its ids) is nobody's business.
fn inputs(stored: &str) -> Box<RawValue> {
    let readable = serde_json::from_str::<Json>(stored)
        .ok()
        .and_then(|mut kept| kept.get_mut("vars").map(Json::take))
        .and_then(|json| Value::from_stored(&json).ok())
        .map(|value| value.to_output_json());
    raw(readable.as_deref().unwrap_or("null"))
}

/// Outputs as texts: strings as they are, everything else as its JSON.
fn outputs(stored: &str) -> Vec<Option<String>> {
    let values: Vec<Box<RawValue>> = serde_json::from_str(stored).unwrap_or_default();
    values
        .iter()
        .map(|value| match value.get() {
            "null" => None,
            text => Some(serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned())),
        })
        .collect()
}

/// The first error that ended a run.
pub(crate) fn error_text(run: &Run) -> Option<String> {
    serde_json::from_str::<Vec<Option<String>>>(&run.fatal_errors)
        .ok()?
        .into_iter()
        .flatten()
        .next()
}

fn resource(run: &Run, tasks: &[TaskRun], job: Option<&Job>) -> Resource {
    Resource::new(
        "pipelineRun",
        run.id,
        &Attributes {
            outputs: outputs(&run.outputs),
            errors: raw(&run.fatal_errors),
            all_errors: raw(&run.all_errors),
            fatal_errors: raw(&run.fatal_errors),
            inputs: inputs(&run.inputs),
            task_runs: tasks
                .iter()
                .map(|task| Task {
                    kind: &task.kind,
                    created_at: task.created_at,
                    finished_at: task.finished_at,
                    output: task.output.as_deref(),
                    error: task.error.as_deref(),
                    dot_id: &task.dot_id,
                })
                .collect(),
            created_at: run.created_at,
            finished_at: run.finished_at,
            pipeline_spec: PipelineSpec {
                id: run.job_id,
                job_id: run.job_id,
                dot_dag_source: job.map_or("", |job| &job.spec.dot),
            },
            state: run.state.as_str(),
        },
    )
}

/// Runs with their tasks and jobs, without a query for each.
async fn resources(conn: &mut Conn, shown: &[Run]) -> Result<Vec<Resource>, StoreError> {
    let ids: Vec<RunId> = shown.iter().map(|run| run.id).collect();
    let mut tasks: BTreeMap<RunId, Vec<TaskRun>> = BTreeMap::new();
    for task in runs::tasks_of(conn, &ids).await? {
        tasks.entry(task.run_id).or_default().push(task);
    }
    let mut known: BTreeMap<JobId, Option<Job>> = BTreeMap::new();
    for run in shown {
        if let Entry::Vacant(unknown) = known.entry(run.job_id) {
            unknown.insert(jobs::find(conn, run.job_id).await?);
        }
    }
    Ok(shown
        .iter()
        .map(|run| {
            let tasks = tasks.get(&run.id).map(Vec::as_slice).unwrap_or_default();
            resource(run, tasks, known.get(&run.job_id).and_then(Option::as_ref))
        })
        .collect())
}

async fn one_page(app: &App, job: Option<JobId>, uri: &Uri) -> Result<Response, Refusal> {
    let paging = Paging::of(uri, LONG_LIST)?;
    let mut conn = app.store.read().await?;
    let shown = runs::list(&mut conn, job, paging.size, paging.offset()).await?;
    let total = runs::count(&mut conn, job).await?;
    let resources = resources(&mut conn, &shown).await?;
    Ok(page(resources, total, paging, uri.path()))
}

pub(super) async fn one(app: &App, id: &str) -> Result<Response, Refusal> {
    let number = id
        .parse()
        .map_err(|_| Refusal::unprocessable(format!("{id:?} is not a run's number")))?;
    let mut conn = app.store.read().await?;
    let run = runs::find(&mut conn, number)
        .await?
        .ok_or_else(|| Refusal::not_found(format!("there is no run {id}")))?;
    let shown = resources(&mut conn, &[run]).await?;
    Ok(document(
        shown.into_iter().next().expect("one run, one resource"),
    ))
}

pub(super) async fn list(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    one_page(&app, None, &uri).await
}

pub(super) async fn of_job(
    _: View,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let job = find(&mut app.store.read().await?, &id).await?;
    one_page(&app, Some(job.id), &uri).await
}

pub(super) async fn show(
    _: View,
    State(app): State<Arc<App>>,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    one(&app, &run).await
}

/// The run's number alone decides, as clients know it: runs of deleted jobs stay readable.
pub(super) async fn show_of_job(
    _: View,
    State(app): State<Arc<App>>,
    Path((_job, run)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    one(&app, &run).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_texts_whatever_they_were() {
        let stored = r#"["0xabc",12345678901234567890123,null,{"a":1},"null"]"#;
        let expected = [
            Some("0xabc"),
            Some("12345678901234567890123"),
            None,
            Some(r#"{"a":1}"#),
            Some("null"),
        ];
        let shown = outputs(stored);
        assert_eq!(
            shown.iter().map(Option::as_deref).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn inputs_are_shown_as_values_and_not_as_they_are_stored() {
        assert_eq!(
            inputs(r#"{"seed":"a secret","vars":{"jobRun":{"blockNumber":"~u:7","name":"x"}}}"#)
                .get(),
            r#"{"jobRun":{"blockNumber":7,"name":"x"}}"#
        );
    }
}
