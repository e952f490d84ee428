//! Which transport requests take, and when.

use anyhow::{Context, bail};

/// The transport of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    Kafka,
}

impl Transport {
    /// The value of `expiry.transport`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Kafka => "kafka",
        }
    }
}

/// What `--transport` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transports {
    Only(Transport),
    Both,
}

impl Transports {
    /// Takes `--transport` out of the arguments; without it, both. Returns the other arguments.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> anyhow::Result<(Self, Vec<String>)> {
        let (mut transports, mut rest) = (Self::Both, Vec::new());
        let mut args = args.filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            if arg != "--transport" {
                rest.push(arg);
                continue;
            }
            let word = args.next().context("--transport needs grpc, kafka or both")?;
            transports = match word.as_str() {
                "grpc" => Self::Only(Transport::Grpc),
                "kafka" => Self::Only(Transport::Kafka),
                "both" => Self::Both,
                _ => bail!("--transport is grpc, kafka or both, not '{word}'"),
            };
        }
        Ok((transports, rest))
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Only(only) => only.as_str(),
            Self::Both => "both",
        }
    }

    /// The transport of a process that is started in this round.
    pub(crate) const fn of_round(self, round: u32) -> Transport {
        match self {
            Self::Only(only) => only,
            Self::Both if round.is_multiple_of(2) => Transport::Grpc,
            Self::Both => Transport::Kafka,
        }
    }
}
