//! Completed runs of a job beyond those that are kept go soon, not only when the reaper comes.

use std::collections::HashMap;

use dodona_model::JobId;
use dodona_store::{Store, runs};

/// Rows deleted in one round, at most: pruning must not hold up answering.
const BATCH: u32 = 200;

/// Counts what this process completed, so that only jobs that grow are looked at.
#[derive(Debug)]
pub(crate) struct Surplus {
    keep: u32,
    completed: HashMap<JobId, u32>,
}

impl Surplus {
    /// Keeps the newest `keep` completed runs of each job.
    pub(crate) fn keeping(keep: u32) -> Self {
        Self {
            keep,
            completed: HashMap::new(),
        }
    }

    /// Completed runs after which a job is looked at: a hundredth of what is kept.
    fn patience(&self) -> u32 {
        (self.keep / 100).clamp(1, BATCH / 2)
    }

    /// A run of this job completed.
    pub(crate) fn completed(&mut self, job: JobId) {
        *self.completed.entry(job).or_insert(0) += 1;
    }

    /// Deletes what is too much of the job that completed most.
    pub(crate) async fn prune(&mut self, store: &Store) -> dodona_store::Result<()> {
        let patience = self.patience();
        let fullest = self.completed.iter().max_by_key(|(_, count)| **count);
        let Some((&job, _)) = fullest.filter(|(_, count)| **count >= patience) else {
            return Ok(());
        };
        let mut tx = store.begin().await?;
        let pruned = runs::prune_surplus(&mut tx, job, self.keep, BATCH).await?;
        tx.commit().await?;
        if pruned < u64::from(BATCH) {
            self.completed.remove(&job);
        }
        Ok(())
    }
}
