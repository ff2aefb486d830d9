//! Several Ethereum clients behind one door that behaves like one good client.
//!
//! The [`Pool`] judges endpoints; the gateway adds what unmodified Ethereum software needs on top
//! of it: a single chain that never goes back except by a real reorganisation (`chain`, `tip`,
//! `follow`), questions put to an endpoint that can answer them and to another one when it does
//! not (`route`, `class`, `block`), transactions to everybody with one answer (`send`),
//! subscriptions and filters that no endpoint's loss can thin (`subscriptions`, `filters`), and the
//! door itself (`server`). What clients send and get is passed on as the bytes it is.
//!
//! What it does not do yet: `newPendingTransactions`, a cache, quorum reads, TLS and client
//! authentication at its own door. `docs/howto/gateway.md` says what follows from that.

mod batch;
mod block;
mod body;
mod budget;
mod cache;
mod chain;
mod class;
mod completeness;
mod config;
mod dice;
mod envelope;
mod filters;
mod finality;
mod follow;
mod handle;
mod log;
mod logs;
mod method;
mod observe;
mod pages;
mod probe;
mod reading;
mod route;
mod send;
mod server;
#[cfg(test)]
mod sim;
mod socket;
mod subscriptions;
mod tip;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;

#[cfg(test)]
pub(crate) use class::{Class, class};
pub use config::GatewayConfig;
#[cfg(test)]
pub(crate) use envelope::{Body, Request, read as read_body};
pub use probe::{Finding, UpstreamVerdict, chain_of, probe};
pub use server::ListenError;

use crate::Pool;
use crate::status::NodeState;
use budget::Budget;
use cache::Cache;
use chain::ChainView;
use completeness::Blooms;
use dice::Dice;
use filters::Filters;
use reading::Flights;
use send::Sends;

/// A gateway over one pool. Cheap to clone; all clones are one gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Core>);

pub(crate) struct Core {
    pub(crate) pool: Pool,
    pub(crate) config: GatewayConfig,
    pub(crate) chain: ChainView,
    pub(crate) retries: Budget,
    /// Whether endpoints have been compared with each other once.
    pub(crate) compared: watch::Sender<bool>,
    pub(crate) filters: Filters,
    pub(crate) sends: Sends,
    pub(crate) blooms: Blooms,
    pub(crate) cache: Cache,
    pub(crate) flights: Flights,
    pub(crate) dice: Dice,
    pub(crate) next_id: AtomicU64,
    pub(crate) draining: AtomicBool,
    pub(crate) started: Instant,
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Gateway {
    /// Touches no network. `metrics` renders what `/metrics` shows.
    pub fn new(
        pool: Pool,
        config: GatewayConfig,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Core {
            chain: ChainView::default(),
            retries: Budget::default(),
            compared: watch::Sender::new(false),
            filters: Filters::default(),
            sends: Sends::default(),
            blooms: Blooms::default(),
            cache: Cache::new(config.cache_bytes),
            flights: Flights::default(),
            dice: Dice::Fair,
            next_id: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            metrics: Arc::new(metrics),
            pool,
            config,
        }))
    }

    /// Takes the port. Called early, so that a port in use is known before anything is started.
    pub async fn bind(&self) -> Result<TcpListener, ListenError> {
        server::bind(self.0.config.listen).await
    }

    /// Watches the endpoints, follows the chain and answers clients until `stop` is done; then
    /// finishes what it is answering.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let core = &self.0;
        tokio::select! {
            () = core.pool.clone().run(std::future::pending()) => {}
            () = Arc::clone(core).follow() => {}
            () = server::serve(Arc::clone(core), listener, stop) => {}
        }
    }

    /// What is sent to a client that asks whether we are syncing; see `Core::syncing`.
    pub fn is_syncing(&self) -> bool {
        self.0.syncing().is_some()
    }

    /// The number of the newest block the gateway speaks about; none before it knows one.
    pub fn tip(&self) -> Option<u64> {
        self.0.chain.tags().map(|tags| tags.latest)
    }
}

impl Core {
    /// What an endpoint says about its syncing, while no endpoint is there that is not syncing.
    pub(crate) fn syncing(&self) -> Option<Bytes> {
        let mut status = None;
        for node in self.pool.0.nodes.iter().filter(|node| !node.send_only) {
            let condition = node.condition();
            match (condition.state, &condition.syncing) {
                (NodeState::Alive | NodeState::OutOfSync, _) => return None,
                (NodeState::Syncing, Some(words)) if status.is_none() => {
                    status = Some(Bytes::copy_from_slice(words.get().as_bytes()));
                }
                _ => {}
            }
        }
        status
    }
}
