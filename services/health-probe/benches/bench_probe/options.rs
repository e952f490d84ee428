//! The command line.

use anyhow::{Context, bail};

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// CPU time of a probe, beside the peer.
    Cost,
    /// Many targets.
    Scale,
    /// From a death to its alert.
    Alert,
}

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) probes: usize,
    pub(crate) targets: usize,
    pub(crate) rounds: u32,
    only: Option<Part>,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            probes: 10_000,
            targets: 10_000,
            rounds: 5,
            only: None,
        };
        // Cargo adds --bench to whatever it runs as a benchmark.
        let mut args = args.filter(|arg| arg != "--bench");
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            let number = |least: u32| {
                let number: Option<u32> = value.parse().ok().filter(|number| *number >= least);
                number.with_context(|| format!("{flag} {value}: write a number of at least {least}"))
            };
            match flag.as_str() {
                "--probes" => options.probes = number(1_000)? as usize,
                "--targets" => options.targets = number(10)? as usize,
                "--rounds" => options.rounds = number(1)?,
                "--only" => {
                    options.only = Some(match value.as_str() {
                        "cost" => Part::Cost,
                        "scale" => Part::Scale,
                        "alert" => Part::Alert,
                        _ => bail!("--only {value}: use cost, scale or alert"),
                    });
                }
                _ => bail!("unknown option {flag}; there are --probes, --targets, --rounds and --only"),
            }
        }
        Ok(options)
    }

    /// Whether `part` is to be measured.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}
