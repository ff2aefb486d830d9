//! A run has found its number: is it submitted? Decided again, on what the contract says now.

use std::time::Duration;

use alloy::primitives::{Address, I256, U256, keccak256};
use dodona_model::{ChainId, Timestamp, tx};
use dodona_pipeline::decimal::{self, BigDecimal};
use dodona_pipeline::{FluxMonitor, Outcome, RunState, Value};
use dodona_store::runs::Run;
use dodona_store::txs::NewTx;
use dodona_store::{Tx, flux, keys, txs};
use uuid::Uuid;

use super::contract::{self, Look, LookError};
use super::deviation;
use super::occasion::Asked;
use super::round::{self, Declined};
use crate::ChainRules;
use crate::ports::Outside;
use crate::specs::Ready;

/// How soon an endpoint that did not answer is asked again, doubled each time…
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// … up to this, half a minute in all; then the run ends errored.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// What a run came back with.
pub(crate) struct Closing {
    asked: Asked,
    /// The number and the state of its round, or why there is none.
    found: Result<(BigDecimal, Look), String>,
}

/// What became of a number, as it is stored with the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Concluded {
    Submitted {
        round: u32,
        answer: I256,
    },
    /// Nothing to submit, and nothing wrong.
    Declined(String),
    /// The number cannot be submitted; the run's error.
    Failed(String),
}

/// Asks the contract about the round once more; outside any database transaction. `None`: the run
/// found nothing.
pub(crate) async fn close(
    outside: &Outside,
    ready: &Ready,
    asked: Asked,
    outcome: &Outcome,
) -> Option<Closing> {
    if outcome.state != RunState::Completed {
        return None;
    }
    let found = find(outside, ready, &asked, outcome).await;
    Some(Closing { asked, found })
}

async fn find(
    outside: &Outside,
    ready: &Ready,
    asked: &Asked,
    outcome: &Outcome,
) -> Result<(BigDecimal, Look), String> {
    let spec = spec_of(ready)?;
    let number = number(&outcome.outputs)?;
    let pool = outside.pools.get(&spec.evm_chain_id).ok_or_else(|| {
        let chain = spec.evm_chain_id;
        format!("this node is not configured for chain {chain}")
    })?;
    let ours = [asked.oracle];
    let mut pause = FIRST_PAUSE;
    loop {
        match contract::look(pool, spec.contract_address, None, &ours, asked.round).await {
            Ok(look) => return Ok((number, look)),
            // A run that goes on right after a start may be quicker than the endpoints, and a number that
            // was found is not given up for a moment's silence.
            Err(LookError::Unreachable(_)) if pause <= LONGEST_PAUSE => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(cause) => return Err(cause.to_string()),
        }
    }
}

fn spec_of(ready: &Ready) -> Result<&FluxMonitor, String> {
    let missing = || "the job is no flux monitor that this version understands".to_owned();
    ready.flux.as_ref().ok_or_else(missing)
}

/// The one number a pipeline ends with.
fn number(outputs: &[Option<Value>]) -> Result<BigDecimal, String> {
    let [Some(value)] = outputs else {
        return Err("the pipeline did not end with one value".to_owned());
    };
    decimal::from_value(value)
        .map_err(|why| format!("the pipeline's result cannot be submitted: {why}"))
}

/// Why a number is not submitted.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Decline(String),
    Fail(String),
}

impl From<Declined> for Verdict {
    fn from(declined: Declined) -> Self {
        Self::Decline(declined.to_string())
    }
}

