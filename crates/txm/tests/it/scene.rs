//! A database that follows a real chain, a key with money, and the services of this crate.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use dodona_model::{BlockRef, RunId, Timestamp, TxId, request, run};
use dodona_rpc::{NodeConfig, Pool, PoolConfig};
use dodona_runtime::Service;
use dodona_store::heads::{Cursor, Head};
use dodona_store::requests::{Incarnation, NewRequest};
use dodona_store::runs::{Finish, Run, TaskRun};
use dodona_store::txs::{Attempt, NewTx, Tx};
use dodona_store::{Conn, Leader, LeaseConfig, Scope, Store};
use dodona_store::{heads, keys, requests, runs, txs};
use dodona_testkit::anvil::{Anvil, Options};
use dodona_testkit::contracts::{Requested, World};
use dodona_txm::fees::{FeeConfig, Mode};
use dodona_txm::{Broadcaster, Config, Confirmer, Estimator, Signer};
use uuid::Uuid;

use crate::base::Base;
use crate::endpoint::Endpoint;

pub(crate) const CHAIN: u64 = 31337;
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
/// Blocks below the head that may still change, in every scene.
pub(crate) const FINALITY: u64 = 12;
/// An account like any other.
pub(crate) const SOMEBODY: Address = Address::repeat_byte(0x5b);

pub(crate) fn gwei(amount: u64) -> U256 {
    U256::from(amount) * U256::from(1_000_000_000u64)
}

pub(crate) fn ether(amount: u64) -> U256 {
    gwei(amount) * U256::from(1_000_000_000u64)
}

/// Whoever holds the keys; notes what it signed.
#[derive(Default)]
pub(crate) struct Keys {
    keys: Mutex<HashMap<Address, PrivateKeySigner>>,
    pub(crate) signatures: Mutex<usize>,
}

impl Keys {
    fn create(&self) -> Address {
        let key = PrivateKeySigner::random();
        let address = key.address();
        self.keys.lock().unwrap().insert(address, key);
        address
    }

    pub(crate) fn signed(&self) -> usize {
        *self.signatures.lock().unwrap()
    }
}

impl Signer for Keys {
    fn sign_hash(
        &self,
        key: Address,
        hash: B256,
    ) -> Pin<Box<dyn Future<Output = Result<Signature, String>> + Send + '_>> {
        Box::pin(async move {
            *self.signatures.lock().unwrap() += 1;
            let keys = self.keys.lock().unwrap();
            let key = keys.get(&key).ok_or("there is no such key")?;
            key.sign_hash_sync(&hash).map_err(|cause| cause.to_string())
        })
    }
}

/// How transactions are sent in a scene, unless it says otherwise: 100 gwei at most for the first attempt.
pub(crate) fn config() -> Config {
    Config {
        chain_id: CHAIN,
        fees: FeeConfig {
            mode: Mode::Fixed,
            dynamic: true,
            price_default: gwei(20),
            price_min: gwei(1),
            price_max: gwei(500),
            fee_cap_default: gwei(100),
            tip_cap_default: gwei(1),
            tip_cap_min: U256::from(1),
            bump_percent: 20,
            bump_min: gwei(5),
            buffer_blocks: 4,
            history_blocks: 8,
            percentile: 60,
            bumps: true,
        },
        price_max_of: Vec::new(),
        max_in_flight: 16,
        bump_threshold: 3,
        resend_after: Duration::from_secs(3_600),
        nonce_auto_sync: true,
        link: None,
    }
}

pub(crate) struct Scene {
    pub(crate) anvil: Anvil,
    pub(crate) endpoint: Endpoint,
    pub(crate) base: Base,
    pub(crate) store: Store,
    pub(crate) lead: Leader,
    pub(crate) config: Config,
    pub(crate) keys: Arc<Keys>,
    pub(crate) key: Address,
    pub(crate) pool: Pool,
    pub(crate) broadcaster: Broadcaster,
    pub(crate) confirmer: Confirmer,
}

impl Scene {
    /// A key with 10 ETH before a chain that mines only when told.
    pub(crate) async fn on(base: Base) -> Self {
        Self::build(base, Options::default(), config()).await
    }

