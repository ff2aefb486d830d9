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
    /// What every limit that a transaction is given is multiplied with, once.
    pub gas_limit_multiplier: f64,
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

    /// The gas limit of a transaction: what its task or job asked for, or what its job's type gets, times the
    /// chain's factor.
    pub fn gas_limit_of_tx(&self, asked: Option<u64>, job_type: &str) -> u64 {
        let given = asked.unwrap_or_else(|| self.gas_limit_of(job_type));
        times(given, self.gas_limit_multiplier)
    }
}

/// Decimal multiplication, truncated: 500,000 times 1.1 is 550,000, whatever binary fractions make of it.
fn times(limit: u64, factor: f64) -> u64 {
    let text = format!("{factor}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = &fraction[..fraction.len().min(12)];
    let digits: u128 = format!("{whole}{fraction}").parse().unwrap_or(1);
    let scale = 10u128.pow(fraction.len() as u32);
    let product = u128::from(limit).saturating_mul(digits) / scale;
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_multiplied_once_wherever_it_comes_from() {
        let rules = ChainRules {
            gas_limit: 400_000,
            flux_gas_limit: 300_000,
            min_payment_juels: U256::ZERO,
            gas_limit_default: 500_000,
            gas_limit_multiplier: 1.1,
            max_queued: 0,
        };
        assert_eq!(
            rules.gas_limit_of_tx(Some(700_000), "directrequest"),
            770_000
        );
        assert_eq!(rules.gas_limit_of_tx(None, "directrequest"), 440_000);
        assert_eq!(rules.gas_limit_of_tx(None, "fluxmonitor"), 330_000);
        assert_eq!(rules.gas_limit_of_tx(None, "cron"), 550_000);
    }

    #[test]
    fn a_factor_is_decimal_and_what_it_leaves_over_is_cut_off() {
        assert_eq!(times(3, 1.0), 3);
        assert_eq!(times(21_000, 1.15), 24_150);
        assert_eq!(times(7, 0.5), 3);
        assert_eq!(times(u64::MAX, 2.0), u64::MAX);
    }
}

/// How runs are executed by this process.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// This process, as claims name it; unique among replicas and restarts.
    pub me: String,
    /// Runs at work at once, at most; those that wait for somebody outside come on top, sixteen for each of these.
    pub max_in_flight: usize,
    /// A run that is not done after so long waits for somebody outside and gives its slot to others.
    pub patience: Duration,
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
