//! How fit an endpoint is for a question, beyond the state it is in: what is in flight there, what
//! it asked us to hold back, which methods it fails, answers slowly or does not have, and whether
//! it came back so lately that it has to prove itself.
//!
//! States say whether an endpoint is used at all; this says whether it is a good choice just now.
//! It never takes an endpoint out: when nobody is fit, whoever is left is asked.

mod probation;
mod window;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::by_name::ByName;
use crate::gateway::method;
use probation::Probation;
pub(crate) use window::Shown;

/// A method an endpoint does not have is not asked of it for so long.
const ABSENT_FOR: Duration = Duration::from_secs(600);
/// So many failures of one method in a row, and it is asked elsewhere for a while.
const FAILURES_IN_A_ROW: u32 = 3;
/// Or when half of so many calls in the last seconds failed.
const SAMPLES: u32 = 20;
/// The first pause of a failing method; doubles up to the longest.
const METHOD_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_METHOD_PAUSE: Duration = Duration::from_secs(60);
/// Somebody who was caught leaving things out is not asked for them for so long.
const SUSPECT_FOR: Duration = Duration::from_secs(60);
const LONGEST_SUSPECT: Duration = Duration::from_secs(600);
/// Good cross-checks in a row after which a suspect is asked again.
const CLEARED_AFTER: u32 = 2;
/// A slow method is asked elsewhere after so long.
const SLOW_FOR: Duration = Duration::from_secs(30);
/// Answering times say something from so many calls on.
const TIMED: u32 = 50;
/// Slower than so many times what is usual.
const SLOW_FACTOR: u32 = 10;
/// Below this nobody is slow.
const QUICK_ENOUGH: Duration = Duration::from_millis(5);
/// Methods nobody knows, kept in mind for not being there; what clients may name is without end.
const STRANGERS: usize = 64;
/// After "too many requests" without a time.
const BACK_OFF: Duration = Duration::from_secs(1);
pub(crate) struct Fitness {
    in_flight: AtomicU32,
    /// Set while `methods` holds a mark, so that a healthy endpoint costs one load.
    blemished: AtomicU64,
    /// Its head is on another branch than the one everybody speaks about.
    strays: AtomicBool,
    probation: Probation,
    born: Instant,
    marks: Mutex<Marks>,
}

impl Default for Fitness {
    fn default() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            blemished: AtomicU64::new(0),
            strays: AtomicBool::new(false),
            probation: Probation::default(),
            born: Instant::now(),
            marks: Mutex::default(),
        }
    }
}

#[derive(Default)]
struct Marks {
    hold_back_until: Option<Instant>,
    /// Those of the table, each by its name, and all others under one.
    methods: ByName<&'static str, Method>,
    /// Other methods it does not have, until when they are not asked of it. They are named by
    /// whoever asks, so nothing but their own use depends on them.
    strangers: HashMap<String, Instant>,
}

#[derive(Default)]
struct Method {
    window: window::Window,
    failed_in_a_row: u32,
    /// Pauses in a row, for their length.
    pauses: u32,
    unfit: Option<Unfit>,
    slow_since: Option<Instant>,
    good_checks: u32,
}

struct Unfit {
    until: Instant,
    why: Why,
}

#[derive(Clone, PartialEq, Eq)]
enum Why {
    Fails,
    Lacks,
    Slow,
    /// Caught at something, in words.
    Suspect(String),
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

    /// Whether there is nothing at all that speaks against it.
    pub(crate) fn is_unblemished(&self) -> bool {
        self.blemished.load(Ordering::Relaxed) == 0
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
        match known(method) {
            Some(known) => marks
                .methods
                .get(known)
                .and_then(|method| method.unfit.as_ref())
                .is_none_or(|unfit| unfit.until <= now),
            None => marks
                .strangers
                .get(method)
                .is_none_or(|until| *until <= now),
        }
    }

    /// How long it wants to be left alone; none for most.
    pub(crate) fn held_back(&self, now: Instant) -> Option<Duration> {
        if self.blemished.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let until = self.marks().hold_back_until?;
        (until > now).then(|| until - now)
    }

    /// It answered the method as it should.
    pub(crate) fn did_well(&self, method: &str, took: Duration, now: Instant) {
        self.probation.answered(now);
        let mut marks = self.marks();
        let second = self.second(now);
        let Some(known) = known(method) else {
            marks.note_stranger(second, true, Some(took));
            if marks.strangers.remove(method).is_some() {
                self.count(&marks);
            }
            return;
        };
        let mark = marks.methods.entry(known).or_default();
        mark.window.note(second, true, Some(took));
        mark.failed_in_a_row = 0;
        // A good answer clears what an answer can clear; the rest takes its time.
        let cleared = match &mark.unfit {
            None => false,
            Some(unfit) => match unfit.why {
                Why::Fails | Why::Lacks => true,
                Why::Suspect(_) => unfit.until <= now,
                Why::Slow => false,
            },
        };
        if cleared {
            mark.unfit = None;
            mark.pauses = 0;
            self.count(&marks);
        }
    }

