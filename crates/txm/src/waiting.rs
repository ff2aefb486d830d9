//! Telling the task that waits for a transaction.

use dodona_model::Timestamp;
use dodona_model::run::State as RunState;
use dodona_model::tx::State;
use dodona_store::heads::Cursor;
use dodona_store::txs::Tx;
use dodona_store::{LeaderTx, Result, runs, txs};

use crate::inclusion;

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
            // The receipt of something else than what the task asked for is no answer to it.
            if inclusion::carried_nothing(mined) {
                return Some(Answer::Error(format!("task run failed: {}", tx.reason)));
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

/// Ends the waiting task and lets its run go on. `false`: it does not wait, or not any more.
pub(crate) async fn tell(
    leader_tx: &mut LeaderTx,
    tx: &Tx,
    answer: &Answer,
    now: Timestamp,
) -> Result<bool> {
    let waits = match tx.spec.run_id {
        Some(run) => runs::resume(leader_tx, run).await?,
        None => false,
    };
    if !waits {
        // A run at work may be making another answer, or have another transaction to wait for. When it
        // waits again it is told.
        let at_work = match tx.spec.run_id {
            Some(run) => runs::find(leader_tx, run).await?,
            None => None,
        };
        if at_work.is_none_or(|run| run.state != RunState::Running) {
            txs::signalled(leader_tx, tx.id).await?;
        }
        return Ok(false);
    }
    txs::signalled(leader_tx, tx.id).await?;
    let (output, error) = match answer {
        Answer::Receipt(receipt) => (Some(receipt.as_str()), None),
        Answer::Error(text) => (None, Some(text.as_str())),
    };
    if let Some(task_run) = tx.spec.task_run_id {
        runs::finish_task(leader_tx, task_run, None, output, error, now).await?;
    }
    leader_tx.poke_on_commit("runs");
    Ok(true)
}
