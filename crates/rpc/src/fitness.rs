//! How fit an endpoint is for a question, beyond the state it is in: what is in flight there, what
//! it asked us to hold back, which methods it fails or does not have.
//!
//! States say whether an endpoint is used at all; this says whether it is a good choice just now.
//! It never takes an endpoint out: when nobody is fit, whoever is left is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A method an endpoint does not have is not asked of it for so long.
const ABSENT_FOR: Duration = Duration::from_secs(600);
/// So many failures of one method in a row, and it is asked elsewhere for a while.
const FAILURES_IN_A_ROW: u32 = 3;
/// The first pause of a failing method; doubles up to the longest.
const METHOD_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_METHOD_PAUSE: Duration = Duration::from_secs(60);
/// Methods kept in mind; what clients may name is without end.
const METHODS: usize = 256;
/// After "too many requests" without a time.
const BACK_OFF: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Fitness {
    in_flight: AtomicU32,
    /// Set while `methods` holds anything, so that a healthy endpoint costs one load.
    blemished: AtomicU64,
    /// Its head is on another branch than the one everybody speaks about.
    strays: AtomicBool,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    hold_back_until: Option<Instant>,
    methods: HashMap<String, Method>,
}

#[derive(Default)]
struct Method {
    failed_in_a_row: u32,
    unfit_until: Option<Instant>,
    why: &'static str,
}

/// One question on its way; counted until dropped.
pub(crate) struct InFlight<'a>(&'a AtomicU32);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fitness {
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn strays(&self) -> bool {
        self.strays.load(Ordering::Relaxed)
    }

    pub(crate) fn set_strays(&self, strays: bool) {
        self.strays.store(strays, Ordering::Relaxed);
    }

    /// Whether the endpoint is a good choice for this method now.
    pub(crate) fn is_fit(&self, method: &str, now: Instant) -> bool {
        if self.blemished.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let marks = self.marks();
        if marks.hold_back_until.is_some_and(|until| until > now) {
            return false;
        }
        marks
            .methods
            .get(method)
            .and_then(|method| method.unfit_until)
            .is_none_or(|until| until <= now)
    }

    /// It answered the method as it should.
    pub(crate) fn did_well(&self, method: &str) {
        if self.blemished.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut marks = self.marks();
        marks.methods.remove(method);
        self.count(&marks);
    }

    /// It failed a method that others may answer. True if it is unfit for the method from now on.
    pub(crate) fn failed(&self, method: &str, now: Instant) -> bool {
        let mut marks = self.marks();
        if marks.methods.len() >= METHODS && !marks.methods.contains_key(method) {
            return false;
        }
        let mark = marks.methods.entry(method.to_owned()).or_default();
        mark.failed_in_a_row += 1;
        let unfit = mark.failed_in_a_row >= FAILURES_IN_A_ROW;
        if unfit {
            let doublings = (mark.failed_in_a_row - FAILURES_IN_A_ROW).min(5);
            mark.unfit_until =
                Some(now + (METHOD_PAUSE * 2_u32.pow(doublings)).min(LONGEST_METHOD_PAUSE));
            mark.why = "fails";
        }
        self.count(&marks);
        unfit
    }

    /// It does not have the method, or does not let us use it.
    pub(crate) fn lacks(&self, method: &str, now: Instant) {
        let mut marks = self.marks();
        if marks.methods.len() < METHODS {
            let mark = marks.methods.entry(method.to_owned()).or_default();
            mark.unfit_until = Some(now + ABSENT_FOR);
            mark.why = "lacks";
        }
        self.count(&marks);
    }

    /// It asked for fewer requests; `retry_after` if it said until when.
    pub(crate) fn hold_back(&self, now: Instant, retry_after: Option<Duration>) {
        let mut marks = self.marks();
        marks.hold_back_until = Some(now + retry_after.unwrap_or(BACK_OFF));
        self.count(&marks);
    }

    /// What it is not asked at present, in words; empty for most.
    pub(crate) fn blemishes(&self, now: Instant) -> Vec<String> {
        let marks = self.marks();
        let mut list: Vec<String> = marks
            .methods
            .iter()
            .filter(|(_, method)| method.unfit_until.is_some_and(|until| until > now))
            .map(|(name, method)| format!("{} {name}", method.why))
            .collect();
        list.sort();
        if self.strays() {
            list.push("is on another branch of the chain".to_owned());
        }
        if let Some(until) = marks.hold_back_until.filter(|until| *until > now) {
            list.push(format!(
                "asked us to hold back for {} s more",
                (until - now).as_secs_f64().ceil()
            ));
        }
        list
    }

    fn count(&self, marks: &Marks) {
        let count = marks.methods.len() + usize::from(marks.hold_back_until.is_some());
        self.blemished.store(count as u64, Ordering::Relaxed);
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_fails_one_method_is_unfit_for_that_one_and_for_a_while() {
        let (fitness, now) = (Fitness::default(), Instant::now());
        assert!(!fitness.failed("eth_call", now));
        assert!(!fitness.failed("eth_call", now));
        assert!(fitness.is_fit("eth_call", now));
        assert!(fitness.failed("eth_call", now));
        assert!(!fitness.is_fit("eth_call", now));
        assert!(fitness.is_fit("eth_getLogs", now));
        assert!(fitness.is_fit("eth_call", now + METHOD_PAUSE));
        assert_eq!(fitness.blemishes(now), ["fails eth_call"]);
        fitness.did_well("eth_call");
        assert!(fitness.is_fit("eth_call", now));
        assert!(fitness.blemishes(now).is_empty());
    }

    #[test]
    fn a_missing_method_is_not_asked_for_and_a_rate_limit_holds_for_all_of_them() {
        let (fitness, now) = (Fitness::default(), Instant::now());
        fitness.lacks("trace_block", now);
        assert!(!fitness.is_fit("trace_block", now + Duration::from_secs(599)));
        assert!(fitness.is_fit("eth_call", now));
        fitness.hold_back(now, Some(Duration::from_secs(7)));
        assert!(!fitness.is_fit("eth_call", now + Duration::from_secs(6)));
        assert!(fitness.is_fit("eth_call", now + Duration::from_secs(7)));
    }
}
