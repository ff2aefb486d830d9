//! Telling the task that waits for a transaction.

use dodona_model::Timestamp;
use dodona_model::tx::State;
use dodona_store::heads::Cursor;
use dodona_store::txs::Tx;
use dodona_store::{LeaderTx, Result, runs, txs};

/// What a waiting task gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The receipt, JSON.
    Receipt(String),
    /// Why there is none.
    Error(String),
}

/// Whether the task can be told now, and what.
pub(crate) fn answer(tx: &Tx, cursor: &Cursor) -> Option<Answer> {
    if !tx.spec.signal_needed || tx.superseded {
        return None;
    }
    match (tx.state, &tx.mined) {
        (State::Dead, _) => Some(Answer::Error(format!("task run failed: {}", tx.reason))),
        (State::Mined | State::Final, Some(mined)) => {
            let deep = match tx.spec.min_confirmations {
                Some(wanted) => cursor.block.number >= mined.block.number.saturating_add(wanted),
                None => tx.state == State::Final,
            };
            if !deep && tx.state != State::Final {
                return None;
            }
            if !mined.succeeded && tx.spec.fail_on_revert {
                let text = format!(
                    "transaction {} reverted in block {}: {}",
                    mined.hash, mined.block.number, tx.reason
                );
                return Some(Answer::Error(text));
            }
            Some(Answer::Receipt(mined.receipt.clone()))
        }
        _ => None,
    }
}

/// Ends the waiting task and lets its run go on. `false`: nobody waited any more.
pub(crate) async fn tell(
    leader_tx: &mut LeaderTx,
    tx: &Tx,
    answer: &Answer,
    now: Timestamp,
) -> Result<bool> {
    if !txs::signalled(leader_tx, tx.id).await? {
        return Ok(false);
    }
    let Some(task_run) = tx.spec.task_run_id else {
        return Ok(false);
    };
    let (output, error) = match answer {
        Answer::Receipt(receipt) => (Some(receipt.as_str()), None),
        Answer::Error(text) => (None, Some(text.as_str())),
    };
    let run = runs::finish_task(leader_tx, task_run, None, output, error, now).await?;
    if let Some(run) = run {
        runs::resume(leader_tx, run).await?;
        leader_tx.poke_on_commit("runs");
    }
    Ok(run.is_some())
}