    pub(crate) async fn both() -> [Self; 2] {
        let [sqlite, postgres] = Base::both().await;
        [Self::on(sqlite).await, Self::on(postgres).await]
    }

    pub(crate) async fn both_with(adapt: impl Fn(Config) -> Config) -> [Self; 2] {
        let [sqlite, postgres] = Base::both().await;
        [
            Self::build(sqlite, Options::default(), adapt(config())).await,
            Self::build(postgres, Options::default(), adapt(config())).await,
        ]
    }

    pub(crate) async fn build(base: Base, options: Options, config: Config) -> Self {
        let anvil = Anvil::start(options).await;
        let endpoint = Endpoint::before(&anvil).await;
        let store = base.open().await;
        let lead = lead(&store, "the test").await;
        let node = NodeConfig::primary("chain", endpoint.url());
        let pool = Pool::new(PoolConfig {
            request_timeout: Duration::from_secs(5),
            ..PoolConfig::new(CHAIN, vec![node])
        })
        .unwrap();
        let keys = Arc::new(Keys::default());
        let key = keys.create();
        let (broadcaster, confirmer) = services(&pool, &config, &keys, key);
        let scene = Self {
            anvil,
            endpoint,
            base,
            store,
            lead,
            config,
            keys,
            key,
            pool,
            broadcaster,
            confirmer,
        };
        scene.enable(key).await;
        scene.anvil.set_balance(key, ether(10)).await;
        scene.anvil.mine(1).await;
        scene.anvil.hold_blocks().await;
        scene.follow().await;
        scene
    }

    /// Services that remember nothing but the rows.
    pub(crate) fn restarts(&mut self) {
        (self.broadcaster, self.confirmer) =
            services(&self.pool, &self.config, &self.keys, self.key);
    }

    pub(crate) fn settings(&mut self, adapt: impl FnOnce(Config) -> Config) {
        self.config = adapt(self.config.clone());
        self.restarts();
    }

    /// A second key with money of its own, and its broadcaster.
    pub(crate) async fn another_key(&self) -> (Address, Broadcaster) {
        let key = self.keys.create();
        self.enable(key).await;
        self.anvil.set_balance(key, ether(10)).await;
        let (broadcaster, _) = services(&self.pool, &self.config, &self.keys, key);
        (key, broadcaster)
    }

    async fn enable(&self, key: Address) {
        let mut tx = self.store.begin().await.unwrap();
        keys::enable(&mut tx, CHAIN, key, NOW).await.unwrap();
        tx.commit().await.unwrap();
    }

    // ---- rounds

    pub(crate) async fn broadcast(&mut self) {
        self.broadcaster.tick(&self.lead).await.unwrap();
    }

    pub(crate) async fn confirm(&mut self) {
        self.confirmer.tick(&self.lead).await.unwrap();
    }

