//! Runs as a replica executes them: claimed from rows, every task's result written to rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dodona_jobs::{Outside, Runner, RunnerConfig};
use dodona_model::JobId;
use dodona_model::run::State;
use dodona_pipeline::egress::EgressClient;
use dodona_pipeline::{Inputs, Value};
use dodona_runtime::{CancellationToken, Health, Poke, Supervisor, clock, every};
use dodona_store::{Store, bridges, jobs, runs};
use uuid::Uuid;

use super::loopback::Loopback;
use super::{Base, load, typical};
use crate::figure::Figure;
use crate::{Length, process, say};

/// As the node has it unless told otherwise.
const IN_FLIGHT: usize = 100;
/// Runs kept waiting for a slot while the most is found out.
const OPEN: u64 = 600;
/// How often they are counted and made up.
const LOOK: Duration = Duration::from_millis(100);
/// Runs that wait for a bridge's later answer.
const SUSPENDED: u64 = 5_000;
/// What they take is looked at once this many have suspended before: pools and caches are full by then.
const BEFORE: u64 = 1_000;

struct Bench {
    base: Base,
    store: Store,
    outside: Arc<Outside>,
    runs: Poke,
}

pub(super) async fn measure(engine: &str, length: &Length) -> Result<Vec<Figure>> {
    let _http = dodona_testkit::http();
    let (base, runs) = (Base::on(engine).await?, Poke::new());
    let store = base.open(&runs).await?;
    let outside = Arc::new(Outside {
        store: store.clone(),
        pools: BTreeMap::new(),
        egress: EgressClient::new()?,
    });
    let bench = Bench {
        base,
        store,
        outside,
        runs,
    };
    let owner = bench.runner();
    let window = length.window / 3;
    let (per_second, cpu_ms) = bench.per_second(length.warm_up / 3, window).await?;
    say(&format!("{SUSPENDED} runs that wait"));
    let (memory, kept) = bench.suspended().await?;
    ensure!(
        owner.stop(Duration::from_secs(30)).await,
        "the runner did not stop in time"
    );

    let most = load(
        engine,
        &format!(
            "{OPEN} runs always open, {IN_FLIGHT} in flight, one HTTP call to this machine each, all results kept"
        ),
        window,
    );
    let waiting = load(
        engine,
        &format!("{SUSPENDED} runs that wait for a bridge"),
        Duration::ZERO,
    );
    let figures = [
        Figure::new(
            "stored_eight_task_runs_per_second",
            per_second,
            "1/s",
            &most,
        ),
        Figure::new("cpu_ms_per_stored_run", cpu_ms, "ms", &most),
        Figure::new("memory_per_suspended_run_bytes", memory, "bytes", &waiting),
        Figure::new("database_per_suspended_run_bytes", kept, "bytes", &waiting),
    ];
    let [rate, rest @ ..] = figures;
    let rate = match engine {
        "postgres" => rate.at_least(500.0),
        _ => rate,
    };
    Ok(std::iter::once(rate).chain(rest).collect())
}

impl Bench {
    fn runner(&self) -> Supervisor {
        let config = RunnerConfig {
            me: Uuid::new_v4().to_string(),
            max_in_flight: IN_FLIGHT,
            patience: std::time::Duration::from_secs(1),
            claim: Duration::from_secs(15),
            max_run_duration: Some(Duration::from_secs(600)),
            http_timeout: Some(Duration::from_secs(15)),
            http_max_bytes: 32_768,
            bridge_cache_ttl: Duration::ZERO,
            // Nothing is pruned while we count.
            keep_successful: 10_000_000,
            bridge_response_url: Some("http://127.0.0.1:6688/".to_owned()),
            chains: BTreeMap::new(),
        };
        let owner = Supervisor::new(Health::default(), CancellationToken::new());
        let runner = Runner::new(Arc::clone(&self.outside), config, self.runs.clone());
        let schedule = every(Duration::from_secs(5)).on(&self.runs);
        owner.add("PipelineRunner", runner, Arc::new(()), schedule);
        owner
    }

    async fn job(&self, dot: &str) -> Result<(JobId, Uuid)> {
        let new = typical::row(dot);
        let mut tx = self.store.begin().await?;
        let id = jobs::insert(&mut tx, &new, clock::now()).await?;
        tx.commit().await?;
        Ok((id, new.external_job_id))
    }

