//! Databases of one's own, and small rows to put into them.

use std::collections::BTreeMap;
use std::time::Duration;

use dodona_model::{Address, B256, BlockRef, ChainId, JobId, RequestRow, RunId, Timestamp, U256};
use dodona_model::{request, run};
use dodona_runtime::Poke;
use dodona_store::heads::Head;
use dodona_store::jobs::NewJob;
use dodona_store::logs::Log;
use dodona_store::requests::{Incarnation, NewRequest};
use dodona_store::runs::{Finish, TaskRun};
use dodona_store::txs::{Fee, NewAttempt, NewTx};
use dodona_store::{Conn, DatabaseConfig, Leader, LeaderTx, LeaseConfig, Scope, Store, Tx};
use dodona_testkit::postgres::{self, FreshDatabase};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const CHAIN: ChainId = 1337;
/// A moment in 2023; rows of a test say when they were written, nothing asks the machine.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// A database that goes away with this value.
pub(crate) struct Base {
    pub(crate) config: DatabaseConfig,
    _home: Home,
}

#[expect(dead_code, reason = "held until the test ends")]
enum Home {
    Folder(TempDir),
    Server(FreshDatabase),
}

impl Base {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            config: DatabaseConfig::Sqlite(folder.path().join("dodona.sqlite")),
            _home: Home::Folder(folder),
        }
    }

    pub(crate) async fn postgres() -> Self {
        let fresh = postgres::fresh().await;
        Self {
            config: DatabaseConfig::Postgres {
                url: fresh.url.clone(),
                max_connections: 6,
            },
            _home: Home::Server(fresh),
        }
    }

    /// One of each.
    pub(crate) async fn both() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    /// Opens it, as one process (or, on PostgreSQL, one replica) does.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config, BTreeMap::new()).await.unwrap()
    }

    /// Opens it with somebody listening to `channel`.
    pub(crate) async fn open_listening(&self, channel: &'static str) -> (Store, Poke) {
        let poke = Poke::new();
        let pokes = BTreeMap::from([(channel, poke.clone())]);
        (Store::open(&self.config, pokes).await.unwrap(), poke)
    }

    /// The file of an SQLite database.
    pub(crate) fn file(&self) -> &std::path::Path {
        match &self.config {
            DatabaseConfig::Sqlite(path) => path,
            DatabaseConfig::Postgres { .. } => panic!("a server is no file"),
        }
    }

    /// A connection of the test's own to a PostgreSQL database.
    pub(crate) async fn raw_postgres(&self) -> sqlx::PgConnection {
        match &self.config {
            DatabaseConfig::Postgres { url, .. } => {
                <sqlx::PgConnection as sqlx::Connection>::connect(url)
                    .await
                    .unwrap()
            }
            DatabaseConfig::Sqlite(_) => panic!("a file is no server"),
        }
    }
}

/// An open database whose one chain this process leads.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) leader: Leader,
    pub(crate) base: Base,
}

impl World {
    pub(crate) async fn on(base: Base) -> Self {
        let store = base.open().await;
        let leader = lead(&store).await.unwrap();
        Self {
            store,
            leader,
            base,
        }
    }

    /// One on each engine.
    pub(crate) async fn both() -> [Self; 2] {
        let [sqlite, postgres] = Base::both().await;
        [Self::on(sqlite).await, Self::on(postgres).await]
    }

    pub(crate) async fn read(&self) -> Conn {
        self.store.read().await.unwrap()
    }

    pub(crate) async fn begin(&self) -> Tx {
        self.store.begin().await.unwrap()
    }

    pub(crate) async fn lead(&self) -> LeaderTx {
        self.leader.begin().await.unwrap()
    }

    /// A stored job, a run of it, and the open request that the run answers.
    pub(crate) async fn open_request(&self, n: u8) -> (JobId, RunId, RequestRow) {
        let mut tx = self.lead().await;
        let job = dodona_store::jobs::insert(&mut tx, &job(n), NOW)
            .await
            .unwrap();
        let run = dodona_store::runs::insert(&mut tx, job, "{}", NOW)
            .await
            .unwrap();
        let row = dodona_store::requests::insert(&mut tx, &request(job, n), NOW)
            .await
            .unwrap();
        dodona_store::requests::set_run(&mut tx, row, run)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        (job, run, row)
    }

    /// Queues a transaction in a commit of its own.
    pub(crate) async fn queue(&self, new: &NewTx) -> dodona_store::txs::Tx {
        let mut tx = self.begin().await;
        let id = dodona_store::txs::queue(&mut tx, new, NOW).await.unwrap();
        tx.commit().await.unwrap();
        self.tx(id).await
    }

    pub(crate) async fn tx(&self, id: dodona_model::TxId) -> dodona_store::txs::Tx {
        let mut conn = self.read().await;
        dodona_store::txs::find(&mut conn, id)
            .await
            .unwrap()
            .expect("the row is there")
    }

    pub(crate) async fn request(&self, id: RequestRow) -> dodona_store::requests::Request {
        let mut conn = self.read().await;
        dodona_store::requests::find(&mut conn, id)
            .await
            .unwrap()
            .expect("the row is there")
    }

