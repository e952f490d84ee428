//! The command line.

use anyhow::{Context, bail};

/// How much there is.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) markets: i32,
    pub(crate) days: i32,
    /// Hourly ticks after the days.
    pub(crate) ticks: i32,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            markets: 1_000,
            days: 7,
            ticks: 5,
        };
        // Cargo adds --bench to whatever it runs as a benchmark.
        let mut args = args.filter(|arg| arg != "--bench");
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            let number = |most: i32| {
                let number: Option<i32> = value.parse().ok().filter(|number| (1..=most).contains(number));
                number.with_context(|| format!("{flag} {value}: write a number from 1 to {most}"))
            };
            match flag.as_str() {
                "--markets" => options.markets = number(9_999)?,
                "--days" => options.days = number(7)?,
                "--ticks" => options.ticks = number(24)?,
                _ => bail!("unknown option {flag}; there are --markets, --days and --ticks"),
            }
        }
        Ok(options)
    }
}
