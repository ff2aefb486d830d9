//! Job specs: TOML documents with all keys at the top level.

mod fields;
mod flux;
mod schedule;

use std::time::Duration;

use alloy::primitives::{Address, U256};
use uuid::Uuid;

use crate::dot::ParseError;
use crate::graph::{MAX_SOURCE_BYTES, Pipeline};
use fields::Fields;

pub use flux::FluxMonitor;
pub use schedule::{Schedule, ScheduleError};

/// A job as an operator describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// A label; may be empty.
    pub name: String,
    /// The identity requests name; generated when the job is created without one.
    pub external_job_id: Option<Uuid>,
    /// Always 1.
    pub schema_version: u32,
    /// Longest time of each task attempt.
    pub max_task_duration: Option<Duration>,
    /// Overrides the chain's gas limit.
    pub gas_limit: Option<u32>,
    /// Transactions may go through an authorised forwarder.
    pub forwarding_allowed: bool,
    /// The pipeline as written.
    pub observation_source: String,
    /// The pipeline as understood.
    pub pipeline: Pipeline,
    /// What starts a run.
    pub kind: JobKind,
    /// What is allowed and probably not meant, in sentences for whoever creates the job.
    pub warnings: Vec<String>,
}

/// What starts a run of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// A request to an oracle contract.
    DirectRequest(DirectRequest),
    /// A number that moved, time that passed, or a round that others began.
    FluxMonitor(FluxMonitor),
    /// A clock.
    Cron(Cron),
    /// A call of the node's API.
    Webhook(Webhook),
}

impl JobKind {
    /// The `type` of the spec.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DirectRequest(_) => DIRECT_REQUEST,
            Self::FluxMonitor(_) => FLUX_MONITOR,
            Self::Cron(_) => CRON,
            Self::Webhook(_) => WEBHOOK,
        }
    }

    /// The chain the job works on, where it names one.
    pub fn evm_chain_id(&self) -> Option<u64> {
        match self {
            Self::DirectRequest(request) => Some(request.evm_chain_id),
            Self::FluxMonitor(flux) => Some(flux.evm_chain_id),
            Self::Cron(cron) => cron.evm_chain_id,
            Self::Webhook(_) => None,
        }
    }
}

/// Runs for requests to an oracle contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectRequest {
    /// The Operator or Oracle contract.
    pub contract_address: Address,
    /// Its chain.
    pub evm_chain_id: u64,
    /// The larger of this and the chain's setting counts.
    pub min_incoming_confirmations: Option<u32>,
    /// Replaces the chain's setting; in juels (10⁻¹⁸ LINK).
    pub min_contract_payment_juels: Option<U256>,
    /// Who may ask; empty means everyone.
    pub requesters: Vec<Address>,
}

/// Runs at the times of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// When.
    pub schedule: Schedule,
    /// What `$(jobSpec.evmChainID)` says.
    pub evm_chain_id: Option<u64>,
}

/// Runs when the API is asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Programs that may start runs; users may anyway.
    pub external_initiators: Vec<InitiatorSpec>,
}

/// An external initiator as a job lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitiatorSpec {
    /// Its name, in any letter case.
    pub name: String,
    /// What the job has to say to it: JSON text, `null` where the job says nothing.
    pub spec: String,
}

/// Longest job spec that is read, in bytes: twice the longest pipeline.
pub const MAX_SPEC_BYTES: usize = 2 * MAX_SOURCE_BYTES;

/// Why a job spec was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Longer than any job.
    #[error("the job spec has {bytes} bytes, more than the {MAX_SPEC_BYTES} that are read")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Not TOML; the text shows the place.
    #[error("the job spec is not valid TOML: {0}")]
    Toml(String),
    /// No such job type.
    #[error("invalid job type: {given:?}{}", hint(.nearest))]
    UnknownType {
        /// As given.
        given: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A real job type that this version lacks.
    #[error(
        "the job type {0:?} is not supported by this version: it runs \"directrequest\", \"fluxmonitor\", \"cron\" and \"webhook\" jobs"
    )]
    UnsupportedType(&'static str),
    /// Only version 1 exists.
    #[error("invalid schema version: schemaVersion must be 1, not {0}")]
    SchemaVersion(String),
    /// Nothing to run.
    #[error("pipeline spec not specified: observationSource is missing or empty")]
    NoPipeline,
    /// A chain id is needed.
    #[error("evm chain id must be defined: add evmChainID = \"<chain id>\"")]
    NoChainId,
    /// A required key is missing.
    #[error("{key} is missing: {hint}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What to write.
        hint: &'static str,
    },
    /// A value that cannot be used.
    #[error("{key}: {problem}")]
    Field {
        /// The key.
        key: &'static str,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// A schedule that cannot be understood.
    #[error("schedule: {0}")]
    Schedule(ScheduleError),
    /// An old way to write an empty object that today means something else.
    #[error("observationSource contains <{{}}>: write \"{{}}\" instead")]
    BracketedEmptyObject,
    /// The pipeline has a mistake; the text shows the place.
    #[error("observationSource: {0}")]
    Pipeline(ParseError),
}

