//! Whoever came back proves itself by answers and by time before it is trusted like the others.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// It gets a part of the questions until this time has passed, and so many were answered well.
const PROBATION: Duration = Duration::from_secs(30);
const ANSWERS: u32 = 200;
/// Where hardly anything is asked, so many answers would take for ever.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Probation {
    /// Good answers it still owes; 0 for most, so that a look costs one load.
    owed: AtomicU32,
    began: Mutex<Option<Instant>>,
}

impl Probation {
    pub(super) fn begin(&self, now: Instant) {
        *self.began() = Some(now);
        // One more than is owed: the last one is let go by the clock.
        self.owed.store(ANSWERS + 1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        *self.began() = None;
        self.owed.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.owed.load(Ordering::Relaxed) > 0
    }

    /// It answered well.
    pub(super) fn answered(&self, now: Instant) {
        match self.owed.load(Ordering::Relaxed) {
            0 => {}
            1 if self.lasts(now, PROBATION) => {}
            1 => self.end(),
            // Who loses a race has answered at the same time as somebody else: once is enough.
            owed => {
                let _ = self.owed.compare_exchange(
                    owed,
                    owed - 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
        }
    }

    /// Lets go of whoever was not asked often enough.
    pub(super) fn look(&self, now: Instant) {
        if self.is_on() && !self.lasts(now, LONGEST) {
            self.end();
        }
    }

    fn lasts(&self, now: Instant, time: Duration) -> bool {
        self.began().is_some_and(|began| now < began + time)
    }

    fn began(&self) -> MutexGuard<'_, Option<Instant>> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_back_proves_itself_by_answers_and_by_time() {
        let (probation, now) = (Probation::default(), Instant::now());
        probation.answered(now);
        assert!(!probation.is_on());
        probation.begin(now);
        for _ in 0..2 * ANSWERS {
            probation.answered(now);
        }
        assert!(probation.is_on(), "not yet half a minute");
        probation.answered(now + PROBATION);
        assert!(!probation.is_on());
        probation.begin(now);
        probation.answered(now + PROBATION);
        assert!(probation.is_on(), "only one answer");
    }

    #[test]
    fn who_came_back_and_is_asked_nothing_has_proven_itself_after_some_minutes() {
        let (probation, now) = (Probation::default(), Instant::now());
        probation.begin(now);
        probation.look(now + LONGEST - Duration::from_secs(1));
        assert!(probation.is_on());
        probation.look(now + LONGEST);
        assert!(!probation.is_on());
        // Gone again, it has nothing to prove until it is back.
        probation.begin(now);
        probation.end();
        assert!(!probation.is_on());
    }
}
