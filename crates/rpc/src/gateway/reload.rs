//! The gateway from start to end, through all changes of its settings.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, timeout};

use super::bind::{self, ListenError};
use super::learning::{ChainError, Heard};
use super::probe::family;
use super::tls::{self, Tls};
use super::{Core, GatewayConfig, GatewayError, history, observe, server};
use crate::config::{CHAIN_NOT_KNOWN, NodeConfig, PoolConfig};
use crate::endpoints::Endpoints;
use crate::error::PoolError;
use crate::status::NodeState;

/// New upstreams have to be where the old ones are within this time.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// A certificate that expires soon is spoken of so often.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);
/// That nothing changes is told so often.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Those that are removed finish what they are asked.
const OLD_WATCHED_FOR: Duration = Duration::from_secs(5);

/// A gateway. Cheap to clone; all clones are one gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Shell>);

struct Shell {
    core: watch::Sender<Arc<Core>>,
    work: mpsc::UnboundedSender<Work>,
    todo: Mutex<Option<mpsc::UnboundedReceiver<Work>>>,
    /// Which chain upstreams said when they were asked last.
    heard: Mutex<Option<u64>>,
    /// Why they said none, and when that was told.
    told: Mutex<Option<(String, Instant)>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<Option<AbortHandle>>,
}

/// What has to run from now on.
enum Work {
    Pool(BoxFuture<'static, ()>),
    Follow(Arc<Core>),
}

/// What a change of the settings came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// How many sets of settings there have been.
    pub generation: u64,
    pub upstreams_changed: bool,
    /// What needs a restart to take effect.
    pub not_applied: Vec<&'static str>,
}

