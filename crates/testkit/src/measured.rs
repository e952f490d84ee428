//! [`Measured`]: a program that ends by itself, and what it cost: for benchmarks.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::process_time::{cpu_seconds, peak_resident_mib};

/// The process may end between two looks; the last look counts.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A program that ended well.
#[derive(Debug, Clone)]
pub struct Measured {
    /// From its start to its end.
    pub wall_s: f64,
    /// User and system seconds of its own.
    pub cpu_s: f64,
    /// The most memory it held.
    pub peak_mib: f64,
    /// What it wrote to standard output.
    pub stdout: String,
}

impl Measured {
    /// Runs a program to its end.
    ///
    /// # Panics
    /// If it does not start or fails, with what it wrote to standard error.
    pub async fn run(command: &mut Command) -> Self {
        let begun = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let pid = child.id().unwrap_or_default();
        let mut output = std::pin::pin!(child.wait_with_output());
        let (mut cpu_s, mut peak_mib) = (0.0, 0.0);
        let output = loop {
            tokio::select! {
                output = &mut output => break output,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    cpu_s = cpu_seconds(pid).unwrap_or(cpu_s);
                    peak_mib = peak_resident_mib(pid).unwrap_or(peak_mib);
                }
            }
        };
        let wall_s = begun.elapsed().as_secs_f64();
        let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(
            output.status.success(),
            "{command:?} ended with {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            wall_s,
            cpu_s,
            peak_mib,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }
}

/// The Python of the benchmarks' peers.
///
/// # Panics
/// If it is not installed.
#[must_use]
pub fn bench_python() -> PathBuf {
    let root = eidos_sandbox::workspace_root().unwrap_or_else(|| panic!("not inside the workspace"));
    let python = root.join(".sandbox/tools/python-bench/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: scripts/install --bench",
        python.display()
    );
    python
}
