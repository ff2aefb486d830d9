//! Measures what we promise about speed and size, on real chains and real databases.
//!
//! Each benchmark is a module that returns figures. They go to standard output as one JSON line each, to standard
//! error as a table, and with the machine they were measured on into `docs/benchmarks.md`. Called by `script/bench`,
//! which builds the programs and hands over what a benchmark needs.

#![allow(
    clippy::disallowed_methods,
    reason = "script/bench says through the environment which programs to measure"
)]

mod figure;
mod gateway;
mod jobs;
mod machine;
mod node;
mod page;
mod process;
mod rows;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use machine::Machine;

/// Answers leave through so many sending keys unless told otherwise.
const KEYS: usize = 4;

/// How long things are watched.
#[derive(Debug, Clone, Copy)]
struct Length {
    /// Before a window opens: caches fill, queues settle.
    warm_up: Duration,
    /// In which something is measured under load.
    window: Duration,
    /// Without work, before what an idle node needs is read.
    idle: Duration,
    starts: usize,
    /// Too short for the page.
    quick: bool,
}

impl Length {
    const FULL: Self = Self {
        warm_up: Duration::from_secs(10),
        window: Duration::from_secs(30),
        idle: Duration::from_secs(10),
        starts: 5,
        quick: false,
    };
    const QUICK: Self = Self {
        warm_up: Duration::from_secs(4),
        window: Duration::from_secs(8),
        idle: Duration::from_secs(3),
        starts: 3,
        quick: true,
    };
}

// Half of the machine is for what is measured, and helpers are processes of their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, words): (Vec<_>, Vec<_>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with("--"));
    let (mut length, mut keys) = (Length::FULL, KEYS);
    for flag in flags {
        match flag.split_once('=') {
            None if flag == "--quick" => length = Length::QUICK,
            Some(("--keys", count)) => keys = count.parse().context("--keys wants a number")?,
            _ => bail!("there is no flag {flag}: --quick, --keys=4"),
        }
    }
    if let Some(done) = helper(&words).await {
        return done;
    }
    let began = Instant::now();
    let path = |name: &str| std::env::var(name).with_context(|| format!("{name} names no program"));
    let dodona = path("DODONA_BIN")?;
    let (benchmark, variant, machine, figures) = match words[..] {
        ["node", engine] => {
            let anvil = path("DODONA_ANVIL")?;
            let programs = [(&*dodona, "dodona"), (&*anvil, "anvil"), ("rustc", "rustc")];
            let machine = Machine::look(&programs).context("looking at the machine")?;
            let figures = node::measure(engine, keys, &length).await?;
            ("node", engine, machine, figures)
        }
        ["gateway", part] => {
            let programs = [
                (&*dodona, "dodona"),
                ("nginx", "nginx"),
                ("haproxy", "haproxy"),
                ("rustc", "rustc"),
            ];
            let machine = Machine::look(&programs).context("looking at the machine")?;
            let figures = gateway::measure(&[part_named(part)?], &length).await?;
            ("gateway", part, machine, figures)
        }
        ["jobs", variant] => {
            let anvil = path("DODONA_ANVIL")?;
            let programs = [(&*dodona, "dodona"), (&*anvil, "anvil"), ("rustc", "rustc")];
            let machine = Machine::look(&programs).context("looking at the machine")?;
            let figures = jobs::measure(variant, &length).await?;
            ("jobs", variant, machine, figures)
        }
        _ => bail!(
            "say which benchmark: node (sqlite, postgres), jobs (memory, sqlite, postgres) or gateway (http, ws, subscribers, failover)"
        ),
    };
    let load_after = machine::load_average()?;

    figure::print_lines(&figures)?;
    figure::print_table(&format!("{benchmark} {variant}"), &figures)?;
    say(&format!(
        "{} s on {}, {} cores, {} MiB; load average {} before, {load_after} after",
        began.elapsed().as_secs(),
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.load_average,
    ));
    if length.quick || keys != KEYS {
        say("not kept in docs/benchmarks.md");
        return Ok(());
    }
    page::keep(benchmark, variant, &figures, &machine, &load_after)
}

fn part_named(name: &str) -> Result<gateway::Part> {
    use gateway::Part;

    Ok(match name {
        "http" => Part::Http,
        "ws" => Part::Ws,
        "subscribers" => Part::Subscribers,
        "failover" => Part::Failover,
        _ => bail!("the gateway has no part {name}: http, ws, subscribers, failover"),
    })
}

/// This program as one of those that take part in a measurement of the gateway.
async fn helper(words: &[&str]) -> Option<Result<()>> {
    async fn run(words: &[&str]) -> Result<Option<String>> {
        Ok(match words {
            ["gateway-upstream", port, origin, block] => {
                let block = Duration::from_millis(block.parse()?);
                gateway::upstream::serve(port.parse()?, origin.parse()?, block).await?;
                None
            }
            ["gateway-load", over, port, connections, seconds, rate @ ..] => {
                let calls = gateway::load::Calls {
                    socket: *over == "ws",
                    port: port.parse()?,
                    connections: connections.parse()?,
                    seconds: seconds.parse()?,
                    per_second: rate.first().map(|rate| rate.parse()).transpose()?,
                };
                Some(serde_json::to_string(&gateway::load::call(calls).await?)?)
            }
            ["gateway-subscribers", port, count, blocks] => {
                let told = gateway::load::subscribe(port.parse()?, count.parse()?, blocks.parse()?)
                    .await?;
                Some(serde_json::to_string(&told)?)
            }
            ["gateway-log-subscribers", port, count, who] => {
                let (port, count) = (port.parse()?, count.parse()?);
                gateway::load::look_for_logs(port, count, *who == "one").await?;
                None
            }
            _ => unreachable!("only called for helpers"),
        })
    }
    let first = words.first()?;
    if !first.starts_with("gateway-") {
        return None;
    }
    Some(run(words).await.map(|line| {
        if let Some(line) = line {
            print_line(&line);
        }
    }))
}

/// One line on standard output, which is for other programs.
fn print_line(line: &str) {
    use std::io::Write as _;

    // Nobody is there to read it, or somebody is: neither is ours to mend.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What is going on, for people: standard error, so that figures stay alone on standard output.
fn say(what: &str) {
    eprintln!("    {what}");
}
