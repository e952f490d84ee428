//! [`Address`]: where a probe goes, and how it asks.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

/// What a wrong address should be instead.
pub const SCHEMES: &str = "write http, https, tcp, tls, grpc, grpcs, postgres, redis, rediss, kafka, evm+http, evm+https, disk, \
                           memory, jobs or reconciliation, and ://";

/// The parsed `url` of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A GET request.
    Http(Url),
    /// A connection.
    Tcp(Endpoint),
    /// A TLS handshake, for the certificates.
    Tls(Endpoint),
    /// The standard health check of gRPC.
    Grpc {
        /// Where.
        endpoint: Endpoint,
        /// Whether over TLS.
        is_tls: bool,
        /// The service that is asked for; empty: the server as a whole.
        service: String,
    },
    /// A session of PostgreSQL.
    Postgres(Url),
    /// `INFO` of Redis.
    Redis(Url),
    /// Brokers of Kafka, `host:port` each.
    Kafka(Vec<Endpoint>),
    /// JSON-RPC of an EVM node.
    Evm(Url),
    /// The file system of a path.
    Disk(PathBuf),
    /// Memory, by the files of the kernel below this directory.
    Memory(PathBuf),
    /// The history of jobs.
    Jobs,
    /// Breaks of the reconciliation.
    Breaks,
    /// When the reconciliation last compared.
    Reconciliation,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address, an address of version 6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// As a URL has it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How the alert about a target is called, and where it is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertName {
    /// The name.
    pub name: &'static str,
    /// The file in `docs/runbooks`.
    pub runbook: &'static str,
}

/// The alerts about targets.
pub const TARGET_ALERTS: [AlertName; 5] = [
    AlertName {
        name: "TargetUnhealthy",
        runbook: "probe-target-down.md",
    },
    AlertName {
        name: "CertificateUnhealthy",
        runbook: "certificate-unhealthy.md",
    },
    AlertName {
        name: "JobsLate",
        runbook: "jobs-late.md",
    },
    AlertName {
        name: "ReconciliationDifferences",
        runbook: "reconciliation-mismatch.md",
    },
    AlertName {
        name: "ReconciliationDataMissing",
        runbook: "reconciliation-data-missing.md",
    },
];

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, without the address: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
        match scheme {
            "disk" => absolute(rest).map(Self::Disk),
            "memory" => absolute(rest).map(Self::Memory),
            "kafka" => rest
                .trim_end_matches('/')
                .split(',')
                .map(|broker| endpoint(&url(&format!("tcp://{broker}"))?, "kafka://host:port,host:port"))
                .collect::<Result<_, _>>()
                .map(Self::Kafka),
            "jobs" if rest == "executions" => Ok(Self::Jobs),
            "jobs" => Err("is not jobs://executions".to_owned()),
            "reconciliation" if rest == "differences" => Ok(Self::Breaks),
            "reconciliation" if rest == "data" => Ok(Self::Reconciliation),
            "reconciliation" => {
                Err("is neither reconciliation://differences nor reconciliation://data".to_owned())
            }
            "evm+http" | "evm+https" => url(text.trim_start_matches("evm+")).map(Self::Evm),
            "http" | "https" => url(text).map(Self::Http),
            "tcp" => endpoint(&url(text)?, "tcp://host:port").map(Self::Tcp),
            "tls" => endpoint(&url(text)?, "tls://host:port").map(Self::Tls),
            "grpc" | "grpcs" => Self::grpc(&url(text)?),
            "postgres" | "postgresql" => url(text).map(Self::Postgres),
            "redis" | "rediss" => url(text).map(Self::Redis),
            scheme => Err(format!("has the unknown scheme {scheme}; {SCHEMES}")),
        }
    }

    fn grpc(url: &Url) -> Result<Self, String> {
        Ok(Self::Grpc {
            endpoint: endpoint(url, "grpc://host:port/service")?,
            is_tls: url.scheme() == "grpcs",
            service: url.path().trim_matches('/').to_owned(),
        })
    }

    /// The kind of probe, as metrics and alerts say it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Grpc { .. } => "grpc",
            Self::Postgres(_) => "postgres",
            Self::Redis(_) => "redis",
            Self::Kafka(_) => "kafka",
            Self::Evm(_) => "evm",
            Self::Disk(_) => "disk",
            Self::Memory(_) => "memory",
            Self::Jobs => "jobs",
            Self::Breaks => "reconciliation",
            Self::Reconciliation => "reconciliation_data",
        }
    }

    /// Whether a failure may be one of the network between: without one, it says nothing of its target. The jobs database that
    /// does not answer is an unknown result, so what is read from it fails by what it says only.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        !matches!(
            self,
            Self::Disk(_) | Self::Memory(_) | Self::Jobs | Self::Breaks | Self::Reconciliation
        )
    }

    /// The alert about such a target. What is late or missing is another one than what is wrong (ruling 43).
    #[must_use]
    pub const fn alert(&self) -> AlertName {
        match self {
            Self::Tls(_) => TARGET_ALERTS[1],
            Self::Jobs => TARGET_ALERTS[2],
            Self::Breaks => TARGET_ALERTS[3],
            Self::Reconciliation => TARGET_ALERTS[4],
            _ => TARGET_ALERTS[0],
        }
    }
}

fn url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err("names no host".to_owned()),
    }
}

fn endpoint(url: &Url, form: &str) -> Result<Endpoint, String> {
    let port = url.port().ok_or_else(|| format!("has no port; write {form}"))?;
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Endpoint { host, port })
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err("names no absolute path; write three slashes, such as disk:///var/lib".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_refused_with_the_cure() {
        let tcp = Address::parse("tcp://[::1]:5432").unwrap();
        assert_eq!(
            tcp,
            Address::Tcp(Endpoint {
                host: "::1".to_owned(),
                port: 5432
            })
        );
        assert_eq!(
            Address::parse(" https://a.example/health ").unwrap().kind(),
            "http"
        );
        for (text, part) in [
            ("a.example", "is not a URL"),
            ("tcp://a.example", "write tcp://host:port"),
            ("tcp://:80", "is not a URL"),
            ("ftp://a.example", "unknown scheme ftp"),
            ("file:///etc", "unknown scheme file"),
            ("disk://data", "three slashes"),
            ("kafka://a:9092,b", "has no port"),
            ("kafka://", "names no host"),
            ("jobs://", "jobs://executions"),
            ("reconciliation://x", "reconciliation://data"),
            ("evm+ftp://a", "unknown scheme evm+ftp"),
            ("grpc://a", "has no port"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn every_kind_has_an_address() {
        for (text, kind) in [
            ("tls://a:443", "tls"),
            ("grpcs://a:443/eidos.Trading", "grpc"),
            ("postgres://u:p@a/db?sslmode=require", "postgres"),
            ("rediss://a:6380", "redis"),
            ("kafka://a:9092,[::1]:9093", "kafka"),
            ("evm+https://a/key", "evm"),
            ("disk:///var/lib", "disk"),
            ("memory:///", "memory"),
            ("jobs://executions", "jobs"),
            ("reconciliation://differences", "reconciliation"),
            ("reconciliation://data", "reconciliation_data"),
        ] {
            assert_eq!(Address::parse(text).unwrap().kind(), kind, "{text}");
        }
        let Address::Kafka(brokers) = Address::parse("kafka://a:9092,[::1]:9093").unwrap() else {
            panic!("not Kafka");
        };
        assert_eq!((brokers[1].host.as_str(), brokers[1].port), ("::1", 9093));
    }
}
