//! What health-probe owns in the settings file.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_settings::{NoOptions, Problems, ServiceSettings, SuiteSettings, duration_text, ranges, secret};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::address::Address;
use crate::domain::reducer::Rules;

/// The sections of health-probe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSettings {
    /// What is probed, and when it counts as down.
    pub probes: Probes,
    /// Who is told.
    pub notifications: Notifications,
}

/// Section `probes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Time limit of one probe.
    #[serde(with = "duration_text")]
    pub timeout: Duration,
    /// A slower answer is a warning.
    #[serde(with = "duration_text")]
    pub slow_after: Duration,
    /// The probes of a scheduled round start spread over this time.
    #[serde(with = "duration_text")]
    pub spread: Duration,
    /// Probes at the same time, 1–10000.
    pub concurrency: u32,
    /// Failures in a row that make a target critical, 1–100.
    pub failures: u32,
    /// Good answers in a row after which it has recovered, 1–100.
    pub successes: u32,
    /// Changes for the worse above which it is flapping, 1–100.
    pub flap_limit: u32,
    /// The time in which they count.
    #[serde(with = "duration_text")]
    pub flap_window: Duration,
    /// Where states are kept; `None`: nowhere.
    pub state_dir: Option<String>,
    /// Addresses that answer whenever there is a network; empty: the prober never counts as blind.
    pub controls: Vec<String>,
    /// What is probed, by name.
    pub targets: BTreeMap<String, TargetSettings>,
}

/// One target.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSettings {
    /// Where it is, and how it is asked.
    #[serde(serialize_with = "secret::masked_url")]
    pub url: SecretString,
    /// Bearer token of an HTTP request; `None`: none is sent.
    #[serde(default, serialize_with = "secret::masked_option")]
    pub token: Option<SecretString>,
}

/// Section `notifications`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notifications {
    /// Whether the log is told.
    pub log: bool,
    /// An alert that lasts is sent again after this time.
    #[serde(with = "duration_text")]
    pub repeat_after: Duration,
    /// The end of an alert that is not accepted for this long is given up.
    #[serde(with = "duration_text")]
    pub give_up_after: Duration,
    /// Receivers of POST requests, by name.
    pub webhooks: BTreeMap<String, WebhookSection>,
}

/// One receiver of POST requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSection {
    /// Where notices are sent.
    #[serde(serialize_with = "secret::masked_url")]
    pub url: SecretString,
    /// The key of their signature; `None`: they are not signed.
    #[serde(default, serialize_with = "secret::masked_option")]
    pub secret: Option<SecretString>,
    /// Time limit of one delivery.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub timeout: Duration,
}

const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

const MS: fn(u64) -> Duration = Duration::from_millis;
const MINUTE: Duration = Duration::from_mins(1);
const DAY: u64 = 24 * 3600;
/// What a round needs beside its probes: rows of history that wait for a database, and the last results.
const ROUND_SLACK: Duration = Duration::from_secs(1);
/// Labels of metrics and alerts should stay readable.
const LONGEST_NAME: usize = 100;
/// Shorter keys can be guessed.
const SHORTEST_SECRET: usize = 16;

impl ServiceSettings for ProbeSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");
    type Options = NoOptions;

    fn validate(&self, _options: &NoOptions, suite: &SuiteSettings, problems: &mut Problems) {
        self.probes.validate(suite, problems);
        self.notifications.validate(problems);
    }
}

impl Probes {
    /// What counts as down.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            failures: self.failures,
            successes: self.successes,
            flap_limit: self.flap_limit,
            flap_window_ms: i64::try_from(self.flap_window.as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn validate(&self, suite: &SuiteSettings, problems: &mut Problems) {
        ranges!(problems, "probes", self;
            duration timeout: MS(100)..=MINUTE;
            duration slow_after: MS(10)..=MINUTE;
            duration spread: Duration::ZERO..=MINUTE;
            number concurrency: 1..=10_000;
            number failures: 1..=100;
            number successes: 1..=100;
            number flap_limit: 1..=100;
            duration flap_window: MINUTE..=Duration::from_secs(DAY);
        );
        if self.slow_after >= self.timeout {
            problems.add(
                "probes.slow_after",
                "is not shorter than probes.timeout: no answer could be slow",
                "shorten it, or lengthen probes.timeout",
            );
        }
        let round = suite.job("health-monitor").map(|job| job.timeout);
        let needed = self.spread + self.timeout + ROUND_SLACK;
        if round.is_some_and(|round| round < needed) {
            problems.add(
                "probes.timeout",
                format!(
                    "with probes.spread and a second for the rest, a round takes up to {} s, longer than \
                     jobs.health-monitor.timeout",
                    needed.as_secs_f32()
                ),
                "shorten one of them, or lengthen jobs.health-monitor.timeout",
            );
        }
        for (index, control) in self.controls.iter().enumerate() {
            if let Err(reason) = Address::parse(control) {
                problems.add(
                    format!("probes.controls.{index}"),
                    reason,
                    "write http://, https:// or tcp://host:port",
                );
            }
        }
        for (name, target) in &self.targets {
            let key = format!("probes.targets.{name}");
            named(&key, name, problems);
            if let Err(reason) = Address::parse(target.url.expose_secret()) {
                problems.add(
                    format!("{key}.url"),
                    reason,
                    "write http://, https:// or tcp://host:port",
                );
            }
        }
    }
}

impl Notifications {
    fn validate(&self, problems: &mut Problems) {
        ranges!(problems, "notifications", self;
            duration repeat_after: MINUTE..=Duration::from_secs(7 * DAY);
            duration give_up_after: MINUTE..=Duration::from_secs(30 * DAY);
        );
        for (name, webhook) in &self.webhooks {
            let key = format!("notifications.webhooks.{name}");
            named(&key, name, problems);
            problems.duration(&format!("{key}.timeout"), webhook.timeout, MS(100)..=MINUTE);
            let address = Address::parse(webhook.url.expose_secret());
            if !matches!(address, Ok(Address::Http(_))) {
                problems.add(
                    format!("{key}.url"),
                    "is not the URL of a receiver of HTTP",
                    "write http:// or https://",
                );
            }
            let short = |secret: &SecretString| secret.expose_secret().len() < SHORTEST_SECRET;
            if webhook.secret.as_ref().is_some_and(short) {
                problems.add(
                    format!("{key}.secret"),
                    format!("is shorter than {SHORTEST_SECRET} characters"),
                    "use a longer random text",
                );
            }
        }
    }
}

fn named(key: &str, name: &str, problems: &mut Problems) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
        problems.add(
            key,
            "is not a name",
            format!("use 1 to {LONGEST_NAME} letters, digits, -, _ and ."),
        );
    }
}