/// What to submit, if anything.
fn decide(
    asked: &Asked,
    spec: &FluxMonitor,
    number: &BigDecimal,
    look: &Look,
    chain_minimum_juels: U256,
) -> Result<I256, Verdict> {
    let exact = |n: I256| decimal::parse(&n.to_string()).unwrap_or_default();
    let (least, most) = (exact(look.range.0), exact(look.range.1));
    if *number < least || *number > most {
        return Err(Verdict::Fail(format!(
            "answer is outside acceptable range: {} is not from {} to {} (minSubmissionValue and maxSubmissionValue of the aggregator)",
            decimal::to_text(number),
            look.range.0,
            look.range.1
        )));
    }
    round::worth_it(&look.state, asked.oracle, spec, chain_minimum_juels)?;
    let last = exact(look.state.latest_submission);
    let first_round = look.state.round <= 1;
    if !first_round
        && !asked.occasion.ignores_thresholds()
        && !deviation::is_enough(spec, &last, number)
    {
        return Err(Verdict::Decline(format!(
            "{} is too close to the last submission {}",
            decimal::to_text(number),
            look.state.latest_submission
        )));
    }
    // The whole part; within the range it fits.
    decimal::truncate(number)
        .to_string()
        .parse()
        .map_err(|_| Verdict::Fail(format!("{} is no 256-bit number", decimal::to_text(number))))
}

