//! Without a database: the engine itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::Bytes;
use anyhow::{Context, Result, ensure};
use dodona_pipeline::egress::{EgressClient, HttpError};
use dodona_pipeline::{
    BridgeTarget, EstimateGas, EthCall, EthCallError, HttpCall, HttpReply, Pipeline, Ports,
    RunInput, RunState, TaskResult, Value, execute,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::loopback::Loopback;
use super::{MANY, load, typical};
use crate::figure::{Figure, percentile};
use crate::{Length, process, say};

/// Runs in flight at once, as a busy node has them.
const AT_ONCE: usize = 64;
const TASKS: f64 = 8.0;

pub(super) async fn measure(length: &Length) -> Result<Vec<Figure>> {
    let window = length.window / 3;
    say("parsing a spec");
    let parse = parse_microseconds(window / 4)?;
    say(&format!("{MANY} jobs in memory"));
    let (took, grown_mib) = many()?;
    say("runs of eight tasks with a call over HTTP");
    let fetching = fetching(length.warm_up / 4, window).await?;
    say("runs of eight tasks that only compute");
    let pure = pure(length.warm_up / 4, window).await?;

    let load = |offered: &str, window| load("memory", offered, window);
    let at_once = format!("{AT_ONCE} runs always in flight, one HTTP call to this machine each");
    let computing = format!("{AT_ONCE} runs always in flight, nothing leaves the process");
    let one = load("a direct request of eight tasks, over and over", window / 4);
    let all = load(&format!("{MANY} different specs of eight tasks"), took);
    Ok(vec![
        Figure::new(
            "eight_task_runs_per_second",
            fetching,
            "1/s",
            &load(&at_once, window),
        )
        .at_least(2_000.0),
        Figure::new(
            "pure_tasks_per_second",
            pure * TASKS,
            "1/s",
            &load(&computing, window),
        ),
        Figure::new("spec_parse_us", parse, "µs", &one),
        Figure::new("jobs_10000_parsed_ms", took.as_secs_f64() * 1e3, "ms", &all).below(2_000.0),
        Figure::new("jobs_10000_parsed_mib", grown_mib, "MiB", &all).below(100.0),
    ])
}

/// Median over a window.
fn parse_microseconds(window: Duration) -> Result<f64> {
    let toml = typical::spec(Uuid::new_v4(), &typical::eight_tasks("https://a.example/"));
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < window {
        let one = Instant::now();
        let spec = typical::read(&toml)?;
        took.push(one.elapsed().as_secs_f64() * 1e6);
        std::hint::black_box(spec);
    }
    Ok(percentile(&mut took, 0.5))
}

/// How long it takes to have the specs of many jobs ready, and how much this process grows by that.
fn many() -> Result<(Duration, f64)> {
    let specs: Vec<String> = (0..MANY)
        .map(|n| {
            let url = format!("https://prices-{n}.example/latest");
            typical::spec(Uuid::new_v4(), &typical::eight_tasks(&url))
        })
        .collect();
    let ours = std::process::id();
    let before = process::rss_mib(ours)?;
    let began = Instant::now();
    let ready = specs
        .iter()
        .map(|toml| typical::read(toml))
        .collect::<Result<Vec<_>>>()?;
    let took = began.elapsed();
    let grown = process::rss_mib(ours)? - before;
    ensure!(ready.len() == MANY as usize);
    Ok((took, grown))
}

async fn fetching(warm_up: Duration, window: Duration) -> Result<f64> {
    let source = Loopback::answering(r#"{"data": {"price": "1834.2", "volume": 7}}"#).await?;
    let _http = dodona_testkit::http();
    let ports = Arc::new(Outside(Some(EgressClient::new()?)));
    per_second(&typical::eight_tasks(&source.url), ports, warm_up, window).await
}

async fn pure(warm_up: Duration, window: Duration) -> Result<f64> {
    per_second(
        &typical::eight_pure_tasks(),
        Arc::new(Outside(None)),
        warm_up,
        window,
    )
    .await
}

/// Completed runs a second, with so many always in flight.
async fn per_second(
    dot: &str,
    ports: Arc<Outside>,
    warm_up: Duration,
    window: Duration,
) -> Result<f64> {
    let pipeline = Arc::new(typical::parsed(dot)?);
    let vars = typical::variables(Uuid::new_v4(), 1);
    once(&pipeline, vars.clone(), ports.clone()).await?;
    let done = Arc::new(AtomicU64::new(0));
    let mut hands = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (pipeline, vars, ports, done) = (
            Arc::clone(&pipeline),
            vars.clone(),
            ports.clone(),
            Arc::clone(&done),
        );
        hands.spawn(async move {
            loop {
                once(&pipeline, vars.clone(), ports.clone()).await?;
                done.fetch_add(1, Ordering::Relaxed);
                // A run that never waits would keep the others from their turn.
                tokio::task::yield_now().await;
            }
            #[expect(unreachable_code, reason = "says what the loop's errors are")]
            Ok::<(), anyhow::Error>(())
        });
    }
    tokio::time::sleep(warm_up).await;
    let (before, began) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(window).await;
    let (after, took) = (done.load(Ordering::Relaxed), began.elapsed());
    if let Some(failed) = hands.try_join_next() {
        failed.context("a hand was stopped")??;
    }
    Ok((after - before) as f64 / took.as_secs_f64())
}

async fn once(
    pipeline: &Pipeline,
    vars: BTreeMap<String, Value>,
    ports: Arc<Outside>,
) -> Result<()> {
    let input = RunInput {
        vars,
        ..RunInput::default()
    };
    let outcome = execute(pipeline, input, ports).await;
    ensure!(
        outcome.state == RunState::Completed,
        "the run did not complete: {:?}",
        outcome.all_errors
    );
    Ok(())
}

/// HTTP, and nothing else.
struct Outside(Option<EgressClient>);

impl Ports for Outside {
    fn http(&self, call: HttpCall) -> BoxFuture<'_, Result<HttpReply, HttpError>> {
        async move {
            match &self.0 {
                Some(client) => client.send(call).await,
                None => Err(HttpError::Invalid("there is no way out".to_owned())),
            }
        }
        .boxed()
    }

    fn bridge(&self, _: &str) -> BoxFuture<'_, Result<BridgeTarget, String>> {
        std::future::ready(Err("there are no bridges".to_owned())).boxed()
    }

    fn eth_call(&self, call: EthCall) -> BoxFuture<'_, Result<Bytes, EthCallError>> {
        let evm_chain_id = call.evm_chain_id;
        std::future::ready(Err(EthCallError::UnknownChain { evm_chain_id })).boxed()
    }

    fn estimate_gas(&self, call: EstimateGas) -> BoxFuture<'_, Result<u64, EthCallError>> {
        let evm_chain_id = call.evm_chain_id;
        std::future::ready(Err(EthCallError::UnknownChain { evm_chain_id })).boxed()
    }

    fn finished<'a>(&'a self, _: &'a TaskResult) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }
}
