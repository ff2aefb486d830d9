//! Flux monitors: which settings they have, and which of them contradict one another.

use std::time::Duration;

use alloy::primitives::{Address, U256};
use bigdecimal::BigDecimal;

use super::fields::Fields;
use super::{Schedule, SpecError};
use crate::graph::Pipeline;
use crate::outcome::Limits;

/// Watches a number and answers the rounds of a FluxAggregator contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FluxMonitor {
    /// The FluxAggregator.
    pub contract_address: Address,
    /// Its chain.
    pub evm_chain_id: u64,
    /// Least change worth a new round, in percent of the last submission; 0 says nothing.
    pub threshold: BigDecimal,
    /// The change that has to be exceeded, in units of the answer; 0 says nothing.
    pub absolute_threshold: BigDecimal,
    /// How often the number is looked at.
    pub poll_timer_period: Duration,
    /// It is not looked at by the clock.
    pub poll_timer_disabled: bool,
    /// The longest time without a new round.
    pub idle_timer_period: Duration,
    /// There is no such time.
    pub idle_timer_disabled: bool,
    /// Rounds are started by a schedule.
    pub drumbeat_enabled: bool,
    /// When; `None` where nothing is written.
    pub drumbeat_schedule: Option<Schedule>,
    /// A round of the schedule starts up to so much later, so that the oracles do not all begin it.
    pub drumbeat_random_delay: Duration,
    /// Least payment of a round in juels (10⁻¹⁸ LINK); replaces the chain's.
    pub min_payment_juels: Option<U256>,
}

impl FluxMonitor {
    /// Time between looks, where the clock asks for them.
    pub fn poll_every(&self) -> Option<Duration> {
        (!self.poll_timer_disabled).then_some(self.poll_timer_period)
    }

    /// Longest time without a new round, where there is one. A period of zero is none: it would start
    /// one round after another.
    pub fn idle_after(&self) -> Option<Duration> {
        (!self.idle_timer_disabled && !self.idle_timer_period.is_zero())
            .then_some(self.idle_timer_period)
    }

    /// When rounds are started whatever the number does, where that is wanted.
    pub fn drumbeat(&self) -> Option<&Schedule> {
        self.drumbeat_schedule
            .as_ref()
            .filter(|_| self.drumbeat_enabled)
    }
}

pub(super) fn flux_monitor(
    fields: &mut Fields,
    pipeline: &Pipeline,
    max_task: Duration,
) -> Result<FluxMonitor, SpecError> {
    let contract_address =
        fields
            .checksummed_address("contractAddress")?
            .ok_or(SpecError::Missing {
                key: "contractAddress",
                hint: "write the address of the FluxAggregator contract with its checksum",
            })?;
    let spec = FluxMonitor {
        contract_address,
        evm_chain_id: fields.chain_id("evmChainID")?.ok_or(SpecError::NoChainId)?,
        threshold: fields.threshold("threshold")?,
        absolute_threshold: fields.threshold("absoluteThreshold")?,
        poll_timer_period: fields.duration("pollTimerPeriod")?.unwrap_or_default(),
        poll_timer_disabled: fields.bool("pollTimerDisabled")?.unwrap_or(false),
        idle_timer_period: fields.duration("idleTimerPeriod")?.unwrap_or_default(),
        idle_timer_disabled: fields.bool("idleTimerDisabled")?.unwrap_or(false),
        drumbeat_enabled: fields.bool("drumbeatEnabled")?.unwrap_or(false),
        drumbeat_schedule: schedule(fields)?,
        drumbeat_random_delay: fields.duration("drumbeatRandomDelay")?.unwrap_or_default(),
        min_payment_juels: fields.juels("minPayment")?,
    };
    one_answer(pipeline)?;
    poll_timer(&spec, pipeline, max_task)?;
    drumbeat(&spec)?;
    if !spec.idle_timer_disabled && spec.idle_timer_period.is_zero() {
        fields.warn("idleTimerPeriod is missing, so there is no idle timer: write a period, or idleTimerDisabled = true".to_owned());
    }
    if let (Some(poll), Some(idle)) = (spec.poll_every(), spec.idle_after())
        && idle < poll
    {
        fields.warn("idleTimerPeriod is shorter than pollTimerPeriod: usually a number is looked at more often than it is submitted without a change".to_owned());
    }
    Ok(spec)
}

fn schedule(fields: &mut Fields) -> Result<Option<Schedule>, SpecError> {
    const KEY: &str = "drumbeatSchedule";
    let Some(text) = fields.string(KEY)?.filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let (schedule, warning) = Schedule::parse(&text).map_err(|cause| SpecError::Field {
        key: KEY,
        problem: cause.to_string(),
    })?;
    if let Some(warning) = warning {
        fields.warn(format!("{KEY}: {warning}"));
    }
    Ok(Some(schedule))
}

/// The node itself submits the one number that the pipeline ends with.
fn one_answer(pipeline: &Pipeline) -> Result<(), SpecError> {
    let wrong = |problem: String| SpecError::Field {
        key: "observationSource",
        problem,
    };
    if pipeline.suspends() {
        return Err(wrong(
            "async=true tasks are not supported for fluxmonitor: remove ethtx tasks (the node submits the answer itself) and async bridges".to_owned(),
        ));
    }
    let last: Vec<&str> = pipeline
        .tasks()
        .filter(|task| task.is_terminal())
        .map(|task| task.dot_id.as_str())
        .collect();
    if last.len() != 1 {
        return Err(wrong(format!(
            "a flux monitor submits one number, so exactly one task may have nothing after it; these have: {}",
            last.join(", ")
        )));
    }
    Ok(())
}

/// The number is not looked at more often than a look may take.
fn poll_timer(
    spec: &FluxMonitor,
    pipeline: &Pipeline,
    max_task: Duration,
) -> Result<(), SpecError> {
    let Some(every) = spec.poll_every() else {
        return Ok(());
    };
    let wrong = |problem: String| SpecError::Field {
        key: "pollTimerPeriod",
        problem,
    };
    if every.is_zero() {
        return Err(wrong(
            "it is missing: write how often to look, for example \"1m\", or pollTimerDisabled = true".to_owned(),
        ));
    }
    // An unset maxTaskDuration counts as zero here, as in the node whose specs these are.
    let http = Limits::default().default_http_timeout;
    let tasks = pipeline.tasks().filter_map(|task| task.timeout);
    let least = tasks
        .chain(http)
        .fold(max_task, |least, timeout| least.min(timeout));
    if every < least {
        return Err(wrong(format!(
            "it must be equal or greater than {least:?} (the smallest of the HTTP timeout, maxTaskDuration and the tasks' timeouts), got {every:?}"
        )));
    }
    Ok(())
}

fn drumbeat(spec: &FluxMonitor) -> Result<(), SpecError> {
    if !spec.drumbeat_enabled {
        return Ok(());
    }
    if !spec.idle_timer_disabled {
        return Err(SpecError::Field {
            key: "drumbeatEnabled",
            problem: "when the drumbeat is enabled, the idle timer must be disabled: write idleTimerDisabled = true".to_owned(),
        });
    }
    if spec.drumbeat_schedule.is_none() {
        return Err(SpecError::Missing {
            key: "drumbeatSchedule",
            hint: "write when rounds start, for example \"@every 1h\" or \"CRON_TZ=UTC 0 0 * * * *\"",
        });
    }
    Ok(())
}
