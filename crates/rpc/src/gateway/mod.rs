//! Several Ethereum clients behind one door that behaves like one good client.
//!
//! The core judges what endpoints are good for and puts questions to them; the node uses it as a
//! library ([`Pool`](crate::Pool)), and the gateway is the door to it for everybody else. It gives what unmodified
//! Ethereum software needs: a single chain that never goes back except by a real reorganisation (`chain`, `tip`,
//! `follow`), questions put to an endpoint that can answer them and to another one when it does
//! not (`route`, `class`, `block`), transactions to everybody with one answer (`send`),
//! subscriptions and filters that no endpoint's loss can thin (`subscriptions`, `filters`), with logs that
//! are proven complete (`proving`, `completeness`), and the door itself: who may come in and as whom (`bind`, `tls`, `access`, `jwt`), what they may ask
//! and how much (`policy`, `quota`), how it is asked (`server` with `pace` and `framing`, `swift` with `gone`; over WebSocket `socket`, `frames`,
//! `line`, and `teller`, `together` and `pump` for what they are told), and on which core (`workers`). What clients send
//! and get is passed on as the bytes it is.
//!
//! Where nobody says which chain all this is about, the upstreams are asked (`learning`).
//!
//! Settings may change while clients are connected (`reload`): a new [`Core`] takes over the
//! journal and the filters of the old one, and clients go over to it with their next request.

mod access;
mod batch;
mod bind;
mod block;
mod body;
mod budget;
mod cache;
mod chain;
mod class;
mod completeness;
mod config;
mod depth;
mod envelope;
mod filters;
mod finality;
mod follow;
mod frames;
mod framing;
mod gone;
mod handle;
mod hedge;
mod history;
mod horizon;
mod interests;
mod jwt;
mod learning;
mod line;
mod log;
mod logs;
pub(crate) mod method;
mod nonce;
mod observe;
mod pace;
mod pages;
mod policy;
mod probe;
mod proofs;
mod proving;
mod pump;
mod question;
mod quota;
mod quoted;
mod rank;
mod reading;
mod receipts;
mod reload;
mod responses;
mod resumed;
mod retreat;
mod route;
mod seal;
mod send;
mod server;
#[cfg(test)]
mod sim;
mod socket;
mod subscriptions;
mod swift;
mod teller;
mod tip;
mod tls;
mod together;
mod workers;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

pub use crate::public::may_be_public;
pub use access::{Access, ApiKey, KeyHash, new_key};
pub use bind::ListenError;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use class::{Class, class};
pub use config::GatewayConfig;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use envelope::{Body, Request, read as read_body};
pub use jwt::{JwtConfig, JwtConfigError};
pub use learning::{ChainError, chain_of};
pub use policy::MethodRules;
pub use probe::{FeeCap, Finding, UpstreamVerdict, probe};
pub use proofs::LogsMode;
pub use quota::Quota;
pub use reload::{Gateway, ReloadError, Reloaded};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use swift::quick_request;
pub use tls::{TlsError, TlsFiles};

use crate::endpoints::Endpoints;
use crate::error::PoolError;
use crate::status::{NodeState, NodeStatus};
pub(crate) use block::{Needs, Tags};
pub(crate) use budget::Purse;
pub(crate) use envelope::Answer;
pub(crate) use method::Method;
pub(crate) use question::Asked;
pub(crate) use reading::Plan;
pub(crate) use route::said_wait;

use access::Doorman;
use budget::Budget;
use cache::Cache;
use chain::ChainView;
use completeness::Blooms;
use filters::Filters;
use history::History;
use proofs::Proofs;
use quota::Buckets;
use reading::Flights;
use seal::Seals;
use send::Sends;
use tls::Tls;

/// Why a gateway cannot be made with these settings.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Jwt(#[from] JwtConfigError),
}

/// What puts questions to endpoints, under one set of settings.
pub(crate) struct Core {
    pub(crate) pool: Endpoints,
    pub(crate) config: GatewayConfig,
    /// What everybody may ask, by these settings.
    permitted: method::Permitted,
    pub(crate) chain: Arc<ChainView>,
    pub(crate) retries: Budget,
    /// Whether endpoints have been compared with each other once.
    pub(crate) compared: watch::Sender<bool>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) sends: Arc<Sends>,
    pub(crate) blooms: Blooms,
    /// The same of the numbers of logs.
    pub(crate) numbers: Blooms,
    pub(crate) proofs: Proofs,
    pub(crate) seals: Seals,
    pub(crate) cache: Cache,
    pub(crate) flights: Flights,
    pub(crate) next_id: AtomicU64,
    /// How long one endpoint gets for an answer; none: as long as the method's kind says.
    pub(crate) patience: Option<Duration>,
    /// Whether somebody keeps `chain` where the endpoints are.
    followed: AtomicBool,
    pub(crate) doorman: Doorman,
    pub(crate) tls: Option<Tls>,
    pub(crate) kept: Arc<Kept>,
    successor: OnceLock<Arc<Core>>,
}

