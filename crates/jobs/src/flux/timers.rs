//! When a flux monitor looks next: decisions, no clock of their own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dodona_model::Timestamp;
use dodona_pipeline::FluxMonitor;
use dodona_store::flux::NEVER;
use serde::{Deserialize, Serialize};

use super::occasion::Occasion;

/// How often a hibernating monitor looks.
const HIBERNATION: Duration = Duration::from_secs(24 * 3600);
/// The first repetition of an idle timer whose round did not come about; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// The longest time between two of them.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// A monitor's timers: when each rings, in microseconds since 1970; `None`: it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Timers {
    poll: Option<i64>,
    idle: Option<i64>,
    retry: Option<i64>,
    drumbeat: Option<i64>,
    timeout: Option<i64>,
    hibernation: Option<i64>,
    retries: u32,
    pub(crate) hibernating: bool,
}

fn seconds(chain_time: u64) -> i64 {
    i64::try_from(chain_time)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}

impl Timers {
    /// A new job's timers. `round_began`: when the newest round did, on the chain's clock; 0: never.
    pub(crate) fn start(
        &mut self,
        spec: &FluxMonitor,
        hibernate: bool,
        round_began: u64,
        now: Timestamp,
        chance: f64,
    ) {
        if hibernate {
            self.hibernate(now);
        } else {
            self.awaken(spec, round_began, now, chance);
        }
    }

    /// Looks once a day from now on.
    pub(crate) fn hibernate(&mut self, now: Timestamp) {
        *self = Self {
            hibernating: true,
            hibernation: Some(now.plus(HIBERNATION).0),
            ..Self::default()
        };
    }

    /// All timers again.
    pub(crate) fn awaken(
        &mut self,
        spec: &FluxMonitor,
        round_began: u64,
        now: Timestamp,
        chance: f64,
    ) {
        *self = Self {
            poll: spec.poll_every().map(|every| now.plus(every).0),
            idle: spec.idle_after().map(|after| now.plus(after).0),
            ..Self::default()
        };
        self.drumbeat = beat(spec, now, chance);
        self.round_began(spec, round_began, now);
    }

    /// The idle timer runs from the newest round. One that began too long ago to say anything leaves it
    /// as it is.
    pub(crate) fn round_began(&mut self, spec: &FluxMonitor, began: u64, now: Timestamp) {
        let Some(after) = spec.idle_after().filter(|_| !self.hibernating && began > 0) else {
            return;
        };
        let rings = Timestamp(seconds(began)).plus(after);
        if rings > now {
            self.idle = Some(rings.0);
            self.retry = None;
            self.retries = 0;
        }
    }

    /// What the contract says about the round that is ours to answer now.
    pub(crate) fn looked(&mut self, spec: &FluxMonitor, began: u64, timeout: u64, now: Timestamp) {
        if self.hibernating {
            self.hibernation = Some(now.plus(HIBERNATION).0);
            return;
        }
        self.round_began(spec, began, now);
        // The contract calls a round timed out a second later.
        let over = seconds(began.saturating_add(timeout).saturating_add(1));
        self.timeout = (began > 0 && timeout > 0 && over > now.0).then_some(over);
    }

    /// The strongest reason to look now. Everything that rings is answered by one look; the poll timer
    /// and the drumbeat are set anew, and what was missed is not made up for.
    pub(crate) fn ring(
        &mut self,
        spec: &FluxMonitor,
        now: Timestamp,
        chance: f64,
    ) -> Option<Occasion> {
        let due = |at: &Option<i64>| at.is_some_and(|at| at <= now.0);
        let mut strongest = None;
        // From the weakest to the strongest.
        if due(&self.poll) {
            strongest = Some(Occasion::Poll);
            let next = spec
                .poll_every()
                .zip(self.poll)
                .map(|(every, last)| (Timestamp(last).plus(every), now.plus(every)));
            self.poll = next.map(|(steady, late)| if steady > now { steady.0 } else { late.0 });
        }
        if due(&self.timeout) {
            strongest = Some(Occasion::Timeout);
            self.timeout = None;
        }
        if due(&self.hibernation) {
            strongest = Some(Occasion::Hibernation);
            self.hibernation = Some(now.plus(HIBERNATION).0);
        }
        if due(&self.retry) {
            strongest = Some(Occasion::Retry);
            self.retry = None;
        }
        if due(&self.idle) {
            strongest = Some(Occasion::Idle);
            self.idle = None;
        }
        if due(&self.drumbeat) {
            strongest = Some(Occasion::Drumbeat);
            self.drumbeat = beat(spec, now, chance);
        }
        strongest
    }

    /// An idle timer's look came to nothing: it is repeated, later and later.
    pub(crate) fn insist(&mut self, spec: &FluxMonitor, now: Timestamp) {
        let (Some(idle), false) = (spec.idle_after(), self.hibernating) else {
            return;
        };
        let doubled = FIRST_RETRY.saturating_mul(1 << self.retries.min(10));
        let pause = doubled.min(LONGEST_RETRY).min(idle);
        self.retries = self.retries.saturating_add(1);
        self.retry = Some(now.plus(pause).0);
    }

    /// When the first of them rings.
    pub(crate) fn next(&self) -> Timestamp {
        let all = [
            self.poll,
            self.idle,
            self.retry,
            self.drumbeat,
            self.timeout,
            self.hibernation,
        ];
        all.into_iter().flatten().min().map_or(NEVER, Timestamp)
    }
}

