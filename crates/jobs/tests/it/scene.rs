//! A database with a chain in its rows, a data source, and the services of this crate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolEvent;
use dodona_jobs::{ChainRules, Outside, Runner, RunnerConfig, TriggerConfig, Triggers};
use dodona_model::oracle::CANCEL_ORACLE_REQUEST;
use dodona_model::{BlockRef, ChainId, JobId, RunId, Timestamp};
use dodona_pipeline::egress::EgressClient;
use dodona_rpc::Pool;
use dodona_runtime::{Poke, Service, Waiter, clock};
use dodona_store::heads::{Cursor, Head};
use dodona_store::jobs::Job;
use dodona_store::logs::Log;
use dodona_store::requests::Request;
use dodona_store::runs::{Run, TaskRun};
use dodona_store::txs::Tx;
use dodona_store::{Conn, Leader, LeaseConfig, Scope, Store};
use dodona_store::{bridges, heads, jobs as job_rows, keys, logs, requests, runs, txs};
use dodona_testkit::contracts::{Oracle, SpecId};
use dodona_testkit::source::{Behaviour, Source};
use serde_json::{Value, json};

use crate::base::Base;
use crate::jobs::{self, Say};

pub(crate) const CHAIN: ChainId = 1337;
pub(crate) const ORACLE: Address = Address::repeat_byte(0x0a);
pub(crate) const REQUESTER: Address = Address::repeat_byte(0x5e);
pub(crate) const KEY: Address = Address::repeat_byte(0xf0);
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
/// Where the chain stands at first.
pub(crate) const FIRST: u64 = 100;
/// Generous, because a busy machine is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as a consumer makes it.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) spec: B256,
    pub(crate) id: B256,
    pub(crate) requester: Address,
    pub(crate) payment: u64,
    pub(crate) expiration: u64,
    pub(crate) data: Bytes,
}

impl Ask {
    /// The log that announces it; its place is filled in by [`Scene::mine`].
    pub(crate) fn log(&self) -> Log {
        let event = Oracle::OracleRequest {
            specId: self.spec,
            requester: self.requester,
            requestId: self.id,
            payment: U256::from(self.payment),
            callbackAddr: REQUESTER,
            callbackFunctionId: [1, 2, 3, 4].into(),
            cancelExpiration: U256::from(self.expiration),
            dataVersion: U256::from(1),
            data: self.data.clone(),
        };
        bare_log(
            vec![Oracle::OracleRequest::SIGNATURE_HASH, self.spec],
            event.encode_data().into(),
        )
    }

    /// The log that takes it back.
    pub(crate) fn cancelled(&self) -> Log {
        bare_log(vec![CANCEL_ORACLE_REQUEST, self.id], Bytes::new())
    }

    /// The same request, mined with another expiration.
    pub(crate) fn later(&self) -> Self {
        Self {
            expiration: self.expiration + 60,
            ..self.clone()
        }
    }
}

pub(crate) fn bare_log(topics: Vec<B256>, data: Bytes) -> Log {
    Log {
        id: 0,
        block: BlockRef {
            number: 0,
            hash: B256::ZERO,
        },
        log_index: 0,
        address: ORACLE,
        topics,
        data,
        tx_hash: B256::repeat_byte(0x7a),
        seen_at: NOW,
    }
}

pub(crate) struct Scene {
    pub(crate) base: Base,
    pub(crate) store: Store,
    pub(crate) lead: Leader,
    pub(crate) source: Source,
    /// Endpoints that runs and monitors ask; none at first.
    pub(crate) pools: BTreeMap<ChainId, Pool>,
    head: u64,
    fork: u8,
    asked: u8,
}

impl Scene {
    /// A chain at [`FIRST`], one key, a source that answers `/price` with 7.
    pub(crate) async fn on(base: Base) -> Self {
        let store = base.open().await;
        let config = LeaseConfig::default();
        let lead = Leader::try_acquire(&store, &Scope::chain(CHAIN), "the test", &config).await;
        let source = Source::start().await;
        source.on("/price", Behaviour::Answer(json!({ "value": 7 })));
        let mut scene = Self {
            base,
            store,
            lead: lead.unwrap().expect("nobody else leads"),
            source,
            pools: BTreeMap::new(),
            head: FIRST - 1,
            fork: 1,
            asked: 0,
        };
        scene.mine(&[]).await;
        scene.enable(KEY).await;
        scene
    }