/// Why the settings stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Settings(#[from] GatewayError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("a running gateway cannot be moved from chain {from} to chain {to}: start another one")]
    OtherChain { from: u64, to: u64 },
    #[error(
        "none of the new upstreams could be used within {} s: {why}", CAUGHT_UP_WITHIN.as_secs()
    )]
    NobodyThere { why: String },
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Gateway {
    /// Touches no network; reads the files the settings name. `metrics` renders what `/metrics`
    /// shows.
    pub fn new(
        pool: PoolConfig,
        config: GatewayConfig,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, GatewayError> {
        let core = Core::first(Endpoints::new(pool)?, config, metrics)?;
        let (work, todo) = mpsc::unbounded_channel();
        Ok(Self(Arc::new(Shell {
            core: watch::Sender::new(Arc::new(core)),
            work,
            todo: Mutex::new(Some(todo)),
            heard: Mutex::default(),
            told: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        })))
    }

    fn core(&self) -> Arc<Core> {
        Arc::clone(&self.0.core.borrow())
    }

    /// Takes the port. Called early, so that a port in use is known before anything is started.
    pub async fn bind(&self) -> Result<TcpListener, ListenError> {
        bind::bind(&self.core().config).await
    }

    /// Watches the endpoints, follows the chain and answers clients until `stop` is done; then
    /// finishes what it is answering. To be run once.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let todo = self
            .0
            .todo
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(todo) = todo else { return };
        let core = self.core();
        if core.pool.known_chain_id().is_some() {
            let mut watched = self.0.changing.lock().await;
            // Who learned the chain first has begun already.
            if watched.is_none() {
                *watched = Some(self.watch(&core.pool));
                let _ = self.0.work.send(Work::Follow(core));
            }
        }
        tokio::select! {
            () = work(todo) => {}
            () = self.keep_history() => {}
            () = server::serve(self.0.core.subscribe(), listener, stop) => {}
        }
    }

    /// Has a pool watched until the handle ends that.
    fn watch(&self, pool: &Endpoints) -> AbortHandle {
        let (running, handle) = abortable(pool.clone().run(std::future::pending()));
        let running = async {
            let _ = running.await;
        };
        let _ = self.0.work.send(Work::Pool(Box::pin(running)));
        handle
    }

    /// Asks the upstreams, all at once, which chain they belong to, where nobody has said it; true
    /// once it is known. While some of them say nothing the others have to say it twice: who is not up
    /// yet may contradict. `judged` makes the settings of that chain. To be called again and again, a
    /// while apart.
    pub async fn learn_chain(
        &self,
        judged: impl FnOnce(u64, Vec<NodeConfig>) -> PoolConfig,
    ) -> Result<bool, ChainError> {
        let mut watched = self.0.changing.lock().await;
        let core = self.core();
        if core.pool.known_chain_id().is_some() {
            return Ok(true);
        }
        let heard = core.ask_for_chain().await?;
        let before = {
            let mut last = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let heard = match heard {
                Heard::Chain(chain_id, _) => Some(chain_id),
                Heard::Nothing(ref why) => {
                    self.nothing_was_heard(why);
                    None
                }
            };
            std::mem::replace(&mut *last, heard)
        };
        let chain_id = match heard {
            Heard::Chain(chain_id, all) if all || before == Some(chain_id) => chain_id,
            Heard::Chain(..) | Heard::Nothing(_) => return Ok(false),
        };
        observe::chain_learned(chain_id);
        let config = core.config.clone();
        let pool = judged(chain_id, core.pool.0.config.nodes.clone());
        self.go_over(&mut watched, pool, config).await?;
        Ok(true)
    }

    /// Says so when it is news, and now and then.
    fn nothing_was_heard(&self, why: &str) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = told
            .as_ref()
            .is_some_and(|(before, at)| before == why && at.elapsed() < TELL_EVERY);
        if !is_known {
            observe::chain_not_known(why);
            *told = Some((why.to_owned(), Instant::now()));
        }
    }

    async fn keep_history(&self) {
        let mut every = interval(history::EVERY);
        let mut told: Option<Instant> = None;
        let mut looked_at = None;
        loop {
            every.tick().await;
            let core = self.core();
            let generation = core.kept.generation.load(Ordering::Relaxed);
            // Once all have been tried, it is known what they are.
            if looked_at != Some(generation) && *core.compared.borrow() {
                looked_at = Some(generation);
                look_at_variety(&core);
            }
            core.kept.history.take(&core);
            let left = core.tls.as_ref().map(Tls::left);
            if let Some(left) = left.filter(|left| *left < tls::SOON)
                && told.is_none_or(|told| told.elapsed() > REMIND_EVERY)
            {
                told = Some(Instant::now());
                observe::certificate_ends_soon(left);
            }
        }
    }

    /// Goes over to other settings without anybody noticing, or changes nothing and says why.
    pub async fn reload(
        &self,
        pool: PoolConfig,
        config: GatewayConfig,
    ) -> Result<Reloaded, ReloadError> {
        let outcome = self.change(pool, config).await;
        let kept = Arc::clone(&self.core().kept);
        let mut failed = kept
            .reload_failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok(reloaded) => {
                *failed = None;
                observe::reloaded(reloaded);
            }
            Err(error) => {
                *failed = Some(error.to_string());
                observe::reload_failed(error);
            }
        }
        outcome
    }

    /// Says that settings could not even be read; nothing changes.
    pub fn reload_failed(&self, why: &str) {
        let kept = Arc::clone(&self.core().kept);
        *kept
            .reload_failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        observe::reload_failed(&why);
    }

    async fn change(
        &self,
        pool: PoolConfig,
        config: GatewayConfig,
    ) -> Result<Reloaded, ReloadError> {
        let mut watched = self.0.changing.lock().await;
        let gone_over = self.go_over(&mut watched, pool, config).await?;
        let (upstreams_changed, not_applied) = gone_over;
        let before = self.core().kept.generation.fetch_add(1, Ordering::Relaxed);
        Ok(Reloaded {
            generation: before + 1,
            upstreams_changed,
            not_applied,
        })
    }

    /// Whether the upstreams are others, and what needs a restart. `watched` is held while one change
    /// is made.
    async fn go_over(
        &self,
        watched: &mut Option<AbortHandle>,
        mut pool: PoolConfig,
        config: GatewayConfig,
    ) -> Result<(bool, Vec<&'static str>), ReloadError> {
        let old = self.core();
        let before = old.chain_id_in_use();
        if let Some(from) = before {
            if pool.chain_id == CHAIN_NOT_KNOWN {
                pool.chain_id = from;
            }
            if pool.chain_id != from {
                return Err(ReloadError::OtherChain {
                    from,
                    to: pool.chain_id,
                });
            }
        }
        let mut not_applied = Vec::new();
        let config = GatewayConfig {
            listen: keep("listen", old.config.listen, config.listen, &mut not_applied),
            interface: keep(
                "interface",
                old.config.interface.clone(),
                config.interface.clone(),
                &mut not_applied,
            ),
            max_connections: keep(
                "limits.connections",
                old.config.max_connections,
                config.max_connections,
                &mut not_applied,
            ),
            ..config
        };
        bind::may_listen(&config)?;
        let upstreams_changed = pool != old.pool.0.config;
        let (new, handle) = if upstreams_changed {
            let pool = Endpoints::new(pool)?;
            if pool.chain_id() == old.pool.chain_id() {
                pool.0.agreed.take_over(&old.pool.0.agreed);
            }
            let new = old.next(pool, config)?;
            let handle = new.pool.known_chain_id().map(|_| self.watch(&new.pool));
            // Where nobody could be asked before, nobody has to be waited for.
            if let (Some(_), Some(handle)) = (before, &handle)
                && let Err(error) = caught_up(&old, &new.pool).await
            {
                handle.abort();
                return Err(error);
            }
            (new, handle)
        } else {
            (old.next(old.pool.clone(), config)?, None)
        };
        let new = Arc::new(new);
        let _ = old.successor.set(Arc::clone(&new));
        self.0.core.send_replace(Arc::clone(&new));
        if new.pool.known_chain_id().is_some() {
            let _ = self.0.work.send(Work::Follow(new));
        }
        if let Some(handle) = handle
            && let Some(before) = watched.replace(handle)
        {
            // Whoever was asking goes on for a moment, with somebody looking after them.
            let later = async move {
                tokio::time::sleep(OLD_WATCHED_FOR).await;
                before.abort();
            };
            let _ = self.0.work.send(Work::Pool(Box::pin(later)));
        }
        Ok((upstreams_changed, not_applied))
    }
}

