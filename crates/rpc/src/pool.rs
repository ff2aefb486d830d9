//! The endpoints of one chain behind one handle.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::agreed::Agreed;
use crate::choice::{Candidate, ranked};
use crate::config::PoolConfig;
use crate::error::{PoolError, RpcError};
use crate::head::Head;
use crate::node::Node;
use crate::pending::Pending;
use crate::rhythm::Rhythm;
use crate::send_errors::Overrides;
use crate::status::{NodeReport, NodeState, NodeStatus};
use crate::unknown::UnknownTexts;
use crate::{observe, watcher};

/// A question is put to so many endpoints before its failure is the answer.
const TRIES: usize = 2;
/// For so long a block number lower than one shown before, from another endpoint, counts as "that
/// endpoint is behind" and not as the truth.
const BEHIND_PATIENCE: Duration = Duration::from_secs(30);
/// Transactions being sent at the same time; further callers wait.
const SENDS_IN_FLIGHT: usize = 2048;
const NOBODY: usize = usize::MAX;

/// The endpoints of one chain. Cheap to clone; all clones are one pool.
#[derive(Clone)]
pub struct Pool(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: PoolConfig,
    pub(crate) overrides: Arc<Overrides>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) unknown_texts: UnknownTexts,
    pub(crate) sends: Semaphore,
    pub(crate) pending: Arc<Pending>,
    pub(crate) agreed: Arc<Agreed>,
    pub(crate) rhythm: Rhythm,
    heads: watch::Sender<Option<Head>>,
    /// Counts what endpoints show, so that whoever follows the chain need not poll.
    pub(crate) seen: watch::Sender<u64>,
    /// Whose head was published last.
    heads_from: AtomicUsize,
    in_use: AtomicUsize,
    shown: Mutex<Option<Shown>>,
}

/// The highest latest block a caller was given, and from whom.
struct Shown {
    number: u64,
    node: usize,
    at: Instant,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

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

impl Pool {
    /// Builds the pool without touching the network. All problems of the settings come together.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        let mut problems = config.problems();
        let overrides = Arc::new(Overrides::new(&config.send_error_overrides, &mut problems));
        if !problems.is_empty() {
            return Err(PoolError::Config { problems });
        }
        let tls = tls_of(&config)?;
        let agreed = Arc::new(Agreed::default());
        let nodes = config.nodes.iter().cloned().enumerate().zip(&tls);
        let nodes = nodes
            .map(|((index, node), tls)| {
                let (overrides, agreed) = (Arc::clone(&overrides), Arc::clone(&agreed));
                Node::new(node, index, &config, tls, overrides, agreed)
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
            rhythm: Rhythm::default(),
            heads: watch::Sender::new(None),
            seen: watch::Sender::new(0),
            heads_from: AtomicUsize::new(NOBODY),
            in_use: AtomicUsize::new(NOBODY),
            shown: Mutex::new(None),
        })))
    }

    pub fn chain_id(&self) -> u64 {
        self.0.config.chain_id
    }

    /// Asks every endpoint once who it is, all at the same time, over each of its URLs.
    pub async fn verify(&self) -> Vec<NodeReport> {
        join_all(self.0.nodes.iter().map(watcher::report)).await
    }

    /// Watches the endpoints until `stop` is done: subscriptions, polls, states. To be run once,
    /// by the supervisor. Reads and sends over HTTP work without it, also after it has ended;
    /// WebSocket-only endpoints do not.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        watcher::watch(&self.0, stop).await;
    }

    /// The newest head any endpoint has shown. A hint to look: blocks may be skipped, and after a
    /// reorganisation the number may be lower than before.
    pub fn new_heads(&self) -> watch::Receiver<Option<Head>> {
        self.0.heads.subscribe()
    }

    /// Every endpoint as it is now, in the order of the configuration.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let in_use = self.0.in_use.load(Ordering::Relaxed);
        self.0
            .nodes
            .iter()
            .map(|node| node.status(node.index == in_use))
            .collect()
    }

    /// Texts endpoints refused transactions with that we have no meaning for: endpoint, text, how
    /// often. At most a few dozen are kept.
    pub fn unknown_send_errors(&self) -> Vec<(Arc<str>, String, u64)> {
        self.0.unknown_texts.list()
    }

    /// One question to the best endpoint, and to the next best should that fail.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, RpcError> {
        self.ask_until(method, params, |_, _| true)
            .await
            .map(|(answer, _)| answer)
    }

    /// The same, and another endpoint is asked too when the answer does not satisfy. The last
    /// answer counts, satisfying or not; with it comes who gave it.
    pub(crate) async fn ask_until<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
        satisfies: impl Fn(&T, &Node) -> bool,
    ) -> Result<(T, usize), RpcError> {
        let mut unsatisfying = None;
        let mut failures = Vec::new();
        let mut tries = 0;
        for node in self.0.for_reading() {
            if let Err(error) = node.ensure_verified().await {
                failures.push(error);
                continue;
            }
            self.0.use_from_now_on(node, tries);
            tries += 1;
            match node.ask(method, &params).await {
                Ok(answer) if satisfies(&answer, node) => return Ok((answer, node.index)),
                Ok(answer) => unsatisfying = Some((answer, node.index)),
                Err(error) if error.is_of_the_node() => failures.push(error),
                Err(error) => return Err(error),
            }
            if tries == TRIES {
                break;
            }
        }
        match unsatisfying {
            Some(answer) => Ok(answer),
            None => Err(self.0.no_answer(failures, tries)),
        }
    }

    /// Many questions to one endpoint in batches, and all of them to the next if that fails
    /// altogether; the answers in the order of the questions.
    pub(crate) async fn ask_many<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &[impl Serialize],
    ) -> Result<Vec<Result<T, RpcError>>, RpcError> {
        if params.is_empty() {
            return Ok(Vec::new());
        }
        let mut failures = Vec::new();
        let mut tries = 0;
        for node in self.0.for_reading() {
            if let Err(error) = node.ensure_verified().await {
                failures.push(error);
                continue;
            }
            self.0.use_from_now_on(node, tries);
            tries += 1;
            match node.ask_many(method, params).await {
                Ok(answers) => return Ok(answers),
                Err(error) if error.is_of_the_node() => failures.push(error),
                Err(error) => return Err(error),
            }
            if tries == TRIES {
                break;
            }
        }
        Err(self.0.no_answer(failures, tries))
    }

    /// Whether a latest block may be given to a caller who may have been given a higher one.
    pub(crate) fn is_not_behind(&self, number: u64, node: usize) -> bool {
        let shown = self.0.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.as_ref().is_none_or(|shown| {
            number >= shown.number || node == shown.node || shown.at.elapsed() > BEHIND_PATIENCE
        })
    }

    /// Remembers what a caller is given as latest block; or says that it cannot be given.
    pub(crate) fn show(&self, head: Head, node: usize) -> Result<Head, RpcError> {
        if !self.is_not_behind(head.number, node) {
            let node = self.0.nodes[node].name.to_string();
            let message = format!(
                "its latest block {} is lower than one shown before by another endpoint",
                head.number
            );
            return Err(RpcError::UnknownBlock { node, message });
        }
        let mut shown = self.0.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(Shown {
            number: head.number,
            node,
            at: Instant::now(),
        });
        drop(shown);
        Ok(head)
    }
}

