//! One endpoint: what is known about it, and what follows from that.

mod asking;
mod forwarding;
mod range;

pub(crate) use forwarding::Forwarded;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::primitives::B256;
use tokio::time::Instant;

use crate::agreed::Agreed;
use crate::config::{NodeConfig, PoolConfig};
use crate::error::RpcError;
use crate::fitness::Fitness;
use crate::gate::Gate;
use crate::gateway::said_wait;
use crate::head::{BlockTag, Head};
use crate::http::HttpEndpoint;
use crate::masked::Mask;
use crate::observe::Meters;
use crate::quantity::Small;
use crate::send_errors::Overrides;
use crate::status::{NodeState, NodeStatus, Verified};
use crate::usable::Usable;
use crate::ws::{Connection, WsEndpoint};
use range::LogRange;

/// A failed verification on a caller's behalf is not repeated sooner.
const VERIFY_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) index: usize,
    pub(crate) order: u32,
    pub(crate) send_only: bool,
    pub(crate) http: Option<HttpEndpoint>,
    pub(crate) extra_write: Option<HttpEndpoint>,
    pub(crate) ws: Option<WsEndpoint>,
    pub(crate) meters: Meters,
    /// For all it says.
    pub(crate) mask: Arc<Mask>,
    chain_id: u64,
    overrides: Arc<Overrides>,
    agreed: Arc<Agreed>,
    usable: Arc<Usable>,
    /// Its last answer took too long to come.
    was_slow: AtomicBool,
    check_syncing: bool,
    condition: Mutex<Condition>,
    verifying: tokio::sync::Mutex<Option<(Instant, RpcError)>>,
    revived: tokio::sync::Notify,
    next_id: AtomicU64,
    failed_in_a_row: AtomicU32,
    calls: AtomicU64,
    convictions: AtomicU32,
    doubt: tokio::sync::Notify,
    failures: AtomicU64,
    latency_micros: AtomicU64,
    /// What became of the questions put to it.
    pub(crate) fitness: Fitness,
    pub(crate) gate: Gate,
    ranges: LogRange,
    batch_size: u64,
    /// Halved when the endpoint refuses a batch as too large, grows slowly while it does not.
    batch_limit: AtomicU64,
}

/// What is known about an endpoint and changes.
pub(crate) struct Condition {
    pub(crate) state: NodeState,
    pub(crate) reason: Option<String>,
    pub(crate) highest: Option<u64>,
    /// The head it showed last; after a reorganisation it may be lower than `highest`.
    pub(crate) head: Option<Spot>,
    /// The same with all that is known of it.
    pub(crate) header: Option<Arc<Head>>,
    /// When `highest` rose last, or else when the endpoint became usable.
    pub(crate) risen: Instant,
    /// Since when it has shown nothing as high as `highest`.
    pub(crate) fell: Option<Instant>,
    pub(crate) client_version: Option<String>,
    /// What it says about its own syncing; none once it says that it is not.
    pub(crate) syncing: Option<Box<serde_json::value::RawValue>>,
    /// What it says instead of showing its head, while it says that it is asked too much.
    pub(crate) throttled: Option<String>,
    /// The highest blocks it called safe and finalized.
    pub(crate) safe: Option<u64>,
    pub(crate) finalized: Option<Anchor>,
    pub(crate) finalized_risen: Instant,
    /// Its first block, and the one it shows at the height all were asked about last.
    pub(crate) first: Option<Anchor>,
    pub(crate) shows_at: Option<Anchor>,
    /// Looks in a row that found nothing wrong.
    pub(crate) good_looks: u32,
    pub(crate) agreed_looks: u32,
}

/// How long the only endpoint that is left is waited for.
pub(crate) const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// An endpoint that shows lower blocks than it did for so long is measured by these.
const FORGETS_AFTER: Duration = Duration::from_secs(30);

/// A block that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) number: u64,
    pub(crate) hash: B256,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) parent: B256,
}