    async fn begin(&self, job: (JobId, Uuid), from: u64, count: u64) -> Result<()> {
        let mut tx = self.store.begin().await?;
        for n in from..from + count {
            let vars = Value::Map(typical::variables(job.1, n));
            runs::insert(&mut tx, job.0, &Inputs::new(&vars).to_text(), clock::now()).await?;
        }
        tx.poke_on_commit("runs");
        tx.commit().await?;
        Ok(())
    }

    /// How many runs of a job are in this state.
    async fn count(&self, job: JobId, state: State) -> Result<u64> {
        let counts = runs::count_by_job_and_state(&mut self.store.read().await?).await?;
        let ours = counts
            .into_iter()
            .find(|(of, in_state, _)| *of == job && *in_state == state);
        Ok(ours.map_or(0, |(_, _, count)| count))
    }

    /// Completed runs a second, and CPU time of this process for each: runner, engine, who begins the runs and the
    /// data source together.
    async fn per_second(&self, warm_up: Duration, window: Duration) -> Result<(f64, f64)> {
        let source = Loopback::answering(r#"{"data": {"price": "1834.2", "volume": 7}}"#).await?;
        let job = self.job(&typical::eight_tasks(&source.url)).await?;
        let mut begun = 0;
        self.keep_open(job, &mut begun, warm_up).await?;
        let (before, cpu, began) = (
            self.count(job.0, State::Completed).await?,
            process::cpu(std::process::id())?,
            Instant::now(),
        );
        self.keep_open(job, &mut begun, window).await?;
        let (after, took) = (self.count(job.0, State::Completed).await?, began.elapsed());
        let cpu = process::cpu(std::process::id())? - cpu;
        self.until(job.0, State::Completed, begun).await?;
        let done = (after - before) as f64;
        Ok((done / took.as_secs_f64(), cpu / done))
    }

    async fn keep_open(&self, job: (JobId, Uuid), begun: &mut u64, span: Duration) -> Result<()> {
        let began = Instant::now();
        let mut ticks = tokio::time::interval(LOOK);
        while began.elapsed() < span {
            ticks.tick().await;
            let open = *begun - self.count(job.0, State::Completed).await?;
            let missing = OPEN.saturating_sub(open);
            self.begin(job, *begun, missing).await?;
            *begun += missing;
        }
        Ok(())
    }

    async fn until(&self, job: JobId, state: State, count: u64) -> Result<()> {
        let began = Instant::now();
        while self.count(job, state).await? < count {
            ensure!(
                began.elapsed() < Duration::from_secs(120),
                "{count} runs do not become {}",
                state.as_str()
            );
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Bytes of memory and of the database for each run that waits.
    async fn suspended(&self) -> Result<(f64, f64)> {
        let bridge = Loopback::answering(r#"{"pending": true}"#).await?;
        let new = bridges::Bridge {
            name: "later".to_owned(),
            url: bridge.url.clone(),
            confirmations: 0,
            incoming_token_hash: String::new(),
            salt: String::new(),
            outgoing_token: String::new(),
            min_payment_juels: None,
            created_at: clock::now(),
        };
        let mut tx = self.store.begin().await?;
        bridges::insert(&mut tx, &new).await?;
        tx.commit().await?;
        let job = self.job(typical::LATER).await?;
        self.begin(job, 0, BEFORE).await?;
        self.until(job.0, State::Suspended, BEFORE).await?;
        let (memory, kept) = (process::rss_mib(std::process::id())?, self.kept().await?);
        let mut begun = BEFORE;
        while begun < BEFORE + SUSPENDED {
            self.begin(job, begun, BEFORE).await?;
            begun += BEFORE;
            self.until(job.0, State::Suspended, begun).await?;
        }
        let grown = (process::rss_mib(std::process::id())? - memory).max(0.0) * 1024.0 * 1024.0;
        let kept = self.kept().await? - kept;
        Ok((grown / SUSPENDED as f64, kept / SUSPENDED as f64))
    }

    async fn kept(&self) -> Result<f64> {
        let kept = self.base.rows().await?.kept().await?;
        Ok(kept.iter().map(|table| table.bytes as f64).sum())
    }
}
