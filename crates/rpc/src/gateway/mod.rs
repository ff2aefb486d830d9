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

mod block;
mod body;
mod budget;
mod chain;
mod class;
mod config;
mod envelope;
mod filters;
mod follow;
mod handle;
mod log;
mod logs;
mod method;
mod observe;
mod pages;
mod probe;
mod route;
mod send;
mod server;
mod socket;
mod subscriptions;
mod tip;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use tokio::net::TcpListener;

pub use config::GatewayConfig;
pub use probe::{Finding, UpstreamVerdict, chain_of, probe};
pub use server::ListenError;

use crate::Pool;
use budget::Budget;
use chain::ChainView;
use filters::Filters;

/// A gateway over one pool. Cheap to clone; all clones are one gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Core>);

pub(crate) struct Core {
    pub(crate) pool: Pool,
    pub(crate) config: GatewayConfig,
    pub(crate) chain: ChainView,
    pub(crate) retries: Budget,
    pub(crate) filters: Filters,
    /// Blocks of logs asked for in one question; learned from refusals.
    pub(crate) log_range: AtomicU64,
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
            filters: Filters::default(),
            log_range: AtomicU64::new(logs::FIRST_RANGE),
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

    /// The number of the newest block the gateway speaks about; none before it knows one.
    pub fn tip(&self) -> Option<u64> {
        self.0.chain.tags().map(|tags| tags.latest)
    }
}
