//! A flux monitor's settings as the API shows them.

use dodona_model::Timestamp;
use dodona_pipeline::{JobKind, JobSpec, Schedule, decimal};
use dodona_store::jobs::Job;
use serde::Serialize;

use crate::written::go_duration;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FluxMonitor {
    contract_address: String,
    threshold: f64,
    absolute_threshold: f64,
    poll_timer_period: String,
    poll_timer_disabled: bool,
    idle_timer_period: String,
    idle_timer_disabled: bool,
    drumbeat_enabled: bool,
    drumbeat_schedule: Option<String>,
    drumbeat_random_delay: Option<String>,
    min_payment: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(rename = "evmChainID")]
    evm_chain_id: String,
}

/// From the spec as the operator wrote it; `None` for jobs of other types.
pub(super) fn flux_monitor(job: &Job) -> Option<FluxMonitor> {
    if job.spec.kind != "fluxmonitor" {
        return None;
    }
    let JobKind::FluxMonitor(flux) = JobSpec::parse(&job.spec.toml).ok()?.kind else {
        return None;
    };
    let number = |n: &decimal::BigDecimal| decimal::to_text(n).parse().unwrap_or_default();
    let delay = flux.drumbeat_random_delay;
    Some(FluxMonitor {
        contract_address: flux.contract_address.to_string(),
        threshold: number(&flux.threshold),
        absolute_threshold: number(&flux.absolute_threshold),
        poll_timer_period: go_duration(flux.poll_timer_period),
        poll_timer_disabled: flux.poll_timer_disabled,
        idle_timer_period: go_duration(flux.idle_timer_period),
        idle_timer_disabled: flux.idle_timer_disabled,
        drumbeat_enabled: flux.drumbeat_enabled,
        drumbeat_schedule: flux
            .drumbeat_schedule
            .as_ref()
            .map(|schedule: &Schedule| schedule.as_str().to_owned()),
        drumbeat_random_delay: (!delay.is_zero()).then(|| go_duration(delay)),
        min_payment: flux.min_payment_juels.map(|juels| juels.to_string()),
        created_at: job.created_at,
        updated_at: job.created_at,
        evm_chain_id: flux.evm_chain_id.to_string(),
    })
}
