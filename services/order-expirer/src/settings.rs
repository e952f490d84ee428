//! What order-expirer owns in the settings file.

use std::time::Duration;

use eidos_settings::{NoOptions, Problems, ServiceSettings, SuiteSettings, duration_text, ranges, secret};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::backoff::Backoff;
use crate::domain::life::Rules;
use crate::profile::ExpiryProfile;

/// The sections of order-expirer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpirerSettings {
    /// The matching engine.
    pub matching: MatchingSection,
    /// How orders are expired.
    pub expiry: ExpirySection,
    /// The orders.
    pub expiry_profile: ExpiryProfile,
}

/// Section `matching`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchingSection {
    /// Where it listens.
    pub url: String,
    /// The bearer token.
    #[serde(default, serialize_with = "secret::masked_option")]
    pub token: Option<SecretString>,
    /// Limit of making a connection.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// Limit of waiting for an answer.
    #[serde(with = "duration_text")]
    pub answer_timeout: Duration,
    /// How often an idle connection is tested.
    #[serde(with = "duration_text")]
    pub keep_alive: Duration,
    /// Streams that end without any answer before a run stops asking.
    pub max_failures: u32,
    /// Orders without an answer before the engine has named its window.
    pub initial_window: u32,
    /// Orders in one message.
    pub batch_orders: u32,
}

/// How requests reach the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// `eidos.matching.v1`.
    Grpc,
    /// The topic `cancel-requests`.
    Kafka,
}

/// The sequence numbers of requests on the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbering {
    /// Requests have none.
    None,
    /// Microseconds since the epoch, each number used once and higher than the one before.
    Clock,
}

/// Section `expiry.kafka`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaTransport {
    /// The topic of requests.
    pub cancel_requests: String,
    /// The engine's topic.
    pub order_cancelled: String,
    /// The trading service's topic.
    pub order_updates: String,
    /// Whether the two are read.
    pub confirmations: bool,
    /// The consumer group.
    pub group: String,
    /// Requests on the topic about which nothing is known.
    pub window: u32,
    /// Their numbers.
    pub sequence: Numbering,
}

/// Section `expiry`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpirySection {
    /// How requests reach the engine.
    pub transport: TransportKind,
    /// The topics.
    pub kafka: KafkaTransport,
    /// How long after its expiry an order is left alone.
    #[serde(with = "duration_text")]
    pub grace: Duration,
    /// Open orders that one run looks at.
    pub scan_orders_per_run: u32,
    /// Orders that one run asks for.
    pub requests_per_run: u32,
    /// Rows read or committed together.
    pub page_orders: u32,
    /// Pause before a request without an answer is repeated.
    #[serde(with = "duration_text")]
    pub resend_after: Duration,
    /// The longest such pause.
    #[serde(with = "duration_text")]
    pub resend_at_most: Duration,
    /// How long an answer may wait for the order's row.
    #[serde(with = "duration_text")]
    pub confirm_within: Duration,
    /// The longest such wait.
    #[serde(with = "duration_text")]
    pub confirm_at_most: Duration,
    /// Ids under which an order is asked for.
    pub max_epochs: u32,
    /// Beyond expiry and grace, an open order is overdue.
    #[serde(with = "duration_text")]
    pub overdue_after: Duration,
    /// Age at which an open order without quantity is removed.
    #[serde(with = "duration_text")]
    pub zero_quantity_after: Duration,
    /// Age at which a cancellation in progress is reported.
    #[serde(with = "duration_text")]
    pub cancelling_at_most: Duration,
    /// How long a closed request is kept.
    #[serde(with = "duration_text")]
    pub keep_closed: Duration,
    /// Orders that a report names.
    pub report_orders: u32,
    /// Cache entries of cancelled orders.
    pub cache: CacheSection,
}

/// Section `expiry.cache`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSection {
    /// Age at which entries are unlinked.
    #[serde(with = "duration_text")]
    pub after: Duration,
    /// The Redis of the exchange. `None`: that of section `redis`.
    #[serde(default, serialize_with = "secret::masked_url_option")]
    pub redis_url: Option<SecretString>,
    /// Keys of an order, with `{id}` for its id.
    pub keys: Vec<String>,
    /// Orders whose keys are unlinked together.
    pub batch_orders: u32,
    /// Orders whose keys one run unlinks.
    pub orders_per_run: u32,
}

/// What stands for the order's id in a key.
pub(crate) const ID: &str = "{id}";

