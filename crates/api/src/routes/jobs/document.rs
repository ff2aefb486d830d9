//! A job as the API shows it.

use std::collections::BTreeMap;

use dodona_model::{JobId, Timestamp};
use dodona_pipeline::{JobKind, JobSpec};
use dodona_store::jobs::{Job, JobError};
use serde::Serialize;

use super::flux::{FluxMonitor, flux_monitor};
use crate::http::Resource;
use crate::written::go_duration;

/// Spec objects of other job types: clients expect the keys.
const OTHER_SPECS: [&str; 14] = [
    "creSettingsSpec",
    "offChainReportingOracleSpec",
    "offChainReporting2OracleSpec",
    "keeperSpec",
    "vrfSpec",
    "blockhashStoreSpec",
    "blockHeaderFeederSpec",
    "bootstrapSpec",
    "gatewaySpec",
    "workflowSpec",
    "standardCapabilitiesSpec",
    "ccipSpec",
    "ccvCommitteeVerifierSpec",
    "ccvExecutorSpec",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    schema_version: u32,
    gas_limit: Option<u32>,
    forwarding_allowed: bool,
    max_task_duration: String,
    #[serde(rename = "externalJobID")]
    external_job_id: String,
    direct_request_spec: Option<DirectRequest>,
    flux_monitor_spec: Option<FluxMonitor>,
    cron_spec: Option<Cron>,
    webhook_spec: Option<Webhook>,
    #[serde(flatten)]
    others: BTreeMap<&'static str, ()>,
    pipeline_spec: PipelineSpec<'a>,
    errors: Vec<Counted<'a>>,
    created_at: Timestamp,
    /// What the operator should know about the spec; only in the answer to its creation.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DirectRequest {
    contract_address: Option<String>,
    min_incoming_confirmations: Option<u32>,
    min_contract_payment_link_juels: Option<String>,
    requesters: Vec<String>,
    initiator: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(rename = "evmChainID")]
    evm_chain_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cron {
    schedule: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(rename = "evmChainID")]
    evm_chain_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    /// Beyond what the Chainlink node shows: who may start runs beside users.
    external_initiators: Vec<Listed>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    /// JSON text, as the job has it.
    spec: String,
}

/// The graph of a job. A job has one, so they share a number.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::routes) struct PipelineSpec<'a> {
    pub(in crate::routes) id: JobId,
    #[serde(rename = "jobID")]
    pub(in crate::routes) job_id: JobId,
    pub(in crate::routes) dot_dag_source: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counted<'a> {
    id: i64,
    description: &'a str,
    occurrences: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn direct_request(job: &Job) -> DirectRequest {
    DirectRequest {
        contract_address: job.spec.contract_address.map(|address| address.to_string()),
        min_incoming_confirmations: job.spec.min_confirmations,
        min_contract_payment_link_juels: job.spec.min_payment_juels.map(|juels| juels.to_string()),
        requesters: job
            .spec
            .requesters
            .iter()
            .map(ToString::to_string)
            .collect(),
        initiator: "runlog",
        created_at: job.created_at,
        updated_at: job.created_at,
        evm_chain_id: job.spec.chain_id.map(|chain| chain.to_string()),
    }
}

fn webhook(job: &Job) -> Webhook {
    let listed = match JobSpec::parse(&job.spec.toml).map(|spec| spec.kind) {
        Ok(JobKind::Webhook(webhook)) => webhook.external_initiators,
        // Written by another version; its runs say so.
        _ => Vec::new(),
    };
    Webhook {
        external_initiators: listed
            .into_iter()
            .map(|it| Listed {
                name: it.name,
                spec: it.spec,
            })
            .collect(),
        created_at: job.created_at,
        updated_at: job.created_at,
    }
}

/// `schedule`: of a cron job.
pub(super) fn resource(
    job: &Job,
    schedule: Option<String>,
    errors: &[JobError],
    warnings: &[String],
) -> Resource {
    let spec = &job.spec;
    let cron = (spec.kind == "cron").then(|| Cron {
        schedule,
        created_at: job.created_at,
        updated_at: job.created_at,
        evm_chain_id: spec.chain_id.map(|chain| chain.to_string()),
    });
    let webhook = (spec.kind == "webhook").then(|| webhook(job));
    Resource::new(
        "jobs",
        job.id,
        &Attributes {
            name: &spec.name,
            kind: &spec.kind,
            schema_version: spec.schema_version,
            gas_limit: spec.gas_limit,
            forwarding_allowed: spec.forwarding_allowed,
            max_task_duration: go_duration(spec.max_task_duration.unwrap_or_default()),
            external_job_id: spec.external_job_id.to_string(),
            direct_request_spec: (spec.kind == "directrequest").then(|| direct_request(job)),
            flux_monitor_spec: flux_monitor(job),
            cron_spec: cron,
            webhook_spec: webhook,
            others: OTHER_SPECS.into_iter().map(|name| (name, ())).collect(),
            pipeline_spec: PipelineSpec {
                id: job.id,
                job_id: job.id,
                dot_dag_source: &spec.dot,
            },
            errors: errors
                .iter()
                .map(|error| Counted {
                    id: error.id,
                    description: &error.description,
                    occurrences: error.occurrences,
                    created_at: error.created_at,
                    updated_at: error.updated_at,
                })
                .collect(),
            created_at: job.created_at,
            warnings,
        },
    )
}
