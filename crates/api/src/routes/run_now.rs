//! Runs that begin with a call: `POST /v2/jobs/<id>/runs`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use dodona_model::{RunId, run};
use dodona_pipeline::{Inputs, JobFacts};
use dodona_runtime::clock;
use dodona_store::jobs::Job;
use dodona_store::{Conn, initiators, runs};
use tokio::time::Instant;

use super::jobs::find;
use super::runs::one;
use crate::auth::Caller;
use crate::http::{Payload, Refusal};
use crate::observe;
use crate::server::App;

/// Left for writing the answer, of the time one request may take.
const MARGIN: Duration = Duration::from_millis(500);
/// A poke can be lost: the row is looked at this often anyway.
const LOOK: Duration = Duration::from_secs(1);

/// The body, whatever it is, becomes `$(jobRun.requestBody)`. Answers when the run has ended or waits
/// for something outside, and otherwise, with the run as it is, when the time for a request runs out.
pub(super) async fn start(
    caller: Caller,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    let until = Instant::now() + app.config.write_timeout.saturating_sub(MARGIN);
    let mut tx = app.store.begin().await?;
    let job = find(&mut tx, &id).await?;
    may_start(&mut tx, &caller, &job).await?;
    if let Err(why) = can_be_called(&job) {
        observe::run_by_hand_refused(job.id, &caller.name(), &why);
        return Err(Refusal::unprocessable(why));
    }
    let facts = JobFacts {
        id: job.id,
        external_job_id: job.spec.external_job_id,
        name: &job.spec.name,
        evm_chain_id: job.spec.chain_id,
    };
    let inputs = Inputs::new(&facts.at_a_call(&String::from_utf8_lossy(&body))).to_text();
    let mut ended = app.run_ended.subscribe();
    let run = runs::insert(&mut tx, job.id, &inputs, clock::now()).await?;
    tx.poke_on_commit("runs");
    tx.commit().await?;
    observe::run_started(job.id, run, &caller.name());
    while is_executing(&mut app.store.read().await?, run).await? {
        let now = Instant::now();
        if now >= until {
            break;
        }
        tokio::select! {
            () = ended.wait() => {}
            () = tokio::time::sleep_until(until.min(now + LOOK)) => {}
        }
    }
    one(&app, &run.to_string()).await
}

/// Users may start any job; an initiator only what lists it.
async fn may_start(conn: &mut Conn, caller: &Caller, job: &Job) -> Result<(), Refusal> {
    let Caller::Initiator(initiator) = caller else {
        return Ok(());
    };
    if initiators::is_listed(conn, job.id, initiator.id).await? {
        return Ok(());
    }
    let why = format!(
        "job {} does not list the external initiator {}; add it to the job's externalInitiators",
        job.id, initiator.spec.name
    );
    observe::run_by_hand_refused(job.id, &caller.name(), &why);
    Err(Refusal::new(StatusCode::UNAUTHORIZED, why))
}

/// Only webhook jobs take what a call brings.
fn can_be_called(job: &Job) -> Result<(), String> {
    let begin = match job.spec.kind.as_str() {
        "webhook" => return Ok(()),
        "cron" => "its runs begin at the times of its schedule",
        "fluxmonitor" => {
            "its runs begin with changes of its number and with rounds of its contract"
        }
        _ => {
            "its runs begin with a request on chain, whose data the pipeline needs, so it cannot be run by hand; send a request to its oracle contract instead"
        }
    };
    Err(format!(
        "job {} is of type {}: {begin}",
        job.id, job.spec.kind
    ))
}

async fn is_executing(conn: &mut Conn, run: RunId) -> Result<bool, Refusal> {
    match runs::find(conn, run).await? {
        Some(row) => Ok(row.state == run::State::Running),
        None => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the run ended and was not kept: a task with failEarly failed, or JobPipeline.MaxSuccessfulRuns is 0",
        )),
    }
}