/// Which transaction answers a round: one, whoever asks for it and however often.
pub(crate) fn identity(chain: ChainId, contract: Address, oracle: Address, round: u32) -> Uuid {
    let text = format!("flux {chain} {contract} {oracle} {round}");
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&keccak256(text)[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Whether a transaction answers this round, or may still do so.
pub(crate) async fn is_answered(
    store_tx: &mut Tx,
    chain: ChainId,
    contract: Address,
    oracle: Address,
    round: u32,
) -> dodona_store::Result<bool> {
    let living = txs::living_of(store_tx, identity(chain, contract, oracle, round)).await?;
    Ok(living.is_some_and(|tx| match tx.state {
        tx::State::Dead => false,
        tx::State::Mined | tx::State::Final => tx.mined.is_some_and(|mined| mined.succeeded),
        tx::State::Queued | tx::State::Signed | tx::State::Sent => true,
    }))
}

/// Decides and, in the transaction that stores the run's results, queues the submission.
pub(crate) async fn conclude(
    store_tx: &mut Tx,
    run: &Run,
    ready: &Ready,
    closing: &Closing,
    rules: Option<&ChainRules>,
    now: Timestamp,
) -> anyhow::Result<Concluded> {
    let asked = &closing.asked;
    let (spec, rules) = match (spec_of(ready), rules) {
        (Ok(spec), Some(rules)) => (spec, rules),
        (Err(why), _) => return Ok(Concluded::Failed(why)),
        (Ok(spec), None) => {
            return Ok(Concluded::Failed(format!(
                "this node is not configured for chain {}",
                spec.evm_chain_id
            )));
        }
    };
    let (number, look) = match &closing.found {
        Ok(found) => found,
        Err(why) => return Ok(Concluded::Failed(why.clone())),
    };
    let job = ready.job.id;
    flux::note_seen(store_tx, job, &decimal::to_text(number), now).await?;
    let answer = match decide(asked, spec, number, look, rules.min_payment_juels) {
        Ok(answer) => answer,
        Err(Verdict::Decline(why)) => return Ok(Concluded::Declined(why)),
        Err(Verdict::Fail(why)) => return Ok(Concluded::Failed(why)),
    };
    let (chain, contract, from) = (spec.evm_chain_id, spec.contract_address, asked.oracle);
    let round = look.state.round;
    if is_answered(store_tx, chain, contract, from, round).await? {
        return Ok(Concluded::Declined(
            Declined::Answered(round, from).to_string(),
        ));
    }
    let keys = keys::of_chain(store_tx, chain).await?;
    if !keys.iter().any(|key| key.address == from) {
        return Ok(Concluded::Failed(format!(
            "the aggregator's oracle {from} is no enabled sending key of chain {chain} any more; see: dodona keys eth list"
        )));
    }
    // One waits at most: what was found for an older round is of no use to anybody.
    for older in txs::queued_of_job(store_tx, chain, from, job).await? {
        let why = format!("superseded by the submission to round {round}");
        txs::die(store_tx, &older, tx::Event::Refused, &why).await?;
    }
    let gas = ready.job.spec.gas_limit.map(u64::from);
    let new = NewTx {
        chain_id: chain,
        from,
        to: contract,
        payload: contract::submit(round, answer),
        value_wei: U256::ZERO,
        gas_limit: rules.gas_limit_of_tx(gas, "fluxmonitor"),
        task_run_id: Some(identity(chain, contract, from, round)),
        run_id: Some(run.id),
        job_id: Some(job),
        request_row: None,
        min_confirmations: None,
        fail_on_revert: false,
        simulate: false,
        signal_needed: false,
        meta: "{}".to_owned(),
    };
    txs::queue(store_tx, &new, now).await?;
    flux::note_reported(store_tx, job, run.id, round, &answer.to_string(), now).await?;
    Ok(Concluded::Submitted { round, answer })
}

#[cfg(test)]
mod tests {
    use dodona_pipeline::decimal::parse;

    use super::super::occasion::Occasion;
    use super::super::round::RoundState;
    use super::super::round::tests::{spec, state};
    use super::*;

    fn asked(occasion: Occasion) -> Asked {
        Asked {
            occasion,
            round: 7,
            oracle: Address::repeat_byte(9),
        }
    }

    fn look(last: i64) -> Look {
        Look {
            oracle: Address::repeat_byte(9),
            state: RoundState {
                latest_submission: I256::try_from(last).unwrap(),
                ..state()
            },
            latest: None,
            range: (I256::ONE, I256::try_from(1_000_000).unwrap()),
            flagged: false,
        }
    }

    fn decided(occasion: Occasion, number: &str, look: &Look) -> Result<I256, Verdict> {
        let number = parse(number).unwrap();
        decide(&asked(occasion), &spec(), &number, look, U256::ZERO)
    }

    #[test]
    fn a_poll_submits_what_moved_and_a_round_takes_what_there_is() {
        let same = decided(Occasion::Poll, "100.9", &look(100));
        assert!(matches!(same, Err(Verdict::Decline(why)) if why.contains("too close")));
        assert_eq!(
            decided(Occasion::Poll, "101.9", &look(100)),
            Ok(I256::try_from(101).unwrap()),
            "the whole part"
        );
        for occasion in [
            Occasion::Idle,
            Occasion::Retry,
            Occasion::Drumbeat,
            Occasion::Hibernation,
            Occasion::Awaken,
            Occasion::NewRound,
        ] {
            assert!(decided(occasion, "100", &look(100)).is_ok(), "{occasion:?}");
        }
    }

    #[test]
    fn the_first_round_needs_no_deviation() {
        let mut first = look(100);
        first.state.round = 1;
        assert!(decided(Occasion::Initial, "100", &first).is_ok());
    }

    #[test]
    fn a_round_that_closed_meanwhile_is_left_alone() {
        let mut closed = look(1);
        closed.state.eligible = false;
        assert!(matches!(
            decided(Occasion::NewRound, "100", &closed),
            Err(Verdict::Decline(_))
        ));
    }

    #[test]
    fn an_answer_that_the_contract_would_refuse_is_the_runs_error() {
        for number in ["0.99", "-5", "1000000.01", "1e90"] {
            assert!(
                matches!(decided(Occasion::NewRound, number, &look(5)), Err(Verdict::Fail(why)) if why.contains("outside acceptable range")),
                "{number}"
            );
        }
        assert!(decided(Occasion::NewRound, "1000000", &look(5)).is_ok());
    }

    #[test]
    fn one_value_that_is_a_number_comes_out() {
        assert_eq!(
            number(&[Some(Value::String("12.5".to_owned()))]),
            Ok(parse("12.5").unwrap())
        );
        assert!(number(&[Some(Value::Int(-3))]).is_ok());
        for bad in [
            vec![],
            vec![None],
            vec![Some(Value::Null)],
            vec![Some(Value::Bool(true))],
            vec![Some(Value::Int(1)), Some(Value::Int(1))],
            vec![Some(Value::String("soon".to_owned()))],
        ] {
            assert!(number(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_round_of_an_aggregator_has_one_transaction_of_a_key() {
        let [a, b] = [1, 2].map(Address::repeat_byte);
        let all = [
            identity(1, a, b, 1),
            identity(1, a, b, 2),
            identity(1, b, a, 1),
            identity(2, a, b, 1),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one));
        }
        assert_eq!(identity(1, a, b, 1), all[0]);
    }
}
