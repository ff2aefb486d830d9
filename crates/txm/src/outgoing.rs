//! Handing stored bytes to the endpoints and noting what they said.

use alloy::primitives::Bytes;
use dodona_rpc::{Pool, SendOutcome};
use dodona_runtime::clock;
use dodona_store::txs::Attempt;
use dodona_store::{Leader, txs};

use crate::observe;

/// One attempt and what became of handing it out.
pub(crate) struct Handed {
    pub(crate) attempt: Attempt,
    pub(crate) outcome: SendOutcome,
}

/// Those that no endpoint took.
pub(crate) fn refused(handed: Vec<Handed>) -> Vec<Handed> {
    handed
        .into_iter()
        .filter(|handed| !handed.outcome.is_success())
        .collect()
}

/// Sends attempts that were read back from committed rows and notes the answers. Whoever no longer leads
/// sends nothing: the successor has the same rows, and may have replaced them.
pub(crate) async fn hand_out(
    pool: &Pool,
    lead: &Leader,
    key: alloy::primitives::Address,
    attempts: Vec<Attempt>,
) -> anyhow::Result<Vec<Handed>> {
    if attempts.is_empty() {
        return Ok(Vec::new());
    }
    lead.prove().await?;
    let sent_at = clock::now();
    let raws: Vec<Bytes> = attempts
        .iter()
        .map(|attempt| attempt.signed.raw.clone())
        .collect();
    let reports = pool.send_raw_many(&raws).await;
    let chain = pool.chain_id();
    let mut leader_tx = lead.begin().await?;
    let mut handed = Vec::with_capacity(attempts.len());
    let mut taken = Vec::new();
    for (attempt, report) in attempts.into_iter().zip(reports) {
        let id = attempt.signed.tx_id;
        if report.outcome.is_success() {
            taken.push((attempt.id, id));
            if !attempt.accepted {
                observe::handed_over(chain, id, attempt.signed.hash);
            }
        } else {
            let (why, cause) = in_words(&report.outcome);
            txs::note_attempt(&mut leader_tx, attempt.id, attempt.accepted, &why).await?;
            txs::note(&mut leader_tx, id, &why, sent_at).await?;
            match report.outcome {
                SendOutcome::InsufficientFunds => observe::out_of_funds(chain, key, id, cause),
                _ => observe::refused(chain, key, id, &why, cause),
            }
        }
        handed.push(Handed {
            attempt,
            outcome: report.outcome,
        });
    }
    // The moment the bytes left, not the moment we heard back.
    let queued_at = txs::all_handed_over(&mut leader_tx, &taken, sent_at).await?;
    leader_tx.commit().await?;
    for queued_at in queued_at {
        observe::broadcast(chain, sent_at.since(queued_at));
    }
    Ok(handed)
}

/// What an endpoint's answer means, for people and as a metric's label.
pub(crate) fn in_words(outcome: &SendOutcome) -> (String, &'static str) {
    let (text, label) = match outcome {
        SendOutcome::Accepted => ("accepted", "none"),
        SendOutcome::AlreadyKnown => ("already known", "none"),
        SendOutcome::NonceTooLow => (
            "its nonce is already used; looking for who used it",
            "nonce_too_low",
        ),
        SendOutcome::NonceTooHigh => (
            "the endpoint misses a lower nonce of this key",
            "nonce_too_high",
        ),
        SendOutcome::ReplacementUnderpriced => (
            "another transaction with its nonce is in the pool; a higher fee is needed",
            "replacement_underpriced",
        ),
        SendOutcome::Underpriced => ("its fee is below what endpoints take", "underpriced"),
        SendOutcome::FeeOutOfRange => (
            "its fee is outside what the chain takes",
            "fee_out_of_range",
        ),
        SendOutcome::PoolFull => ("the endpoint's pool is full", "pool_full"),
        SendOutcome::InsufficientFunds => {
            ("the key has not enough native coin", "insufficient_funds")
        }
        SendOutcome::ExceedsNodeFeeCap => (
            "the fee exceeds the endpoint's own cap (in geth: --rpc.txfeecap)",
            "exceeds_node_fee_cap",
        ),
        SendOutcome::Fatal(text) => {
            return (format!("it can never be mined as signed: {text}"), "fatal");
        }
        SendOutcome::Retryable(text) => {
            return (
                format!("endpoints could not be reached or refuse for now: {text}"),
                "retryable",
            );
        }
        SendOutcome::TerminallyStuck(text) => {
            return (format!("the chain will never take it: {text}"), "stuck");
        }
        SendOutcome::Unsupported(text) => {
            return (
                format!("endpoints do not support it: {text}"),
                "unsupported",
            );
        }
        SendOutcome::Unknown(text) => {
            return (
                format!("endpoints refuse with a text this version does not know: {text}"),
                "unknown",
            );
        }
    };
    (text.to_owned(), label)
}