/// What one failure would take away altogether is told once for each set of settings.
fn look_at_variety(core: &Core) {
    let primaries = core.pool.0.nodes.iter().filter(|node| !node.send_only);
    let clients: Vec<_> = primaries
        .map(|node| node.condition().client_version.as_deref().map(family))
        .collect();
    match variety(&clients) {
        Variety::Enough => {}
        Variety::OneUpstream => observe::only_one_upstream(core.pool.chain_id()),
        Variety::OneProgram(program) => observe::only_one_program(core.pool.chain_id(), program),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Variety<'a> {
    Enough,
    OneUpstream,
    OneProgram(&'a str),
}

/// `clients`: the programs of all upstreams that are read from, as far as they say.
fn variety(clients: &[Option<String>]) -> Variety<'_> {
    match clients {
        [_] => Variety::OneUpstream,
        [Some(first), rest @ ..] if rest.iter().all(|it| it.as_ref() == Some(first)) => {
            Variety::OneProgram(first)
        }
        _ => Variety::Enough,
    }
}

/// What needs a restart stays as it is, and is told.
fn keep<T: PartialEq>(name: &'static str, old: T, new: T, told: &mut Vec<&'static str>) -> T {
    if old != new {
        told.push(name);
    }
    old
}

/// Waits until one of the new upstreams is as far as the gateway speaks.
async fn caught_up(old: &Core, pool: &Endpoints) -> Result<(), ReloadError> {
    let there = async {
        loop {
            let tip = old.chain.tags().map_or(0, |tags| tags.latest);
            let any = pool.0.nodes.iter().any(|node| {
                let condition = node.condition();
                !node.send_only
                    && condition.state == NodeState::Alive
                    && condition.head.is_some_and(|head| head.number >= tip)
            });
            if any {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(CAUGHT_UP_WITHIN, there).await.map_err(|_| {
        let tip = old.chain.tags().map_or(0, |tags| tags.latest);
        let reasons: Vec<String> = pool
            .nodes(|_| false)
            .into_iter()
            .filter(|node| !node.send_only)
            .map(|node| {
                let why = match (node.reason_alone(), node.highest_head) {
                    (Some(reason), _) => reason,
                    (None, Some(at)) => format!("it is behind, at block {at} instead of {tip}"),
                    (None, None) => "it did not show a block".to_owned(),
                };
                format!("{}: {why}", node.name)
            })
            .collect();
        ReloadError::NobodyThere {
            why: reasons.join("; "),
        }
    })
}

/// Runs pools beside one another and the following of one core at a time.
async fn work(mut todo: mpsc::UnboundedReceiver<Work>) {
    let mut pools: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut following: BoxFuture<'static, ()> = Box::pin(std::future::pending());
    loop {
        tokio::select! {
            work = todo.recv() => match work {
                None => return,
                Some(Work::Pool(pool)) => pools.push(pool),
                Some(Work::Follow(core)) => following = Box::pin(core.follow()),
            },
            Some(()) = pools.next() => {}
            () = &mut following => {}
        }
    }
}

impl Core {
    /// What was said wrongly, and so never found, can be put right.
    fn chain_id_in_use(&self) -> Option<u64> {
        let chain_id = self.pool.known_chain_id();
        chain_id.filter(|_| self.chain.tags().is_some())
    }
}

impl Gateway {
    /// The chain it is for; none before it has seen a block of it, when it may still become another.
    pub fn chain_id(&self) -> Option<u64> {
        self.core().chain_id_in_use()
    }

    /// Whether anybody said which chain it is for.
    pub fn knows_its_chain(&self) -> bool {
        self.core().pool.known_chain_id().is_some()
    }

    /// The number of the newest block the gateway speaks about; none before it knows one.
    pub fn tip(&self) -> Option<u64> {
        self.core().chain.tags().map(|tags| tags.latest)
    }

    /// Whether no upstream is there that is not syncing.
    pub fn is_syncing(&self) -> bool {
        self.core().syncing().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_upstream_or_one_program_is_told_and_what_is_not_known_is_not() {
        let of = |list: &[&str]| -> Vec<Option<String>> {
            let known = |it: &&str| (!it.is_empty()).then(|| (*it).to_owned());
            list.iter().map(known).collect()
        };
        assert_eq!(variety(&of(&["geth"])), Variety::OneUpstream);
        assert_eq!(variety(&of(&[""])), Variety::OneUpstream);
        assert_eq!(variety(&of(&["geth", "geth"])), Variety::OneProgram("geth"));
        assert_eq!(variety(&of(&["geth", "reth"])), Variety::Enough);
        assert_eq!(variety(&of(&["geth", ""])), Variety::Enough);
        assert_eq!(variety(&of(&["", ""])), Variety::Enough);
    }
}