impl Node {
    pub(crate) fn new(
        config: NodeConfig,
        index: usize,
        pool: &PoolConfig,
        tls: &Arc<rustls::ClientConfig>,
        overrides: Arc<Overrides>,
        agreed: Arc<Agreed>,
        usable: Arc<Usable>,
    ) -> Self {
        let name: Arc<str> = config.name.into();
        let host = config
            .http_url
            .as_ref()
            .or(config.ws_url.as_ref())
            .and_then(|url| url.host_str())
            .unwrap_or_default()
            .to_owned();
        let urls = [
            &config.http_url,
            &config.http_url_extra_write,
            &config.ws_url,
        ];
        let mask = Arc::new(Mask::of(urls.into_iter().flatten()));
        let http = |url: url::Url| {
            HttpEndpoint::new(
                tls,
                Arc::clone(&name),
                &url,
                Arc::clone(&mask),
                pool.request_timeout,
                pool.max_response_bytes,
            )
        };
        Self {
            index,
            order: config.order,
            send_only: config.send_only,
            http: config.http_url.map(http),
            extra_write: config.http_url_extra_write.map(http),
            // A send-only endpoint subscribes to nothing.
            ws: config.ws_url.filter(|_| !config.send_only).map(|url| {
                WsEndpoint::new(
                    Arc::clone(tls),
                    Arc::clone(&name),
                    url,
                    Arc::clone(&mask),
                    pool.request_timeout,
                    pool.max_response_bytes,
                )
            }),
            meters: Meters::new(pool.chain_id, Arc::clone(&name), host, config.send_only),
            chain_id: pool.chain_id,
            overrides,
            agreed,
            usable,
            was_slow: AtomicBool::new(false),
            check_syncing: pool.check_syncing,
            condition: Mutex::new(Condition {
                state: NodeState::Undialed,
                reason: Some("it was not looked at yet".to_owned()),
                highest: None,
                head: None,
                header: None,
                risen: Instant::now(),
                client_version: None,
                syncing: None,
                throttled: None,
                safe: None,
                fell: None,
                finalized: None,
                finalized_risen: Instant::now(),
                first: None,
                shows_at: None,
                good_looks: 0,
                agreed_looks: 0,
            }),
            verifying: tokio::sync::Mutex::new(None),
            revived: tokio::sync::Notify::new(),
            next_id: AtomicU64::new(1),
            failed_in_a_row: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            convictions: AtomicU32::new(0),
            doubt: tokio::sync::Notify::new(),
            failures: AtomicU64::new(0),
            latency_micros: AtomicU64::new(0),
            fitness: Fitness::default(),
            gate: Gate::new(config.rate_per_second, config.max_concurrent),
            ranges: LogRange::default(),
            batch_size: pool.batch_size as u64,
            batch_limit: AtomicU64::new(pool.batch_size as u64),
            name,
            mask,
        }
    }

    pub(crate) fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> NodeState {
        self.condition().state
    }

    /// Masked.
    pub(crate) fn shown_url(&self) -> &str {
        match (&self.http, &self.ws) {
            (Some(http), _) => http.shown(),
            (None, Some(ws)) => ws.shown(),
            (None, None) => "",
        }
    }

    /// Puts the endpoint into a state, if there is a way to it from where it is.
    pub(crate) fn turn(&self, state: NodeState, reason: Option<String>) {
        let before = {
            let mut condition = self.condition();
            let before = condition.state;
            if !before.may_turn(state) {
                return;
            }
            if matches!(state, NodeState::Forked | NodeState::InvalidChainId) && before != state {
                self.convictions.fetch_add(1, Ordering::Relaxed);
            }
            condition.state = state;
            condition.reason.clone_from(&reason);
            if before != state {
                condition.good_looks = 0;
                condition.agreed_looks = 0;
            }
            if !state.answers() {
                // Whoever comes back may be somebody else.
                condition.first = None;
                condition.shows_at = None;
                condition.throttled = None;
            }
            if state == NodeState::Alive && !before.answers() {
                condition.risen = Instant::now();
                condition.finalized_risen = Instant::now();
            }
            before
        };
        if before == state {
            return;
        }
        if !self.send_only {
            self.usable.turned(before, state);
        }
        if state == NodeState::Alive {
            self.failed_in_a_row.store(0, Ordering::Relaxed);
            self.revived.notify_one();
            if matches!(before, NodeState::Unreachable | NodeState::Forked) {
                self.fitness.put_on_probation(Instant::now());
            }
        }
        if !state.answers() {
            self.fitness.end_probation();
        }
        self.meters.turned(before, state, reason.as_deref());
    }