    /// It failed a method that others may answer. True if it is unfit for the method from now on.
    pub(crate) fn failed(&self, method: &str, now: Instant) -> bool {
        let mut marks = self.marks();
        let second = self.second(now);
        let Some(mark) = marks.method(method) else {
            marks.note_stranger(second, false, None);
            return false;
        };
        mark.failed_in_a_row += 1;
        mark.window.note(second, false, None);
        let shown = mark.window.shown(second);
        let many = shown.good + shown.failed >= SAMPLES && shown.failed > shown.good;
        let paused = mark.unfit.as_ref().is_some_and(|unfit| unfit.until > now);
        let unfit = mark.failed_in_a_row >= FAILURES_IN_A_ROW || many;
        if unfit && !(paused && many && mark.failed_in_a_row < FAILURES_IN_A_ROW) {
            let pause = METHOD_PAUSE * 2_u32.pow(mark.pauses.min(5));
            mark.pauses += 1;
            let why = Why::Fails;
            let until = now + pause.min(LONGEST_METHOD_PAUSE);
            mark.unfit = Some(Unfit { until, why });
        }
        self.count(&marks);
        unfit
    }

    /// It does not have the method, or does not let us use it.
    pub(crate) fn lacks(&self, method: &str, now: Instant) {
        let mut marks = self.marks();
        if let Some(mark) = marks.method(method) {
            mark.unfit = Some(Unfit {
                until: now + ABSENT_FOR,
                why: Why::Lacks,
            });
        } else {
            marks.lacks_stranger(method, now);
        }
        self.count(&marks);
    }

    /// It was caught leaving something out; `what` completes "is not asked for eth_getLogs: it …".
    pub(crate) fn suspect(&self, method: &str, what: String, now: Instant) {
        let mut marks = self.marks();
        if let Some(mark) = marks.method(method) {
            let pause = SUSPECT_FOR * 2_u32.pow(mark.pauses.min(4));
            mark.pauses += 1;
            mark.good_checks = 0;
            mark.unfit = Some(Unfit {
                until: now + pause.min(LONGEST_SUSPECT),
                why: Why::Suspect(what),
            });
        }
        self.count(&marks);
    }

    /// A cross-check found nothing wrong with the method.
    pub(crate) fn checked_well(&self, method: &str) {
        let mut marks = self.marks();
        if let Some(mark) = marks.method(method)
            && matches!(&mark.unfit, Some(unfit) if matches!(unfit.why, Why::Suspect(_)))
        {
            mark.good_checks += 1;
            if mark.good_checks >= CLEARED_AFTER {
                mark.unfit = None;
                mark.pauses = 0;
            }
        }
        self.count(&marks);
    }

    /// Compares how slow a method is here with what is usual in the pool.
    pub(crate) fn compare_slowness(&self, method: &str, usual: Duration, now: Instant) {
        let mut marks = self.marks();
        let second = self.second(now);
        let Some(mark) = known(method).and_then(|known| marks.methods.get_mut(known)) else {
            return;
        };
        let shown = mark.window.shown(second);
        let slow = shown.timed >= TIMED && shown.p99 > usual.max(QUICK_ENOUGH) * SLOW_FACTOR;
        if !slow {
            mark.slow_since = None;
            if matches!(&mark.unfit, Some(unfit) if unfit.why == Why::Slow && unfit.until <= now) {
                mark.unfit = None;
                mark.pauses = 0;
            }
        } else if now - *mark.slow_since.get_or_insert(now) >= SLOW_FOR
            && mark.unfit.as_ref().is_none_or(|unfit| unfit.until <= now)
        {
            let pause = METHOD_PAUSE * 2_u32.pow(mark.pauses.min(5));
            mark.pauses += 1;
            mark.unfit = Some(Unfit {
                until: now + pause.min(LONGEST_METHOD_PAUSE),
                why: Why::Slow,
            });
        }
        self.count(&marks);
    }

    /// Whether it is left alone for being slow at a method.
    pub(crate) fn is_slow_at(&self, method: &str) -> bool {
        let marks = self.marks();
        let unfit = marks.methods.get(method).and_then(|it| it.unfit.as_ref());
        unfit.is_some_and(|unfit| unfit.why == Why::Slow)
    }

