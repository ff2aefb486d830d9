//! What a monitor remembers between two looks, and what it makes of what it hears: decisions, no IO.

use alloy::primitives::{Address, B256};
use alloy::sol_types::SolEvent;
use anyhow::Context;
use dodona_model::Timestamp;
use dodona_model::flux::{ANSWER_UPDATED, NEW_ROUND};
use dodona_pipeline::FluxMonitor;
use dodona_store::flux::Monitor;
use serde::{Deserialize, Serialize};

use super::contract::{Aggregator, Look};
use super::occasion::{Asked, Occasion};
use super::timers::Timers;

use std::time::Duration;

/// How soon a run that failed is repeated, doubled each time…
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// … up to this, as long as its round takes an answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What a monitor remembers between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Standing {
    /// Its timers were set.
    pub(super) started: bool,
    pub(super) timers: Timers,
    /// The newest round that somebody else began, until it was looked at.
    pub(super) heard: Option<Begun>,
    /// Something happened on chain that timers depend on.
    pub(super) look: bool,
    /// What the present run is for.
    occasion: Option<Occasion>,
    /// The round it is for.
    round: u32,
    /// Runs for this round that failed, one after another.
    failures: u32,
    /// A run failed although its round takes an answer: it is repeated.
    again: Option<Again>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) round: u32,
    pub(super) by: Address,
}

/// A look that is to be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Again {
    occasion: Occasion,
    round: u32,
    /// Microseconds since 1970.
    at: i64,
}

/// What a monitor is about to ask its aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    /// `None`: nothing but its timers depends on the answer.
    pub(super) occasion: Option<Occasion>,
    /// 0: whichever is ours to answer.
    pub(super) round: u32,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Submitted,
    /// Nothing to submit, and nothing wrong.
    Declined,
    /// It found no number, or one that cannot be submitted.
    Failed,
}

/// What a log says to a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Round {
        round: u32,
        by: Address,
        /// Seconds since 1970 on the chain's clock.
        began: u64,
        /// By a key of ours.
        ours: bool,
    },
    /// Timers may depend on it.
    Other,
}

impl Standing {
    pub(super) fn read(monitor: &Monitor) -> anyhow::Result<Self> {
        if monitor.standing.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(&monitor.standing)
            .with_context(|| format!("the flux monitor of job {} cannot be read", monitor.job_id))
    }

    pub(super) fn write(&self, monitor: &mut Monitor) -> anyhow::Result<()> {
        monitor.due_at = self.due_at();
        monitor.standing = serde_json::to_string(self)?;
        Ok(())
    }

    fn due_at(&self) -> Timestamp {
        if self.heard.is_some() || self.look || !self.started {
            return Timestamp(0);
        }
        let again = self.again.map(|again| Timestamp(again.at));
        again.map_or(self.timers.next(), |at| at.min(self.timers.next()))
    }

    /// Remembers what was said on chain.
    pub(super) fn heed(&mut self, said: Said, spec: &FluxMonitor, now: Timestamp) {
        self.look = true;
        let Said::Round {
            round,
            by,
            began,
            ours,
        } = said
        else {
            return;
        };
        self.timers.round_began(spec, began, now);
        // A round of our own was answered by whoever began it; only the newest of others matters.
        self.heard = (!ours).then_some(Begun { round, by });
        // Either it is answered because it was heard of, or it is over.
        self.again = self.again.filter(|again| again.round > round);
    }

    /// What to ask the aggregator now, and why. `chance`: from 0 to 1.
    pub(super) fn ask(&mut self, spec: &FluxMonitor, now: Timestamp, chance: f64) -> Question {
        let whichever = |occasion| Question { occasion, round: 0 };
        if !self.started {
            return whichever(Some(Occasion::Initial));
        }
        if let Some(begun) = self.heard {
            return Question {
                occasion: Some(Occasion::NewRound),
                round: begun.round,
            };
        }
        if let Some(again) = self.again.take_if(|again| again.at <= now.0) {
            return Question {
                occasion: Some(again.occasion),
                round: again.round,
            };
        }
        whichever(self.timers.ring(spec, now, chance))
    }