    pub(crate) async fn run(&self, id: RunId) -> dodona_store::runs::Run {
        let mut conn = self.read().await;
        dodona_store::runs::find(&mut conn, id)
            .await
            .unwrap()
            .expect("the row is there")
    }
}

pub(crate) async fn lead(store: &Store) -> Option<Leader> {
    lead_for(store, Duration::from_secs(60)).await
}

pub(crate) async fn lead_for(store: &Store, duration: Duration) -> Option<Leader> {
    let config = LeaseConfig {
        duration,
        ..LeaseConfig::default()
    };
    Leader::try_acquire(store, &Scope::chain(CHAIN), "the test", &config)
        .await
        .unwrap()
}

pub(crate) fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

pub(crate) fn address(n: u8) -> Address {
    Address::repeat_byte(n)
}

pub(crate) fn hash(n: u8) -> B256 {
    B256::repeat_byte(n)
}

pub(crate) fn block(number: u64, fork: u8) -> BlockRef {
    let mut hash = B256::repeat_byte(fork);
    hash[31] = u8::try_from(number).expect("tests count to 255");
    BlockRef { number, hash }
}

pub(crate) fn head(number: u64, fork: u8) -> Head {
    Head {
        block: block(number, fork),
        parent_hash: block(number.saturating_sub(1), fork).hash,
        block_time: 1_700_000_000 + number,
        base_fee_wei: number.is_multiple_of(2).then(|| U256::from(number) << 40),
        receipts_root: hash(0xa1),
        transactions_root: hash(0xa2),
        state_root: hash(0xa3),
        canonical: true,
        seen_at: after(number),
    }
}

pub(crate) fn log(block: BlockRef, log_index: u64) -> Log {
    Log {
        id: 0,
        block,
        log_index,
        address: address(0x0a),
        topics: vec![hash(0x71), hash(0x72)],
        data: vec![0, 1, 255].into(),
        tx_hash: hash(0x7a),
        seen_at: NOW,
    }
}

pub(crate) fn job(n: u8) -> NewJob {
    NewJob {
        external_job_id: Uuid::from_u128(u128::from(n)),
        name: format!("job {n}"),
        kind: "directrequest".to_owned(),
        schema_version: 1,
        toml: format!("name = \"job {n}\""),
        dot: "fetch [type=\"bridge\" name=\"Price_Feed\"]".to_owned(),
        chain_id: Some(CHAIN),
        contract_address: Some(address(0x0a)),
        min_confirmations: None,
        min_payment_juels: None,
        requesters: Vec::new(),
        gas_limit: None,
        forwarding_allowed: false,
        max_task_duration: None,
    }
}

pub(crate) fn incarnation(at: BlockRef) -> Incarnation {
    Incarnation {
        block: at,
        log_index: 3,
        tx_hash: hash(0x7a),
        payment_juels: U256::from(10u64).pow(U256::from(18)),
        expires_at_seconds: 1_700_000_300,
        callback_address: address(0xcb),
        terms: hash(0x7e),
    }
}

pub(crate) fn request(job_id: JobId, n: u8) -> NewRequest {
    NewRequest {
        chain_id: CHAIN,
        oracle: address(0x0a),
        request_id: hash(n),
        life: 1,
        state: request::State::Open,
        reason: String::new(),
        job_id,
        run_id: None,
        requester: address(0x5e),
        incarnation: incarnation(block(10, 1)),
    }
}

pub(crate) fn task(run_id: RunId, n: u8) -> TaskRun {
    TaskRun {
        id: Uuid::from_u128(0x1000 + u128::from(n)),
        run_id,
        dot_id: format!("task_{n}"),
        kind: "http".to_owned(),
        task_index: i64::from(n),
        source: n == 1,
        value: None,
        output: None,
        error: None,
        attempts: 1,
        created_at: NOW,
        finished_at: None,
    }
}

pub(crate) fn ended(task: TaskRun, value: &str) -> TaskRun {
    TaskRun {
        value: Some(value.to_owned()),
        output: Some(value.to_owned()),
        finished_at: Some(after(1)),
        ..task
    }
}

pub(crate) fn end(state: run::State) -> Finish {
    Finish {
        state,
        outputs: "[\"1\"]".to_owned(),
        fatal_errors: "[null]".to_owned(),
        all_errors: "[null,null]".to_owned(),
    }
}

pub(crate) fn payment(n: u8) -> NewTx {
    NewTx {
        chain_id: CHAIN,
        from: address(0xf0),
        to: address(0x0a),
        payload: vec![0x4a, 0xb0, n].into(),
        value_wei: U256::ZERO,
        gas_limit: 500_000,
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

pub(crate) fn attempt(tx: &dodona_store::txs::Tx, n: u8) -> NewAttempt {
    NewAttempt {
        tx_id: tx.id,
        hash: hash(n),
        raw: vec![2, n, 0].into(),
        payload_version: tx.payload_version,
        fee: Fee::Dynamic {
            fee_cap: U256::from(n) << 200,
            tip_cap: U256::from(n),
        },
        gas_limit: 500_000,
        first_block: Some(u64::from(n)),
    }
}