    /// How often it was found to be of another chain.
    pub(crate) fn convictions(&self) -> u32 {
        self.convictions.load(Ordering::Relaxed)
    }

    /// Something it shows may be of another chain: it should be asked for its own soon.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits until its chain is in doubt.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Keeps a head in mind; true if it is higher than all before.
    pub(crate) fn saw(&self, head: &Head) -> bool {
        let number = head.number;
        let header = Arc::new(head.clone());
        let mut condition = self.condition();
        condition.throttled = None;
        let before = condition.head;
        if before.is_some_and(|before| number <= before.number && head.hash != before.hash) {
            // A reorganisation, or another chain behind the same address.
            self.doubt();
        }
        if before.is_some_and(|before| number < before.number) {
            // A chain that begins anew is shorter than it was: it is asked for its first block again.
            condition.first = None;
        }
        condition.header = Some(header);
        condition.head = Some(Spot {
            number,
            hash: head.hash,
            parent: head.parent_hash,
        });
        let now = Instant::now();
        // What it showed once and never again for so long was a branch that is no more.
        let forgets = match condition.highest {
            Some(highest) if number < highest => {
                now.duration_since(*condition.fell.get_or_insert(now)) > FORGETS_AFTER
            }
            _ => false,
        };
        let higher = forgets || condition.highest.is_none_or(|highest| number > highest);
        if forgets || condition.highest.is_none_or(|highest| number >= highest) {
            condition.fell = None;
        }
        if higher {
            condition.highest = Some(number);
            condition.risen = now;
            drop(condition);
            self.meters.saw_block(number);
        }
        higher
    }

    /// Asks whose chain this is and sets the state accordingly.
    pub(crate) async fn check_chain(&self) -> Result<(), RpcError> {
        self.is_of_the_chain().await?;
        self.welcome().await;
        Ok(())
    }

    /// One that was not there, and says the right chain, is alive. The same number is not the same
    /// chain yet.
    async fn welcome(&self) {
        if self.state().answers() {
            return;
        }
        match self.on_agreed_blocks().await {
            Ok(()) => self.turn(NodeState::Alive, None),
            Err(why) => self.turn(NodeState::Forked, Some(why)),
        }
    }

    /// Asks whose chain this is; what speaks against it becomes its state.
    async fn is_of_the_chain(&self) -> Result<(), RpcError> {
        let answered = self.ask("eth_chainId", [(); 0]).await;
        let verdict = answered.and_then(|Small(got)| self.same_chain(got));
        self.meters.verified(verdict.is_ok());
        match &verdict {
            Ok(()) => {}
            Err(error @ RpcError::WrongChain { .. }) => {
                self.turn(NodeState::InvalidChainId, Some(error.to_string()))
            }
            // Who says "too many" is there.
            Err(RpcError::RateLimited { .. }) if self.state().answers() => {}
            Err(error) => self.lost(error),
        }
        verdict
    }

    /// Whether it shows the blocks the others agreed on; the error is a sentence.
    async fn on_agreed_blocks(&self) -> Result<(), String> {
        for agreed in self.agreed.blocks() {
            // One that does not have or does not give the block is no witness against itself.
            if let Some(shown) = self.block_at(agreed.number).await
                && shown.hash != agreed.hash
            {
                return Err(crate::agreed::differs(shown, agreed.hash));
            }
        }
        Ok(())
    }

