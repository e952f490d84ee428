//! The servers a process talks to: PostgreSQL, Redis, Kafka.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{duration_text, secret};

/// One block below `databases`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    /// `postgres://user:password@host:port/database?sslmode=verify-full`.
    #[serde(serialize_with = "secret::masked_url")]
    pub url: SecretString,
    /// A read replica that bulk reads prefer.
    #[serde(default, serialize_with = "secret::masked_url_option")]
    pub replica_url: Option<SecretString>,
    /// Connections of this process to this source, 1–1000.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// Limit of making a connection.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub connect_timeout: Duration,
    /// Limit of waiting for a pooled connection.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub acquire_timeout: Duration,
    /// Limit of one statement; bulk reads set their own.
    #[serde(default = "thirty_seconds", with = "duration_text")]
    pub statement_timeout: Duration,
    /// Limit of waiting for a table or row lock.
    #[serde(default = "two_seconds", with = "duration_text")]
    pub lock_timeout: Duration,
    /// A transaction idle for longer is ended by the server: a frozen process must not hold its locks. Below
    /// half of the shortest lease TTL, a fence is never waited for longer than a lease.
    #[serde(default = "ten_seconds", with = "duration_text")]
    pub idle_in_transaction_timeout: Duration,
}

const fn default_max_connections() -> u32 {
    8
}
const fn two_seconds() -> Duration {
    Duration::from_secs(2)
}
const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}
const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
const fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

/// Section `redis`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSection {
    /// `redis://host:port/database`, `rediss://` for TLS.
    #[serde(serialize_with = "secret::masked_url")]
    pub url: SecretString,
    /// ACL user, where the URL names none.
    pub username: Option<String>,
    /// Password, where the URL has none.
    #[serde(serialize_with = "secret::masked_option")]
    pub password: Option<SecretString>,
    /// First part of every lease key: `<lock_prefix>:<job>`.
    pub lock_prefix: String,
    /// TTL of basic locks whose job sets none.
    #[serde(with = "duration_text")]
    pub lock_ttl: Duration,
    /// Limit of making a connection.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// Limit of one command.
    #[serde(with = "duration_text")]
    pub response_timeout: Duration,
    /// Path of the certificate (PEM) of the authority that the server's certificate is checked against, where the
    /// connection is encrypted; `None`: the public authorities. Written as `security.redis.ca_cert`.
    #[serde(skip)]
    pub ca_cert: Option<String>,
}

/// Section `kafka`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSection {
    /// `host:port` of each bootstrap broker; empty = the bus is off.
    pub brokers: Vec<String>,
    /// How this producer or consumer names itself to the brokers.
    pub client_id: String,
    /// How long one event may take until the brokers have it.
    #[serde(with = "duration_text")]
    pub delivery_timeout: Duration,
    /// How the members of a consumer group share its partitions.
    pub group_protocol: GroupProtocol,
    /// A member without a heartbeat for this long loses its partitions. Only for the classic protocol: with the other
    /// one the brokers decide.
    #[serde(with = "duration_text")]
    pub session_timeout: Duration,
    /// A consumer that is not in its group, or cannot commit, for this long fails.
    #[serde(with = "duration_text")]
    pub join_timeout: Duration,
    /// Where reading starts when the group has no offset, or one that the log no longer has.
    pub offset_reset: OffsetReset,
    /// The topic for messages that cannot be handled; `{topic}` is the topic that the message was read from.
    pub dead_letter_topic: String,
}

/// How the members of a consumer group share its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// One member computes the assignment; every broker knows it.
    Classic,
    /// The brokers compute it (KIP-848); Kafka 4.0 and newer.
    Consumer,
}

/// Where reading starts when a group has no usable offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OffsetReset {
    /// At the oldest message that the log still has.
    Earliest,
    /// At the next message that is written.
    Latest,
    /// Nowhere: an operator decides.
    Fail,
}

impl KafkaSection {
    /// False while no broker is configured.
    pub fn is_enabled(&self) -> bool {
        !self.brokers.is_empty()
    }
}
