//! Who may be in flight, so that nobody waits behind a stranger: a decision, no IO.
//!
//! A run that is quickly done needs the processor, and only so many of those fit. One that waits for somebody
//! outside needs nearly nothing: after a moment it gives its slot to others and counts against a larger bound. And
//! no job takes all of either.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dodona_model::{JobId, RunId};

/// Runs that wait for somebody outside, for each slot.
const WAITING_PER_SLOT: usize = 16;

/// The runs in flight. One that was begun anew meanwhile is in it twice.
pub(crate) struct Slots {
    max: usize,
    // What is not done after so long waits for somebody outside.
    patience: Duration,
    taken: Vec<Taken>,
}

struct Taken {
    run: RunId,
    job: JobId,
    since: Instant,
}

/// What one job may take of so many: three quarters.
fn share(of: usize) -> usize {
    (of - of / 4).max(1)
}

impl Slots {
    pub(crate) fn new(max: usize, patience: Duration) -> Self {
        Self {
            max: max.max(1),
            patience,
            taken: Vec::new(),
        }
    }

    fn most(&self) -> usize {
        self.max.saturating_mul(1 + WAITING_PER_SLOT)
    }

    fn is_busy(&self, taken: &Taken, now: Instant) -> bool {
        now.saturating_duration_since(taken.since) < self.patience
    }

    /// Runs that are at work rather than waiting.
    pub(crate) fn busy(&self, now: Instant) -> usize {
        let busy = self.taken.iter().filter(|taken| self.is_busy(taken, now));
        busy.count()
    }

    /// How many runs may be begun.
    pub(crate) fn free(&self, now: Instant) -> usize {
        let quick = self.max.saturating_sub(self.busy(now));
        quick.min(self.most().saturating_sub(self.taken.len()))
    }

    /// Jobs that have their share and must leave the rest to others.
    pub(crate) fn crowding(&self, now: Instant) -> Vec<JobId> {
        let mut of: BTreeMap<JobId, (usize, usize)> = BTreeMap::new();
        for taken in &self.taken {
            let (busy, all) = of.entry(taken.job).or_default();
            *busy += usize::from(self.is_busy(taken, now));
            *all += 1;
        }
        of.into_iter()
            .filter(|(_, (busy, all))| *busy >= share(self.max) || *all >= share(self.most()))
            .map(|(job, _)| job)
            .collect()
    }

    /// When the next run turns out to wait for somebody, and its slot is free.
    pub(crate) fn next_free(&self, now: Instant) -> Option<Duration> {
        let busy = self.taken.iter().filter(|taken| self.is_busy(taken, now));
        let oldest = busy.map(|taken| taken.since).min()?;
        Some(
            self.patience
                .saturating_sub(now.saturating_duration_since(oldest)),
        )
    }

    pub(crate) fn take(&mut self, run: RunId, job: JobId, now: Instant) {
        self.taken.push(Taken {
            run,
            job,
            since: now,
        });
    }

    /// One execution of a run is over.
    pub(crate) fn leave(&mut self, run: RunId) {
        if let Some(at) = self.taken.iter().position(|taken| taken.run == run) {
            self.taken.swap_remove(at);
        }
    }

    pub(crate) fn runs(&self) -> Vec<RunId> {
        self.taken.iter().map(|taken| taken.run).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn slots(max: usize, jobs: &[(JobId, usize)], now: Instant) -> Slots {
        let mut slots = Slots::new(max, PATIENCE);
        for (job, count) in jobs {
            for n in 0..*count {
                slots.take(*job * 1_000_000 + n as i64, *job, now);
            }
        }
        slots
    }

    #[test]
    fn a_job_that_has_three_quarters_of_the_slots_leaves_the_rest_to_others() {
        let now = Instant::now();
        assert!(slots(64, &[(1, 47), (2, 3)], now).crowding(now).is_empty());
        let full = slots(64, &[(1, 48), (2, 3)], now);
        assert_eq!(full.crowding(now), [1]);
        assert_eq!(full.free(now), 13);
    }

    #[test]
    fn who_waits_for_a_source_gives_its_slot_back_after_a_moment() {
        let began = Instant::now();
        let slots = slots(64, &[(1, 64)], began);
        assert_eq!(slots.free(began), 0);
        assert_eq!(slots.next_free(began), Some(PATIENCE));
        let later = began + PATIENCE;
        assert_eq!(slots.free(later), 64);
        assert!(slots.crowding(later).is_empty());
        assert_eq!(slots.next_free(later), None);
    }

    #[test]
    fn those_who_wait_are_bounded_too_in_all_and_for_each_job() {
        let began = Instant::now();
        let later = began + PATIENCE;
        let hanging = slots(4, &[(1, 51)], began);
        assert_eq!(hanging.crowding(later), [1]);
        assert_eq!(hanging.free(later), 4);
        let full = slots(4, &[(1, 34), (2, 34)], began);
        assert_eq!(full.free(later), 0);
    }

    #[test]
    fn of_two_executions_of_one_run_the_other_stays() {
        let now = Instant::now();
        let mut slots = slots(2, &[(1, 1)], now);
        slots.take(1_000_000, 1, now);
        slots.leave(1_000_000);
        assert_eq!((slots.len(), slots.runs()), (1, vec![1_000_000]));
    }
}
