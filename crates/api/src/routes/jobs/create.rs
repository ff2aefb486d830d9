//! Creating a job: everything that can be known beforehand is checked, then one row is written.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use dodona_pipeline::{JobKind, JobSpec, SpecError};
use dodona_runtime::clock;
use dodona_store::jobs::{self, NewJob};
use dodona_store::{Conn, StoreError, bridges, keys};
use serde::Deserialize;
use uuid::Uuid;

use super::{POKE, document, kinds};
use crate::auth::Edit;
use crate::http::{self, Payload, Refusal, Unreadable};
use crate::observe;
use crate::server::App;

#[derive(Deserialize)]
struct Create {
    toml: String,
}

/// What cannot be read is 422, what can be read and is not acceptable 400.
fn refused(error: &SpecError) -> Refusal {
    match error {
        SpecError::Toml(_) | SpecError::UnknownType { .. } => {
            Refusal::unprocessable(error.to_string())
        }
        _ => Refusal::bad_request(error.to_string()),
    }
}

fn row(spec: &JobSpec, toml: String) -> NewJob {
    let common = NewJob {
        external_job_id: spec.external_job_id.unwrap_or_else(Uuid::new_v4),
        name: spec.name.clone(),
        kind: spec.kind.name().to_owned(),
        schema_version: spec.schema_version,
        toml,
        dot: spec.observation_source.clone(),
        chain_id: spec.kind.evm_chain_id(),
        contract_address: None,
        min_confirmations: None,
        min_payment_juels: None,
        requesters: Vec::new(),
        gas_limit: spec.gas_limit,
        forwarding_allowed: spec.forwarding_allowed,
        max_task_duration: spec.max_task_duration,
    };
    match &spec.kind {
        JobKind::DirectRequest(request) => NewJob {
            contract_address: Some(request.contract_address),
            min_confirmations: request.min_incoming_confirmations,
            min_payment_juels: request.min_contract_payment_juels,
            requesters: request.requesters.clone(),
            ..common
        },
        JobKind::FluxMonitor(flux) => NewJob {
            contract_address: Some(flux.contract_address),
            min_payment_juels: flux.min_payment_juels,
            ..common
        },
        JobKind::Cron(_) | JobKind::Webhook(_) => common,
    }
}

/// What keeps the job from working here, one sentence each.
async fn faults(app: &App, conn: &mut Conn, spec: &JobSpec) -> Result<Vec<String>, StoreError> {
    let mut faults = Vec::new();
    if let Some(chain) = spec.kind.evm_chain_id()
        && app.chain(chain).is_none()
    {
        let known: Vec<String> = app.chains.iter().map(|c| c.chain_id.to_string()).collect();
        let known = match known.as_slice() {
            [] => "no chain is configured".to_owned(),
            known => format!("this node works on {}", known.join(", ")),
        };
        faults.push(format!(
            "evmChainID: chain {chain} is not configured ({known}); correct it or add the chain to the configuration"
        ));
    }
    faults.extend(kinds::unknown_initiators(conn, spec).await?);
    for name in spec.pipeline.bridges() {
        // A name with an expression in it is known only when the task runs.
        if name.contains("$(") {
            continue;
        }
        if bridges::find(conn, &name.to_lowercase()).await?.is_none() {
            faults.push(format!(
                "there is no bridge {name:?}; create it first (dodona bridges create)"
            ));
        }
    }
    Ok(faults)
}

/// What is allowed and will not work as it stands.
async fn warnings(app: &App, conn: &mut Conn, spec: &JobSpec) -> Result<Vec<String>, StoreError> {
    let mut warnings = spec.warnings.clone();
    if !app.config.external_initiators && kinds::initiators(spec).next().is_some() {
        warnings.push(
            "external initiators are switched off: none can start this job until JobPipeline.ExternalInitiatorsEnabled is true".to_owned(),
        );
    }
    if let Some(chain) = spec.kind.evm_chain_id()
        && keys::of_chain(conn, chain).await?.is_empty()
    {
        warnings.push(format!(
            "no key is enabled on chain {chain}: answers cannot be sent until there is one (dodona keys eth create)"
        ));
    }
    Ok(warnings)
}

pub(in crate::routes) async fn create(
    Edit(identity): Edit,
    State(app): State<Arc<App>>,
    payload: Payload,
) -> Result<Response, Refusal> {
    let body: Create = payload.json(Unreadable::Unprocessable)?;
    let spec = JobSpec::parse(&body.toml).map_err(|error| refused(&error))?;
    let mut tx = app.store.begin().await?;
    let faults = faults(&app, &mut tx, &spec).await?;
    if !faults.is_empty() {
        return Err(Refusal::faults(axum::http::StatusCode::BAD_REQUEST, faults));
    }
    let warnings = warnings(&app, &mut tx, &spec).await?;
    let new = row(&spec, body.toml);
    if let Some(other) = jobs::find_external(&mut tx, new.external_job_id).await? {
        return Err(taken(&new, Some(&other)));
    }
    let now = clock::now();
    let id = match jobs::insert(&mut tx, &new, now).await {
        Err(error) if error.is_duplicate() => return Err(taken(&new, None)),
        other => other?,
    };
    kinds::furnish(&mut tx, id, &new, &spec, now).await?;
    tx.poke_on_commit(POKE);
    tx.commit().await?;
    observe::job_created(id, &new.name, &identity.email);
    let job = jobs::Job {
        id,
        spec: new,
        created_at: now,
        deleted_at: None,
    };
    Ok(http::document(document::resource(
        &job,
        kinds::schedule(&spec),
        &[],
        &warnings,
    )))
}

fn taken(new: &NewJob, other: Option<&jobs::Job>) -> Refusal {
    let by = other.map_or_else(
        || "another job".to_owned(),
        |job| format!("job {} ({:?})", job.id, job.spec.name),
    );
    Refusal::conflict(format!(
        "externalJobID {} belongs to {by}; delete that job first, or give this one another id (without the key a new id is made)",
        new.external_job_id
    ))
}
