//! A whole node at work: chain, contracts, data source, keys and a job.

use std::time::{Duration, Instant};

use alloy::{
    primitives::{Address, U256},
    sol_types::SolCall,
};
use anyhow::{Context, Result, bail};
use dodona_testkit::{
    anvil::{self, Anvil, Call},
    contracts::{Consumer, World},
    node::{Engine, Job, Node, Options},
    postgres::{self, FreshDatabase},
    source::Source,
    until_within,
};
use serde_json::json;

use crate::process::{self, CpuMs};
use crate::rows::Rows;

pub(super) const BLOCK_SECONDS: u64 = 1;
pub(super) const BLOCK_GAS_LIMIT: u64 = 300_000_000;
pub(super) const MAX_IN_FLIGHT: u32 = 5_000;
pub(super) const MAX_QUEUED: u32 = 10_000;

/// As published: only the address and the chain are ours.
const JOB: &str = include_str!("../../../../testdata/specs/get-uint256.toml");
const ADDRESS_IN_JOB: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

/// Requests that go out as one transaction, at most: a block's gas is plenty, a transaction's is not.
const REQUESTS_PER_TX: u64 = 50;

/// Everything a request needs, running.
pub(super) struct Bed {
    pub(super) node: Node,
    world: World,
    chain: Anvil,
    chain_process: u32,
    source: Source,
    job: Job,
    database: Option<FreshDatabase>,
    database_process: Option<u32>,
    asked: u64,
}

/// CPU time of all who take part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    pub(super) node: CpuMs,
    pub(super) chain: CpuMs,
    /// Nothing on SQLite: there the node does it itself.
    pub(super) database: CpuMs,
    /// Who asks, and the data source.
    pub(super) ours: CpuMs,
}

impl Bed {
    pub(super) async fn prepare(engine: &str, count: usize) -> Result<Self> {
        let database = match engine {
            "sqlite" => None,
            "postgres" => Some(postgres::fresh().await),
            other => bail!("there is no engine {other}: sqlite, or postgres"),
        };
        let chain = Anvil::start(anvil::Options {
            gas_limit: Some(BLOCK_GAS_LIMIT),
            ..anvil::Options::default()
        })
        .await;
        let chain_process = process::child_named("anvil")?;
        let world = World::deploy(&chain).await;
        let source = Source::start().await;
        source.on(
            "/price",
            dodona_testkit::source::Behaviour::Answer(json!({ "price": { "USD": 1834.2 } })),
        );

        let options = Options {
            link: Some(world.link),
            ..Options::on(&chain)
        };
        let options = match &database {
            Some(database) => options.with_engine(Engine::Postgres(database.url.clone())),
            None => options,
        };
        // Nothing is pruned while we measure what is kept.
        let options = options.with_config(&format!(
            "# The key ring's lock as operators have it: starts are measured too.
InsecureFastScrypt = false

[Log]
Level = 'info'

[JobPipeline]
MaxSuccessfulRuns = 1000000

[[EVM]]
ChainID = '31337'

[EVM.Transactions]
MaxInFlight = {MAX_IN_FLIGHT}
MaxQueued = {MAX_QUEUED}"
        ));
        let node = Node::start(&options).await;

        let mut keys: Vec<Address> = Vec::with_capacity(count);
        for _ in 0..count {
            let key = node.api().create_key().await;
            chain
                .set_balance(key, U256::from(10).pow(U256::from(21)))
                .await;
            keys.push(key);
        }
        world.set_authorized(&keys).await;
        let job = JOB.replace(ADDRESS_IN_JOB, &world.operator.to_string());
        let job = node.api().create_job(&job).await;
        chain.set_automine(false).await;
        chain
            .set_interval(Some(Duration::from_secs(BLOCK_SECONDS)))
            .await;

        let database_process = match &database {
            None => None,
            Some(database) => {
                Rows::of_server(&database.url)
                    .await?
                    .server_process()
                    .await?
            }
        };
        Ok(Self {
            node,
            world,
            chain,
            chain_process,
            source,
            job,
            database,
            database_process,
            asked: 0,
        })
    }

    /// Sends questions, as few transactions as possible; they are mined with the next block.
    pub(super) async fn ask(&mut self, count: u64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let now = left.min(REQUESTS_PER_TX);
            let call = self.world.many_call(
                now,
                self.job.external_id,
                &self.source.url_of("/price"),
                "price,USD",
                100,
            );
            let sent = self.chain.send(self.world.owner, &call).await;
            sent.map_err(|refused| {
                anyhow::anyhow!("the chain refused to take requests: {}", refused.message)
            })?;
            self.asked += now;
            left -= now;
        }
        Ok(())
    }

    /// Questions sent so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// Answers the consumer contract holds at the newest block.
    pub(super) async fn answered(&self) -> Result<u64> {
        let call = Call::new(
            self.world.consumer,
            Consumer::answersTotalCall {}.abi_encode(),
        );
        let answer = self.chain.call(&call).await;
        let answer = answer
            .map_err(|refused| anyhow::anyhow!("the chain refused a look: {}", refused.message))?;
        Ok(Consumer::answersTotalCall::abi_decode_returns(&answer)?.to())
    }

    /// Returns as soon as there is a new block.
    pub(super) async fn next_block(&self) -> Instant {
        let before = self.chain.block_number().await;
        while self.chain.block_number().await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Instant::now()
    }

    /// Returns once every question is answered, each once.
    pub(super) async fn drained(&self) -> Result<()> {
        let what = format!("all {} requests are answered", self.asked);
        until_within(Duration::from_secs(120), &what, || async {
            let answered = self.answered().await.ok()?;
            (answered >= self.asked).then_some(())
        })
        .await;
        self.next_block().await;
        let answered = self.answered().await?;
        anyhow::ensure!(
            answered == self.asked,
            "{} requests got {answered} answers",
            self.asked
        );
        Ok(())
    }

    pub(super) fn cpu(&self) -> Result<Cpu> {
        Ok(Cpu {
            node: process::cpu(self.node.pid()).context("the node is gone")?,
            chain: process::cpu(self.chain_process)?,
            database: match self.database_process {
                None => CpuMs::default(),
                Some(server) => process::cpu_with_children(server)?,
            },
            ours: process::cpu(std::process::id())?,
        })
    }

    /// What the node wrote; an embedded database only once the node is stopped.
    pub(super) async fn rows(&self) -> Result<Rows> {
        match &self.database {
            Some(database) => Rows::of_server(&database.url).await,
            None => Rows::of_file(&self.node.root().join("root/dodona.sqlite")).await,
        }
    }
}
