//! The command line.

use anyhow::{Context, bail};

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Requests over gRPC, ends heard on Kafka.
    Grpc,
    /// Requests and ends over Kafka.
    Kafka,
    /// Requests over gRPC, ends read from the rows by the runs.
    Rows,
    /// One call for each order.
    Peer,
}

/// What to measure.
#[derive(Debug)]
pub(crate) struct Options {
    /// Orders of each of our ways.
    pub(crate) orders: u32,
    /// Orders of each of the usual ways.
    pub(crate) peer_orders: u32,
    only: Option<Part>,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            orders: 100_000,
            peer_orders: 10_000,
            only: None,
        };
        // Cargo adds --bench to whatever it runs as a benchmark.
        let mut args = args.filter(|arg| arg != "--bench");
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            let number = || {
                let number: Option<u32> = value.parse().ok().filter(|number| *number > 0);
                number.with_context(|| format!("{flag} {value}: write a number above 0"))
            };
            match flag.as_str() {
                "--orders" => options.orders = number()?,
                "--peer-orders" => options.peer_orders = number()?,
                "--only" => {
                    options.only = Some(match value.as_str() {
                        "grpc" => Part::Grpc,
                        "kafka" => Part::Kafka,
                        "rows" => Part::Rows,
                        "peer" => Part::Peer,
                        _ => bail!("--only {value}: use grpc, kafka, rows or peer"),
                    });
                }
                _ => bail!("unknown option {flag}; there are --orders, --peer-orders and --only"),
            }
        }
        Ok(options)
    }

    /// Whether `part` is to be measured.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}
