//! The command line.

use anyhow::{Context, bail};

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A table to Parquet.
    Export,
    /// Batches from table to table.
    Move,
    /// A partition under load.
    Drop,
}

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    /// Sizes of the exported table.
    pub(crate) rows: Vec<u64>,
    /// Runs of each exporter.
    pub(crate) rounds: u32,
    only: Option<Part>,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn from_args(args: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            rows: vec![1_000_000, 10_000_000],
            rounds: 3,
            only: None,
        };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--rows" => {
                    options.rows = value
                        .split(',')
                        .map(str::parse)
                        .collect::<Result<_, _>>()
                        .with_context(|| format!("--rows {value}: write numbers with commas between them"))?;
                }
                "--rounds" => options.rounds = value.parse().with_context(|| format!("--rounds {value}"))?,
                "--only" => {
                    options.only = Some(match value.as_str() {
                        "export" => Part::Export,
                        "move" => Part::Move,
                        "drop" => Part::Drop,
                        _ => bail!("--only {value}: use export, move or drop"),
                    });
                }
                _ => bail!("unknown option {flag}; there are --rows, --rounds and --only"),
            }
        }
        Ok(options)
    }

    /// Whether `part` is to be measured.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}