/// What all settings of one gateway share.
pub(crate) struct Kept {
    pub(crate) draining: AtomicBool,
    pub(crate) started: Instant,
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
    pub(crate) history: History,
    pub(crate) buckets: Arc<Buckets>,
    /// KiB of request bodies that may still be held.
    pub(crate) held: Arc<Semaphore>,
    pub(crate) sending: gone::Sending,
    /// How many sets of settings there have been, and what the last reload that failed said.
    pub(crate) generation: AtomicU64,
    pub(crate) reload_failed: std::sync::Mutex<Option<String>>,
}

/// Bytes of answers the node keeps while they are true.
const LIBRARY_CACHE: u64 = 16 << 20;

impl Core {
    /// Without a door: for questions of this process alone.
    pub(crate) fn library(pool: Endpoints) -> Self {
        let config = GatewayConfig {
            cache_bytes: LIBRARY_CACHE,
            ..GatewayConfig::default()
        };
        let patience = Some(pool.0.config.request_timeout);
        let core = Self::first(pool, config, String::new);
        let core = core.expect("settings that name no file cannot name a wrong one");
        Self { patience, ..core }
    }

    fn first(
        pool: Endpoints,
        config: GatewayConfig,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, GatewayError> {
        let kept = Kept {
            draining: AtomicBool::new(false),
            started: Instant::now(),
            metrics: Box::new(metrics),
            history: History::default(),
            buckets: Arc::default(),
            held: Arc::new(Semaphore::new(
                (config.max_held_bytes >> 10).min(Semaphore::MAX_PERMITS),
            )),
            sending: gone::Sending::default(),
            generation: AtomicU64::new(1),
            reload_failed: std::sync::Mutex::default(),
        };
        Self::build(
            pool,
            config,
            Arc::default(),
            Arc::default(),
            Arc::default(),
            Arc::new(kept),
        )
    }

    /// The same gateway under other settings.
    fn next(&self, pool: Endpoints, config: GatewayConfig) -> Result<Self, GatewayError> {
        let (chain, filters) = (Arc::clone(&self.chain), Arc::clone(&self.filters));
        // What was sent is remembered by the numbers of the upstreams it was sent to.
        let sends = if Arc::ptr_eq(&pool.0, &self.pool.0) {
            Arc::clone(&self.sends)
        } else {
            Arc::default()
        };
        Self::build(pool, config, chain, filters, sends, Arc::clone(&self.kept))
    }

    fn build(
        pool: Endpoints,
        config: GatewayConfig,
        chain: Arc<ChainView>,
        filters: Arc<Filters>,
        sends: Arc<Sends>,
        kept: Arc<Kept>,
    ) -> Result<Self, GatewayError> {
        Ok(Self {
            doorman: Doorman::new(config.access.clone(), Arc::clone(&kept.buckets))?,
            tls: config.tls.as_ref().map(Tls::load).transpose()?,
            retries: Budget::default(),
            compared: watch::Sender::new(false),
            sends,
            blooms: Blooms::default(),
            numbers: Blooms::default(),
            proofs: Proofs::default(),
            seals: Seals::default(),
            cache: Cache::new(config.cache_bytes),
            flights: Flights::default(),
            next_id: AtomicU64::new(1),
            patience: None,
            followed: AtomicBool::new(false),
            successor: OnceLock::new(),
            permitted: method::Permitted::by(&config.methods),
            pool,
            config,
            chain,
            filters,
            kept,
        })
    }

    /// Every endpoint as it is now, in the order of the configuration.
    pub(crate) fn nodes(&self) -> Vec<NodeStatus> {
        self.pool.nodes(|node| self.reads_from(node))
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.followed.load(Ordering::Relaxed)
    }

    pub(crate) fn is_followed_until_dropped(&self) -> Followed<'_> {
        self.followed.store(true, Ordering::Relaxed);
        Followed(&self.followed)
    }

    /// The settings that hold now, for whoever has been at work since earlier ones.
    pub(crate) fn newest(self: &Arc<Self>) -> Arc<Self> {
        let mut newest = self;
        while let Some(next) = newest.successor.get() {
            newest = next;
        }
        Arc::clone(newest)
    }
}

/// Somebody follows the chain, until dropped.
pub(crate) struct Followed<'a>(&'a AtomicBool);

impl Drop for Followed<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Core {
    /// The answer to `eth_syncing`.
    pub(crate) fn whether_syncing(&self) -> Answer {
        match self.syncing() {
            Some(status) => Answer::Result(status),
            // What nobody says is not said by us.
            None if self.readable().next().is_none() => self.nobody(&[]),
            None => Answer::literal("false"),
        }
    }

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
