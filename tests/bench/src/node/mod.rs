//! The main job under load: requests on a real chain, answered by a whole node.

mod bed;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::figure::{Figure, percentile};
use crate::rows::{Kept, Way};
use crate::{Length, machine, process, say};
use bed::{Bed, Cpu};

/// Requests a second of the steady load.
const STEADY: u64 = 20;
/// Transactions a second that ask for them.
const STEADY_TXS: u64 = 4;
/// Requests kept waiting for their answer while the most is found out: those of about three blocks.
const OPEN: u64 = 600;
/// How often the open requests are counted and made up.
const LOOK: Duration = Duration::from_millis(250);

/// What was done in a window, and what it took.
struct Window {
    answered: u64,
    took: Duration,
    cpu: [f64; 4],
    rss_mib: f64,
    /// Microseconds since 1970.
    from: i64,
    until: i64,
}

/// Runs a whole node on this engine and measures it.
pub(crate) async fn measure(engine: &str, keys: usize, length: &Length) -> Result<Vec<Figure>> {
    say("a chain, contracts, a data source and the node");
    let mut bed = Bed::prepare(engine, keys).await?;
    let load = |offered: &str, window: Duration| load(engine, keys, offered, window);
    bed.ask(1).await?;
    bed.drained().await?;

    say("idle");
    tokio::time::sleep(length.idle).await;
    let idle_mib = process::rss_mib(bed.node.pid())?;

    say(&format!("{STEADY} requests a second"));
    let steady = steady(&mut bed, length).await?;
    say(&format!("{OPEN} requests always open"));
    let most = most(&mut bed, length).await?;
    bed.drained().await?;

    say("stopping, reading what was written");
    let stopped = bed.node.stop().await;
    ensure!(
        stopped.success(),
        "the node did not stop cleanly: {stopped}"
    );
    let mut rows = bed.rows().await?;
    let ways = rows
        .ways(steady.from, steady.until)
        .await
        .context("reading the ways of requests")?;
    ensure!(!ways.is_empty(), "no request was seen in the steady window");
    let (reverted, dead, replaced) = rows.mishaps().await?;
    let kept = rows.kept().await.context("reading what is kept")?;
    let version = rows.version().await?;
    drop(rows);

    say("starting on what is there");
    let mut starts = Vec::with_capacity(length.starts);
    for _ in 0..length.starts {
        let began = Instant::now();
        bed.node.start_again().await;
        starts.push(began.elapsed().as_secs_f64() * 1e3);
        bed.node.stop().await;
    }

    tell_ways(&ways);
    tell_kept(&kept, bed.asked());
    say(&format!(
        "of {} answers {reverted} were reverted, {dead} given up, {replaced} replaced; {version}",
        bed.asked()
    ));

    let idle = load("nothing", length.idle);
    let at_20 = load(
        &format!("{STEADY} requests/s, {} a transaction", STEADY / STEADY_TXS),
        length.window,
    );
    let at_most = load(
        &format!("as fast as they are answered: {OPEN} requests always open"),
        length.window,
    );
    let whole = load(
        &format!("{} requests, all of them answered", bed.asked()),
        Duration::ZERO,
    );
    let mut to_sent: Vec<f64> = ways.iter().map(|way| way.milliseconds_to_sent()).collect();
    let asked = bed.asked() as f64;
    let sum = |of: fn(&Kept) -> i64| kept.iter().map(of).sum::<i64>() as f64;
    let mut figures = vec![
        Figure::new(
            "requests_answered_per_second",
            most.per_second(),
            "1/s",
            &at_most,
        )
        .at_least(100.0),
        Figure::new(
            "block_to_raw_transaction_ms_p50",
            percentile(&mut to_sent, 0.5),
            "ms",
            &at_20,
        )
        .below(25.0),
        Figure::new(
            "block_to_raw_transaction_ms_p99",
            percentile(&mut to_sent, 0.99),
            "ms",
            &at_20,
        )
        .below(150.0),
        Figure::new("rss_idle_mib", idle_mib, "MiB", &idle).below(60.0),
        Figure::new(
            "start_to_ready_ms",
            percentile(&mut starts, 0.5),
            "ms",
            &whole,
        )
        .below(1000.0),
        Figure::new("rss_loaded_mib", most.rss_mib, "MiB", &at_most),
        Figure::new(
            "node_cpu_ms_per_answered_request",
            most.cpu_ms(0),
            "ms",
            &at_most,
        ),
        Figure::new(
            "node_cpu_ms_per_answered_request_at_20",
            steady.cpu_ms(0),
            "ms",
            &at_20,
        ),
        Figure::new(
            "chain_cpu_ms_per_answered_request",
            most.cpu_ms(1),
            "ms",
            &at_most,
        ),
    ];
    if engine == "postgres" {
        let database = most.cpu_ms(2);
        figures.push(Figure::new(
            "database_cpu_ms_per_answered_request",
            database,
            "ms",
            &at_most,
        ));
    }
    figures.extend([
        Figure::new(
            "bench_cpu_ms_per_answered_request",
            most.cpu_ms(3),
            "ms",
            &at_most,
        ),
        Figure::new(
            "database_rows_per_request",
            sum(|kept| kept.rows) / asked,
            "rows",
            &whole,
        ),
        Figure::new(
            "database_bytes_per_request",
            sum(|kept| kept.bytes) / asked,
            "bytes",
            &whole,
        ),
    ]);
    Ok(figures)
}

