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
use load::{Calls, Seen};
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

/// What one program did.
struct Measured {
    name: &'static str,
    full: Seen,
    half: Seen,
    cpu_micros: f64,
    rss_mib: f64,
}

async fn side_by_side(
    socket: bool,
    folder: &std::path::Path,
    length: &Length,
) -> Result<Vec<Figure>> {
    let clients = upstreams().await?;
    let ports = [clients[0].port, clients[1].port];
    let seconds = if length.quick { 2.0 } else { 5.0 };
    let calls = |port: u16| Calls {
        socket,
        port,
        connections: CONNECTIONS,
        seconds,
        per_second: None,
    };
    let programs = [
        parts::proxy("gateway", folder, &ports).await?,
        parts::proxy("nginx", folder, &ports).await?,
        parts::proxy("haproxy", folder, &ports).await?,
    ];
    ready(programs[0].port).await?;
    // The first second is for connections and caches of the machine.
    for port in programs
        .iter()
        .map(|program| program.port)
        .chain([ports[0]])
    {
        parts::load(Calls {
            seconds: 0.7,
            ..calls(port)
        })
        .await?;
    }
    let mut fulls = Vec::new();
    for program in &programs {
        let before = program.cpu_ms()?;
        let full = parts::load(calls(program.port)).await?;
        let cpu_micros = (program.cpu_ms()? - before) * 1000.0 / full.answered.max(1) as f64;
        say(&format!(
            "{}: {:.0} a second, {cpu_micros:.1} µs of CPU each",
            program.name,
            full.answered as f64 / full.seconds
        ));
        fulls.push((full, cpu_micros));
    }
    let direct_full = parts::load(calls(ports[0])).await?;
    // Half of what the gateway can do is offered to everybody.
    let half_of = &fulls[0].0;
    let rate = half_of.answered as f64 / half_of.seconds / 2.0;
    let at_half = |port: u16| Calls {
        per_second: Some(rate),
        ..calls(port)
    };
    let direct_half = parts::load(at_half(ports[0])).await?;
    let mut measured = Vec::new();
    for (program, (full, cpu_micros)) in programs.iter().zip(fulls) {
        measured.push(Measured {
            name: program.name,
            full,
            cpu_micros,
            half: parts::load(at_half(program.port)).await?,
            rss_mib: program.rss_mib()?,
        });
    }
    Ok(compared(
        socket,
        rate,
        &measured,
        &direct_full,
        &direct_half,
    ))
}

fn compared(
    socket: bool,
    rate: f64,
    measured: &[Measured],
    direct_full: &Seen,
    direct_half: &Seen,
) -> Vec<Figure> {
    let over = if socket { "ws" } else { "http" };
    let fast = json!({
        "offered": format!("as fast as answered, {CONNECTIONS} connections"),
        "upstreams": 2,
        "request_bytes": 190,
    });
    let half = json!({ "offered": format!("{rate:.0} a second, {CONNECTIONS} connections") });
    let mut figures = Vec::new();
    let mut push = |name: String, value: f64, unit, load: &Value| {
        figures.push(Figure::new(name, value, unit, load));
    };
    let mut rows = |name: &str, full: &Seen, half_load: &Seen| {
        let a_second = full.answered as f64 / full.seconds;
        push(
            format!("{over}_{name}_requests_per_second"),
            a_second,
            "1/s",
            &fast,
        );
        push(
            format!("{over}_{name}_p50_us"),
            half_load.p50_micros,
            "us",
            &half,
        );
        push(
            format!("{over}_{name}_p99_us"),
            half_load.p99_micros,
            "us",
            &half,
        );
    };
    rows("direct", direct_full, direct_half);
    for one in measured {
        rows(one.name, &one.full, &one.half);
    }
    for one in measured {
        push(
            format!("{over}_{}_cpu_us_per_request", one.name),
            one.cpu_micros,
            "us",
            &fast,
        );
        push(
            format!("{over}_{}_rss_mib", one.name),
            one.rss_mib,
            "MiB",
            &fast,
        );
    }
    let ours = &measured[0];
    for other in &measured[1..] {
        let ratio = ours.cpu_micros / other.cpu_micros;
        let figure = Figure::new(
            format!("{over}_cpu_of_gateway_to_{}", other.name),
            ratio,
            "ratio",
            &fast,
        );
        // A WebSocket through the others is a tunnel: they read nothing of what goes through it.
        figures.push(match (socket, other.name) {
            (false, "nginx") => figure.below(1.0),
            _ => figure,
        });
    }
    let added = (ours.half.p99_micros - direct_half.p99_micros) / 1000.0;
    figures
        .push(Figure::new(format!("{over}_gateway_p99_added_ms"), added, "ms", &half).below(1.0));
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
    ])
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
