//! Waiting that is mostly over before its time: deadlines of questions that are answered.
//!
//! A timer is put in order and taken out again for each question otherwise, twice. Here a worker
//! keeps its timers: one that is left before its time stays set, and whoever takes it next only
//! sets it anew if it would fire too late, or once it fired too early.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::lane;

/// Timers kept by each worker.
const KEPT: usize = 256;
/// A kept timer is set for so long at first, so that it is early enough for the next one.
const STEP: Duration = Duration::from_millis(40);

thread_local! {
    static TIMERS: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// How long something may take, and since when: the clock is read once for all who need to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) since: Instant,
    pub(crate) within: Duration,
}

impl Allowance {
    pub(crate) fn from_now(within: Duration) -> Self {
        Self {
            since: Instant::now(),
            within,
        }
    }

    pub(crate) fn until(self) -> Instant {
        self.since + self.within
    }

    /// What is left of it for whoever begins then.
    pub(crate) fn left_at(self, since: Instant) -> Self {
        Self {
            since,
            within: self.until().saturating_duration_since(since),
        }
    }
}

/// Done at its deadline.
pub(crate) struct Patience {
    deadline: Instant,
    /// Once it is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// How long the timer is set for when it has fired early.
    step: Duration,
}

impl Patience {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            timer: None,
            step: STEP,
        }
    }

    /// A timer that fires at the deadline at the latest.
    fn timer(&self) -> Pin<Box<Sleep>> {
        if lane::current() == lane::SHARED {
            // Of no worker: the next one may be of another runtime.
            return Box::pin(sleep_until(self.deadline));
        }
        match TIMERS.with_borrow_mut(Vec::pop) {
            None => Box::pin(sleep_until(self.deadline.min(Instant::now() + STEP))),
            Some(mut kept) => {
                if kept.deadline() > self.deadline {
                    kept.as_mut().reset(self.deadline);
                }
                kept
            }
        }
    }
}

impl Future for Patience {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = match self.timer.take() {
            Some(timer) => timer,
            None => self.timer(),
        };
        let this = &mut *self;
        loop {
            let fired = timer.as_mut().poll(context);
            let now = match fired {
                Poll::Pending => break,
                Poll::Ready(()) => Instant::now(),
            };
            if now >= this.deadline {
                this.timer = Some(timer);
                return Poll::Ready(());
            }
            this.step *= 4;
            timer.as_mut().reset(this.deadline.min(now + this.step));
        }
        this.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        let Some(timer) = self.timer.take() else {
            return;
        };
        if lane::current() == lane::SHARED {
            return;
        }
        // At the end of a thread there is nobody to keep it for.
        let _ = TIMERS.try_with(|timers| {
            let mut timers = timers.borrow_mut();
            if timers.len() < KEPT {
                timers.push(timer);
            }
        });
    }
}

/// What comes of this by then; none if nothing does. The work stays with the caller: handed over, it
/// would be there twice in what the caller is in memory.
pub(crate) fn by<T>(
    deadline: Instant,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Option<T>> {
    let mut late = Patience::until(deadline);
    std::future::poll_fn(move |context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        ready!(Pin::new(&mut late).poll(context));
        Poll::Ready(None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_left_is_good_for_any_deadline_of_the_next() {
        for worker in [false, true] {
            let waits = async move {
                if worker {
                    lane::enter(0);
                }
                for millis in [5000, 30, 7000, 100, 100, 40, 2] {
                    let wait = Duration::from_millis(millis);
                    let began = Instant::now();
                    let left = by(began + wait, pin!(tokio::time::sleep(wait / 2))).await;
                    assert_eq!((left, began.elapsed()), (Some(()), wait / 2));
                    let began = Instant::now();
                    let late = by(began + wait, pin!(std::future::pending::<()>())).await;
                    assert_eq!((late, began.elapsed()), (None, wait));
                }
            };
            let on_its_own = move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    .build();
                runtime.unwrap().block_on(waits);
            };
            std::thread::spawn(on_its_own).join().unwrap();
        }
    }
}
