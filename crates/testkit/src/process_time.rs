//! CPU time and memory of processes, from `/proc`: for benchmarks. `None` once the process is gone.
#![expect(
    clippy::float_arithmetic,
    reason = "seconds, milliseconds and MiB for people to read"
)]

/// Linux counts process time in hundredths of a second (`getconf CLK_TCK`), on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system seconds of a process, without its children (fields 14 and 15 of `stat`).
#[must_use]
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    seconds(pid, 11)
}

/// The same of its children that have ended (fields 16 and 17): of a postmaster, all sessions that were closed.
#[must_use]
pub fn ended_children_cpu_seconds(pid: u32) -> Option<f64> {
    seconds(pid, 13)
}

/// The memory a process holds now, in MiB.
#[must_use]
pub fn resident_mib(pid: u32) -> Option<f64> {
    status_mib(pid, "VmRSS")
}

/// The most memory a process ever held, in MiB.
#[must_use]
pub fn peak_resident_mib(pid: u32) -> Option<f64> {
    status_mib(pid, "VmHWM")
}

/// The sum of two neighbouring fields, counted from behind the program's name, which may contain blanks.
fn seconds(pid: u32, first: usize) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(first)? + ticks(first + 1)?) / TICKS_PER_SECOND)
}

fn status_mib(pid: u32, line: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let text = status.lines().find(|text| text.starts_with(line))?;
    let kib: f64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
