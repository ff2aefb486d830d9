//! The line in front of an endpoint: how much it may be asked at once and per second, and who goes
//! first when it is more than that.
//!
//! The limit of questions under way learns: it grows while answers come, and falls when the
//! endpoint says "too many" or does not answer. What may be asked per second is the operator's word.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::patience::Allowance;

/// Who goes first. Sending does not stand in line at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// What the chain is followed by.
    Heads,
    Receipts,
    /// State and blocks near the tip.
    Reads,
    Logs,
    /// Traces and whatever is far below the tip.
    History,
}

impl Priority {
    const COUNT: usize = 5;
    /// The part of the tokens that is left to those who go first, in tenths.
    const LEFT_TO_OTHERS: [f64; Self::COUNT] = [0.0, 0.1, 0.2, 0.3, 0.5];

    fn soon(self) -> Duration {
        match self {
            Self::Heads | Self::Receipts | Self::Reads => SOON,
            Self::Logs | Self::History => SOON_FOR_PARTS,
        }
    }
}

const FIRST_LIMIT: f64 = 64.0;
const LOWEST_LIMIT: f64 = 2.0;
const HIGHEST_LIMIT: f64 = 1024.0;
/// What is left of the limit after trouble.
const AFTER_TROUBLE: f64 = 0.7;
/// Trouble of one moment counts once.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);
/// Questions in line; more are turned away.
const LONGEST_LINE: usize = 4096;
/// Tokens that come within this time are waited for; whoever would have to wait longer is told so.
const SOON: Duration = Duration::from_secs(2);
/// The same for what takes its time anyway: the parts of a long range of logs, traces.
const SOON_FOR_PARTS: Duration = Duration::from_secs(10);
/// How much the newest time a place was held for counts in the average.
const NEWEST: f64 = 0.2;
/// Somebody whose turn nobody can tell may try again after this.
const SOME_TIME: Duration = Duration::from_secs(1);
/// How much of a second's tokens may be spent at once.
const BURST_SECONDS: f64 = 1.0;

pub(crate) struct Gate(Arc<Mutex<State>>);

struct State {
    under_way: usize,
    limit: f64,
    /// An operator's limit; the learned one stays below it.
    most: f64,
    troubled: Option<Instant>,
    rate: Option<Rate>,
    /// Those who wait for a token.
    waiting: [usize; Priority::COUNT],
    /// How long a place is held, in seconds, on average; 0 before the first was given back.
    held: f64,
    lines: [VecDeque<oneshot::Sender<Permit>>; Priority::COUNT],
}

struct Rate {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

/// A question under way; its place is given on when dropped.
pub(crate) struct Permit(Option<Arc<Mutex<State>>>, Instant, Option<Instant>);

impl Permit {
    /// When it was given.
    pub(crate) fn since(&self) -> Instant {
        self.1
    }

    /// It was needed until then.
    pub(crate) fn ends(&mut self, at: Instant) {
        self.2 = Some(at);
    }
}

/// Too many stand in line, or it takes too long: when it makes sense to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turned(pub(crate) Duration);

/// Somebody who waits for a token, counted until they have it or give up.
struct Waiting<'a>(&'a Mutex<State>, Priority);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(self.0).waiting[self.1 as usize] -= 1;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else { return };
        let mut next = {
            let mut open = lock(&state);
            open.under_way -= 1;
            // Whoever had it says when they were done.
            let until = self.2.unwrap_or_else(Instant::now);
            let held = until.saturating_duration_since(self.1).as_secs_f64();
            open.held = match open.held {
                0.0 => held,
                usual => usual + NEWEST * (held - usual),
            };
            open.next(&state)
        };
        // Whoever gave up gives the place back by dropping it, outside of the lock.
        while let Some((waiter, permit)) = next.take() {
            if let Err(mut back) = waiter.send(permit) {
                back.0 = None;
                let mut open = lock(&state);
                open.under_way -= 1;
                next = open.next(&state);
            }
        }
    }
}

