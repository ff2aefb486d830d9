//! What became of the last calls of one method at one endpoint: counts over ten seconds, answering
//! times over half a minute.

use std::time::Duration;

/// Seconds counted.
const SECONDS: usize = 10;
/// Answering times are kept by powers of two of microseconds: up to half a minute and more.
const POWERS: usize = 26;
/// A half of what is remembered of answering times.
const HALF: u64 = 15;

#[derive(Debug, Default, Clone)]
pub(super) struct Window {
    slots: [Slot; SECONDS],
    /// Of this half and the one before.
    times: [[u32; POWERS]; 2],
    half: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    second: u64,
    good: u32,
    failed: u32,
}

/// What a window shows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) good: u32,
    pub(crate) failed: u32,
    /// Calls whose time is known.
    pub(crate) timed: u32,
    /// Upper bounds, a power of two of microseconds.
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Window {
    /// A call ended in this second.
    pub(super) fn note(&mut self, second: u64, good: bool, took: Option<Duration>) {
        let at = usize::try_from(second % SECONDS as u64).unwrap_or(0);
        let slot = &mut self.slots[at];
        if slot.second != second {
            *slot = Slot {
                second,
                ..Slot::default()
            };
        }
        if good {
            slot.good += 1;
        } else {
            slot.failed += 1;
        }
        self.turn(second);
        if let Some(took) = took {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
            let power = usize::try_from(micros.ilog2()).unwrap_or(0).min(POWERS - 1);
            self.times[0][power] += 1;
        }
    }

    fn turn(&mut self, second: u64) {
        let half = second / HALF;
        if half == self.half {
            return;
        }
        self.times[1] = if half == self.half + 1 {
            self.times[0]
        } else {
            [0; POWERS]
        };
        self.times[0] = [0; POWERS];
        self.half = half;
    }

    pub(super) fn shown(&mut self, second: u64) -> Shown {
        self.turn(second);
        let mut shown = Shown::default();
        for slot in &self.slots {
            if slot.second + SECONDS as u64 > second {
                shown.good += slot.good;
                shown.failed += slot.failed;
            }
        }
        let times = |power: usize| self.times[0][power] + self.times[1][power];
        shown.timed = (0..POWERS).map(times).sum();
        let quantile = |percent: u32| {
            let wanted = (u64::from(shown.timed) * u64::from(percent)).div_ceil(100);
            let mut below = 0;
            (0..POWERS)
                .find(|power| {
                    below += u64::from(times(*power));
                    below >= wanted && below > 0
                })
                .map_or(Duration::ZERO, |power| {
                    Duration::from_micros(2 << power as u32)
                })
        };
        shown.median = quantile(50);
        shown.p99 = quantile(99);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let mut window = Window::default();
        for second in 100..120 {
            window.note(second, second % 2 == 0, Some(Duration::from_micros(900)));
        }
        let shown = window.shown(119);
        assert_eq!((shown.good, shown.failed), (5, 5));
        assert_eq!(window.shown(124).good, 2);
        assert_eq!(window.shown(500), Shown::default());
    }

    #[test]
    fn quantiles_are_right_within_a_factor_of_two() {
        let mut window = Window::default();
        for n in 0..1000 {
            let millis = if n < 985 { 3 } else { 700 };
            window.note(30, true, Some(Duration::from_millis(millis)));
        }
        let shown = window.shown(44);
        assert_eq!(shown.timed, 1000);
        let (median, p99) = (shown.median.as_millis(), shown.p99.as_millis());
        assert!((3..=6).contains(&median), "{median}");
        assert!((700..=1400).contains(&p99), "{p99}");
    }
}