    /// It asked for fewer requests; `retry_after` if it said until when.
    pub(crate) fn hold_back(&self, now: Instant, retry_after: Option<Duration>) {
        let mut marks = self.marks();
        let until = now + retry_after.unwrap_or(BACK_OFF);
        // Several answers of one moment say the same; the longest counts.
        marks.hold_back_until = Some(marks.hold_back_until.map_or(until, |old| old.max(until)));
        self.count(&marks);
    }

    /// It came back: it gets a part of the questions until it has proven itself.
    pub(crate) fn put_on_probation(&self, now: Instant) {
        self.probation.begin(now);
    }

    /// It is gone: who is not there has nothing to prove.
    pub(crate) fn end_probation(&self) {
        self.probation.end();
    }

    /// Lets go of whoever was not asked often enough to prove anything.
    pub(crate) fn look_at_probation(&self, now: Instant) {
        self.probation.look(now);
    }

    pub(crate) fn is_on_probation(&self) -> bool {
        self.probation.is_on()
    }

    /// The methods asked lately and what became of that.
    pub(crate) fn methods(&self, now: Instant) -> Vec<(String, Shown)> {
        let second = self.second(now);
        let mut marks = self.marks();
        let shown = marks.methods.iter_mut().map(|(name, method)| {
            let shown = method.window.shown(second);
            ((*name).to_owned(), shown)
        });
        let mut list: Vec<_> = shown
            .filter(|(_, shown)| shown.good + shown.failed + shown.timed > 0)
            .collect();
        list.sort_by(|one, other| one.0.cmp(&other.0));
        list
    }

    /// What it is not asked at present, in words; empty for most.
    pub(crate) fn blemishes(&self, now: std::time::Instant) -> Vec<String> {
        let now = Instant::from_std(now);
        let marks = self.marks();
        let unfit = marks.methods.iter().filter_map(|(name, method)| {
            let unfit = method.unfit.as_ref().filter(|unfit| unfit.until > now)?;
            Some(match &unfit.why {
                Why::Fails => format!("fails {name}"),
                Why::Lacks => format!("lacks {name}"),
                Why::Slow => format!("is slow at {name}"),
                Why::Suspect(what) => format!("is not asked for {name}: it {what}"),
            })
        });
        let mut list: Vec<String> = unfit.collect();
        list.sort();
        match marks
            .strangers
            .values()
            .filter(|until| **until > now)
            .count()
        {
            0 => {}
            1 => list.push("lacks a method that is not known here".to_owned()),
            many => list.push(format!("lacks {many} methods that are not known here")),
        }
        if self.strays() {
            list.push("is on another branch of the chain".to_owned());
        }
        if let Some(until) = marks.hold_back_until.filter(|until| *until > now) {
            list.push(format!(
                "asked us to hold back for {} s more",
                (until - now).as_secs_f64().ceil()
            ));
        }
        if self.is_on_probation() {
            list.push("came back lately and gets a part of the questions".to_owned());
        }
        list
    }

    fn second(&self, now: Instant) -> u64 {
        // Far from 0, which empty slots have.
        now.saturating_duration_since(self.born).as_secs() + 1000
    }

    fn count(&self, marks: &Marks) {
        let unfit = marks.methods.values().filter(|mark| mark.unfit.is_some());
        let count =
            unfit.count() + marks.strangers.len() + usize::from(marks.hold_back_until.is_some());
        self.blemished.store(count as u64, Ordering::Relaxed);
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    /// None for a method that is not in the table.
    fn method(&mut self, name: &str) -> Option<&mut Method> {
        Some(self.methods.entry(known(name)?).or_default())
    }

    fn note_stranger(&mut self, second: u64, good: bool, took: Option<Duration>) {
        let mark = self.methods.entry(method::UNKNOWN.name).or_default();
        mark.window.note(second, good, took);
    }

    fn lacks_stranger(&mut self, name: &str, now: Instant) {
        self.strangers.retain(|_, until| *until > now);
        if self.strangers.len() >= STRANGERS {
            let oldest = self.strangers.iter().min_by_key(|(_, until)| **until);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.strangers.remove(&oldest);
            }
        }
        self.strangers.insert(name.to_owned(), now + ABSENT_FOR);
    }
}

