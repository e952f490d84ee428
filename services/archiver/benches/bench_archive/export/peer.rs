//! One exporter as a process: how long it takes, how much memory, whether the money is exact.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eidos_testkit::{bench_python, peak_resident_mib};
use serde_json::Value;
use tokio::process::Command;

/// Looking at the memory of a process this often misses no plateau.
const LOOK: Duration = Duration::from_millis(10);
/// The slowest peer needs minutes for ten million rows.
const WITHIN: Duration = Duration::from_mins(30);

/// A way to get a table into Parquet.
pub(crate) struct Exporter {
    pub(crate) name: &'static str,
    how: How,
}

enum How {
    /// This program again, as a worker.
    Ours { verify: bool },
    /// A script of `peers/`.
    Python(&'static str),
}

/// All of them, in the order they take turns.
pub(crate) const EXPORTERS: &[Exporter] = &[
    Exporter {
        name: "ours",
        how: How::Ours { verify: false },
    },
    Exporter {
        name: "ours + read back",
        how: How::Ours { verify: true },
    },
    Exporter {
        name: "duckdb scanner",
        how: How::Python("duckdb_export.py"),
    },
    Exporter {
        name: "adbc + pyarrow",
        how: How::Python("adbc_export.py"),
    },
    Exporter {
        name: "connectorx + pyarrow",
        how: How::Python("connectorx_export.py"),
    },
];

/// One run.
pub(crate) struct Measured {
    /// The work, without the start of the process and the loading of libraries.
    pub(crate) seconds: f64,
    /// All of it.
    pub(crate) process_seconds: f64,
    pub(crate) peak_mib: f64,
    pub(crate) file_mib: f64,
}

impl Exporter {
    /// Exports `table` into `folder`.
    pub(crate) async fn run(&self, url: &str, table: &str, folder: &Path) -> anyhow::Result<Measured> {
        let mut command = match self.how {
            How::Ours { verify } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["export-worker", url, table]).arg(folder);
                if verify {
                    command.arg("verify");
                }
                command
            }
            How::Python(script) => {
                let mut command = Command::new(bench_python());
                command.arg(scripts().join(script)).args([url, table]);
                command.arg(folder.join("peer.parquet"));
                command
            }
        };
        let began = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("the exporter has ended already")?;
        let mut peak_mib = 0.0_f64;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            ensure!(began.elapsed() < WITHIN, "{} does not end", self.name);
            peak_mib = peak_mib.max(peak_resident_mib(pid).unwrap_or_default());
            tokio::time::sleep(LOOK).await;
        };
        let process_seconds = began.elapsed().as_secs_f64();
        let output = child.wait_with_output().await?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(status.success(), "{}: {status}: {words}", self.name);
        let told = String::from_utf8_lossy(&output.stdout);
        let seconds = told
            .trim()
            .parse()
            .with_context(|| format!("{} did not tell how long it worked: {told}", self.name))?;
        let bytes: u64 = parquet_files(folder)?
            .iter()
            .map(|file| Ok(std::fs::metadata(file)?.len()))
            .sum::<anyhow::Result<u64>>()?;
        Ok(Measured {
            seconds,
            process_seconds,
            peak_mib,
            file_mib: bytes as f64 / 1_048_576.0,
        })
    }

    /// "exact", or what became of the money. Read by pyarrow, not by us.
    pub(crate) async fn exactness(
        &self,
        folder: &Path,
        rows: u64,
        truth: &[(String, String)],
    ) -> anyhow::Result<String> {
        let output = Command::new(bench_python())
            .arg(scripts().join("exactness.py"))
            .args(parquet_files(folder)?)
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let found: Value = serde_json::from_slice(&output.stdout)?;
        if found["rows"] != rows {
            return Ok(format!("{} rows", found["rows"]));
        }
        for (column, sum) in truth {
            let stored = found["sums"][column].as_str().unwrap_or_default();
            let same = without_trailing_zeros(stored) == without_trailing_zeros(sum);
            if !same {
                return Ok(format!("sum({column}) is {stored}, not {sum}"));
            }
        }
        Ok(format!(
            "exact, as {}",
            found["types"]["price"].as_str().unwrap_or("?")
        ))
    }
}

/// Sums have more digits than a decimal type: compared as text.
fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

fn parquet_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bench_archive/peers")
}
