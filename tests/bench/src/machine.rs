//! What the figures were measured on.

use std::{
    fs::{self, File},
    io::Write,
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::figure::percentile;

/// Writes that are flushed to find out what a durable commit costs at least.
const FLUSHES: usize = 200;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// Of the last minute, before the benchmark.
    pub(crate) load_average: f64,
    /// What it takes to flush eight KiB to the disk of the databases; median.
    pub(crate) fsync_ms: f64,
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) versions: Vec<String>,
}

impl Machine {
    /// `programs` are those whose versions matter, with the names they are known by.
    pub(crate) fn look(programs: &[(&str, &str)]) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let kib = meminfo.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .ok()
        });
        Ok(Self {
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            load_average: load_average()?,
            fsync_ms: fsync_ms()?,
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            commit: commit(),
            versions: programs
                .iter()
                .map(|(program, name)| version(program, name))
                .collect(),
        })
    }
}

/// Processes that wanted to run, on average of the last minute.
pub(crate) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().context("/proc/loadavg cannot be read")
}

fn fsync_ms() -> Result<f64> {
    let path = std::env::temp_dir().join(format!("dodona-bench-fsync.{}", std::process::id()));
    let mut file = File::create(&path)?;
    let mut took = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        file.write_all(&[0; 8192])?;
        let began = Instant::now();
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(path)?;
    Ok(percentile(&mut took, 0.5))
}

fn commit() -> String {
    let Some(commit) = said("git", &["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // The page itself changes with every run.
    let changed = said(
        "git",
        &[
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            ":!docs/benchmarks.md",
        ],
    );
    match changed {
        Some(changed) if changed.is_empty() => commit,
        _ => format!("{commit} with uncommitted changes"),
    }
}

fn version(program: &str, name: &str) -> String {
    let how = if matches!(name, "nginx" | "haproxy") {
        "-v"
    } else {
        "--version"
    };
    let said = said(program, &[how]).unwrap_or_default();
    let line = said.lines().next().unwrap_or_default();
    // `anvil Version: 1.7.1`, `rustc 1.95.0 (…)`, `dodona 0.1.0 (…)`
    match line
        .split([' ', '@', '/'])
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
    {
        Some(number) => format!("{name} {number}"),
        None => format!("{name} {line}"),
    }
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    // nginx says its version on standard error.
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&text).trim().to_owned())
}