    /// Compares what its WebSocket shows with its HTTP address and with what was agreed on: heads
    /// that come over a socket of another chain would lead everybody astray. Whether there was
    /// anything to compare; without an HTTP address the endpoint is judged as any other.
    pub(crate) async fn compare_socket(
        &self,
        ws: &WsEndpoint,
        connection: &Connection,
    ) -> Result<bool, RpcError> {
        if self.http.is_none() {
            return Ok(true);
        }
        let mut compared = false;
        let first = self.block_at(0).await;
        let agreed = self.agreed.blocks().into_iter();
        let agreed = agreed.filter(|block| block.number > 0 || first.is_none());
        for expected in first.into_iter().chain(agreed) {
            let params = (BlockTag::Number(expected.number), false);
            let shown = self
                .ask_on::<Option<Head>>(ws, connection, "eth_getBlockByNumber", params)
                .await;
            let Ok(Some(shown)) = shown else { continue };
            if shown.number == expected.number && shown.hash != expected.hash {
                return Err(ws.unreachable(format!(
                    "its WebSocket address is on another chain than its HTTP address: block {} is {} there and {} here; correct one of them",
                    expected.number, shown.hash, expected.hash
                )));
            }
            compared = true;
        }
        Ok(compared)
    }

    /// The block it has at a height; none if it does not tell.
    pub(crate) async fn block_at(&self, number: u64) -> Option<Anchor> {
        let head: Option<Head> = self
            .ask("eth_getBlockByNumber", (BlockTag::Number(number), false))
            .await
            .ok()?;
        let head = head.filter(|head| head.number == number)?;
        Some(Anchor {
            number,
            hash: head.hash,
        })
    }

    /// Asks whether it is syncing. One that does not know the question is not.
    pub(crate) async fn look_at_syncing(&self) {
        if !self.check_syncing {
            return;
        }
        type Raw = Box<serde_json::value::RawValue>;
        let syncing = match self.ask::<Raw>("eth_syncing", [(); 0]).await {
            Ok(answer) => Some(answer).filter(|answer| answer.get().starts_with('{')),
            Err(RpcError::Refused { .. }) => None,
            // No answer is no news.
            Err(_) => return,
        };
        self.condition().syncing = syncing;
    }

    /// It called these blocks safe and finalized.
    pub(crate) fn saw_finality(&self, safe: Option<u64>, finalized: Option<Anchor>) {
        let mut condition = self.condition();
        condition.safe = safe.or(condition.safe);
        let Some(finalized) = finalized else { return };
        let higher = condition
            .finalized
            .is_none_or(|before| finalized.number > before.number);
        if higher {
            condition.finalized_risen = Instant::now();
        }
        condition.finalized = Some(finalized);
    }

    /// It did not answer. That it belonged to another chain when it last did stays known.
    pub(crate) fn lost(&self, error: &RpcError) {
        if self.state() == NodeState::InvalidChainId {
            return;
        }
        self.condition().syncing = None;
        match error {
            RpcError::RateLimited { message, .. } => {
                // Who says so is there, and is not asked before it wants to be.
                self.fitness.hold_back(Instant::now(), said_wait(message));
                let why = format!(
                    "out of quota ({message}) before its chain and its newest block are known; it is asked again after that time"
                );
                self.turn(NodeState::Dialed, Some(why));
            }
            _ => self.turn(NodeState::Unreachable, Some(error.to_string())),
        }
    }

    /// How long it wants not to be asked while nothing is known of it.
    pub(crate) fn wants_to_be_left(&self) -> Duration {
        match self.state().answers() {
            true => Duration::ZERO,
            false => self.fitness.held_back(Instant::now()).unwrap_or_default(),
        }
    }

    /// It did not say which chain it belongs to, and nobody else has said which one is meant. It is not
    /// watched before that is known, so this is for those who look, and no change of its state.
    pub(crate) fn said_no_chain(&self, why: String) {
        let mut condition = self.condition();
        condition.state = NodeState::Unreachable;
        condition.reason = Some(why);
    }

    /// Moving average over its calls, in microseconds; 0 before the first.
    pub(crate) fn latency_micros(&self) -> u64 {
        self.latency_micros.load(Ordering::Relaxed)
    }

    /// Blocks of logs it is known to take at once.
    pub(crate) fn log_range(&self) -> u64 {
        self.ranges.get()
    }

    pub(crate) fn range_went_well(&self, blocks: u64) {
        self.ranges.went_well(blocks);
    }

