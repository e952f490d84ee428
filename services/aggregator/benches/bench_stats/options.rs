//! The command line.

use anyhow::{Context, bail};

/// How much happens in the hour.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) trades: i64,
    pub(crate) markets: i64,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            trades: 1_000_000,
            markets: 200,
        };
        // Cargo adds --bench to whatever it runs as a benchmark.
        let mut args = args.filter(|arg| arg != "--bench");
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            let number = |most: i64| {
                let number: Option<i64> = value.parse().ok().filter(|number| (100..=most).contains(number));
                number.with_context(|| format!("{flag} {value}: write a number from 100 to {most}"))
            };
            match flag.as_str() {
                "--trades" => options.trades = number(100_000_000)?,
                "--markets" => options.markets = number(9_999)?,
                _ => bail!("unknown option {flag}; there are --trades and --markets"),
            }
        }
        Ok(options)
    }
}
