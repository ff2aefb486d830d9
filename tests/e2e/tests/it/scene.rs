//! What nearly every story begins with: a chain, the contracts, a data source and a node whose key may answer.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use dodona_testkit::{
    anvil::{self, Anvil},
    contracts::{Requested, World},
    node::{Api, Engine, Job, Node, Options},
    postgres::{self, FreshDatabase},
    source::{Behaviour, Source},
    until, until_within,
};
use serde_json::{Value, json};

use crate::specs::Spec;

pub(crate) const ETHER: u128 = 1_000_000_000_000_000_000;

/// Which database a story runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Db {
    Sqlite,
    Postgres,
}

/// A node at work. Fields are dropped in this order: the node before what it stands on.
pub(crate) struct Scene {
    pub(crate) node: Node,
    pub(crate) source: Source,
    pub(crate) world: World,
    /// The node's only key; funded and authorised.
    pub(crate) key: Address,
    pub(crate) options: Options,
    pub(crate) anvil: Anvil,
    _database: Option<FreshDatabase>,
}

impl Scene {
    /// Transactions are mined at once.
    pub(crate) async fn on(db: Db) -> Self {
        Self::build(db, anvil::Options::default(), |options| options).await
    }

    /// Blocks are mined only when the story says so.
    pub(crate) async fn with_blocks_on_demand(tweak: impl FnOnce(Options) -> Options) -> Self {
        Self::build(Db::Sqlite, anvil::Options::blocks_on_demand(), tweak).await
    }

    pub(crate) async fn build(
        db: Db,
        chain: anvil::Options,
        tweak: impl FnOnce(Options) -> Options,
    ) -> Self {
        let anvil = Anvil::start(chain).await;
        let world = World::deploy(&anvil).await;
        let (engine, database) = engine(db).await;
        let options = tweak(Options {
            link: Some(world.link),
            ..Options::on(&anvil).with_engine(engine)
        });
        let node = Node::start(&options).await;
        let key = node.api().create_key().await;
        world.fund(key, U256::from(ETHER)).await;
        world.set_authorized(&[key]).await;
        Self {
            node,
            source: Source::start().await,
            world,
            key,
            options,
            anvil,
            _database: database,
        }
    }

    pub(crate) fn api(&self) -> &Api {
        self.node.api()
    }

    pub(crate) async fn create(&self, spec: &Spec) -> Job {
        self.api().create_job(spec.text()).await
    }

    /// The job that most stories use.
    pub(crate) async fn price_job(&self) -> Job {
        self.create(&Spec::get_uint256(self.world.operator)).await
    }

    /// From now on the source has this number, in hundredths, at `/price`.
    pub(crate) fn serve_price(&self, cents: u64) {
        self.source.on("/price", Behaviour::Answer(price(cents)));
    }

    /// Asks for what the source has at `path`, in hundredths.
    pub(crate) async fn ask(&self, job: &Job, path: &str) -> Requested {
        self.world
            .request_uint256(job.external_id, &self.source.url_of(path), "value", 100)
            .await
    }

    /// Asks the same with nothing on the node's key, and waits until the status says why the answer does not come.
    pub(crate) async fn ask_without_funds(&self, job: &Job, path: &str) -> Requested {
        self.anvil.set_balance(self.key, U256::ZERO).await;
        let request = self.ask(job, path).await;
        until("the status says why the key does not move", || async {
            let status = status(self.api()).await;
            let reason = status["keys"][0]["reason"].as_str()?;
            reason.contains("not enough native coin").then_some(())
        })
        .await;
        request
    }

    /// Waits for the consumer's answer; the chain mines by itself.
    pub(crate) async fn answer_to(&self, request: &Requested) -> U256 {
        until("the consumer holds the answer", || {
            self.world.answer(request.id)
        })
        .await
    }

    /// The number in the answer, with a block every now and then.
    pub(crate) async fn answer_while_mining(&self, request: &Requested) -> U256 {
        self.mine_until("the consumer holds the answer", || {
            self.world.answer(request.id)
        })
        .await
    }

    /// Mines a block every now and then, as chains do, until there is something to see.
    pub(crate) async fn mine_until<T, F>(&self, what: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Option<T>>,
    {
        let mut mined = Instant::now();
        until_within(Duration::from_secs(60), what, || {
            let due = mined.elapsed() > Duration::from_millis(250);
            if due {
                mined = Instant::now();
            }
            let seen = look();
            async move {
                if due {
                    self.anvil.mine(1).await;
                }
                seen.await
            }
        })
        .await
    }

    /// Waits until the node has handed `count` transactions to the chain that wait to be mined.
    pub(crate) async fn pending(&self, count: usize) {
        until(
            &format!("{count} transactions wait to be mined"),
            || async { (self.anvil.pending_transactions().await == count).then_some(()) },
        )
        .await;
    }

    /// Waits until the node stands on the newest block of the chain.
    pub(crate) async fn caught_up(&self) {
        let wanted = self.anvil.block_number().await;
        until(&format!("the node stands on block {wanted}"), || async {
            let status = status(self.api()).await;
            (status["chains"][0]["head"] == json!(wanted)).then_some(())
        })
        .await;
    }

    /// Mines blocks and waits until the node has seen them.
    pub(crate) async fn mine(&self, blocks: u64) {
        self.anvil.mine(blocks).await;
        self.caught_up().await;
    }

    /// The attributes of the one run of this job, once it is in this state.
    pub(crate) async fn run_in_state(&self, job: &Job, state: &str) -> Value {
        until(&format!("a run is {state}"), || async {
            let runs = self.api().runs(job).await;
            runs.into_iter().find(|run| run["state"] == *state)
        })
        .await
    }

    /// Transactions of the node's key on chain: how many, and that all of them succeeded.
    pub(crate) async fn assert_sent(&self, count: u64) {
        let receipts = self.anvil.transactions_from(self.key).await;
        assert_eq!(self.anvil.nonce(self.key).await, count);
        assert_eq!(receipts.len() as u64, count);
        let failed: Vec<_> = receipts.iter().filter(|it| !it.status()).collect();
        assert!(failed.is_empty(), "reverted: {failed:?}");
    }
}

/// A database for one story.
pub(crate) async fn engine(db: Db) -> (Engine, Option<FreshDatabase>) {
    match db {
        Db::Sqlite => (Engine::Sqlite, None),
        Db::Postgres => {
            let database = postgres::fresh().await;
            (Engine::Postgres(database.url.clone()), Some(database))
        }
    }
}

/// The document a source serves for a price in hundredths.
pub(crate) fn price(cents: u64) -> Value {
    json!({ "value": cents as f64 / 100.0 })
}

/// A number that is another one in each run of the tests, so that no answer can be left over from somewhere.
pub(crate) fn some_cents() -> u64 {
    100 + (uuid::Uuid::new_v4().as_u128() % 10_000_000) as u64
}

/// `GET /v2/status`.
pub(crate) async fn status(api: &Api) -> Value {
    let answer = api.call(reqwest::Method::GET, "/v2/status", None).await;
    answer.unwrap_or_else(|refusal| panic!("GET /v2/status: {refusal:?}"))
}

/// The task of a run by its name.
pub(crate) fn task<'a>(run: &'a Value, name: &str) -> &'a Value {
    let tasks = run["taskRuns"].as_array();
    let mut tasks = tasks.into_iter().flatten();
    tasks
        .find(|task| task["dotId"] == *name)
        .unwrap_or_else(|| panic!("no task {name} in {run}"))
}