    pub(crate) fn range_was_too_large(&self, blocks: u64, words: &str) {
        self.ranges.was_too_large(blocks, words);
    }

    /// Whether no other endpoint could be asked in its place.
    pub(crate) fn is_last(&self) -> bool {
        let others = self.usable.count() - u32::from(self.state().is_readable());
        !self.send_only && others == 0
    }

    /// How long its own questions wait. Who is slow and the only one there is waited for longer.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        match self.was_slow.load(Ordering::Relaxed) && self.is_last() {
            true => usual.max(LAST_PATIENCE),
            false => usual,
        }
    }

    /// Waits until it becomes alive.
    pub(crate) async fn revived(&self) {
        self.revived.notified().await;
    }

    pub(crate) fn same_chain(&self, got: u64) -> Result<(), RpcError> {
        self.same_chain_at(self.shown_url(), got)
    }

    /// Of its URLs, the one at `url` said so.
    pub(crate) fn same_chain_at(&self, url: &str, got: u64) -> Result<(), RpcError> {
        if got == self.chain_id {
            return Ok(());
        }
        Err(RpcError::WrongChain {
            node: self.name.to_string(),
            url: url.to_owned(),
            expected: self.chain_id,
            got,
        })
    }

    /// Makes sure, before a caller's question, that the endpoint belongs to our chain.
    pub(crate) async fn ensure_verified(&self) -> Result<(), RpcError> {
        if self.state().answers() {
            return Ok(());
        }
        let mut last = self.verifying.lock().await;
        if self.state().answers() {
            return Ok(());
        }
        if let Some((at, error)) = &*last
            && at.elapsed() < VERIFY_PAUSE
        {
            return Err(error.clone());
        }
        let wait = self.wants_to_be_left();
        if !wait.is_zero() {
            return Err(RpcError::RateLimited {
                node: self.name.to_string(),
                message: format!("retry after {:.1} s", wait.as_secs_f64()),
            });
        }
        let verdict = self.check_chain().await;
        *last = verdict
            .as_ref()
            .err()
            .map(|error| (Instant::now(), error.clone()));
        verdict
    }

    /// Asks everything worth knowing at the first meeting. Only who shows a newest block is alive:
    /// one that cannot would be lost again at once.
    pub(crate) async fn identify(&self) -> Result<Verified, RpcError> {
        self.is_of_the_chain().await?;
        let client_version = self.ask::<String>("web3_clientVersion", [(); 0]).await.ok();
        let client_version = client_version.map(|version| self.mask.hide_in(version));
        if let Some(version) = &client_version {
            self.meters.client_version(version);
            self.condition().client_version = Some(version.clone());
        }
        let head = match self.send_only {
            true => None,
            false => {
                self.look_at_syncing().await;
                Some(self.latest().await?)
            }
        };
        self.welcome().await;
        Ok(Verified {
            chain_id: self.chain_id,
            client_version,
            head,
        })
    }

    pub(crate) async fn latest(&self) -> Result<Head, RpcError> {
        let head: Head = self
            .ask("eth_getBlockByNumber", (BlockTag::Latest, false))
            .await?;
        self.saw(&head);
        Ok(head)
    }

    pub(crate) fn status(&self, active: bool) -> NodeStatus {
        let condition = self.condition();
        let micros = self.latency_micros.load(Ordering::Relaxed);
        let without_ws = self
            .ws
            .as_ref()
            .and_then(|ws| ws.down_cause())
            .map(|cause| format!("its WebSocket is down ({cause}); heads are polled instead"));
        NodeStatus {
            name: Arc::clone(&self.name),
            url: self.shown_url().to_owned(),
            send_only: self.send_only,
            order: self.order,
            state: condition.state,
            reason: condition.reason.clone().or(without_ws),
            active,
            highest_head: condition.highest,
            last_head_age: condition.highest.map(|_| condition.risen.elapsed()),
            // What it was before it was gone says nothing about now.
            latency: (micros > 0 && condition.state.answers())
                .then(|| Duration::from_micros(micros)),
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            client_version: condition.client_version.clone(),
        }
    }
}
