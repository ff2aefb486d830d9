use std::collections::BTreeMap;
use std::time::Duration;

use dodona_model::{Address, ChainId, U256};

/// What a chain asks of a request before a job runs for it.
#[derive(Debug, Clone)]
pub struct TriggerConfig {
    /// The chain.
    pub chain_id: ChainId,
    /// Blocks a log must have, its own counted; a job can raise this, never lower it. 0 counts as 1.
    pub min_confirmations: u32,
    /// Least payment in juels; a job's own value replaces it.
    pub min_payment_juels: U256,
}

/// What a chain asks of flux monitors' rounds.
#[derive(Debug, Clone)]
pub struct FluxConfig {
    /// The chain.
    pub chain_id: ChainId,
    /// Least payment of a round in juels; a job's own value replaces it.
    pub min_payment_juels: U256,
    /// Where aggregators are flagged that are not to be looked after for now.
    pub flags: Option<Address>,
}

/// What a transaction of a job may be on a chain.
#[derive(Debug, Clone)]
pub struct ChainRules {
    /// Gas limit of direct requests where neither task nor job names one.
    pub gas_limit: u64,
    /// Gas limit of a flux monitor's submission where the job names none.
    pub flux_gas_limit: u64,
    /// Least payment of a flux monitor's round in juels; a job's own value replaces it.
    pub min_payment_juels: U256,
    /// The same for job types for which the chain's settings name none.
    pub gas_limit_default: u64,
    /// Transactions of one key that may wait to be signed; 0 means no limit.
    pub max_queued: u64,
}

impl ChainRules {
    /// The gas limit of a job of this type that names none.
    pub fn gas_limit_of(&self, job_type: &str) -> u64 {
        match job_type {
            "directrequest" => self.gas_limit,
            "fluxmonitor" => self.flux_gas_limit,
            _ => self.gas_limit_default,
        }
    }
}

/// How runs are executed by this process.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// This process, as claims name it; unique among replicas and restarts.
    pub me: String,
    /// Runs in flight at once, at most.
    pub max_in_flight: usize,
    /// How long a claim lasts unless renewed.
    pub claim: Duration,
    /// Upper bound of a whole run; `None` means none.
    pub max_run_duration: Option<Duration>,
    /// Bound of one HTTP attempt without a timeout of its own; `None` means none.
    pub http_timeout: Option<Duration>,
    /// Largest body accepted from a data source, bytes.
    pub http_max_bytes: usize,
    /// How old a bridge's last good answer may be when it fails and the task says nothing about it; zero:
    /// none is kept.
    pub bridge_cache_ttl: Duration,
    /// Completed runs kept for each job.
    pub keep_successful: u32,
    /// Where bridges that answer later send their answer.
    pub bridge_response_url: Option<String>,
    /// Rules of the chains this node works on.
    pub chains: BTreeMap<ChainId, ChainRules>,
}
