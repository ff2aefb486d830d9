use std::time::Duration;

use dodona_model::run::State;
use dodona_runtime::{Service, clock};
use dodona_store::{Store, bridge_answers, runs, txs, users};
use serde::Serialize;

/// Rows deleted in one database transaction, at most: pruning must not hold up answering.
const BATCH: u32 = 200;
/// Last answers of bridges kept, at most.
const BRIDGE_ANSWERS: u32 = 10_000;
/// A last answer of a bridge that is older than this helps nobody, whatever a task's `cacheTTL` says.
const KEEP_BRIDGE_ANSWERS: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Forgets ended runs and transactions that are old or too many.
pub struct Pruner {
    store: Store,
    keep_runs: Duration,
    keep_successful: u32,
    keep_txs: Option<Duration>,
    keep_sessions: Duration,
}

/// What one round did.
#[derive(Debug, Default, Serialize)]
pub struct Pruned {
    runs: u64,
    txs: u64,
    sessions: u64,
    bridge_answers: u64,
}

impl Pruner {
    /// Keeps runs for `keep_runs` and of each job the newest `keep_successful` completed ones, ended
    /// transactions for `keep_txs` (`None`: for ever), sessions for `keep_sessions` after their last use.
    pub fn new(
        store: Store,
        keep_runs: Duration,
        keep_successful: u32,
        keep_txs: Option<Duration>,
        keep_sessions: Duration,
    ) -> Self {
        Self {
            store,
            keep_runs,
            keep_successful,
            keep_txs,
            keep_sessions,
        }
    }
}

impl Service<()> for Pruner {
    type Report = Pruned;

    async fn tick(&mut self, (): &()) -> anyhow::Result<Pruned> {
        let now = clock::now();
        let mut pruned = Pruned::default();
        loop {
            let mut tx = self.store.begin().await?;
            let count = runs::prune_old(&mut tx, now.minus(self.keep_runs), BATCH).await?;
            tx.commit().await?;
            pruned.runs += count;
            if count < u64::from(BATCH) {
                break;
            }
        }
        let counts = runs::count_by_job_and_state(&mut self.store.read().await?).await?;
        let full = counts.into_iter().filter(|(_, state, count)| {
            *state == State::Completed && *count > u64::from(self.keep_successful)
        });
        for (job, ..) in full {
            loop {
                let mut tx = self.store.begin().await?;
                let count = runs::prune_surplus(&mut tx, job, self.keep_successful, BATCH).await?;
                tx.commit().await?;
                pruned.runs += count;
                if count < u64::from(BATCH) {
                    break;
                }
            }
        }
        let mut tx = self.store.begin().await?;
        if let Some(keep) = self.keep_txs {
            pruned.txs = txs::prune(&mut tx, now.minus(keep), BATCH).await?;
        }
        pruned.bridge_answers =
            bridge_answers::prune(&mut tx, now.minus(KEEP_BRIDGE_ANSWERS), BRIDGE_ANSWERS).await?;
        pruned.sessions = users::prune_sessions(&mut tx, now.minus(self.keep_sessions)).await?;
        tx.commit().await?;
        Ok(pruned)
    }

    fn worked(_: &Pruned) -> bool {
        false
    }
}