/// The schedule's next time and a random moment after it (`chance`: from 0 to 1), so that the oracles of
/// an aggregator do not all begin the same round at once.
fn beat(spec: &FluxMonitor, now: Timestamp, chance: f64) -> Option<i64> {
    let micros = u64::try_from(now.0).unwrap_or(0);
    let from: SystemTime = UNIX_EPOCH + Duration::from_micros(micros);
    let next = spec.drumbeat()?.next(from)?;
    let delay = spec.drumbeat_random_delay.mul_f64(chance.clamp(0.0, 1.0));
    let at = next.checked_add(delay)?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(at.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flux::round::tests::spec;

    /// Seconds on both clocks.
    const T: u64 = 1_700_000_000;

    fn at(second: u64) -> Timestamp {
        Timestamp(seconds(T + second))
    }

    fn awake(spec: &FluxMonitor) -> Timers {
        let mut timers = Timers::default();
        timers.start(spec, false, 0, at(0), 0.0);
        timers
    }

    #[test]
    fn the_poll_timer_is_steady_and_makes_nothing_up() {
        let mut timers = awake(&spec());
        assert_eq!(timers.next(), at(60));
        assert_eq!(timers.ring(&spec(), at(59), 0.0), None);
        assert_eq!(timers.ring(&spec(), at(61), 0.0), Some(Occasion::Poll));
        assert_eq!(timers.next(), at(120), "not 121");
        assert_eq!(timers.ring(&spec(), at(500), 0.0), Some(Occasion::Poll));
        assert_eq!(timers.ring(&spec(), at(500), 0.0), None);
        assert_eq!(timers.next(), at(560));
    }

    fn only_idle() -> FluxMonitor {
        FluxMonitor {
            poll_timer_disabled: true,
            ..spec()
        }
    }

    #[test]
    fn the_idle_timer_runs_from_the_newest_round() {
        let mut timers = awake(&only_idle());
        assert_eq!(timers.next(), at(3_600));
        timers.round_began(&only_idle(), T + 100, at(101));
        assert_eq!(timers.next(), at(3_700));
        timers.round_began(&only_idle(), 0, at(102));
        timers.round_began(&only_idle(), T - 9_999, at(103));
        assert_eq!(timers.next(), at(3_700), "such rounds say nothing");
        assert_eq!(
            timers.ring(&only_idle(), at(3_700), 0.0),
            Some(Occasion::Idle)
        );
        assert_eq!(timers.next(), NEVER, "until a round begins");
    }

    #[test]
    fn a_round_that_did_not_come_about_is_tried_again_later_and_later() {
        let spec = only_idle();
        let mut timers = awake(&spec);
        timers.ring(&spec, at(3_600), 0.0);
        let mut now = 3_600;
        for pause in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
            timers.insist(&spec, at(now));
            now += pause;
            assert_eq!(timers.next(), at(now));
            assert_eq!(timers.ring(&spec, at(now), 0.0), Some(Occasion::Retry));
        }
        timers.insist(&spec, at(now));
        timers.round_began(&spec, T + now, at(now));
        assert_eq!(timers.next(), at(now + 3_600), "the retry is off");
        let short = FluxMonitor {
            idle_timer_period: Duration::from_secs(20),
            ..only_idle()
        };
        let mut timers = awake(&short);
        timers.insist(&short, at(5));
        timers.ring(&short, at(20), 0.0);
        assert_eq!(timers.next(), at(25), "never beyond the idle period");
    }

    #[test]
    fn a_round_that_can_time_out_is_looked_at_when_it_has() {
        let mut timers = awake(&only_idle());
        timers.looked(&only_idle(), T + 10, 30, at(11));
        assert_eq!(timers.next(), at(41));
        assert_eq!(
            timers.ring(&only_idle(), at(41), 0.0),
            Some(Occasion::Timeout)
        );
        timers.looked(&only_idle(), T + 10, 30, at(42));
        assert_eq!(timers.next(), at(3_610), "over is over");
        timers.looked(&only_idle(), T + 50, 0, at(51));
        assert_eq!(timers.next(), at(3_650), "no timeout, no timer");
    }

    #[test]
    fn a_drumbeat_keeps_its_schedule_with_a_random_delay() {
        let spec = FluxMonitor {
            poll_timer_disabled: true,
            idle_timer_disabled: true,
            drumbeat_enabled: true,
            drumbeat_schedule: Some("@every 10m".parse().unwrap()),
            drumbeat_random_delay: Duration::from_secs(60),
            ..spec()
        };
        let mut timers = Timers::default();
        timers.start(&spec, false, 0, at(0), 0.5);
        assert_eq!(timers.next(), at(630));
        assert_eq!(timers.ring(&spec, at(630), 0.0), Some(Occasion::Drumbeat));
        assert_eq!(timers.next(), at(1_230));
        let silent = FluxMonitor {
            drumbeat_enabled: false,
            ..spec
        };
        assert_eq!(awake(&silent).next(), NEVER);
    }

    #[test]
    fn a_hibernating_monitor_looks_once_a_day_and_forgets_its_other_timers() {
        let mut timers = awake(&spec());
        timers.hibernate(at(10));
        assert_eq!(timers.next(), at(86_410));
        timers.round_began(&spec(), T + 20, at(21));
        timers.insist(&spec(), at(21));
        assert_eq!(timers.next(), at(86_410));
        assert_eq!(
            timers.ring(&spec(), at(86_410), 0.0),
            Some(Occasion::Hibernation)
        );
        timers.awaken(&spec(), 0, at(90_000), 0.0);
        assert!(!timers.hibernating);
        assert_eq!(timers.next(), at(90_060));
    }

    #[test]
    fn one_look_answers_everything_that_rings() {
        let mut timers = awake(&spec());
        assert_eq!(timers.ring(&spec(), at(4_000), 0.0), Some(Occasion::Idle));
        assert_eq!(timers.ring(&spec(), at(4_000), 0.0), None);
        assert_eq!(timers.next(), at(4_060));
    }
}
