//! The gateway beside what people put in front of Ethereum clients otherwise, in one run on one
//! machine: nginx and HAProxy as Debian ships them, and nothing at all.

pub(crate) mod load;
mod parts;
pub(crate) mod upstream;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::figure::{Figure, percentile};
use crate::{Length, say};
use load::Calls;
use parts::Running;

/// Connections that call as fast as they are answered.
const CONNECTIONS: usize = 32;
const SUBSCRIBERS: usize = 10_000;
/// What they need beside: binaries, logs, upstreams.
const OTHER_FILES: u64 = 300;
const BLOCK: Duration = Duration::from_secs(1);

/// What is measured of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Http,
    Ws,
    Subscribers,
    Failover,
}

pub(crate) async fn measure(parts: &[Part], length: &Length) -> Result<Vec<Figure>> {
    let folder = std::env::temp_dir().join(format!("dodona-bench-gateway.{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut figures = Vec::new();
    for part in parts {
        let outcome = match part {
            Part::Http => side_by_side(false, &folder, length).await,
            Part::Ws => side_by_side(true, &folder, length).await,
            Part::Subscribers => subscribers(&folder, length).await,
            Part::Failover => failover(&folder, length).await,
        };
        match outcome {
            Ok(of_part) => figures.extend(of_part),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(error.context(format!("measuring {part:?}")));
            }
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(figures)
}

async fn upstreams() -> Result<[Running; 2]> {
    let origin = upstream::millis();
    Ok([
        parts::upstream(origin, BLOCK).await?,
        parts::upstream(origin, BLOCK).await?,
    ])
}

/// What one program did, each figure the median of the rounds.
struct Measured {
    name: &'static str,
    per_second: f64,
    /// At the rate that is offered to everybody.
    p50_micros: f64,
    p99_micros: f64,
    /// None where there is no program in between.
    cpu_micros: Option<f64>,
    rss_mib: Option<f64>,
}

/// One program under load, round for round.
struct Subject<'a> {
    name: &'static str,
    port: u16,
    program: Option<&'a Running>,
    full: Vec<f64>,
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl<'a> Subject<'a> {
    fn new(name: &'static str, port: u16, program: Option<&'a Running>) -> Self {
        Self {
            name,
            port,
            program,
            full: Vec::new(),
            cpu: Vec::new(),
            p50: Vec::new(),
            p99: Vec::new(),
        }
    }

    fn cpu_ms(&self) -> Result<f64> {
        self.program.map_or(Ok(0.0), Running::cpu_ms)
    }

    /// As fast as answered.
    async fn at_full(&mut self, calls: Calls) -> Result<()> {
        let before = self.cpu_ms()?;
        let seen = parts::load(Calls {
            port: self.port,
            ..calls
        })
        .await?;
        let micros = (self.cpu_ms()? - before) * 1000.0;
        self.full.push(seen.answered as f64 / seen.seconds);
        self.cpu.push(micros / seen.answered.max(1) as f64);
        Ok(())
    }

    async fn at_rate(&mut self, calls: Calls) -> Result<()> {
        let seen = parts::load(Calls {
            port: self.port,
            ..calls
        })
        .await?;
        self.p50.push(seen.p50_micros);
        self.p99.push(seen.p99_micros);
        Ok(())
    }

    fn measured(mut self) -> Result<Measured> {
        let rss_mib = self.program.map(Running::rss_mib).transpose()?;
        let cpu_micros = percentile(&mut self.cpu, 0.5);
        Ok(Measured {
            name: self.name,
            per_second: percentile(&mut self.full, 0.5),
            p50_micros: percentile(&mut self.p50, 0.5),
            p99_micros: percentile(&mut self.p99, 0.5),
            cpu_micros: self.program.map(|_| cpu_micros),
            rss_mib,
        })
    }
}

async fn side_by_side(
    socket: bool,
    folder: &std::path::Path,
    length: &Length,
) -> Result<Vec<Figure>> {
    let clients = upstreams().await?;
    let ports = [clients[0].port, clients[1].port];
    // The machine is now fast and now slow, whoever is measured: many short turns, one after another.
    let rounds = if length.quick { 5 } else { 25 };
    let calls = |per_second: Option<f64>| Calls {
        socket,
        port: 0,
        connections: CONNECTIONS,
        seconds: 0.5,
        per_second,
    };
    let programs = [
        parts::proxy("gateway", folder, &ports).await?,
        parts::proxy("nginx", folder, &ports).await?,
        parts::proxy("haproxy", folder, &ports).await?,
    ];
    ready(programs[0].port).await?;
    let mut subjects: Vec<Subject<'_>> = programs
        .iter()
        .map(|program| Subject::new(program.name, program.port, Some(program)))
        .collect();
    subjects.push(Subject::new("direct", ports[0], None));
    // The first second is for connections and caches of the machine.
    for subject in &subjects {
        parts::load(Calls {
            port: subject.port,
            ..calls(None)
        })
        .await?;
    }
    for _ in 0..rounds {
        for subject in &mut subjects {
            subject.at_full(calls(None)).await?;
        }
    }
    for subject in &subjects {
        let cpu = percentile(&mut subject.cpu.clone(), 0.5);
        let full = percentile(&mut subject.full.clone(), 0.5);
        say(&format!(
            "{}: {full:.0} a second, {cpu:.1} µs of CPU each",
            subject.name
        ));
    }
    // Half of what the gateway can do is offered to everybody.
    let rate = percentile(&mut subjects[0].full.clone(), 0.5) / 2.0;
    for _ in 0..rounds {
        for subject in &mut subjects {
            subject.at_rate(calls(Some(rate))).await?;
        }
    }
    // Of each round's two, which were measured within the same seconds.
    let mut ratios: Vec<Vec<f64>> = Vec::new();
    for other in &subjects[1..programs.len()] {
        let pairs = subjects[0].cpu.iter().zip(&other.cpu);
        ratios.push(pairs.map(|(ours, other)| ours / other).collect());
    }
    let direct = &subjects[programs.len()].p99;
    let pairs = subjects[0].p99.iter().zip(direct);
    let mut added: Vec<f64> = pairs.map(|(ours, direct)| ours - direct).collect();
    let ratios: Vec<Ratio> = ratios.into_iter().map(Ratio::of).collect();
    let added_micros = percentile(&mut added, 0.5);
    let measured: Result<Vec<Measured>> = subjects.into_iter().map(Subject::measured).collect();
    let load = Load {
        socket,
        rate,
        rounds,
    };
    Ok(compared(&load, &measured?, &ratios, added_micros))
}

/// What all rounds say about two programs, which no single one does.
struct Ratio {
    median: f64,
    /// Between these lies half of the rounds.
    quartiles: [f64; 2],
}

impl Ratio {
    fn of(mut rounds: Vec<f64>) -> Self {
        Self {
            median: percentile(&mut rounds, 0.5),
            quartiles: [0.25, 0.75].map(|part| percentile(&mut rounds, part)),
        }
    }
}

/// What was offered.
struct Load {
    socket: bool,
    /// Half of what the gateway can do.
    rate: f64,
    rounds: usize,
}

/// The figures of all that was measured, the gateway first; `ratios` are of its CPU to each of the
/// other programs'.
fn compared(
    load: &Load,
    measured: &[Measured],
    ratios: &[Ratio],
    added_micros: f64,
) -> Vec<Figure> {
    let over = if load.socket { "ws" } else { "http" };
    let rounds = format!("median of {} rounds in turn", load.rounds);
    let fast = json!({
        "offered": format!("as fast as answered, {CONNECTIONS} connections; {rounds}"),
        "upstreams": 2,
        "request_bytes": 190,
    });
    let half = json!({ "offered": format!("{:.0} a second, {CONNECTIONS} connections; {rounds}", load.rate) });
    let mut figures = Vec::new();
    for one in measured {
        let name = one.name;
        let mut push = |what: &str, value: f64, unit, load: &Value| {
            let name = format!("{over}_{name}_{what}");
            figures.push(Figure::new(name, value, unit, load));
        };
        push("requests_per_second", one.per_second, "1/s", &fast);
        push("p50_us", one.p50_micros, "us", &half);
        push("p99_us", one.p99_micros, "us", &half);
        if let Some(micros) = one.cpu_micros {
            push("cpu_us_per_request", micros, "us", &fast);
        }
        if let Some(mib) = one.rss_mib {
            push("rss_mib", mib, "MiB", &fast);
        }
    }
    for (other, ratio) in measured[1..].iter().zip(ratios) {
        let mut fast = fast.clone();
        fast[crate::page::SPREAD] = json!(ratio.quartiles);
        let figure = Figure::new(
            format!("{over}_cpu_of_gateway_to_{}", other.name),
            ratio.median,
            "ratio",
            &fast,
        );
        // A WebSocket through the others is a tunnel: they read nothing of what goes through it.
        figures.push(match (load.socket, other.name) {
            (false, "nginx") => figure.below(1.0),
            _ => figure,
        });
    }
    let name = format!("{over}_gateway_p99_added_ms");
    figures.push(Figure::new(name, added_micros / 1000.0, "ms", &half).below(1.0));
    figures
}

/// Waits until the gateway can answer.
async fn ready(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while page(port, "/readyz")
        .await
        .is_none_or(|(status, _)| status != 200)
    {
        ensure!(
            Instant::now() < deadline,
            "the gateway does not become ready"
        );
        sleep(Duration::from_millis(50)).await;
    }
    // All upstreams are looked at before anything is asked.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// A page of the gateway: status and body.
async fn page(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

/// The limit of open files a process started by us has.
fn open_files() -> Result<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .context("no limit of open files")?;
    let soft = line.split_whitespace().nth(3).context("no soft limit")?;
    Ok(soft.parse().unwrap_or(u64::MAX))
}

async fn subscribers(folder: &std::path::Path, length: &Length) -> Result<Vec<Figure>> {
    let files = open_files()?;
    let wanted = SUBSCRIBERS as u64 + OTHER_FILES;
    ensure!(
        files >= wanted,
        "{SUBSCRIBERS} subscribers need {wanted} open files in the gateway's process and in theirs; the limit is {files}: raise it (ulimit -n {wanted})"
    );
    let clients = upstreams().await?;
    let gateway = parts::proxy("gateway", folder, &[clients[0].port, clients[1].port]).await?;
    ready(gateway.port).await?;
    let alone = gateway.rss_mib()?;
    let blocks = if length.quick { 5 } else { 15 };
    let began = Instant::now();
    let subscribers = parts::Subscribers::start(gateway.port, SUBSCRIBERS, blocks).await?;
    let opened = began.elapsed();
    let cpu = gateway.cpu_ms()?;
    let mut told = subscribers.told().await?;
    let cpu = gateway.cpu_ms()? - cpu;
    let rss = gateway.rss_mib()?;
    let load = json!({
        "offered": format!("{SUBSCRIBERS} subscribers to new heads, a block a second"),
        "open_files": files,
        "blocks": told.last_ms.len(),
    });
    let of_logs = logs_of_others(&gateway, blocks).await?;
    let notifications = (told.last_ms.len() + 2) * SUBSCRIBERS;
    ensure!(!told.last_ms.is_empty(), "nobody was told of a whole block");
    Ok(vec![
        Figure::new("subscribers_rss_mib", rss, "MiB", &load).below(400.0),
        Figure::new(
            "subscribers_head_to_all_ms_p50",
            percentile(&mut told.last_ms, 0.5),
            "ms",
            &load,
        )
        .below(150.0),
        Figure::new(
            "subscribers_head_to_all_ms_worst",
            percentile(&mut told.last_ms, 1.0),
            "ms",
            &load,
        ),
        Figure::new(
            "subscribers_head_to_half_ms_p50",
            percentile(&mut told.half_ms, 0.5),
            "ms",
            &load,
        ),
        Figure::new(
            "subscribers_heads_missed",
            told.missed as f64,
            "heads",
            &load,
        ),
        Figure::new(
            "subscribers_kib_each",
            (rss - alone) * 1024.0 / SUBSCRIBERS as f64,
            "KiB",
            &load,
        ),
        Figure::new(
            "subscribers_cpu_us_per_notification",
            cpu * 1000.0 / notifications as f64,
            "us",
            &load,
        ),
        Figure::new(
            "subscribers_opened_seconds",
            opened.as_secs_f64(),
            "s",
            &load,
        ),
        of_logs,
    ])
}

/// What it costs that so many look for logs a block does not have, beside one of them.
async fn logs_of_others(gateway: &Running, blocks: usize) -> Result<Figure> {
    let window = BLOCK * u32::try_from(blocks)?;
    let mut cost = [0.0; 2];
    for (cost, who) in cost.iter_mut().zip(["one", "all"]) {
        let _there = parts::Subscribers::of_logs(gateway.port, SUBSCRIBERS, who).await?;
        // A moment for what opening stirred up.
        sleep(Duration::from_secs(2)).await;
        let before = gateway.cpu_ms()?;
        sleep(window).await;
        *cost = (gateway.cpu_ms()? - before) / blocks as f64;
    }
    let load = json!({
        "offered": format!("{SUBSCRIBERS} clients, each looks for logs of an address of its own; 250 logs of others in a block"),
        "cpu_ms_per_block": {"one of them looks": cost[0], "all look": cost[1]},
    });
    let name = "log_subscribers_added_cpu_ms_per_block";
    Ok(Figure::new(name, cost[1] - cost[0], "ms", &load).below(5.0))
}

/// How long it takes until an upstream is not counted on any more, in seconds.
async fn found_out(port: u16, name: &str) -> Result<f64> {
    let began = Instant::now();
    loop {
        let (_, body) = page(port, "/status").await.context("no status")?;
        let status: Value = serde_json::from_str(&body)?;
        let upstreams = status["upstreams"].as_array().context("no upstreams")?;
        let one = upstreams
            .iter()
            .find(|upstream| upstream["name"] == name)
            .context("the upstream is not there")?;
        let well = one["state"] == "Alive" && one["lagBlocks"].as_u64().is_none_or(|lag| lag < 2);
        if !well {
            return Ok(began.elapsed().as_secs_f64());
        }
        ensure!(
            began.elapsed() < Duration::from_secs(30),
            "{name} is not found out in 30 s: {one}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

async fn failover(folder: &std::path::Path, length: &Length) -> Result<Vec<Figure>> {
    let seconds = if length.quick { 4.0 } else { 6.0 };
    let rate = 2000.0;
    let mut figures = Vec::new();
    for (what, name) in [
        ("killed", "failover_killed"),
        ("hung", "failover_hung"),
        ("stuck", "failover_stuck"),
    ] {
        let mut clients = upstreams().await?;
        let gateway = parts::proxy("gateway", folder, &[clients[0].port, clients[1].port]).await?;
        ready(gateway.port).await?;
        let calls = Calls {
            socket: false,
            port: gateway.port,
            connections: CONNECTIONS,
            seconds,
            per_second: Some(rate),
        };
        let breaking = async {
            sleep(Duration::from_secs(1)).await;
            match what {
                "killed" => clients[0].kill().await?,
                "hung" => signal(clients[0].pid()?, "STOP").await?,
                _ => signal(clients[0].pid()?, "USR1").await?,
            }
            found_out(gateway.port, "u0").await
        };
        let (seen, found) = tokio::join!(parts::load(calls), breaking);
        let (seen, found) = (seen?, found?);
        if what == "hung" {
            signal(clients[0].pid()?, "CONT").await?;
        }
        let load =
            json!({ "offered": format!("{rate:.0} reads a second, one of two upstreams {what}") });
        figures.push(
            Figure::new(
                format!("{name}_failed_requests"),
                seen.failed as f64,
                "requests",
                &load,
            )
            .at_most(0.0),
        );
        figures.push(Figure::new(
            format!("{name}_p99_ms"),
            seen.p99_micros / 1000.0,
            "ms",
            &load,
        ));
        figures.push(Figure::new(
            format!("{name}_worst_ms"),
            seen.worst_micros / 1000.0,
            "ms",
            &load,
        ));
        figures.push(if what == "stuck" {
            let blocks = found / BLOCK.as_secs_f64();
            Figure::new(
                format!("{name}_found_out_block_times"),
                blocks,
                "blocks",
                &load,
            )
            .below(3.0)
        } else {
            Figure::new(format!("{name}_found_out_seconds"), found, "s", &load).below(2.0)
        });
    }
    Ok(figures)
}

/// Through `kill`, because signals to others need unsafe code otherwise.
async fn signal(pid: u32, name: &str) -> Result<()> {
    let status = tokio::process::Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .await?;
    ensure!(status.success(), "kill -{name} {pid} failed");
    Ok(())
}
