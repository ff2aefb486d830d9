use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;

use crate::{Poke, Waiter};

/// When a service runs (pokes and a clock) and whom it pokes afterwards.
#[derive(Debug)]
pub struct Schedule {
    pub(crate) every: Duration,
    waiters: Vec<Waiter>,
    targets: Vec<Poke>,
}

/// At the latest this long after the last round.
pub fn every(period: Duration) -> Schedule {
    Schedule {
        every: period,
        waiters: Vec::new(),
        targets: Vec::new(),
    }
}

impl Schedule {
    /// And at once when poked.
    pub fn on(mut self, poke: &Poke) -> Self {
        self.waiters.push(poke.subscribe());
        self
    }

    /// Pokes `target` after each round that did something.
    pub fn pokes(mut self, target: &Poke) -> Self {
        self.targets.push(target.clone());
        self
    }

    pub(crate) async fn wait(&mut self) {
        let clock = tokio::time::sleep(self.every);
        if self.waiters.is_empty() {
            return clock.await;
        }
        let pokes = select_all(self.waiters.iter_mut().map(|waiter| waiter.wait().boxed()));
        tokio::select! {
            () = clock => {}
            _ = pokes => {}
        }
    }

    pub(crate) fn poke_targets(&self) {
        self.targets.iter().for_each(Poke::poke);
    }
}
