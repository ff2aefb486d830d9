//! A database, the lead of a chain, and a scanner before it.

use std::collections::BTreeMap;
use std::time::Duration;

use dodona_chain::{Config, Finality, HeadWatch, Round, Scanner};
use dodona_model::request::State;
use dodona_model::{Address, B256, BlockRef, ChainId, JobId, RequestRow, Timestamp, U256};
use dodona_rpc::{NodeConfig, Pool, PoolConfig};
use dodona_runtime::Service;
use dodona_store::heads::{Cursor, Head};
use dodona_store::jobs::NewJob;
use dodona_store::requests::{Incarnation, NewRequest, Request};
use dodona_store::{DatabaseConfig, Leader, LeaseConfig, Scope, Store};
use dodona_store::{heads, jobs, logs, requests};
use dodona_testkit::postgres::{self, FreshDatabase};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use crate::scripted::{CHAIN, Scripted};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
/// The oracle contract that every scene watches unless told otherwise.
pub(crate) const ORACLE: Address = Address::repeat_byte(0x0a);

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

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config, BTreeMap::new()).await.unwrap()
    }
}

pub(crate) fn config(chain_id: ChainId) -> Config {
    Config {
        chain_id,
        finality: Finality {
            by_tag: false,
            depth: 20,
            offset: 0,
        },
        backfill_depth: 10,
        backfill_skip: false,
        batch_size: 250,
        also: Vec::new(),
        history_depth: 30,
    }
}

pub(crate) fn pool(chain_id: ChainId, urls: &[Url]) -> Pool {
    let nodes = ["a", "b"]
        .iter()
        .zip(urls)
        .map(|(name, url)| NodeConfig::primary(*name, url.clone()));
    let config = PoolConfig {
        request_timeout: Duration::from_secs(5),
        new_heads_poll_interval: Duration::from_millis(20),
        ..PoolConfig::new(chain_id, nodes.collect())
    };
    Pool::new(config).unwrap()
}

pub(crate) async fn lead(store: &Store, chain: ChainId) -> Leader {
    let config = LeaseConfig::default();
    let lead = Leader::try_acquire(store, &Scope::chain(chain), "the test", &config).await;
    lead.unwrap().expect("nobody else leads")
}

/// A node's view of a chain: what it stored, and the scanner that stores it.
pub(crate) struct View {
    pub(crate) store: Store,
    pub(crate) lead: Leader,
    pub(crate) scanner: Scanner,
    pub(crate) config: Config,
    pub(crate) pool: Pool,
    pub(crate) base: Base,
}

impl View {
    pub(crate) async fn of(base: Base, config: Config, pool: Pool) -> Self {
        let store = base.open().await;
        let lead = lead(&store, config.chain_id).await;
        let scanner = Scanner::new(pool.clone(), config.clone(), HeadWatch::default());
        Self {
            store,
            lead,
            scanner,
            config,
            pool,
            base,
        }
    }

    /// A scanner that remembers nothing but the rows.
    pub(crate) fn restarts(&mut self) {
        self.scanner = Scanner::new(self.pool.clone(), self.config.clone(), HeadWatch::default());
    }

    pub(crate) async fn tick(&mut self) -> anyhow::Result<Round> {
        self.scanner.tick(&self.lead).await
    }

    /// Rounds, as long as they say that there is more.
    pub(crate) async fn scan(&mut self) {
        for _ in 0..200 {
            let round = self.tick().await.unwrap();
            if !Scanner::again(&round) {
                return;
            }
        }
        panic!("the scanner never comes to rest");
    }

    /// What a round that fails says.
    pub(crate) async fn refusal(&mut self) -> String {
        format!("{:#}", self.tick().await.unwrap_err())
    }

