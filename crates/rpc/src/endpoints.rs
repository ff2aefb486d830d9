//! The endpoints of one chain, watched and judged. Whom to ask what is decided elsewhere.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::agreed::Agreed;
use crate::config::{CHAIN_NOT_KNOWN, PoolConfig};
use crate::dice::Dice;
use crate::error::{PoolError, RpcError};
use crate::head::Head;
use crate::node::Node;
use crate::pending::Pending;
use crate::rhythm::Rhythm;
use crate::send_errors::Overrides;
use crate::status::{NodeReport, NodeState, NodeStatus};
use crate::unknown::UnknownTexts;
use crate::usable::Usable;
use crate::watcher;

/// Transactions being sent at the same time; further callers wait.
const SENDS_IN_FLIGHT: usize = 2048;

/// The endpoints of one chain. Cheap to clone; all clones are the same endpoints.
#[derive(Clone)]
pub(crate) struct Endpoints(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: PoolConfig,
    pub(crate) overrides: Arc<Overrides>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) unknown_texts: UnknownTexts,
    pub(crate) sends: Semaphore,
    pub(crate) pending: Arc<Pending>,
    pub(crate) agreed: Arc<Agreed>,
    pub(crate) usable: Arc<Usable>,
    pub(crate) rhythm: Rhythm,
    pub(crate) dice: Dice,
    /// Counts what endpoints show, so that whoever follows the chain need not poll.
    pub(crate) seen: watch::Sender<u64>,
    /// The block the pool speaks about, while somebody follows the chain.
    stands_on: AtomicU64,
}

/// Nobody follows the chain.
const NOWHERE: u64 = u64::MAX;

/// How TLS is spoken with each endpoint. Most share the system's roots, which take a while to
/// read and are not needed where everything is plain.
fn tls_of(config: &PoolConfig) -> Result<Vec<Arc<rustls::ClientConfig>>, PoolError> {
    let mut shared: Option<Arc<rustls::ClientConfig>> = None;
    let mut list = Vec::new();
    let mut problems = Vec::new();
    for node in &config.nodes {
        let usual = node.tls == crate::EndpointTls::default();
        let made = match &shared {
            Some(shared) if usual => Ok(Arc::clone(shared)),
            _ if usual && !node.speaks_tls() => Ok(crate::roots::nobody()),
            _ => node.tls.config(),
        };
        match made {
            Ok(made) => {
                if usual && node.speaks_tls() {
                    shared.get_or_insert_with(|| Arc::clone(&made));
                }
                list.push(made);
            }
            Err(problem) => problems.push(format!("TLS of endpoint {:?}: {problem}", node.name)),
        }
    }
    if problems.is_empty() {
        Ok(list)
    } else {
        Err(PoolError::Config { problems })
    }
}