/// The name of a method of the table.
fn known(name: &str) -> Option<&'static str> {
    let known = method::find(name).name;
    (known == name).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(fitness: &Fitness) -> Vec<String> {
        fitness.blemishes(std::time::Instant::now())
    }

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
        assert_eq!(words(&fitness), ["fails eth_call"]);
        fitness.did_well("eth_call", Duration::from_millis(1), Instant::now());
        assert!(fitness.is_fit("eth_call", now));
        assert!(words(&fitness).is_empty());
    }

    #[test]
    fn half_of_many_calls_failing_counts_although_never_three_in_a_row() {
        let (fitness, now) = (Fitness::default(), Instant::now());
        let mut unfit = false;
        for n in 0..60 {
            if n % 3 == 0 {
                fitness.did_well("eth_call", Duration::from_millis(1), Instant::now());
            } else {
                unfit = fitness.failed("eth_call", now);
            }
        }
        assert!(unfit && !fitness.is_fit("eth_call", now));
        fitness.did_well("eth_call", Duration::from_millis(1), Instant::now());
        let later = now + Duration::from_secs(61);
        assert!(fitness.is_fit("eth_call", later));
        assert!(
            !fitness.failed("eth_call", later),
            "the window is forgotten"
        );
    }

    #[test]
    fn a_missing_method_is_not_asked_for_and_a_rate_limit_holds_for_all_of_them() {
        let (fitness, now) = (Fitness::default(), Instant::now());
        fitness.lacks("trace_block", now);
        assert!(!fitness.is_fit("trace_block", now + Duration::from_secs(599)));
        assert!(fitness.is_fit("eth_call", now));
        fitness.hold_back(now, Some(Duration::from_secs(7)));
        fitness.hold_back(now, None);
        assert_eq!(fitness.held_back(now), Some(Duration::from_secs(7)));
        assert!(!fitness.is_fit("eth_call", now + Duration::from_secs(6)));
        assert!(fitness.is_fit("eth_call", now + Duration::from_secs(7)));
    }

    #[test]
    fn a_suspect_is_asked_again_after_two_good_cross_checks_or_with_time() {
        let (fitness, now) = (Fitness::default(), Instant::now());
        fitness.suspect("eth_getLogs", "left out logs of block 7".to_owned(), now);
        assert_eq!(
            words(&fitness),
            ["is not asked for eth_getLogs: it left out logs of block 7"]
        );
        // An answer is no proof.
        fitness.did_well("eth_getLogs", Duration::from_millis(1), Instant::now());
        fitness.checked_well("eth_getLogs");
        assert!(!fitness.is_fit("eth_getLogs", now));
        fitness.checked_well("eth_getLogs");
        assert!(fitness.is_fit("eth_getLogs", now));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_ten_times_slower_than_usual_for_half_a_minute_is_slow() {
        let fitness = Fitness::default();
        let usual = Duration::from_millis(20);
        for _ in 0..3 {
            for _ in 0..TIMED {
                fitness.did_well("eth_call", Duration::from_millis(900), Instant::now());
            }
            fitness.compare_slowness("eth_call", usual, Instant::now());
            assert!(fitness.is_fit("eth_call", Instant::now()));
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        fitness.compare_slowness("eth_call", usual, Instant::now());
        assert!(!fitness.is_fit("eth_call", Instant::now()));
        assert!(fitness.is_slow_at("eth_call"));
        // Quick again, it is asked again after its pause.
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..TIMED {
            fitness.did_well("eth_call", Duration::from_millis(20), Instant::now());
        }
        fitness.compare_slowness("eth_call", usual, Instant::now());
        assert!(!fitness.is_slow_at("eth_call"));
    }

    #[test]
    fn methods_nobody_knows_keep_no_known_one_from_being_judged() {
        let (fitness, now) = (Fitness::default(), Instant::now());
        for n in 0..5000 {
            let name = format!("eth_zz{n}");
            fitness.lacks(&name, now + Duration::from_millis(n));
            fitness.failed(&name, now);
            fitness.did_well(&format!("eth_yy{n}"), Duration::from_millis(1), now);
        }
        assert!(fitness.marks().strangers.len() <= STRANGERS);
        let windows: Vec<_> = fitness.methods(now).into_iter().map(|it| it.0).collect();
        assert_eq!(windows, ["other"]);
        assert_eq!(
            words(&fitness),
            ["lacks 64 methods that are not known here"]
        );
        // The last ones are remembered, and only they.
        assert!(!fitness.is_fit("eth_zz4999", now));
        assert!(fitness.is_fit("eth_zz0", now));
        assert!(fitness.is_fit("eth_other", now) && fitness.is_fit("other", now));
        for _ in 0..FAILURES_IN_A_ROW {
            fitness.failed("eth_call", now);
        }
        assert!(!fitness.is_fit("eth_call", now));
        assert!(words(&fitness).contains(&"fails eth_call".to_owned()));
        // It has one of them after all.
        fitness.did_well("eth_zz4999", Duration::from_millis(1), now);
        assert!(fitness.is_fit("eth_zz4999", now));
    }
}
