//! [`SuiteSettings`]: the sections that every service has, one struct per section of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use eidos_types::JobName;
use serde::{Deserialize, Serialize};

use crate::{
    AuthSection, DatabaseSection, JobSection, KafkaSection, RedisSection, SecuritySection, SourceName,
    duration_text,
};

/// Everything every service shares. Key names are those of the requirement's §6 where it has them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteSettings {
    /// Who this process is and where it listens.
    pub service: ServiceSection,
    /// How runs are scheduled and bounded.
    pub scheduler: SchedulerSection,
    /// One block per job of this service; the blocks of other services are not here.
    pub jobs: BTreeMap<JobName, JobSection>,
    /// The lease store.
    pub redis: RedisSection,
    /// One connection per logical source that is configured; several may be the same database (ruling 17).
    pub databases: BTreeMap<SourceName, DatabaseSection>,
    /// The event bus; off while `brokers` is empty.
    pub kafka: KafkaSection,
    /// Who may call the API.
    pub auth: AuthSection,
    /// Logs and traces.
    pub telemetry: TelemetrySection,
    /// Encryption of connections and archives.
    pub security: SecuritySection,
    /// Keys of other services that this one reads ([`crate::ServiceSettings::READS`]), as text.
    #[serde(skip)]
    pub(crate) borrowed: BTreeMap<&'static str, String>,
}

impl SuiteSettings {
    /// Returns the block of one of this service's jobs.
    pub fn job(&self, name: &str) -> Option<&JobSection> {
        let mut jobs = self.jobs.iter();
        jobs.find(|(job, _)| job.as_str() == name)
            .map(|(_, section)| section)
    }

    /// Returns the text at a key of another service, which must be in [`crate::ServiceSettings::READS`]. `None`: it is
    /// not set, or is not text; whether it can be used is its owner's to check.
    pub fn borrowed(&self, key: &str) -> Option<&str> {
        self.borrowed.get(key).map(String::as_str)
    }
}

/// The deployment this process belongs to. Everything but `dev` refuses weak settings at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A developer's machine: plain-text servers and short secrets are fine.
    Dev,
    /// Shared tests.
    Test,
    /// The rehearsal of production.
    Staging,
    /// Production.
    #[serde(alias = "production")]
    Prod,
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dev => "dev",
            Self::Test => "test",
            Self::Staging => "staging",
            Self::Prod => "prod",
        })
    }
}

/// Section `service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSection {
    /// Name in logs, traces and the database connection.
    pub name: String,
    /// The deployment; decides whether weak settings are refused.
    pub env: Environment,
    /// The released version; never `latest` outside `dev`.
    pub version: String,
    /// Address the HTTP server binds.
    pub http_host: String,
    /// Port of the HTTP server, 0 = a free one.
    pub http_port: u16,
    /// Connections of HTTP at once, 1–100000; a few more are kept for probes.
    pub http_max_connections: u32,
    /// A connection that has not sent a whole request head for so long is closed, idle ones too.
    #[serde(with = "duration_text")]
    pub http_idle_timeout: Duration,
    /// Address the gRPC server binds.
    pub grpc_host: String,
    /// Port of the gRPC server, 0 = a free one.
    pub grpc_port: u16,
    /// How long a start is tried again while a server that it needs does not answer, 0 s – 10 min.
    #[serde(with = "duration_text")]
    pub start_timeout: Duration,
    /// After SIGTERM, how long running jobs may finish before they are cancelled.
    #[serde(with = "duration_text")]
    pub shutdown_soft: Duration,
    /// After that, how long cancelled jobs may take to return before the process leaves.
    #[serde(with = "duration_text")]
    pub shutdown_grace: Duration,
    /// Whether the `OpenAPI` page and gRPC reflection are served; unset = only in `dev`.
    pub expose_api_docs: Option<bool>,
}

impl ServiceSection {
    /// True in the one environment where weak settings are tolerated.
    pub fn is_dev(&self) -> bool {
        self.env == Environment::Dev
    }

    /// Whether API pages and gRPC reflection are served.
    pub fn api_docs_exposed(&self) -> bool {
        self.expose_api_docs.unwrap_or(self.is_dev())
    }
}

/// Section `scheduler`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerSection {
    /// Runs at once in a worker pool that has no size of its own in `pools`, 1–1000.
    pub max_concurrent_jobs: u32,
    /// Time limit of a job that names none.
    #[serde(with = "duration_text")]
    pub default_timeout: Duration,
    /// How often due slots and pending triggers are looked for, 10 ms – 15 s (readiness wants a tick per 45 s).
    #[serde(with = "duration_text")]
    pub poll_interval: Duration,
    /// How long a cancelled run may take to return before its future is dropped.
    #[serde(with = "duration_text")]
    pub cancel_grace: Duration,
    /// How far this node's clock may run ahead of the database's when it claims a slot.
    #[serde(with = "duration_text")]
    pub clock_tolerance: Duration,
    /// Missed slots older than this many periods are not caught up, 1–1000.
    pub catch_up_periods: u32,
    /// How often a running execution writes its heartbeat and progress.
    #[serde(with = "duration_text")]
    pub heartbeat_interval: Duration,
    /// How often each replica brings its gauges up to date with what other replicas did.
    #[serde(with = "duration_text")]
    pub observe_interval: Duration,
    /// Worker pools with their own size; a job names its pool, so that long jobs never starve short ones.
    pub pools: BTreeMap<String, u32>,
}

impl SchedulerSection {
    /// How many runs the pool may hold at once.
    pub fn pool_size(&self, pool: &str) -> u32 {
        self.pools.get(pool).copied().unwrap_or(self.max_concurrent_jobs)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Section `telemetry`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySection {
    /// Filter directives such as `info` or `info,eidos_core=debug`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where spans go (OTLP over gRPC); unset = traces are not exported.
    pub otlp_endpoint: Option<String>,
    /// Limit of one export.
    #[serde(with = "duration_text")]
    pub otlp_timeout: Duration,
    /// Share of new traces that is recorded, 0.0–1.0; a caller's decision is honoured.
    pub trace_sample_ratio: f64,
}