impl Shared {
    /// Primaries to read from, best first.
    fn for_reading(&self) -> impl Iterator<Item = &Node> {
        let candidates = self
            .nodes
            .iter()
            .filter(|node| !node.send_only)
            .map(|node| {
                let condition = node.condition();
                Candidate {
                    index: node.index,
                    state: condition.state,
                    highest: condition.highest,
                    order: node.order,
                }
            });
        let in_use = self.in_use.load(Ordering::Relaxed);
        ranked(candidates.collect(), (in_use != NOBODY).then_some(in_use))
            .into_iter()
            .map(|index| &self.nodes[index])
    }

    /// The first endpoint asked is the one in use; one that only stepped in is not.
    fn use_from_now_on(&self, node: &Node, tries: usize) {
        if tries > 0 {
            return;
        }
        let before = self.in_use.swap(node.index, Ordering::Relaxed);
        if before != node.index {
            let from = self.nodes.get(before).map(|node| &*node.name);
            observe::switched(self.config.chain_id, from, &node.name);
        }
    }

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

    /// The highest head of the alive primaries.
    pub(crate) fn best(&self) -> Option<u64> {
        let primaries = self.nodes.iter().filter(|node| !node.send_only);
        let heads = primaries.filter_map(|node| {
            let condition = node.condition();
            if condition.state == NodeState::Alive {
                condition.highest
            } else {
                None
            }
        });
        heads.max()
    }

    /// An endpoint showed a head: tell those who wait for one, unless it is old news. Another
    /// block from whoever spoke last is news even when it is not higher (a reorganisation).
    pub(crate) fn head_seen(&self, node: &Node, head: Head) {
        node.saw(&head);
        self.rhythm.saw(head.number, Instant::now());
        self.seen.send_modify(|seen| *seen = seen.wrapping_add(1));
        self.heads.send_if_modified(|newest| {
            let news = match newest {
                None => true,
                Some(newest) if head.number > newest.number => true,
                Some(newest) => {
                    head.hash != newest.hash
                        && self.heads_from.load(Ordering::Relaxed) == node.index
                }
            };
            if news {
                self.heads_from.store(node.index, Ordering::Relaxed);
                *newest = Some(head);
            }
            news
        });
    }
}