impl State {
    /// The next in line, if there is a place; the place is taken already.
    fn next(&mut self, state: &Arc<Mutex<Self>>) -> Option<(oneshot::Sender<Permit>, Permit)> {
        if self.under_way as f64 >= self.limit.floor() {
            return None;
        }
        let waiter = self.lines.iter_mut().find_map(|line| {
            loop {
                let waiter = line.pop_front()?;
                if !waiter.is_closed() {
                    return Some(waiter);
                }
            }
        })?;
        self.under_way += 1;
        Some((
            waiter,
            Permit(Some(Arc::clone(state)), Instant::now(), None),
        ))
    }

    /// How long the tokens take that others who wait get first.
    fn for_those_before(&self, priority: Priority) -> Duration {
        let Some(rate) = &self.rate else {
            return Duration::ZERO;
        };
        let before: usize = self.waiting[..=priority as usize].iter().sum();
        Duration::try_from_secs_f64(before as f64 / rate.per_second).unwrap_or(Duration::MAX)
    }

    /// How long it takes until a place is free for the next of this priority, as things go.
    fn for_a_place(&self, priority: Priority) -> Duration {
        let lines = &self.lines[..=priority as usize];
        let before: usize = lines.iter().map(VecDeque::len).sum();
        let turns = (before + 1) as f64 / self.limit.floor().max(1.0);
        Duration::try_from_secs_f64(self.held * turns).unwrap_or(Duration::MAX)
    }

    /// Takes a token, or says when to try again.
    fn token(&mut self, priority: Priority, now: Instant) -> Result<(), Instant> {
        let Some(rate) = &mut self.rate else {
            return Ok(());
        };
        let most = (rate.per_second * BURST_SECONDS).max(1.0);
        let since = now.saturating_duration_since(rate.filled).as_secs_f64();
        rate.tokens = (rate.tokens + since * rate.per_second).min(most);
        rate.filled = now;
        // A small budget has nothing to set aside.
        let aside = (most * Priority::LEFT_TO_OTHERS[priority as usize]).floor();
        let missing = 1.0 + aside - rate.tokens;
        if missing <= 0.0 {
            rate.tokens -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64(missing / rate.per_second))
    }
}

impl Gate {
    /// `per_second` and `at_once` are an operator's limits.
    pub(crate) fn new(per_second: Option<f64>, at_once: Option<u32>) -> Self {
        let most = at_once.map_or(HIGHEST_LIMIT, |most| f64::from(most).max(1.0));
        let rate = per_second.map(|per_second| Rate {
            per_second,
            tokens: (per_second * BURST_SECONDS).max(1.0),
            filled: Instant::now(),
        });
        Self(Arc::new(Mutex::new(State {
            under_way: 0,
            limit: FIRST_LIMIT.min(most),
            most,
            troubled: None,
            rate,
            waiting: [0; Priority::COUNT],
            held: 0.0,
            lines: Default::default(),
        })))
    }

    /// Waits for a token that comes soon and for a place until the deadline. Who cannot have both
    /// is told at once.
    pub(crate) async fn enter(
        &self,
        priority: Priority,
        time: Allowance,
    ) -> Result<Permit, Turned> {
        if let Some(permit) = self.enter_at_once(time.since) {
            return Ok(permit);
        }
        let deadline = time.until();
        // Rare and large, as a future: kept out of every question under way.
        Box::pin(async move {
            self.take_token(priority, deadline).await?;
            self.take_place(priority, deadline).await
        })
        .await
    }

    /// A place, if one is free and there is no rate to be kept.
    fn enter_at_once(&self, now: Instant) -> Option<Permit> {
        let mut state = lock(&self.0);
        let free = state.rate.is_none()
            && (state.under_way as f64) < state.limit.floor()
            && state.lines.iter().all(VecDeque::is_empty);
        if !free {
            return None;
        }
        state.under_way += 1;
        Some(Permit(Some(Arc::clone(&self.0)), now, None))
    }

