//! Jobs: what the operator wants done.

mod create;
mod document;
mod flux;
mod kinds;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use dodona_model::JobId;
use dodona_runtime::clock;
use dodona_store::jobs::{self, Job, JobError};
use dodona_store::{Conn, StoreError};
use uuid::Uuid;

use crate::auth::{Edit, View};
use crate::http::{self, LONG_LIST, Paging, Refusal};
use crate::observe;
use crate::server::App;

pub(super) use create::create;
pub(super) use document::PipelineSpec;

/// Whoever watches the rows of jobs listens to this channel.
const POKE: &str = "jobs";
/// Counted errors that one list of jobs shows.
const MAX_ERRORS: u32 = 10_000;

/// The living job a path names by number or by external id.
pub(super) async fn find(conn: &mut Conn, id: &str) -> Result<Job, Refusal> {
    let found = if let Ok(number) = id.parse::<JobId>() {
        jobs::find(conn, number).await?
    } else if let Ok(external) = Uuid::parse_str(id) {
        jobs::find_external(conn, external).await?
    } else {
        return Err(Refusal::unprocessable(format!(
            "{id:?} is neither a job's number nor its external id (a UUID)"
        )));
    };
    found
        .filter(|job| job.deleted_at.is_none())
        .ok_or_else(|| Refusal::not_found(format!("there is no job {id}")))
}

async fn errors_by_job(conn: &mut Conn) -> Result<BTreeMap<JobId, Vec<JobError>>, StoreError> {
    let mut by_job: BTreeMap<JobId, Vec<JobError>> = BTreeMap::new();
    for (job, error) in jobs::all_errors(conn, MAX_ERRORS).await? {
        by_job.entry(job).or_default().push(error);
    }
    Ok(by_job)
}

pub(super) async fn list(
    _: View,
    State(app): State<Arc<App>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let paging = Paging::of(&uri, LONG_LIST)?;
    let mut conn = app.store.read().await?;
    let mut errors = errors_by_job(&mut conn).await?;
    let shown = jobs::list(&mut conn, paging.size, paging.offset()).await?;
    let total = jobs::count(&mut conn).await?;
    let mut schedules = kinds::schedules(&mut conn, &shown).await?;
    let resources = shown
        .iter()
        .map(|job| {
            let errors = errors.remove(&job.id).unwrap_or_default();
            document::resource(job, schedules.remove(&job.id), &errors, &[])
        })
        .collect();
    Ok(http::page(resources, total, paging, uri.path()))
}

pub(super) async fn show(
    _: View,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let mut conn = app.store.read().await?;
    let job = find(&mut conn, &id).await?;
    let errors = jobs::errors(&mut conn, job.id).await?;
    let schedule = kinds::schedules(&mut conn, std::slice::from_ref(&job)).await?;
    let schedule = schedule.into_values().next();
    Ok(http::document(document::resource(
        &job,
        schedule,
        &errors,
        &[],
    )))
}

/// Ends the job; its finished runs stay readable.
pub(super) async fn destroy(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let mut tx = app.store.begin().await?;
    let job = find(&mut tx, &id).await?;
    kinds::dismantle(&mut tx, &job).await?;
    if !jobs::delete(&mut tx, job.id, clock::now()).await? {
        return Err(Refusal::not_found(format!("there is no job {id}")));
    }
    tx.poke_on_commit(POKE);
    tx.commit().await?;
    observe::job_deleted(job.id, &identity.email);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Forgets an error that was counted for a job.
pub(super) async fn dismiss_error(
    _: Edit,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let number = id.parse().map_err(|_| {
        Refusal::unprocessable(format!("{id:?} is not the number of a counted error"))
    })?;
    let mut tx = app.store.begin().await?;
    if !jobs::dismiss_error(&mut tx, number).await? {
        return Err(Refusal::not_found(format!(
            "there is no counted error {id}"
        )));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