    /// Blocks on the chain, followed and looked at, one after another.
    pub(crate) async fn mine(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.anvil.mine(1).await;
            self.follow().await;
            self.confirm().await;
        }
    }

    /// Blocks without room for anybody, followed and looked at.
    pub(crate) async fn mine_without_us(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.set_block_gas(5_000).await;
            self.anvil.mine(1).await;
            self.set_block_gas(30_000_000).await;
            self.follow().await;
            self.confirm().await;
        }
    }

    pub(crate) async fn set_block_gas(&self, limit: u64) {
        let limit = format!("{limit:#x}");
        let done: bool = self
            .anvil
            .rpc("evm_setBlockGasLimit", serde_json::json!([limit]))
            .await;
        assert!(done);
    }

    // ---- the chain, written down as the scanner does

    pub(crate) async fn follow(&self) {
        let mut number = match self.maybe_cursor().await {
            None => 0,
            Some(cursor) => {
                let mut number = cursor.block.number;
                while self.hash_at(number).await != Some(self.stored_at(number).await) {
                    number -= 1;
                }
                let mut tx = self.lead.begin().await.unwrap();
                heads::rewind(&mut tx, CHAIN, number, NOW).await.unwrap();
                tx.commit().await.unwrap();
                number + 1
            }
        };
        let mut tx = self.lead.begin().await.unwrap();
        let mut newest = None;
        while let Some(block) = self.anvil.block(number).await {
            let header = &block.header;
            let at = BlockRef {
                number,
                hash: header.hash,
            };
            let head = Head {
                block: at,
                parent_hash: header.inner.parent_hash,
                block_time: header.inner.timestamp,
                base_fee_wei: header.inner.base_fee_per_gas.map(U256::from),
                receipts_root: header.inner.receipts_root,
                transactions_root: header.inner.transactions_root,
                state_root: header.inner.state_root,
                canonical: true,
                seen_at: NOW,
            };
            heads::insert(&mut tx, CHAIN, &head).await.unwrap();
            newest = Some(at);
            number += 1;
        }
        if let Some(block) = newest {
            let cursor = Cursor {
                block,
                finalized: block.number.saturating_sub(FINALITY),
                updated_at: NOW,
            };
            heads::set_cursor(&mut tx, CHAIN, &cursor).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    async fn hash_at(&self, number: u64) -> Option<B256> {
        let block = self.anvil.block(number).await?;
        Some(block.header.hash)
    }

    async fn stored_at(&self, number: u64) -> B256 {
        let mut conn = self.read().await;
        let head = heads::canonical_at(&mut conn, CHAIN, number).await.unwrap();
        head.expect("every block was written down").block.hash
    }

    async fn maybe_cursor(&self) -> Option<Cursor> {
        heads::cursor(&mut self.read().await, CHAIN).await.unwrap()
    }

    pub(crate) async fn head(&self) -> u64 {
        self.maybe_cursor()
            .await
            .expect("it was followed")
            .block
            .number
    }

    // ---- what is to be sent

    /// A transaction to somebody that nobody waits for.
    pub(crate) fn payment(&self) -> NewTx {
        NewTx {
            chain_id: CHAIN,
            from: self.key,
            to: SOMEBODY,
            payload: vec![1, 2, 3].into(),
            value_wei: U256::ZERO,
            gas_limit: 100_000,
            task_run_id: None,
            run_id: None,
            job_id: None,
            request_row: None,
            min_confirmations: Some(1),
            fail_on_revert: true,
            simulate: false,
            signal_needed: false,
            meta: "{}".to_owned(),
        }
    }

    pub(crate) async fn queue(&self, new: &NewTx) -> TxId {
        let mut tx = self.store.begin().await.unwrap();
        let id = txs::queue(&mut tx, new, dodona_runtime::clock::now()).await;
        tx.commit().await.unwrap();
        id.unwrap()
    }

    /// Queues a transaction that a suspended run waits for. Returns both.
    pub(crate) async fn queue_awaited(&self, new: NewTx) -> (TxId, RunId) {
        let mut tx = self.store.begin().await.unwrap();
        let run = runs::insert(&mut tx, 1, "{}", NOW).await.unwrap();
        tx.commit().await.unwrap();
        let task = Uuid::new_v4();
        self.suspend(run, task).await;
        let new = NewTx {
            task_run_id: Some(task),
            run_id: Some(run),
            job_id: Some(1),
            signal_needed: true,
            ..new
        };
        (self.queue(&new).await, run)
    }

    /// The run waits for this task.
    pub(crate) async fn suspend(&self, run: RunId, task: Uuid) {
        let mut tx = self.store.begin().await.unwrap();
        let day = Duration::from_secs(86_400);
        let claimed = runs::claim(&mut tx, "me", day, 99).await.unwrap();
        let mine = claimed.iter().find(|one| one.id == run).unwrap();
        let row = TaskRun {
            id: task,
            run_id: run,
            dot_id: "send".to_owned(),
            kind: "ethtx".to_owned(),
            task_index: 0,
            source: false,
            value: None,
            output: None,
            error: None,
            attempts: 1,
            created_at: NOW,
            finished_at: None,
        };
        runs::save_tasks(&mut tx, &[row]).await.unwrap();
        let pause = Finish {
            state: run::State::Suspended,
            outputs: "[null]".to_owned(),
            fatal_errors: "[null]".to_owned(),
            all_errors: "[null]".to_owned(),
        };
        let done = runs::finish(&mut tx, run, "me", mine.generation, &pause, NOW).await;
        assert!(done.unwrap());
        tx.commit().await.unwrap();
    }

    /// What somebody else who holds our key sends.
    pub(crate) fn foreign(&self, nonce: u64, fee_cap_wei: U256) -> Bytes {
        let tx = TxEip1559 {
            chain_id: CHAIN,
            nonce,
            gas_limit: 50_000,
            max_fee_per_gas: fee_cap_wei.to(),
            max_priority_fee_per_gas: fee_cap_wei.to(),
            to: TxKind::Call(Address::repeat_byte(0xee)),
            value: U256::from(1),
            access_list: Default::default(),
            input: Bytes::new(),
        };
        let keys = self.keys.keys.lock().unwrap();
        let signature = keys[&self.key]
            .sign_hash_sync(&tx.signature_hash())
            .unwrap();
        let envelope: TxEnvelope = tx.into_signed(signature).into();
        envelope.encoded_2718().into()
    }

    pub(crate) async fn send_raw(&self, raw: &Bytes) -> B256 {
        self.anvil
            .rpc("eth_sendRawTransaction", serde_json::json!([raw]))
            .await
    }

    // ---- what there is to see

    pub(crate) async fn read(&self) -> Conn {
        self.store.read().await.unwrap()
    }

    pub(crate) async fn tx(&self, id: TxId) -> Tx {
        let found = txs::find(&mut self.read().await, id).await.unwrap();
        found.expect("the row is there")
    }

    pub(crate) async fn txs(&self) -> Vec<Tx> {
        let mut txs = txs::list(&mut self.read().await, false, 1_000, 0)
            .await
            .unwrap();
        txs.reverse();
        txs
    }

    pub(crate) async fn attempts(&self, id: TxId) -> Vec<Attempt> {
        txs::attempts(&mut self.read().await, id).await.unwrap()
    }

    pub(crate) async fn key_state(&self) -> keys::KeyState {
        let states = keys::of_chain(&mut self.read().await, CHAIN).await.unwrap();
        let mine = states.into_iter().find(|state| state.address == self.key);
        mine.expect("the key is enabled")
    }

    pub(crate) async fn run(&self, id: RunId) -> Run {
        let run = runs::find(&mut self.read().await, id).await.unwrap();
        run.expect("the run is there")
    }

    /// What the task of a run was told: its output or its error; none while it waits.
    pub(crate) async fn told(&self, run: RunId) -> Option<Result<String, String>> {
        let mut tasks = runs::tasks(&mut self.read().await, run).await.unwrap();
        let task = tasks.remove(0);
        task.finished_at?;
        Some(match (task.output, task.error) {
            (_, Some(error)) => Err(error),
            (output, None) => Ok(output.unwrap_or_default()),
        })
    }

    /// Whatever holds back a queued transaction for a while does so no longer.
    pub(crate) async fn time_passes(&self) {
        self.base.execute("UPDATE txs SET not_before = 0").await;
    }
}

pub(crate) async fn lead(store: &Store, holder: &str) -> Leader {
    let config = LeaseConfig::default();
    let lead = Leader::try_acquire(store, &Scope::chain(CHAIN), holder, &config).await;
    lead.unwrap().expect("nobody else leads")
}

fn services(
    pool: &Pool,
    config: &Config,
    keys: &Arc<Keys>,
    key: Address,
) -> (Broadcaster, Confirmer) {
    let estimator = Arc::new(Estimator::new(CHAIN, config.fees.clone()));
    let signer: Arc<dyn Signer> = keys.clone();
    let broadcaster = Broadcaster::new(
        pool.clone(),
        config.clone(),
        Arc::clone(&estimator),
        Arc::clone(&signer),
        key,
    );
    let confirmer = Confirmer::new(pool.clone(), config.clone(), estimator, signer);
    (broadcaster, confirmer)
}

/// What signed bytes say.
pub(crate) fn read(raw: &Bytes) -> TxEnvelope {
    TxEnvelope::decode_2718(&mut raw.as_ref()).expect("it is a transaction")
}

pub(crate) fn nonce_of(attempt: &Attempt) -> u64 {
    read(&attempt.signed.raw).nonce()
}

/// A scene with the contracts of the field on its chain.
pub(crate) struct Oracle {
    pub(crate) scene: Scene,
    pub(crate) world: World,
}

impl Oracle {
    /// The key may answer.
    pub(crate) async fn on(base: Base) -> Self {
        let scene = Scene::build(base, Options::default(), config()).await;
        scene.anvil.set_automine(true).await;
        let world = World::deploy(&scene.anvil).await;
        world.set_authorized(&[scene.key]).await;
        scene.anvil.hold_blocks().await;
        scene.follow().await;
        Self { scene, world }
    }

    pub(crate) async fn both() -> [Self; 2] {
        let [sqlite, postgres] = Base::both().await;
        [Self::on(sqlite).await, Self::on(postgres).await]
    }

    /// A request that was mined, and its row.
    pub(crate) async fn ask(&self) -> (Requested, i64) {
        self.scene.anvil.set_automine(true).await;
        let asked = self
            .world
            .request_uint256(Uuid::new_v4(), "http://a", "b", 1)
            .await;
        self.scene.anvil.hold_blocks().await;
        self.scene.follow().await;
        let new = NewRequest {
            chain_id: CHAIN,
            oracle: asked.oracle,
            request_id: asked.id,
            life: 1,
            state: request::State::Open,
            reason: String::new(),
            job_id: 1,
            run_id: None,
            requester: self.world.consumer,
            incarnation: Incarnation {
                block: BlockRef {
                    number: asked.block_number,
                    hash: asked.block_hash,
                },
                log_index: asked.log_index,
                tx_hash: asked.tx,
                payment_juels: asked.event.payment,
                expires_at_seconds: asked.event.cancelExpiration.to(),
                callback_address: asked.event.callbackAddr,
                terms: B256::ZERO,
            },
        };
        let mut tx = self.scene.lead.begin().await.unwrap();
        let row = requests::insert(&mut tx, &new, NOW).await.unwrap();
        tx.commit().await.unwrap();
        (asked, row)
    }

    /// The answer to a request, as a transaction to be queued.
    pub(crate) fn answer(&self, asked: &Requested, row: i64, value: u64) -> NewTx {
        let call = self.world.fulfillment_call(asked, U256::from(value));
        NewTx {
            to: call.to,
            payload: call.data,
            gas_limit: 500_000,
            request_row: Some(row),
            ..self.scene.payment()
        }
    }

    /// Asks, and queues the answer 7 with a run that waits for it.
    pub(crate) async fn asked_and_answered(&self) -> (Requested, i64, TxId, RunId) {
        let (asked, row) = self.ask().await;
        let new = self.answer(&asked, row, 7);
        let (tx, run) = self.scene.queue_awaited(new).await;
        (asked, row, tx, run)
    }

    pub(crate) async fn request_state(&self, row: i64) -> request::State {
        let mut conn = self.scene.read().await;
        let found = requests::find(&mut conn, row).await.unwrap();
        found.expect("the row is there").state
    }

    /// Sends from the owner of the contracts and mines it, as somebody else would.
    pub(crate) async fn somebody_sends(&self, call: &dodona_testkit::anvil::Call) {
        self.scene.anvil.must_execute(self.world.owner, call).await;
        self.scene.follow().await;
    }

    /// Lets an event happen to a request, as another stage would.
    pub(crate) async fn happens(&self, row: i64, event: request::Event) {
        let mut tx = self.scene.lead.begin().await.unwrap();
        let next = requests::apply(&mut tx, row, event, "so it is", NOW).await;
        assert!(next.unwrap().is_some());
        tx.commit().await.unwrap();
    }

    /// The orphaned request is on the chain again, wherever.
    pub(crate) async fn comes_back(&self, row: i64) {
        let mut tx = self.scene.lead.begin().await.unwrap();
        let known = requests::find(&mut tx, row).await.unwrap().unwrap();
        let done = requests::reincarnate(
            &mut tx,
            row,
            request::State::Orphaned,
            request::State::Open,
            &known.incarnation,
            NOW,
        )
        .await;
        assert!(done.unwrap());
        tx.commit().await.unwrap();
    }
}