// Both are told whole by the sentence around them. As a source they would be told again by whoever
// prints an error with all its causes.
impl From<ScheduleError> for SpecError {
    fn from(error: ScheduleError) -> Self {
        Self::Schedule(error)
    }
}

impl From<ParseError> for SpecError {
    fn from(error: ParseError) -> Self {
        Self::Pipeline(error)
    }
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

const DIRECT_REQUEST: &str = "directrequest";
const FLUX_MONITOR: &str = "fluxmonitor";
const CRON: &str = "cron";
const WEBHOOK: &str = "webhook";

/// Job types of the field.
const KNOWN_TYPES: &[&str] = &[
    DIRECT_REQUEST,
    CRON,
    WEBHOOK,
    FLUX_MONITOR,
    "keeper",
    "vrf",
    "offchainreporting",
    "offchainreporting2",
    "bootstrap",
    "blockhashstore",
    "blockheaderfeeder",
    "legacygasstationserver",
    "legacygasstationsidecar",
    "gateway",
    "stream",
    "workflow",
    "standardcapabilities",
    "ccip",
];

impl JobSpec {
    /// Reads and checks a job spec.
    ///
    /// Whether its bridges exist, its chain is configured and its id is free only the caller can
    /// know.
    pub fn parse(toml: &str) -> Result<JobSpec, SpecError> {
        if toml.len() > MAX_SPEC_BYTES {
            return Err(SpecError::TooLong { bytes: toml.len() });
        }
        let mut fields = Fields::read(toml)?;
        let kind = job_type(&mut fields)?;
        fields.schema_version()?;
        let observation_source = fields.string("observationSource")?.unwrap_or_default();
        if observation_source.trim().is_empty() {
            return Err(SpecError::NoPipeline);
        }
        if observation_source.contains("<{}>") {
            return Err(SpecError::BracketedEmptyObject);
        }
        let pipeline = Pipeline::parse(&observation_source)?;
        let max_task_duration = fields.duration("maxTaskDuration")?.filter(|d| !d.is_zero());
        let spec = JobSpec {
            name: fields.string("name")?.unwrap_or_default(),
            external_job_id: fields.external_job_id()?,
            schema_version: 1,
            max_task_duration,
            gas_limit: fields.u32("gasLimit")?,
            forwarding_allowed: forwarding(&mut fields)?,
            kind: match kind {
                DIRECT_REQUEST => JobKind::DirectRequest(direct_request(&mut fields)?),
                FLUX_MONITOR => JobKind::FluxMonitor(flux::flux_monitor(
                    &mut fields,
                    &pipeline,
                    max_task_duration.unwrap_or_default(),
                )?),
                CRON => JobKind::Cron(cron(&mut fields)?),
                WEBHOOK => JobKind::Webhook(Webhook {
                    external_initiators: fields.external_initiators("externalInitiators")?,
                }),
                other => return Err(SpecError::UnsupportedType(other)),
            },
            warnings: [fields.warnings(), pipeline.warnings().to_vec()].concat(),
            observation_source,
            pipeline,
        };
        Ok(spec)
    }
}

fn job_type(fields: &mut Fields) -> Result<&'static str, SpecError> {
    let given = fields.string("type")?.unwrap_or_default();
    let Some(known) = KNOWN_TYPES.iter().find(|name| **name == given) else {
        let nearest = crate::nearest::nearest(&given, KNOWN_TYPES.iter().copied());
        return Err(SpecError::UnknownType { given, nearest });
    };
    match *known {
        DIRECT_REQUEST | FLUX_MONITOR | CRON | WEBHOOK => Ok(known),
        other => Err(SpecError::UnsupportedType(other)),
    }
}

fn cron(fields: &mut Fields) -> Result<Cron, SpecError> {
    let text = fields.string("schedule")?.ok_or(SpecError::Missing {
        key: "schedule",
        hint: "write for example \"CRON_TZ=UTC 0 */5 * * * *\" or \"@every 5m\"",
    })?;
    let (schedule, warning) = Schedule::parse(&text)?;
    if let Some(warning) = warning {
        fields.warn(format!("schedule: {warning}"));
    }
    Ok(Cron {
        schedule,
        evm_chain_id: fields.chain_id("evmChainID")?,
    })
}

fn forwarding(fields: &mut Fields) -> Result<bool, SpecError> {
    let wanted = fields.bool("forwardingAllowed")?.unwrap_or(false);
    if wanted {
        fields.warn("forwardingAllowed has no effect in this version: transactions are sent by the key itself and through no forwarder, so authorise the key on the oracle contract".to_owned());
    }
    Ok(wanted)
}

fn direct_request(fields: &mut Fields) -> Result<DirectRequest, SpecError> {
    Ok(DirectRequest {
        contract_address: fields.checksummed_address("contractAddress")?.ok_or(
            SpecError::Missing {
                key: "contractAddress",
                hint: "write the address of the oracle contract with its checksum",
            },
        )?,
        evm_chain_id: fields.chain_id("evmChainID")?.ok_or(SpecError::NoChainId)?,
        min_incoming_confirmations: fields.u32("minIncomingConfirmations")?,
        min_contract_payment_juels: fields.juels("minContractPaymentLinkJuels")?,
        requesters: fields.addresses("requesters")?,
    })
}
