//! CPU time and memory of processes, from `/proc`.

use anyhow::Context;

/// Linux counts process time in hundredths of a second (`getconf CLK_TCK`), on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system seconds of a process, without its children (fields 14 and 15 of `stat`).
pub(crate) fn own_seconds(pid: u32) -> anyhow::Result<f64> {
    seconds(pid, 11)
}

/// The same of its children that have ended (fields 16 and 17): of a postmaster, all sessions that were closed.
pub(crate) fn ended_children_seconds(pid: u32) -> anyhow::Result<f64> {
    seconds(pid, 13)
}

fn seconds(pid: u32, first: usize) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks =
        |at: usize| -> anyhow::Result<f64> { Ok(fields.get(at).context("a short stat line")?.parse()?) };
    Ok((ticks(first)? + ticks(first + 1)?) / TICKS_PER_SECOND)
}

/// The most memory a process ever held, in MiB.
pub(crate) fn peak_resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .context("no VmHWM")?;
    Ok(line
        .split_whitespace()
        .nth(1)
        .context("no number")?
        .parse::<f64>()?
        / 1024.0)
}