    pub(crate) async fn both() -> [Self; 2] {
        let [sqlite, postgres] = Base::both().await;
        [Self::on(sqlite).await, Self::on(postgres).await]
    }

    pub(crate) async fn enable(&self, key: Address) {
        let mut tx = self.store.begin().await.unwrap();
        keys::enable(&mut tx, CHAIN, key, NOW).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A bridge that asks for confirmations and a payment.
    pub(crate) async fn demanding_bridge(
        &self,
        name: &str,
        confirmations: u32,
        payment: Option<u64>,
    ) {
        let new = bridges::Bridge {
            name: name.to_owned(),
            url: self.source.url_of("/bridge"),
            confirmations,
            incoming_token_hash: String::new(),
            salt: String::new(),
            outgoing_token: String::new(),
            min_payment_juels: payment.map(U256::from),
            created_at: NOW,
        };
        let mut tx = self.store.begin().await.unwrap();
        bridges::insert(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
    }

    // ---- jobs and requests

    pub(crate) async fn job(&self, dot: &str) -> Job {
        self.job_that(dot, &Say::default()).await
    }

    pub(crate) async fn job_that(&self, dot: &str, say: &Say) -> Job {
        let mut tx = self.store.begin().await.unwrap();
        let id = job_rows::insert(&mut tx, &jobs::row(dot, say), NOW).await;
        let id = id.unwrap();
        tx.commit().await.unwrap();
        job_rows::find(&mut self.read().await, id)
            .await
            .unwrap()
            .unwrap()
    }

    /// A job that answers with what `/price` says.
    pub(crate) async fn price_job(&self) -> Job {
        self.job(&jobs::price(&self.source.url_of("/price"))).await
    }

    /// A new request for a job.
    pub(crate) fn ask(&mut self, job: &Job) -> Ask {
        self.asked += 1;
        Ask {
            spec: SpecId::text(job.spec.external_job_id).0,
            id: B256::repeat_byte(self.asked),
            requester: REQUESTER,
            payment: 100,
            expiration: 1_700_000_300,
            data: Bytes::new(),
        }
    }

    // ---- the chain, as the scanner would have written it

    pub(crate) fn block(&self, number: u64) -> BlockRef {
        let mut hash = B256::repeat_byte(self.fork);
        hash[24..].copy_from_slice(&number.to_be_bytes());
        BlockRef { number, hash }
    }

    /// One more block with these logs.
    pub(crate) async fn mine(&mut self, with: &[Log]) -> BlockRef {
        self.head += 1;
        let at = self.block(self.head);
        let mut tx = self.lead.begin().await.unwrap();
        let head = Head {
            block: at,
            parent_hash: self.block(self.head - 1).hash,
            block_time: 1_700_000_000 + self.head,
            base_fee_wei: None,
            receipts_root: B256::repeat_byte(0xa1),
            transactions_root: B256::repeat_byte(0xa2),
            state_root: B256::repeat_byte(0xa3),
            canonical: true,
            seen_at: NOW,
        };
        heads::insert(&mut tx, CHAIN, &head).await.unwrap();
        for (log_index, log) in (0..).zip(with) {
            let log = Log {
                block: at,
                log_index,
                ..log.clone()
            };
            logs::insert(&mut tx, CHAIN, &log).await.unwrap();
        }
        self.set_cursor(&mut tx).await;
        tx.commit().await.unwrap();
        at
    }

    pub(crate) async fn mine_empty(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.mine(&[]).await;
        }
    }

    /// The newest blocks leave the chain; what is mined from now on is another branch.
    pub(crate) async fn rewind(&mut self, depth: u64) {
        self.head -= depth;
        let mut tx = self.lead.begin().await.unwrap();
        heads::rewind(&mut tx, CHAIN, self.head, NOW).await.unwrap();
        self.set_cursor(&mut tx).await;
        tx.commit().await.unwrap();
        self.fork += 1;
    }

    async fn set_cursor(&self, tx: &mut dodona_store::LeaderTx) {
        let cursor = Cursor {
            block: self.block(self.head),
            finalized: self.head.saturating_sub(50),
            updated_at: NOW,
        };
        heads::set_cursor(tx, CHAIN, &cursor).await.unwrap();
    }

    // ---- the services

    pub(crate) fn triggers(&self) -> Triggers {
        self.triggers_wanting(1, 10)
    }

    pub(crate) fn triggers_wanting(&self, confirmations: u32, payment: u64) -> Triggers {
        Triggers::new(TriggerConfig {
            chain_id: CHAIN,
            min_confirmations: confirmations,
            min_payment_juels: U256::from(payment),
        })
    }

    /// Decides what there is to decide.
    pub(crate) async fn trigger(&self) {
        self.trigger_with(self.triggers()).await;
    }

    pub(crate) async fn trigger_with(&self, mut triggers: Triggers) {
        for _ in 0..50 {
            let round = triggers.tick(&self.lead).await.unwrap();
            if !Triggers::again(&round) {
                return;
            }
        }
        panic!("the triggers never come to rest");
    }

    pub(crate) fn outside(&self) -> Arc<Outside> {
        // An error only says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Arc::new(Outside {
            store: self.store.clone(),
            pools: self.pools.clone(),
            egress: EgressClient::new().unwrap(),
        })
    }

    pub(crate) fn runner(&self) -> Hand {
        self.runner_that("me", |config| config)
    }

    pub(crate) fn runner_that(
        &self,
        me: &str,
        adapt: impl FnOnce(RunnerConfig) -> RunnerConfig,
    ) -> Hand {
        let rules = ChainRules {
            gas_limit: 500_000,
            flux_gas_limit: 500_000,
            min_payment_juels: U256::ZERO,
            gas_limit_default: 500_000,
            gas_limit_multiplier: 1.0,
            max_queued: 250,
        };
        let config = RunnerConfig {
            me: me.to_owned(),
            max_in_flight: 8,
            patience: Duration::from_secs(1),
            claim: Duration::from_secs(60),
            max_run_duration: Some(Duration::from_secs(60)),
            http_timeout: Some(Duration::from_secs(30)),
            http_max_bytes: 32_768,
            bridge_cache_ttl: Duration::ZERO,
            keep_successful: 1_000,
            bridge_response_url: None,
            chains: BTreeMap::from([(CHAIN, rules)]),
        };
        let poke = Poke::new();
        Hand {
            woken: poke.subscribe(),
            runner: Runner::new(self.outside(), adapt(config), poke),
        }
    }

    /// Executes everything that waits, to its end or pause.
    pub(crate) async fn run(&self) {
        self.runner().work().await;
    }

    // ---- the confirmer's part

    /// The transaction is mined, deep enough, with success; its waiting task is told.
    pub(crate) async fn tell(&self, tx: &Tx, receipt: &Value) {
        let mut lead = self.lead.begin().await.unwrap();
        assert!(txs::signalled(&mut lead, tx.id).await.unwrap());
        let task = tx.spec.task_run_id.expect("a task asked for it");
        let receipt = receipt.to_string();
        let run = runs::finish_task(&mut lead, task, None, Some(&receipt), None, NOW).await;
        let run = run.unwrap().expect("it waits");
        runs::resume(&mut lead, run).await.unwrap();
        lead.commit().await.unwrap();
    }

    // ---- what there is to see

    pub(crate) async fn read(&self) -> Conn {
        self.store.read().await.unwrap()
    }

    pub(crate) async fn newest(&self, ask: &Ask) -> Option<Request> {
        let mut conn = self.read().await;
        requests::newest_life(&mut conn, CHAIN, ORACLE, ask.id)
            .await
            .unwrap()
    }

    pub(crate) async fn request(&self, ask: &Ask) -> Request {
        self.newest(ask).await.expect("the request was stored")
    }

    pub(crate) async fn runs(&self) -> Vec<Run> {
        let mut runs = runs::list(&mut self.read().await, None, 1_000, 0)
            .await
            .unwrap();
        runs.reverse();
        runs
    }

    pub(crate) async fn find_run(&self, id: RunId) -> Run {
        let run = runs::find(&mut self.read().await, id).await.unwrap();
        run.expect("the run is there")
    }

    pub(crate) async fn run_of(&self, ask: &Ask) -> Run {
        let run = self.request(ask).await.run_id.expect("it has a run");
        self.find_run(run).await
    }

    pub(crate) async fn tasks(&self, run: RunId) -> Vec<TaskRun> {
        runs::tasks(&mut self.read().await, run).await.unwrap()
    }

    pub(crate) async fn task(&self, run: RunId, dot_id: &str) -> TaskRun {
        let tasks = self.tasks(run).await;
        tasks
            .into_iter()
            .find(|task| task.dot_id == dot_id)
            .unwrap_or_else(|| panic!("run {run} has no task {dot_id}"))
    }

    /// Every transaction, oldest first.
    pub(crate) async fn txs(&self) -> Vec<Tx> {
        let mut txs = txs::list(&mut self.read().await, false, 1_000, 0)
            .await
            .unwrap();
        txs.reverse();
        txs
    }

    pub(crate) async fn only_tx(&self) -> Tx {
        let mut txs = self.txs().await;
        assert_eq!(txs.len(), 1, "{txs:?}");
        txs.remove(0)
    }

    /// Block, place and note of each decided or undecided log, oldest first: `None` is undecided.
    pub(crate) async fn undecided(&self) -> usize {
        let mut conn = self.read().await;
        let count = logs::count_pending(&mut conn, CHAIN).await.unwrap();
        usize::try_from(count).unwrap()
    }

    pub(crate) async fn job_errors(&self, job: JobId) -> Vec<(String, u64)> {
        let errors = job_rows::errors(&mut self.read().await, job).await.unwrap();
        errors
            .into_iter()
            .map(|error| (error.description, error.occurrences))
            .collect()
    }
}