const MS: fn(u64) -> Duration = Duration::from_millis;
const S: fn(u64) -> Duration = Duration::from_secs;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// A duration in the unit of the tables.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl ExpirySection {
    /// Returns the limits of the decisions.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            max_epochs: self.max_epochs,
            resend: Backoff {
                first_ms: ms(self.resend_after),
                longest_ms: ms(self.resend_at_most),
            },
            confirm: Backoff {
                first_ms: ms(self.confirm_within),
                longest_ms: ms(self.confirm_at_most),
            },
        }
    }

    fn validate(&self, suite: &SuiteSettings, problems: &mut Problems) {
        self.kafka.validate(problems);
        if self.transport == TransportKind::Kafka && !suite.kafka.is_enabled() {
            problems.add(
                "expiry.transport",
                "is kafka, and there are no brokers",
                "set kafka.brokers, or expiry.transport: grpc",
            );
        }
        ranges!(problems, "expiry", self;
            duration grace: Duration::ZERO..=S(DAY);
            number scan_orders_per_run: 1..=10_000_000;
            number requests_per_run: 1..=10_000_000;
            number page_orders: 1..=5_000;
            duration resend_after: S(1)..=S(DAY);
            duration confirm_within: S(1)..=S(DAY);
            number max_epochs: 1..=100;
            duration overdue_after: Duration::ZERO..=S(7 * DAY);
            duration zero_quantity_after: Duration::ZERO..=S(7 * DAY);
            duration cancelling_at_most: Duration::ZERO..=S(7 * DAY);
            duration keep_closed: S(HOUR)..=S(3_650 * DAY);
            number report_orders: 0..=1_000;
        );
        for (key, first, longest) in [
            ("resend_at_most", self.resend_after, self.resend_at_most),
            ("confirm_at_most", self.confirm_within, self.confirm_at_most),
        ] {
            problems.duration(&format!("expiry.{key}"), longest, first..=S(7 * DAY));
        }
        self.cache.validate(problems);
    }
}

impl KafkaTransport {
    fn validate(&self, problems: &mut Problems) {
        ranges!(problems, "expiry.kafka", self; number window: 1..=100_000;);
        let topics = [
            ("cancel_requests", &self.cancel_requests),
            ("order_cancelled", &self.order_cancelled),
            ("order_updates", &self.order_updates),
        ];
        for (index, (key, name)) in topics.iter().enumerate() {
            if let Err(error) = eidos_bus::Topic::new((*name).clone()) {
                problems.add(
                    format!("expiry.kafka.{key}"),
                    error.to_string(),
                    "use the name that the brokers have",
                );
            }
            if let Some((other, _)) = topics[..index].iter().find(|(_, before)| before == name) {
                problems.add_value(
                    format!("expiry.kafka.{key}"),
                    name,
                    format!("is the topic of expiry.kafka.{other} too"),
                    "give each its own topic: their messages differ",
                );
            }
        }
        if self.group.is_empty() {
            problems.add(
                "expiry.kafka.group",
                "is empty",
                "name the consumer group of this service",
            );
        }
    }
}

impl CacheSection {
    fn validate(&self, problems: &mut Problems) {
        ranges!(problems, "expiry.cache", self;
            duration after: S(HOUR)..=S(365 * DAY);
            number batch_orders: 1..=5_000;
            number orders_per_run: 1..=10_000_000;
        );
        for key in &self.keys {
            if key.matches(ID).count() != 1 {
                problems.add_value(
                    "expiry.cache.keys",
                    key,
                    "does not name the order's id once: keys of other things would be unlinked",
                    "write {id} where the id is, as in eidos:trading:order:{id}",
                );
            }
        }
        if let Some(url) = &self.redis_url
            && !["redis://", "rediss://"]
                .iter()
                .any(|scheme| url.expose_secret().starts_with(scheme))
        {
            problems.add(
                "expiry.cache.redis_url",
                "is not a Redis URL",
                "use redis://host:port/database or rediss://host:port/database",
            );
        }
    }
}

impl MatchingSection {
    fn validate(&self, suite: &SuiteSettings, problems: &mut Problems) {
        ranges!(problems, "matching", self;
            duration connect_timeout: MS(100)..=S(30);
            duration answer_timeout: MS(100)..=S(60);
            duration keep_alive: S(1)..=S(600);
            number max_failures: 1..=10;
            number initial_window: 1..=10_000;
            number batch_orders: 1..=500;
        );
        let rest = self
            .url
            .strip_prefix("http://")
            .or_else(|| self.url.strip_prefix("https://"));
        let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if host.is_empty() || host.contains('@') || self.url.parse::<http::Uri>().is_err() {
            problems.add(
                "matching.url",
                "is not an http or https URL of a host",
                "use http://host:port; a token belongs into matching.token",
            );
        }
        let encrypted = self.url.starts_with("https://") || suite.security.grpc_tls();
        if problems.is_strict(suite) && self.token.is_some() && !encrypted {
            problems.add(
                "matching.url",
                "sends matching.token in plain text",
                "use https, or switch security.tls_enabled and security.grpc.enabled on",
            );
        }
        if let Some(token) = &self.token
            && (token.expose_secret().is_empty()
                || !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()))
        {
            problems.add(
                "matching.token",
                "is empty or has characters that a header cannot carry",
                "use printable ASCII without spaces, or null",
            );
        }
    }
}

impl ServiceSettings for ExpirerSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");
    type Options = NoOptions;

    fn validate(&self, _options: &NoOptions, suite: &SuiteSettings, problems: &mut Problems) {
        self.matching.validate(suite, problems);
        self.expiry.validate(suite, problems);
        self.expiry_profile.validate(problems);
        let source = self.expiry_profile.source;
        problems.needs_source(suite, source, "expiry_profile.source names it");
    }
}
