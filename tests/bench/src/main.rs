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

#[tokio::main]
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
    let began = Instant::now();
    let (benchmark, variant) = match words[..] {
        ["node", engine] => ("node", engine),
        _ => bail!("say which benchmark: node sqlite, or node postgres"),
    };
    let machine = Machine::look().context("looking at the machine")?;
    let figures = node::measure(variant, keys, &length).await?;
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

/// What is going on, for people: standard error, so that figures stay alone on standard output.
fn say(what: &str) {
    eprintln!("    {what}");
}
