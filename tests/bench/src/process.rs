//! What processes use, as the kernel counts it.

use std::{fs, ops::Sub};

use anyhow::{Context, Result};

/// Of `utime` and `stime`; Linux shows the same to every program whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time used so far, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuMs(pub(crate) f64);

impl Sub for CpuMs {
    type Output = f64;

    fn sub(self, earlier: Self) -> f64 {
        self.0 - earlier.0
    }
}

/// Of one process with all its threads; with `children` also of the children it has waited for.
fn cpu_of(pid: u32, children: bool) -> Result<CpuMs> {
    let fields = stat(pid)?;
    let count = if children { 4 } else { 2 };
    let ticks: u64 = fields
        .iter()
        .skip(11)
        .take(count)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(CpuMs(ticks as f64 * 1000.0 / TICKS_PER_SECOND))
}

/// Of one process, user and system time.
pub(crate) fn cpu(pid: u32) -> Result<CpuMs> {
    cpu_of(pid, false)
}

/// Of a process and all its children, those that ended included.
pub(crate) fn cpu_with_children(pid: u32) -> Result<CpuMs> {
    let mut sum = cpu_of(pid, true)?;
    for child in children(pid) {
        // It may end between the two looks.
        sum.0 += cpu_of(child, false).unwrap_or_default().0;
    }
    Ok(sum)
}

/// Resident memory in MiB.
pub(crate) fn rss_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .ok()
    });
    let kib: u64 = kib.with_context(|| format!("process {pid} has no VmRSS: it ended"))?;
    Ok(kib as f64 / 1024.0)
}

/// Of a process and its children; what they share is counted for each.
pub(crate) fn rss_with_children(pid: u32) -> Result<f64> {
    let mut sum = rss_mib(pid)?;
    for child in children(pid) {
        sum += rss_mib(child).unwrap_or_default();
    }
    Ok(sum)
}

pub(crate) fn parent(pid: u32) -> Result<u32> {
    stat(pid)?
        .get(1)
        .context("a short stat")?
        .parse()
        .context("a parent that is no number")
}

/// Our own child of this name.
pub(crate) fn child_named(name: &str) -> Result<u32> {
    let ours = children(std::process::id());
    let mut named = ours.into_iter().filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    });
    named
        .next()
        .with_context(|| format!("we have no child process called {name}"))
}

fn children(of: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent(*pid).is_ok_and(|parent| parent == of))
        .collect()
}

/// The fields after the name, which may itself hold spaces: state, parent, …
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after) = text.rsplit_once(") ").context("a stat without a name")?;
    Ok(after.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_use_is_there_and_grows() {
        let ours = std::process::id();
        let before = cpu(ours).unwrap();
        let mut x = 1_u64;
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 100 {
            x = std::hint::black_box(x.wrapping_mul(31));
        }
        assert!(cpu(ours).unwrap() - before >= 20.0);
        assert!(rss_mib(ours).unwrap() > 1.0);
        assert!(children(parent(ours).unwrap()).contains(&ours));
    }
}
