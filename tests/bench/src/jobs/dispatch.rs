//! From a log to its run: what it costs to find the job that a request names, among few and among many.

use std::time::{Duration, Instant};

use alloy::primitives::{B256, U256};
use anyhow::{Context, Result, ensure};
use dodona_jobs::{TriggerConfig, Triggers};
use dodona_model::{BlockRef, Timestamp};
use dodona_runtime::{Poke, Service, clock};
use dodona_store::heads::{Cursor, Head};
use dodona_store::logs::Log;
use dodona_store::{Leader, LeaseConfig, Scope, Store, heads, jobs, logs};
use uuid::Uuid;

use super::typical::{self, CHAIN, ORACLE};
use super::{Base, FEW, MANY, load};
use crate::Length;
use crate::figure::{Figure, percentile};

/// Logs of one block.
const LOGS: u64 = 256;
/// Blocks before the first that counts.
const WARM_UP: u64 = 4;

pub(super) async fn measure(engine: &str, length: &Length) -> Result<Vec<Figure>> {
    let blocks = if length.quick { 8 } else { 24 };
    let few = microseconds(engine, FEW, blocks).await?;
    let many = microseconds(engine, MANY, blocks).await?;
    let load = |jobs: u32| {
        let offered = format!("{blocks} blocks of {LOGS} requests for {jobs} jobs in turn");
        load(engine, &offered, Duration::ZERO)
    };
    Ok(vec![
        Figure::new("dispatch_us_per_log_at_10_jobs", few, "µs", &load(FEW)),
        Figure::new("dispatch_us_per_log_at_10000_jobs", many, "µs", &load(MANY)),
        // Independent: what is measured twice differs by less than a quarter.
        Figure::new(
            "dispatch_cost_10000_to_10_jobs",
            many / few,
            "times",
            &load(MANY),
        )
        .below(1.25),
    ])
}

/// Median time of a log, from rows to the committed run, with so many jobs.
async fn microseconds(engine: &str, count: u32, blocks: u64) -> Result<f64> {
    let base = Base::on(engine).await?;
    let store = base.open(&Poke::new()).await?;
    let ids = insert(&store, count).await?;
    let lease = LeaseConfig::default();
    let lead = Leader::try_acquire(&store, &Scope::chain(CHAIN), "the benchmark", &lease).await?;
    let lead = lead.context("nobody else leads")?;
    let mut triggers = Triggers::new(TriggerConfig {
        chain_id: CHAIN,
        min_confirmations: 1,
        min_payment_juels: U256::ZERO,
    });
    let (mut took, mut asked) = (Vec::new(), 0);
    for number in 0..WARM_UP + blocks {
        mine(&lead, number, &ids, &mut asked).await?;
        lead.renew().await?;
        let began = Instant::now();
        let round = serde_json::to_value(triggers.tick(&lead).await?)?;
        let each = began.elapsed().as_secs_f64() * 1e6 / LOGS as f64;
        ensure!(
            round["runs"] == LOGS,
            "a block did not become runs: {round}"
        );
        if number >= WARM_UP {
            took.push(each);
        }
    }
    Ok(percentile(&mut took, 0.5))
}

/// Stores so many jobs with a pipeline of their own.
pub(super) async fn insert(store: &Store, count: u32) -> Result<Vec<Uuid>> {
    let mut ids = Vec::with_capacity(count as usize);
    while ids.len() < count as usize {
        let mut tx = store.begin().await?;
        for _ in 0..1_000.min(count as usize - ids.len()) {
            let url = format!("https://prices-{}.example/latest", ids.len());
            let new = typical::row(&typical::eight_tasks(&url));
            jobs::insert(&mut tx, &new, clock::now()).await?;
            ids.push(new.external_job_id);
        }
        tx.commit().await?;
    }
    Ok(ids)
}

/// One more block, as the scanner would have written it, with a request for each of the next jobs.
async fn mine(lead: &Leader, number: u64, ids: &[Uuid], asked: &mut u64) -> Result<()> {
    let at = |number: u64| BlockRef {
        number,
        hash: B256::from(U256::from(number + 1)),
    };
    let now: Timestamp = clock::now();
    let mut tx = lead.begin().await?;
    let head = Head {
        block: at(number),
        parent_hash: at(number.wrapping_sub(1)).hash,
        block_time: number,
        base_fee_wei: None,
        receipts_root: B256::ZERO,
        transactions_root: B256::ZERO,
        state_root: B256::ZERO,
        canonical: true,
        seen_at: now,
    };
    heads::insert(&mut tx, CHAIN, &head).await?;
    for log_index in 0..LOGS {
        // A step that shares no factor with the number of jobs: neighbours in time are none in the table.
        let job = ids[(*asked as usize * 7_919) % ids.len()];
        let (topics, data) = typical::request(job, *asked);
        let log = Log {
            id: 0,
            block: at(number),
            log_index,
            address: ORACLE,
            topics,
            data,
            tx_hash: B256::from(U256::from(*asked)),
            seen_at: now,
        };
        logs::insert(&mut tx, CHAIN, &log).await?;
        *asked += 1;
    }
    let cursor = Cursor {
        block: at(number),
        finalized: 0,
        updated_at: now,
    };
    heads::set_cursor(&mut tx, CHAIN, &cursor).await?;
    tx.commit().await?;
    Ok(())
}