    /// Timers after a look, and the occasion that is left: flags change what there is to do. `true`: it
    /// hibernates from now on, or no longer.
    pub(super) fn settle(
        &mut self,
        occasion: Option<Occasion>,
        spec: &FluxMonitor,
        look: &Look,
        now: Timestamp,
        chance: f64,
    ) -> (Option<Occasion>, bool) {
        let newest = look.latest.as_ref().map_or(0, |latest| latest.started_at);
        let was_hibernating = self.timers.hibernating;
        let mut left = occasion;
        if !self.started {
            self.timers.start(spec, look.flagged, newest, now, chance);
            self.started = true;
            let clocked = spec.poll_every().is_some() || spec.idle_after().is_some();
            left = occasion.filter(|_| clocked && !look.flagged);
        } else if look.flagged && !was_hibernating {
            self.timers.hibernate(now);
            // Rounds that others begin are answered all the same.
            left = occasion.filter(|it| *it == Occasion::NewRound);
            self.again = self
                .again
                .filter(|again| again.occasion == Occasion::NewRound);
        } else if !look.flagged && was_hibernating {
            self.timers.awaken(spec, newest, now, chance);
            left = occasion.or(Some(Occasion::Awaken));
        }
        let state = &look.state;
        self.timers
            .looked(spec, state.started_at, state.timeout, now);
        self.look = false;
        (left, was_hibernating != self.timers.hibernating)
    }

    /// A run begins, or nothing does.
    pub(super) fn begins(&mut self, asked: Option<&Asked>) {
        self.occasion = asked.map(|asked| asked.occasion);
        if let Some(asked) = asked {
            if asked.round != self.round {
                self.failures = 0;
            }
            self.round = asked.round;
        }
    }

    /// The run is over.
    pub(super) fn ended(&mut self, end: End, spec: &FluxMonitor, now: Timestamp) {
        let Some(occasion) = self.occasion.take() else {
            return;
        };
        match end {
            End::Submitted => self.failures = 0,
            End::Declined if occasion.insists() => self.timers.insist(spec, now),
            End::Declined => {}
            End::Failed if occasion.insists() => self.timers.insist(spec, now),
            // Looked at again by the clock anyway.
            End::Failed if !occasion.ignores_thresholds() => {}
            End::Failed => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
                self.failures = self.failures.saturating_add(1);
                // What was heard meanwhile is newer.
                let newer = self.heard.is_some_and(|begun| begun.round >= self.round);
                self.again = (!newer).then_some(Again {
                    occasion,
                    round: self.round,
                    at: now.plus(doubled.min(LONGEST_PAUSE)).0,
                });
            }
        }
    }

    /// A look came to nothing because the aggregator did not answer as one.
    pub(super) fn baffled(&mut self, question: &Question, spec: &FluxMonitor, now: Timestamp) {
        (self.heard, self.look) = (None, false);
        if question.occasion.is_some_and(Occasion::insists) {
            self.timers.insist(spec, now);
        }
    }
}