/// A runner and the poke that wakes it.
pub(crate) struct Hand {
    pub(crate) runner: Runner,
    woken: Waiter,
}

/// What a round of a runner says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Did {
    pub(crate) claimed: u64,
    pub(crate) stored: u64,
    pub(crate) in_flight: u64,
}

impl Hand {
    pub(crate) async fn tick(&mut self) -> Did {
        self.try_tick().await.unwrap()
    }

    pub(crate) async fn try_tick(&mut self) -> anyhow::Result<Did> {
        let round = serde_json::to_value(self.runner.tick(&()).await?).unwrap();
        let figure = |name: &str| round[name].as_u64().unwrap();
        Ok(Did {
            claimed: figure("claimed"),
            stored: figure("stored"),
            in_flight: figure("in_flight"),
        })
    }

    /// Rounds until nothing waits and nothing is on its way.
    pub(crate) async fn work(&mut self) {
        self.work_until_in_flight(0).await;
    }

    /// Rounds until nothing waits and only so many are on their way.
    pub(crate) async fn work_until_in_flight(&mut self, left: u64) {
        let work = async {
            loop {
                let did = self.tick().await;
                if did.in_flight <= left && did.claimed == 0 {
                    return;
                }
                if did.stored == 0 && did.in_flight > 0 {
                    self.woken.wait().await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .expect("the runs come to their end");
    }

    /// Waits until an execution is over, and does not look at it.
    pub(crate) async fn woken(&mut self) {
        tokio::time::timeout(PATIENCE, self.woken.wait())
            .await
            .expect("an execution comes to its end");
    }
}

/// A moment of the machine's clock, so many seconds ago.
pub(crate) fn ago(seconds: u64) -> Timestamp {
    clock::now().minus(Duration::from_secs(seconds))
}

impl Scene {
    /// [`Scene::ask`] without an id of its own.
    pub(crate) fn ask_again(&self, job: &Job) -> Ask {
        Ask {
            spec: SpecId::text(job.spec.external_job_id).0,
            id: B256::ZERO,
            requester: REQUESTER,
            payment: 100,
            expiration: 1_700_000_300,
            data: Bytes::new(),
        }
    }
}

impl Scene {
    /// What is mined from now on has the hashes of the first branch again.
    pub(crate) fn returns_to_the_first_branch(&mut self) {
        self.fork = 1;
    }
}
