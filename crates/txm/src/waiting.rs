//! Telling the task that waits for a transaction.

use std::collections::BTreeMap;

use dodona_model::run::State as RunState;
use dodona_model::tx::State;
use dodona_model::{RunId, Timestamp};
use dodona_store::heads::Cursor;
use dodona_store::runs::Finished;
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

/// Ends the waiting tasks and lets their runs go on. Returns how many waited; the others do not, or not any more.
pub(crate) async fn tell_each(
    leader_tx: &mut LeaderTx,
    answers: Vec<(&Tx, Answer)>,
    now: Timestamp,
) -> Result<usize> {
    // Of a run that waits for several one is told now: it runs, and is told the next when it waits again.
    let mut first: BTreeMap<RunId, (&Tx, Answer)> = BTreeMap::new();
    let mut signalled = Vec::new();
    for (tx, answer) in answers {
        match tx.spec.run_id {
            Some(run) => {
                first.entry(run).or_insert((tx, answer));
            }
            None => signalled.push(tx.id),
        }
    }
    let runs: Vec<RunId> = first.keys().copied().collect();
    let resumed = runs::resume_each(leader_tx, &runs).await?;
    let mut finished = Vec::new();
    for (run, (tx, answer)) in first {
        if resumed.binary_search(&run).is_err() {
            // A run at work may be making another answer, or have another transaction to wait for. When it
            // waits again it is told.
            let at_work = runs::find(leader_tx, run).await?;
            if at_work.is_none_or(|run| run.state != RunState::Running) {
                signalled.push(tx.id);
            }
            continue;
        }
        signalled.push(tx.id);
        let (output, error) = match answer {
            Answer::Receipt(receipt) => (Some(receipt), None),
            Answer::Error(text) => (None, Some(text)),
        };
        if let Some(id) = tx.spec.task_run_id {
            finished.push(Finished {
                id,
                value: None,
                output,
                error,
            });
        }
    }
    txs::signalled_each(leader_tx, &signalled).await?;
    runs::finish_tasks(leader_tx, &finished, now).await?;
    if !resumed.is_empty() {
        leader_tx.poke_on_commit("runs");
    }
    Ok(resumed.len())
}