/// What a log says; `None`: nothing to a monitor of this aggregator. `keys`: ours.
pub(super) fn read(
    topics: &[B256],
    data: &[u8],
    contract: Address,
    keys: &[Address],
) -> Option<Said> {
    match topics.first() {
        Some(&NEW_ROUND) => {
            let topics = topics.iter().copied();
            let event = Aggregator::NewRound::decode_raw_log(topics, data).ok()?;
            Some(Said::Round {
                round: u32::try_from(event.roundId).ok()?,
                by: event.startedBy,
                began: event.startedAt.saturating_to(),
                ours: keys.contains(&event.startedBy),
            })
        }
        Some(&ANSWER_UPDATED) => Some(Said::Other),
        // A flag; the zero address stands for everybody.
        _ => {
            let subject = Address::from_word(*topics.get(1)?);
            [Address::ZERO, contract]
                .contains(&subject)
                .then_some(Said::Other)
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{I256, U256};
    use alloy::sol_types::SolValue;
    use dodona_model::flux::FLAG_LOWERED;

    use super::*;
    use crate::flux::round::tests::{spec, state};

    const KEY: Address = Address::repeat_byte(9);
    const OTHER: Address = Address::repeat_byte(8);
    const FEED: Address = Address::repeat_byte(1);

    fn at(second: i64) -> Timestamp {
        Timestamp((1_700_000_000 + second) * 1_000_000)
    }

    fn asked(occasion: Occasion, round: u32) -> Asked {
        Asked {
            occasion,
            round,
            oracle: KEY,
        }
    }

    /// Past its first look, without timers.
    fn quiet() -> (FluxMonitor, Standing) {
        let spec = FluxMonitor {
            poll_timer_disabled: true,
            idle_timer_disabled: true,
            ..spec()
        };
        let standing = Standing {
            started: true,
            ..Standing::default()
        };
        (spec, standing)
    }

    fn round(number: u32, by: Address) -> Said {
        Said::Round {
            round: number,
            by,
            began: 0,
            ours: by == KEY,
        }
    }

    #[test]
    fn a_run_that_failed_is_repeated_for_its_round_later_and_later() {
        let (spec, mut standing) = quiet();
        let mut now = 0;
        for pause in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            standing.begins(Some(&asked(Occasion::NewRound, 7)));
            standing.ended(End::Failed, &spec, at(now));
            assert_eq!(standing.due_at(), at(now + pause));
            assert_eq!(standing.ask(&spec, at(now + pause - 1), 0.0).occasion, None);
            now += pause;
            let question = standing.ask(&spec, at(now), 0.0);
            assert_eq!(
                question,
                Question {
                    occasion: Some(Occasion::NewRound),
                    round: 7
                }
            );
        }
        // A new round begins with patience.
        standing.begins(Some(&asked(Occasion::Drumbeat, 8)));
        standing.ended(End::Failed, &spec, at(now));
        assert_eq!(standing.due_at(), at(now + 5));
    }

    #[test]
    fn a_failed_poll_waits_for_the_next_one_and_an_idle_timer_insists_by_itself() {
        for occasion in [Occasion::Initial, Occasion::Poll, Occasion::Timeout] {
            let (spec, mut standing) = quiet();
            standing.begins(Some(&asked(occasion, 7)));
            standing.ended(End::Failed, &spec, at(0));
            assert_eq!(standing.again, None, "{occasion:?}");
        }
        let spec = spec();
        for end in [End::Failed, End::Declined] {
            let (_, mut standing) = quiet();
            standing.begins(Some(&asked(Occasion::Idle, 7)));
            standing.ended(end, &spec, at(0));
            assert_eq!((standing.again, standing.due_at()), (None, at(60)));
        }
    }

    #[test]
    fn what_was_submitted_or_declined_is_not_repeated() {
        for end in [End::Submitted, End::Declined] {
            let (spec, mut standing) = quiet();
            standing.begins(Some(&asked(Occasion::NewRound, 7)));
            standing.ended(end, &spec, at(0));
            assert_eq!(standing.again, None, "{end:?}");
        }
    }

    #[test]
    fn a_newer_round_takes_the_place_of_one_that_failed() {
        for by in [OTHER, KEY] {
            let (spec, mut standing) = quiet();
            standing.begins(Some(&asked(Occasion::NewRound, 7)));
            standing.ended(End::Failed, &spec, at(0));
            standing.heed(round(8, by), &spec, at(1));
            assert_eq!(standing.again, None);
            assert_eq!(standing.heard.is_some(), by == OTHER);
        }
        // Heard of while the run was on its way.
        let (spec, mut standing) = quiet();
        standing.begins(Some(&asked(Occasion::NewRound, 7)));
        standing.heed(round(8, OTHER), &spec, at(1));
        standing.ended(End::Failed, &spec, at(2));
        assert_eq!(standing.again, None);
        assert_eq!(standing.ask(&spec, at(2), 0.0).round, 8);
    }

    #[test]
    fn a_feed_that_hibernates_repeats_rounds_of_others_only() {
        let look = Look {
            oracle: KEY,
            state: state(),
            latest: None,
            range: (I256::ONE, I256::MAX),
            flagged: true,
        };
        for (occasion, kept) in [(Occasion::NewRound, true), (Occasion::Drumbeat, false)] {
            let (spec, mut standing) = quiet();
            standing.begins(Some(&asked(occasion, 7)));
            standing.ended(End::Failed, &spec, at(0));
            let (_, changed) = standing.settle(None, &spec, &look, at(1), 0.0);
            assert!(changed && standing.timers.hibernating);
            assert_eq!(standing.again.is_some(), kept, "{occasion:?}");
        }
    }

    #[test]
    fn what_an_older_version_remembered_can_be_read() {
        let text = r#"{"started":true,"timers":{"poll":5},"heard":null,"look":false,"occasion":"new_round"}"#;
        let standing: Standing = serde_json::from_str(text).unwrap();
        assert_eq!(standing.occasion, Some(Occasion::NewRound));
        assert_eq!(standing.due_at(), Timestamp(5));
    }

    #[test]
    fn logs_are_read_for_whom_they_are() {
        let data = U256::from(1_700_000_000_u64).abi_encode();
        let topics = [NEW_ROUND, B256::from(U256::from(7)), OTHER.into_word()];
        let said = read(&topics, &data, FEED, &[KEY]);
        assert_eq!(
            said,
            Some(Said::Round {
                round: 7,
                by: OTHER,
                began: 1_700_000_000,
                ours: false
            })
        );
        assert_eq!(read(&topics, &[], FEED, &[KEY]), None, "cut short");
        for (subject, heard) in [(FEED, true), (Address::ZERO, true), (OTHER, false)] {
            let topics = [FLAG_LOWERED, subject.into_word()];
            assert_eq!(read(&topics, &[], FEED, &[KEY]).is_some(), heard);
        }
        assert_eq!(read(&[], &[], FEED, &[KEY]), None);
    }
}