impl Endpoints {
    /// Builds the pool without touching the network. All problems of the settings come together.
    pub(crate) fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let mut problems = config.problems();
        let overrides = Arc::new(Overrides::new(&config.send_error_overrides, &mut problems));
        if !problems.is_empty() {
            return Err(PoolError::Config { problems });
        }
        let tls = tls_of(&config)?;
        let agreed = Arc::new(Agreed::default());
        let usable = Arc::new(Usable::default());
        let nodes = config.nodes.iter().cloned().enumerate().zip(&tls);
        let nodes = nodes
            .map(|((index, node), tls)| {
                let (overrides, agreed) = (Arc::clone(&overrides), Arc::clone(&agreed));
                let usable = Arc::clone(&usable);
                Node::new(node, index, &config, tls, overrides, agreed, usable)
            })
            .collect();
        Ok(Self(Arc::new(Shared {
            config,
            overrides,
            nodes,
            unknown_texts: UnknownTexts::default(),
            sends: Semaphore::new(SENDS_IN_FLIGHT),
            pending: Arc::default(),
            agreed,
            usable,
            rhythm: Rhythm::default(),
            dice: Dice::Fair,
            seen: watch::Sender::new(0),
            stands_on: AtomicU64::new(NOWHERE),
        })))
    }

    pub(crate) fn chain_id(&self) -> u64 {
        self.0.config.chain_id
    }

    /// The same, unless nobody has said it yet.
    pub(crate) fn known_chain_id(&self) -> Option<u64> {
        Some(self.chain_id()).filter(|chain_id| *chain_id != CHAIN_NOT_KNOWN)
    }

    /// Asks every endpoint once who it is, all at the same time, over each of its URLs.
    pub(crate) async fn verify(&self) -> Vec<NodeReport> {
        join_all(self.0.nodes.iter().map(watcher::report)).await
    }

    /// Watches the endpoints until `stop` is done: subscriptions, polls, states. To be run once,
    /// by the supervisor. Reads and sends over HTTP work without it, also after it has ended;
    /// WebSocket-only endpoints do not.
    pub(crate) async fn run(self, stop: impl Future<Output = ()> + Send) {
        watcher::watch(&self.0, stop).await;
    }

    /// Every endpoint as it is now, in the order of the configuration. `is_active` says whether reads
    /// go to one.
    pub(crate) fn nodes(&self, is_active: impl Fn(&Node) -> bool) -> Vec<NodeStatus> {
        let nodes = self.0.nodes.iter();
        nodes.map(|node| node.status(is_active(node))).collect()
    }

    /// Texts endpoints refused transactions with that we have no meaning for: endpoint, text, how
    /// often. At most a few dozen are kept.
    pub(crate) fn unknown_send_errors(&self) -> Vec<(Arc<str>, String, u64)> {
        self.0.unknown_texts.list()
    }
}

impl Shared {
    /// One failure is its own explanation; several endpoints that could not be asked are listed.
    pub(crate) fn no_answer(&self, mut failures: Vec<RpcError>, tries: usize) -> RpcError {
        if (tries > 0 || failures.len() == 1)
            && let Some(last) = failures.pop()
        {
            return last;
        }
        let reasons = match failures.is_empty() {
            false => failures
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
            true => {
                let of_nodes = self
                    .nodes
                    .iter()
                    .filter(|node| !node.send_only)
                    .map(|node| {
                        let condition = node.condition();
                        format!(
                            "{} is {}: {}",
                            node.name,
                            condition.state.word(),
                            condition.reason.as_deref().unwrap_or("no reason known")
                        )
                    });
                of_nodes.collect::<Vec<_>>().join("; ")
            }
        };
        RpcError::NoLiveNode {
            chain_id: self.config.chain_id,
            reasons,
        }
    }

    /// Endpoints that can be read from, if they are there.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.send_only)
    }

    /// What endpoints are measured by: the highest head of the alive primaries, but nothing above the
    /// block the pool speaks about. One of them alone, or one on a branch of its own, makes nobody late.
    pub(crate) fn best(&self) -> Option<u64> {
        let mut heads: Vec<u64> = self
            .primaries()
            .filter_map(|node| {
                let condition = node.condition();
                let alive = condition.state == NodeState::Alive && !node.fitness.strays();
                condition.highest.filter(|_| alive)
            })
            .collect();
        heads.sort_unstable();
        let highest = *heads.last()?;
        match self.stands_on.load(Ordering::Acquire) {
            // Nobody follows the chain: with three or more a block counts once two have it.
            NOWHERE if heads.len() >= 3 => Some(heads[heads.len() - 2]),
            NOWHERE => Some(highest),
            tip => Some(highest.min(tip)),
        }
    }

    /// The block the pool speaks about.
    pub(crate) fn stands_on(&self, tip: u64) {
        self.stands_on.store(tip, Ordering::Release);
    }

    /// An endpoint showed a head.
    pub(crate) fn head_seen(&self, node: &Node, head: &Head) {
        self.rhythm.saw(head.number, Instant::now());
        node.saw(head);
        self.seen.send_modify(|seen| *seen = seen.wrapping_add(1));
    }
}