fn load(engine: &str, keys: usize, offered: &str, window: Duration) -> Value {
    json!({
        "engine": engine,
        "offered": offered,
        "window_seconds": window.as_secs(),
        "keys": keys,
        "block_seconds": bed::BLOCK_SECONDS,
        "block_gas_limit": bed::BLOCK_GAS_LIMIT,
        "max_in_flight": bed::MAX_IN_FLIGHT,
        "max_queued": bed::MAX_QUEUED,
        "load_average": machine::load_average().unwrap_or(-1.0),
    })
}

/// The same number of requests every second, whatever becomes of them.
async fn steady(bed: &mut Bed, length: &Length) -> Result<Window> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / STEADY_TXS as u32);
    let seconds = |span: Duration| span.as_secs() * STEADY_TXS;
    for _ in 0..seconds(length.warm_up) {
        ticks.tick().await;
        bed.ask(STEADY / STEADY_TXS).await?;
    }
    let mut watch = Watch::open(bed).await?;
    for _ in 0..seconds(length.window) {
        ticks.tick().await;
        bed.ask(STEADY / STEADY_TXS).await?;
        watch.look(bed)?;
    }
    let window = watch.close(bed).await?;
    bed.drained().await?;
    Ok(window)
}

/// As many requests as are answered: a number of them is always open.
async fn most(bed: &mut Bed, length: &Length) -> Result<Window> {
    keep_open(bed, length.warm_up, None).await?;
    let mut watch = Watch::open(bed).await?;
    keep_open(bed, length.window, Some(&mut watch)).await?;
    watch.close(bed).await
}

async fn keep_open(bed: &mut Bed, span: Duration, mut watch: Option<&mut Watch>) -> Result<()> {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(LOOK);
    while began.elapsed() < span {
        ticks.tick().await;
        let open = bed.asked() - bed.answered().await?;
        bed.ask(OPEN.saturating_sub(open)).await?;
        if let Some(watch) = &mut watch {
            watch.look(bed)?;
        }
    }
    Ok(())
}

/// An open window. Its edges are new blocks, so that it holds whole ones.
struct Watch {
    began: Instant,
    from: i64,
    answered: u64,
    cpu: Cpu,
    rss_mib: f64,
}

impl Watch {
    async fn open(bed: &Bed) -> Result<Self> {
        let began = bed.next_block().await;
        Ok(Self {
            began,
            from: micros(),
            answered: bed.answered().await?,
            cpu: bed.cpu()?,
            rss_mib: 0.0,
        })
    }

    fn look(&mut self, bed: &Bed) -> Result<()> {
        self.rss_mib = self.rss_mib.max(process::rss_mib(bed.node.pid())?);
        Ok(())
    }

    async fn close(self, bed: &Bed) -> Result<Window> {
        let ended = bed.next_block().await;
        let (answered, cpu) = (bed.answered().await? - self.answered, bed.cpu()?);
        Ok(Window {
            answered,
            took: ended - self.began,
            cpu: [
                cpu.node - self.cpu.node,
                cpu.chain - self.cpu.chain,
                cpu.database - self.cpu.database,
                cpu.ours - self.cpu.ours,
            ],
            rss_mib: self.rss_mib,
            from: self.from,
            until: micros(),
        })
    }
}

impl Window {
    fn per_second(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }

    fn cpu_ms(&self, whose: usize) -> f64 {
        self.cpu[whose] / self.answered as f64
    }
}

impl Way {
    /// From the block's arrival to the raw transaction's hand-over, without the data source's own time.
    fn milliseconds_to_sent(self) -> f64 {
        ((self.tx_sent - self.block_seen) - (self.source_answered - self.source_asked)) as f64 / 1e3
    }
}

/// Where the time goes, for whoever wants to make it less.
fn tell_ways(ways: &[Way]) {
    type Stage = (&'static str, fn(&Way) -> i64);
    let stages: [Stage; 7] = [
        ("block seen → run created", |way| {
            way.run_created - way.block_seen
        }),
        ("→ execution begins", |way| {
            way.execution_began - way.run_created
        }),
        ("→ data source asked", |way| {
            way.source_asked - way.execution_began
        }),
        ("→ data source answered", |way| {
            way.source_answered - way.source_asked
        }),
        ("→ transaction queued", |way| {
            way.tx_queued - way.source_answered
        }),
        ("→ signed", |way| way.tx_signed - way.tx_queued),
        ("→ handed over", |way| way.tx_sent - way.tx_signed),
    ];
    say(&format!(
        "{} requests at {STEADY} a second, in ms (p50, p99):",
        ways.len()
    ));
    for (stage, of) in stages {
        let mut values: Vec<f64> = ways.iter().map(|way| of(way) as f64 / 1e3).collect();
        let (middle, worst) = (percentile(&mut values, 0.5), percentile(&mut values, 0.99));
        say(&format!("  {stage:<26} {middle:>8.2} {worst:>8.2}"));
    }
}

fn tell_kept(kept: &[Kept], asked: u64) {
    say("kept per request (rows, bytes with indexes):");
    for Kept { table, rows, bytes } in kept {
        let (rows, bytes) = (
            *rows as f64 / asked as f64,
            bytes / i64::try_from(asked).unwrap_or(1),
        );
        say(&format!("  {table:<26} {rows:>8.2} {bytes:>8}"));
    }
}

fn micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
