//! Whether a round may and should be answered: a decision, no IO.

use alloy::primitives::{Address, I256, U256};
use dodona_pipeline::FluxMonitor;

/// Rounds that the aggregator must be able to pay, of all its oracles.
const FUNDED_ROUNDS: u64 = 3;

/// What the aggregator says to one oracle about one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoundState {
    pub(crate) eligible: bool,
    pub(crate) round: u32,
    /// What this oracle submitted last, to whatever round.
    pub(crate) latest_submission: I256,
    /// Seconds since 1970 on the chain's clock; 0: it has not begun.
    pub(crate) started_at: u64,
    /// Seconds; 0: it does not time out.
    pub(crate) timeout: u64,
    pub(crate) available_juels: U256,
    pub(crate) oracles: u8,
    pub(crate) payment_juels: U256,
}

/// Why a round is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Declined {
    #[error("round {0} takes no submission of {1} now")]
    NotEligible(u32, Address),
    #[error(
        "the aggregator is underfunded: it has {available} juels and {FUNDED_ROUNDS} rounds cost {needed}"
    )]
    Underfunded { available: U256, needed: U256 },
    #[error(
        "the round pays {payment} juels, below the minimum of {minimum} (minPayment of the job, else MinContractPayment of the chain)"
    )]
    PaymentTooLow { payment: U256, minimum: U256 },
    #[error("round {0} is answered already, by a transaction of {1} that is not lost")]
    Answered(u32, Address),
    #[error("we began round {0} ourselves")]
    OurOwn(u32),
}

/// Whether the contract takes a submission and pays for it.
pub(crate) fn worth_it(
    state: &RoundState,
    oracle: Address,
    spec: &FluxMonitor,
    chain_minimum_juels: U256,
) -> Result<(), Declined> {
    if !state.eligible {
        return Err(Declined::NotEligible(state.round, oracle));
    }
    let needed = state
        .payment_juels
        .saturating_mul(U256::from(u64::from(state.oracles) * FUNDED_ROUNDS));
    if state.available_juels < needed {
        return Err(Declined::Underfunded {
            available: state.available_juels,
            needed,
        });
    }
    let minimum = spec.min_payment_juels.unwrap_or(chain_minimum_juels);
    if state.payment_juels < minimum {
        return Err(Declined::PaymentTooLow {
            payment: state.payment_juels,
            minimum,
        });
    }
    Ok(())
}

/// The key that speaks to an aggregator: the first of ours among its oracles, else our first, which
/// will not be eligible, but whose state says why.
pub(crate) fn our_oracle(keys: &[Address], oracles: &[Address]) -> Option<Address> {
    let among = keys.iter().find(|key| oracles.contains(key));
    among.or(keys.first()).copied()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use dodona_pipeline::decimal::BigDecimal;

    use super::*;

    pub(crate) fn spec() -> FluxMonitor {
        FluxMonitor {
            contract_address: Address::repeat_byte(1),
            evm_chain_id: 1,
            threshold: BigDecimal::from(1),
            absolute_threshold: BigDecimal::from(0),
            poll_timer_period: Duration::from_secs(60),
            poll_timer_disabled: false,
            idle_timer_period: Duration::from_secs(3_600),
            idle_timer_disabled: false,
            drumbeat_enabled: false,
            drumbeat_schedule: None,
            drumbeat_random_delay: Duration::ZERO,
            min_payment_juels: None,
        }
    }

    pub(crate) fn state() -> RoundState {
        RoundState {
            eligible: true,
            round: 7,
            latest_submission: I256::ZERO,
            started_at: 1_000,
            timeout: 0,
            available_juels: U256::from(60),
            oracles: 2,
            payment_juels: U256::from(10),
        }
    }

    const ORACLE: Address = Address::repeat_byte(9);

    fn judged(state: &RoundState, job: Option<u64>, chain: u64) -> Result<(), Declined> {
        let spec = FluxMonitor {
            min_payment_juels: job.map(U256::from),
            ..spec()
        };
        worth_it(state, ORACLE, &spec, U256::from(chain))
    }

    #[test]
    fn a_round_that_takes_submissions_and_pays_enough_is_answered() {
        assert_eq!(judged(&state(), None, 10), Ok(()));
        let closed = RoundState {
            eligible: false,
            ..state()
        };
        assert_eq!(
            judged(&closed, None, 0),
            Err(Declined::NotEligible(7, ORACLE))
        );
    }

    #[test]
    fn the_jobs_minimum_replaces_the_chains() {
        let low = |minimum: u64| {
            Err(Declined::PaymentTooLow {
                payment: U256::from(10),
                minimum: U256::from(minimum),
            })
        };
        assert_eq!(judged(&state(), None, 11), low(11));
        assert_eq!(judged(&state(), Some(11), 0), low(11));
        assert_eq!(judged(&state(), Some(10), 11), Ok(()));
        assert_eq!(judged(&state(), Some(0), 11), Ok(()));
    }

    #[test]
    fn an_aggregator_has_to_hold_three_rounds_of_all_its_oracles() {
        let poor = RoundState {
            available_juels: U256::from(59),
            ..state()
        };
        assert!(matches!(
            judged(&poor, None, 0),
            Err(Declined::Underfunded { needed, .. }) if needed == U256::from(60)
        ));
        let hostile = RoundState {
            payment_juels: U256::MAX,
            ..state()
        };
        assert!(judged(&hostile, None, 0).is_err());
    }

    #[test]
    fn the_key_that_the_aggregator_knows_speaks_to_it() {
        let [a, b, c] = [1, 2, 3].map(Address::repeat_byte);
        assert_eq!(our_oracle(&[a, b], &[c, b]), Some(b));
        assert_eq!(our_oracle(&[a, b], &[c]), Some(a));
        assert_eq!(our_oracle(&[], &[c]), None);
    }
}