    async fn take_token(&self, priority: Priority, deadline: Instant) -> Result<(), Turned> {
        let _counted = {
            let mut state = lock(&self.0);
            let now = Instant::now();
            let Err(again) = state.token(priority, now) else {
                return Ok(());
            };
            let wait = again - now + state.for_those_before(priority);
            if wait > priority.soon() || now + wait >= deadline {
                return Err(Turned(wait));
            }
            state.waiting[priority as usize] += 1;
            Waiting(&self.0, priority)
        };
        loop {
            let now = Instant::now();
            // The lock is not held while waiting.
            let came = lock(&self.0).token(priority, now);
            match came {
                Ok(()) => return Ok(()),
                Err(again) if again >= deadline => return Err(Turned(again - now)),
                Err(again) => sleep_until(again).await,
            }
        }
    }

    async fn take_place(&self, priority: Priority, deadline: Instant) -> Result<Permit, Turned> {
        let place = {
            let mut state = lock(&self.0);
            let first = state.lines[..=priority as usize]
                .iter()
                .all(VecDeque::is_empty);
            if first && (state.under_way as f64) < state.limit.floor() {
                state.under_way += 1;
                return Ok(Permit(Some(Arc::clone(&self.0)), Instant::now(), None));
            }
            let waiting: usize = state.lines.iter().map(VecDeque::len).sum();
            let wait = state.for_a_place(priority);
            if waiting >= LONGEST_LINE || Instant::now() + wait > deadline {
                return Err(Turned(wait.max(SOME_TIME)));
            }
            let (waiter, place) = oneshot::channel();
            state.lines[priority as usize].push_back(waiter);
            place
        };
        match timeout_at(deadline, place).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Turned(lock(&self.0).for_a_place(priority).max(SOME_TIME))),
        }
    }

    /// Whether a question would have to stand in line now.
    pub(crate) fn is_full(&self) -> bool {
        let state = lock(&self.0);
        let no_token = match &state.rate {
            None => false,
            Some(rate) => {
                let since = rate.filled.elapsed().as_secs_f64();
                rate.tokens + since * rate.per_second < 1.0
            }
        };
        no_token || state.under_way as f64 >= state.limit.floor()
    }

    /// An answer came.
    pub(crate) fn went_well(&self) {
        let mut state = lock(&self.0);
        // Only a limit that is felt has a reason to grow.
        if state.under_way as f64 * 2.0 >= state.limit {
            state.limit = (state.limit + 1.0 / state.limit).min(state.most);
        }
    }

    /// "Too many", or no answer.
    pub(crate) fn had_trouble(&self, now: Instant) {
        let mut state = lock(&self.0);
        if state.troubled.is_some_and(|at| now - at < TROUBLE_PAUSE) {
            return;
        }
        state.troubled = Some(now);
        state.limit = (state.limit * AFTER_TROUBLE).max(LOWEST_LIMIT.min(state.most));
    }

    /// Questions under way, and the limit learned.
    pub(crate) fn load(&self) -> (usize, u32) {
        let state = lock(&self.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and 1024"
        )]
        let limit = state.limit as u32;
        (state.under_way, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Heads, History, Logs, Reads, Receipts};

    fn soon() -> Allowance {
        Allowance::from_now(Duration::from_secs(5))
    }

    #[tokio::test(start_paused = true)]
    async fn more_important_questions_go_first_and_who_gave_up_costs_no_place() {
        let gate = Arc::new(Gate::new(None, Some(1)));
        let first = gate.enter(Reads, soon()).await.unwrap();
        assert!(gate.is_full());
        let (order, mut came) = tokio::sync::mpsc::unbounded_channel();
        for priority in [History, Logs, Reads, Receipts, Heads] {
            let (gate, order) = (Arc::clone(&gate), order.clone());
            tokio::spawn(async move {
                let permit = gate.enter(priority, soon()).await.unwrap();
                order.send(priority).unwrap();
                drop(permit);
            });
        }
        let impatient = gate.enter(Heads, Allowance::from_now(Duration::from_millis(1)));
        assert!(impatient.await.is_err());
        drop(first);
        for expected in [Heads, Receipts, Reads, Logs, History] {
            assert_eq!(came.recv().await, Some(expected));
        }
        assert_eq!(gate.load().0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_and_a_part_of_it_is_left_to_what_matters_more() {
        let gate = Gate::new(Some(10.0), None);
        let now = Instant::now();
        for _ in 0..5 {
            drop(gate.enter(History, soon()).await.unwrap());
        }
        assert_eq!(Instant::now(), now);
        // Half is set aside: the next one waits for it, while heads go on.
        for _ in 0..5 {
            drop(gate.enter(Heads, soon()).await.unwrap());
        }
        assert_eq!(Instant::now(), now);
        assert!(gate.is_full());
        for _ in 0..20 {
            drop(gate.enter(Heads, soon()).await.unwrap());
        }
        let took = now.elapsed();
        assert!((1.9..2.2).contains(&took.as_secs_f64()), "{took:?}");
        let little = Allowance::from_now(Duration::from_millis(50));
        assert!(gate.enter(Reads, little).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_waits_for_tokens_that_come_soon_and_the_rest_is_told_at_once_when_to_come() {
        let gate = Arc::new(Gate::new(Some(10.0), None));
        let began = Instant::now();
        let crowd = (0..100).map(|_| {
            let gate = Arc::clone(&gate);
            async move {
                let came = gate.enter(Reads, soon()).await;
                (came.map(drop), began.elapsed())
            }
        });
        let all = futures_util::future::join_all(crowd).await;
        let (let_in, turned): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(came, _)| came.is_ok());
        // Eight at once, two seconds' worth later.
        assert!((26..=29).contains(&let_in.len()), "{}", let_in.len());
        assert!(
            let_in.iter().all(|(_, after)| *after < SOON * 2),
            "{let_in:?}"
        );
        for (turned, after) in turned {
            assert!(turned.unwrap_err().0 > SOON);
            assert_eq!(after, Duration::ZERO);
        }
        // Nobody is counted who does not wait any more.
        assert_eq!(lock(&gate.0).waiting, [0; Priority::COUNT]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_takes_longer_than_somebody_has_is_not_stood_in() {
        let gate = Arc::new(Gate::new(None, Some(1)));
        let hold = |seconds: u64| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let permit = gate
                    .enter(Reads, Allowance::from_now(Duration::from_secs(65)))
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                drop(permit);
            })
        };
        hold(2).await.unwrap();
        let holding = [hold(2), hold(2), hold(2)];
        tokio::task::yield_now().await;
        let began = Instant::now();
        // Two stand in line already: six seconds, where there are five.
        let turned = gate.enter(Reads, soon()).await.err().unwrap();
        assert_eq!((turned.0.as_secs(), began.elapsed()), (6, Duration::ZERO));
        // Who goes first waits for one.
        drop(gate.enter(Heads, soon()).await.unwrap());
        for one in holding {
            one.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_falls_with_trouble_and_grows_with_answers() {
        let gate = Gate::new(None, None);
        assert_eq!(gate.load().1, 64);
        gate.had_trouble(Instant::now());
        gate.had_trouble(Instant::now());
        assert_eq!(gate.load().1, 44);
        for n in 1..30 {
            gate.had_trouble(Instant::now() + TROUBLE_PAUSE * n);
        }
        assert_eq!(gate.load().1, 2);
        let _one = gate.enter(Reads, soon()).await.unwrap();
        let _two = gate.enter(Reads, soon()).await.unwrap();
        for _ in 0..5 {
            gate.went_well();
        }
        assert_eq!(gate.load(), (2, 3));
    }
}