    /// Stores a job on a contract.
    pub(crate) async fn add_job(&self, contract: Address) -> JobId {
        let new = NewJob {
            external_job_id: Uuid::new_v4(),
            name: String::new(),
            kind: "directrequest".to_owned(),
            schema_version: 1,
            toml: String::new(),
            dot: String::new(),
            chain_id: Some(self.config.chain_id),
            contract_address: Some(contract),
            min_confirmations: None,
            min_payment_juels: None,
            requesters: Vec::new(),
            gas_limit: None,
            forwarding_allowed: false,
            max_task_duration: None,
        };
        let mut tx = self.store.begin().await.unwrap();
        let id = jobs::insert(&mut tx, &new, NOW).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Stores an open request that was mined in `block`.
    pub(crate) async fn add_request(&self, block: BlockRef) -> RequestRow {
        let new = NewRequest {
            chain_id: self.config.chain_id,
            oracle: ORACLE,
            request_id: block.hash,
            life: 1,
            state: State::Open,
            reason: String::new(),
            job_id: 1,
            run_id: None,
            requester: Address::ZERO,
            incarnation: Incarnation {
                block,
                log_index: 0,
                tx_hash: B256::ZERO,
                payment_juels: U256::ZERO,
                expires_at_seconds: 0,
                callback_address: Address::ZERO,
                terms: B256::ZERO,
            },
        };
        let mut tx = self.lead.begin().await.unwrap();
        let row = requests::insert(&mut tx, &new, NOW).await.unwrap();
        tx.commit().await.unwrap();
        row
    }

    pub(crate) async fn request(&self, row: RequestRow) -> Request {
        let mut conn = self.store.read().await.unwrap();
        requests::find(&mut conn, row).await.unwrap().unwrap()
    }

    pub(crate) async fn maybe_cursor(&self) -> Option<Cursor> {
        let mut conn = self.store.read().await.unwrap();
        heads::cursor(&mut conn, self.config.chain_id)
            .await
            .unwrap()
    }

    pub(crate) async fn cursor(&self) -> Cursor {
        self.maybe_cursor().await.expect("there was a first scan")
    }

    pub(crate) async fn canonical_at(&self, number: u64) -> Option<Head> {
        let mut conn = self.store.read().await.unwrap();
        let head = heads::canonical_at(&mut conn, self.config.chain_id, number).await;
        head.unwrap()
    }

    /// Block number and first data byte of each log that waits to be decided, oldest first.
    pub(crate) async fn pending(&self) -> Vec<(u64, u8)> {
        let mut conn = self.store.read().await.unwrap();
        let logs = logs::pending(&mut conn, self.config.chain_id, u64::MAX >> 1, 10_000).await;
        let logs = logs.unwrap();
        logs.iter()
            .map(|log| (log.block.number, log.data[0]))
            .collect()
    }

    /// Everything canonical that is stored is what the chain shows, parent by parent.
    pub(crate) async fn agrees_with(&self, chain: &Scripted) {
        let cursor = self.cursor().await;
        assert_eq!(cursor.block, chain.head());
        for number in 0..=cursor.block.number {
            if let Some(head) = self.canonical_at(number).await {
                assert_eq!(head.block, chain.at(number));
            }
        }
    }
}

/// A scripted chain and somebody who follows it.
pub(crate) struct Scene {
    pub(crate) chain: Scripted,
    pub(crate) view: View,
}

impl Scene {
    /// Before a chain of this height, watching [`ORACLE`]; nothing was scanned yet.
    pub(crate) async fn on(base: Base, height: u64, adapt: impl Fn(Config) -> Config) -> Self {
        let chain = Scripted::of(height).await;
        let view = View::of(base, adapt(config(CHAIN)), pool(CHAIN, &[chain.url()])).await;
        view.add_job(ORACLE).await;
        Self { chain, view }
    }

    pub(crate) async fn both(height: u64) -> [Self; 2] {
        Self::both_with(height, |config| config).await
    }

    pub(crate) async fn both_with(height: u64, adapt: impl Fn(Config) -> Config) -> [Self; 2] {
        let [sqlite, postgres] = Base::both().await;
        [
            Self::on(sqlite, height, &adapt).await,
            Self::on(postgres, height, &adapt).await,
        ]
    }
}
