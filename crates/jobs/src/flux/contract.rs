//! What is asked of a FluxAggregator and of the flags beside it.

use alloy::primitives::{Address, Bytes, I256, U256};
use alloy::sol;
use alloy::sol_types::SolCall;
use dodona_rpc::{BlockTag, CallError, CallRequest, Pool, RpcError};

use super::round::{RoundState, our_oracle};

sol! {
    /// The parts of the aggregator's interface that a monitor needs.
    interface Aggregator {
        event NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt);
        event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

        function getOracles() external view returns (address[] memory);
        function minSubmissionValue() external view returns (int256);
        function maxSubmissionValue() external view returns (int256);
        function latestRoundData() external view returns (
            uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound
        );
        function oracleRoundState(address oracle, uint32 queriedRoundId) external view returns (
            bool eligibleToSubmit,
            uint32 roundId,
            int256 latestSubmission,
            uint64 startedAt,
            uint64 timeout,
            uint128 availableFunds,
            uint8 oracleCount,
            uint128 paymentAmount
        );
        function submit(uint256 roundId, int256 submission) external;
    }

    /// Raised and lowered for subjects; the zero address stands for all of them.
    interface Flags {
        event FlagRaised(address indexed subject);
        event FlagLowered(address indexed subject);

        function getFlags(address[] calldata subjects) external view returns (bool[] memory);
    }
}

/// Why an aggregator could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// Nobody to ask right now.
    #[error("the endpoints could not be asked about the aggregator: {0}")]
    Unreachable(#[from] RpcError),
    /// What is there does not answer as an aggregator does.
    #[error(
        "{contract} does not answer {call} as a FluxAggregator does ({why}); check contractAddress"
    )]
    NotAnAggregator {
        contract: Address,
        call: &'static str,
        why: String,
    },
    #[error("no sending key is enabled on chain {0}; see: dodona keys eth list")]
    NoKey(u64),
}

/// The newest round that has an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Latest {
    pub(crate) answer: I256,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
    /// Seconds since 1970.
    pub(crate) updated_at: u64,
}

/// What a look at an aggregator shows.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// The key that speaks to it.
    pub(crate) oracle: Address,
    pub(crate) state: RoundState,
    /// `None` before the first answer.
    pub(crate) latest: Option<Latest>,
    /// Submissions the contract takes.
    pub(crate) range: (I256, I256),
    /// Whether the aggregator's flag and everybody's are both raised.
    pub(crate) flagged: bool,
}

/// Asks an aggregator about a round; 0: the one that is ours to answer now. `keys`: ours, of which the
/// one that it knows speaks; or the one that has to.
pub(crate) async fn look(
    pool: &Pool,
    contract: Address,
    flags: Option<Address>,
    keys: &[Address],
    round: u32,
) -> Result<Look, LookError> {
    let mut calls = vec![
        read(contract, &Aggregator::getOraclesCall {}),
        read(contract, &Aggregator::minSubmissionValueCall {}),
        read(contract, &Aggregator::maxSubmissionValueCall {}),
        read(contract, &Aggregator::latestRoundDataCall {}),
    ];
    let subjects = vec![Address::ZERO, contract];
    calls.extend(flags.map(|flags| read(flags, &Flags::getFlagsCall { subjects })));
    let mut answers = pool.call_many(calls, BlockTag::Latest).await?.into_iter();
    let mut next = || answers.next().unwrap_or_else(|| Ok(Bytes::new()));

    let oracles = decode::<Aggregator::getOraclesCall>(contract, next())?;
    let least = decode::<Aggregator::minSubmissionValueCall>(contract, next())?;
    let most = decode::<Aggregator::maxSubmissionValueCall>(contract, next())?;
    // Reverts until there is an answer.
    let latest = decode::<Aggregator::latestRoundDataCall>(contract, next());
    let latest = match latest {
        Ok(latest) => Some(Latest {
            answer: latest.answer,
            started_at: latest.startedAt.saturating_to(),
            updated_at: latest.updatedAt.saturating_to(),
        }),
        Err(LookError::NotAnAggregator { .. }) => None,
        Err(other) => return Err(other),
    };
    // A monitor whose flags cannot be read does not hibernate.
    let flagged = flags.is_some()
        && decode::<Flags::getFlagsCall>(contract, next())
            .is_ok_and(|raised| raised.len() == 2 && raised.iter().all(|raised| *raised));

    let oracle = our_oracle(keys, &oracles).ok_or(LookError::NoKey(pool.chain_id()))?;
    let call = Aggregator::oracleRoundStateCall {
        oracle,
        queriedRoundId: round,
    };
    let answer = pool.call(&read(contract, &call), BlockTag::Latest).await;
    let state = decode::<Aggregator::oracleRoundStateCall>(contract, answer)?;
    Ok(Look {
        oracle,
        state: RoundState {
            eligible: state.eligibleToSubmit,
            round: state.roundId,
            latest_submission: state.latestSubmission,
            started_at: state.startedAt,
            timeout: state.timeout,
            available_juels: U256::from(state.availableFunds),
            oracles: state.oracleCount,
            payment_juels: U256::from(state.paymentAmount),
        },
        latest,
        range: (least, most),
        flagged,
    })
}

fn read(of: Address, call: &impl SolCall) -> CallRequest {
    CallRequest::to(of, call.abi_encode())
}

fn decode<C: SolCall>(
    contract: Address,
    answer: Result<Bytes, CallError>,
) -> Result<C::Return, LookError> {
    let strange = |why: String| LookError::NotAnAggregator {
        contract,
        call: C::SIGNATURE,
        why,
    };
    let bytes = match answer {
        Ok(bytes) if bytes.is_empty() => return Err(strange("it says nothing".to_owned())),
        Ok(bytes) => bytes,
        Err(CallError::Reverted {
            reason, message, ..
        }) => return Err(strange(reason.unwrap_or(message))),
        Err(CallError::Rpc(cause)) => return Err(cause.into()),
    };
    C::abi_decode_returns(&bytes).map_err(|cause| strange(cause.to_string()))
}

/// The call data of a submission.
pub(crate) fn submit(round: u32, answer: I256) -> Bytes {
    let call = Aggregator::submitCall {
        roundId: U256::from(round),
        submission: answer,
    };
    call.abi_encode().into()
}

#[cfg(test)]
mod tests {
    use alloy::sol_types::SolEvent;
    use dodona_model::flux;

    use super::*;

    #[test]
    fn the_scanner_reads_the_events_that_monitors_understand() {
        let ours = [
            Aggregator::NewRound::SIGNATURE_HASH,
            Aggregator::AnswerUpdated::SIGNATURE_HASH,
            Flags::FlagRaised::SIGNATURE_HASH,
            Flags::FlagLowered::SIGNATURE_HASH,
        ];
        assert_eq!(ours, flux::EVENTS);
    }

    #[test]
    fn a_submission_is_the_contracts_call() {
        let data = submit(7, I256::MINUS_ONE);
        assert_eq!(data.len(), 4 + 64);
        assert_eq!(data[..4], alloy::hex!("202ee0ed"));
        assert!(data[36..].iter().all(|byte| *byte == 0xff));
    }
}
