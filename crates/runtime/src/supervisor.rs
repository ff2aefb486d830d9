use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info_span, warn};

use crate::{Health, Schedule};

/// First pause after a failed round; doubles with each further failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// Longest pause after failed rounds.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// A named loop that makes the world match the rows.
///
/// `Lead` is the proof a round needs: a leader for work that only one replica may do, `()` for work
/// that every replica does.
pub trait Service<Lead: ?Sized>: Send + 'static {
    /// What one round did; shown on the health page.
    type Report: Serialize + Send;

    /// One round: read what is there, do what it calls for, say what you did. Takes no input, so a
    /// restart needs no special case, and never waits for slow things outside.
    fn tick(&mut self, lead: &Lead) -> impl Future<Output = anyhow::Result<Self::Report>> + Send;

    /// Whether this round did something that others should look at.
    fn worked(report: &Self::Report) -> bool;

    /// Whether there is more to do at once, without waiting for a poke or the clock.
    fn again(_report: &Self::Report) -> bool {
        false
    }
}

/// Spawns every loop of the process and knows how each is doing.
#[derive(Debug, Clone)]
pub struct Supervisor {
    health: Health,
    stop: CancellationToken,
    tasks: TaskTracker,
    fatal: Arc<watch::Sender<Option<String>>>,
}

impl Supervisor {
    /// An owner without loops yet; `stop` ends all of them.
    pub fn new(health: Health, stop: CancellationToken) -> Self {
        Self {
            health,
            stop,
            tasks: TaskTracker::new(),
            fatal: Arc::new(watch::Sender::new(None)),
        }
    }

    /// The health page this supervisor writes.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The token that stops every loop.
    pub fn stop_token(&self) -> &CancellationToken {
        &self.stop
    }

    /// An owner for a part of the loops: it shares health, fate and end, and can be stopped alone.
    pub fn child(&self) -> Self {
        Self {
            health: self.health.clone(),
            stop: self.stop.child_token(),
            tasks: TaskTracker::new(),
            fatal: Arc::clone(&self.fatal),
        }
    }

    /// Runs `service` until stopped. `name` is what the health page calls it.
    pub fn add<L, S>(&self, name: &str, mut service: S, lead: Arc<L>, mut schedule: Schedule)
    where
        L: Send + Sync + ?Sized + 'static,
        S: Service<L>,
    {
        let (health, stop, owned) = (self.health.clone(), self.stop.clone(), name.to_owned());
        let run = async move {
            let mut failures = 0u32;
            loop {
                let pause = match service.tick(&lead).await {
                    Ok(report) => {
                        failures = 0;
                        health.pass(&owned, serde_json::to_value(&report).ok());
                        if S::worked(&report) {
                            schedule.poke_targets();
                        }
                        if S::again(&report) {
                            Some(Duration::ZERO)
                        } else {
                            None
                        }
                    }
                    Err(_) if stop.is_cancelled() => return,
                    Err(cause) => {
                        failures = failures.saturating_add(1);
                        let text = format!("{cause:#}");
                        // Once is coping; a second time in a row somebody should know.
                        if failures == 2 {
                            warn!(service = %owned, "{owned} failed twice in a row: {text}");
                        } else {
                            debug!(service = %owned, failures, "{owned} failed: {text}");
                        }
                        health.fail(&owned, text);
                        Some(backoff(failures))
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = async {
                        match pause {
                            Some(pause) => tokio::time::sleep(pause).await,
                            None => schedule.wait().await,
                        }
                    } => {}
                }
            }
        };
        self.spawn(name, run);
    }

    /// Owns a loop that is not a service (a listener, a server). Its panic ends the process too.
    pub fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let (fatal, stop, owned) = (Arc::clone(&self.fatal), self.stop.clone(), name.to_owned());
        let span = info_span!("service", name = %owned);
        self.tasks.spawn(
            async move {
                if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                    let text = format!(
                        "{owned} panicked: what it left behind is unknown, so this process ends"
                    );
                    error!(service = %owned, "{text}");
                    fatal.send_replace(Some(text));
                    stop.cancel();
                }
            }
            .instrument(span),
        );
    }

    /// Returns when something must end the process: the reason.
    pub async fn fatal(&self) -> String {
        let mut receiver = self.fatal.subscribe();
        loop {
            if let Some(reason) = receiver.borrow_and_update().clone() {
                return reason;
            }
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends the process with `reason` as soon as whoever waits in [`Supervisor::fatal`] acts on it.
    pub fn give_up(&self, reason: impl Into<String>) {
        self.fatal.send_replace(Some(reason.into()));
    }

    /// Stops every loop and waits for it to finish its round; `false` when `grace` ran out first.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{Poke, every};

    struct Counting(Arc<AtomicU32>, fn(u32) -> anyhow::Result<bool>);

    impl Service<()> for Counting {
        type Report = bool;

        async fn tick(&mut self, _: &()) -> anyhow::Result<bool> {
            self.1(self.0.fetch_add(1, Ordering::SeqCst))
        }

        fn worked(report: &bool) -> bool {
            *report
        }
    }

    async fn reaches(count: &AtomicU32, at_least: u32) {
        let wait = async {
            while count.load(Ordering::SeqCst) < at_least {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .expect("the service ran");
    }

    #[tokio::test]
    async fn a_round_that_worked_pokes_the_next_stage() {
        let owner = Supervisor::new(Health::default(), CancellationToken::new());
        let (first, second, poke) = (Arc::default(), Arc::default(), Poke::new());
        let hour = Duration::from_secs(3600);
        owner.add(
            "second",
            Counting(Arc::clone(&second), |_| Ok(false)),
            Arc::new(()),
            every(hour).on(&poke),
        );
        reaches(&second, 1).await;
        owner.add(
            "first",
            Counting(first, |_| Ok(true)),
            Arc::new(()),
            every(hour).pokes(&poke),
        );
        reaches(&second, 2).await;
        assert!(owner.stop(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_failed_round_shows_on_the_health_page_until_one_succeeds() {
        let health = Health::default();
        let owner = Supervisor::new(health.clone(), CancellationToken::new());
        let count = Arc::default();
        let service = Counting(Arc::clone(&count), |n| {
            if n == 0 {
                anyhow::bail!("no route")
            } else {
                Ok(false)
            }
        });
        owner.add(
            "flaky",
            service,
            Arc::new(()),
            every(Duration::from_secs(3600)),
        );
        reaches(&count, 1).await;
        while health.checks().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(health.checks()[0].output, "no route");
        reaches(&count, 2).await;
        while !health.is_good() {
            tokio::task::yield_now().await;
        }
        assert!(owner.stop(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_panic_in_a_service_ends_the_process_with_a_reason() {
        let owner = Supervisor::new(Health::default(), CancellationToken::new());
        owner.add(
            "broken",
            Counting(Arc::default(), |_| panic!("injected")),
            Arc::new(()),
            every(Duration::from_secs(1)),
        );
        assert!(owner.fatal().await.contains("broken panicked"));
        assert!(owner.stop_token().is_cancelled());
    }
}
