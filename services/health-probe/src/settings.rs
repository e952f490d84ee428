//! What health-probe owns in the settings file.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eidos_alerting::{Email, EmailSettings, Encryption};
use eidos_bus::Topic;
use eidos_settings::{NoOptions, Problems, ServiceSettings, SuiteSettings, duration_text, ranges, secret};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::address::{Address, SCHEMES};
use crate::domain::limits::Limits;
use crate::domain::postgres::Role;
use crate::domain::reducer::Rules;
use crate::domain::vote::Rule;

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
    /// How the probers that share a Redis decide together.
    pub vote: Rule,
    /// Where states are kept; `None`: nowhere.
    pub state_dir: Option<String>,
    /// Addresses that answer whenever there is a network; empty: the prober never counts as blind.
    pub controls: Vec<String>,
    /// Above which values a target that answers is not well.
    pub limits: Limits,
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
    /// Bearer token of a request by HTTP or gRPC; `None`: none is sent.
    #[serde(default, serialize_with = "secret::masked_option")]
    pub token: Option<SecretString>,
    /// Path of the authority that its certificate is checked against (PEM); `None`: those of this machine.
    #[serde(default)]
    pub ca_cert: Option<String>,
    /// The name in its certificate; `None`: the host of the URL.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Path of the certificate that it should present (PEM); `None`: that is not compared.
    #[serde(default)]
    pub certificate: Option<String>,
    /// What a database server should be; `None`: either.
    #[serde(default)]
    pub role: Option<Role>,
    /// The topics of each consumer group whose lag is measured.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
    /// The period of each job that is expected.
    #[serde(default)]
    pub periods: BTreeMap<String, Period>,
    /// Targets that it cannot work without.
    #[serde(default)]
    pub depends_on: Vec<String>,
}

/// How often a job is due.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Period(#[serde(with = "duration_text")] pub Duration);

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
    /// Servers of Alertmanager, by name.
    pub alertmanagers: BTreeMap<String, AlertmanagerSection>,
    /// Services of PagerDuty, by name.
    pub pager_duty: BTreeMap<String, PagerDutySection>,
    /// Channels of Slack, by name.
    pub slack: BTreeMap<String, SlackSection>,
    /// Addresses of mail, by the name of their group.
    pub emails: BTreeMap<String, EmailSection>,
    /// Whether replicas agree over Redis on who tells a receiver.
    pub cool_down: bool,
    /// Whether what an Alertmanager silences is not told to the other receivers.
    pub silences: bool,
    /// Addresses that notice when they are no longer asked, by name.
    pub heartbeats: BTreeMap<String, HeartbeatSection>,
}

/// One address that notices when it is no longer asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatSection {
    /// What is asked; all of it is a secret.
    #[serde(serialize_with = "secret::masked")]
    pub url: SecretString,
    /// In so many rounds that saw something it is asked once.
    #[serde(default = "one")]
    pub every_rounds: u32,
    /// Time limit of one request.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub timeout: Duration,
}

/// Addresses of mail that one server delivers to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailSection {
    /// Name or address of the mail server.
    pub host: String,
    /// Its port.
    #[serde(default = "submission")]
    pub port: u16,
    /// How the connection is encrypted.
    #[serde(default = "starttls")]
    pub encryption: Encryption,
    /// Of the account; `None`: no login.
    #[serde(default)]
    pub username: Option<String>,
    /// Of the account.
    #[serde(default, serialize_with = "secret::masked_option")]
    pub password: Option<SecretString>,
    /// Path of the authority of its certificate (PEM); `None`: those of this machine.
    #[serde(default)]
    pub ca_cert: Option<String>,
    /// The sender.
    pub from: String,
    /// Whoever is told.
    pub to: Vec<String>,
    /// Time limit of one message.
    #[serde(default = "ten_seconds", with = "duration_text")]
    pub timeout: Duration,
}

/// One Alertmanager.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerSection {
    /// Its URL without `/api/v2`.
    #[serde(serialize_with = "secret::masked_url")]
    pub url: SecretString,
    /// How often it is told of alerts that last.
    #[serde(default = "thirty_seconds", with = "duration_text")]
    pub every: Duration,
    /// An alert that it is not told of for this long ends there.
    #[serde(default = "five_minutes", with = "duration_text")]
    pub ends_after: Duration,
    /// The longest `group_wait` of its routes.
    #[serde(default = "thirty_seconds", with = "duration_text")]
    pub group_wait: Duration,
    /// Time limit of one request.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub timeout: Duration,
}

/// One service of PagerDuty.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutySection {
    /// The integration key of the Events API, version 2.
    #[serde(serialize_with = "secret::masked")]
    pub routing_key: SecretString,
    /// Where events are sent.
    #[serde(default = "pager_duty_url", serialize_with = "secret::masked_url")]
    pub url: SecretString,
    /// Time limit of one delivery.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub timeout: Duration,
}

/// One channel of Slack.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackSection {
    /// The incoming webhook; all of it is a secret.
    #[serde(serialize_with = "secret::masked")]
    pub url: SecretString,
    /// Time limit of one delivery.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub timeout: Duration,
}

const fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}
const fn five_minutes() -> Duration {
    Duration::from_mins(5)
}
fn pager_duty_url() -> SecretString {
    "https://events.pagerduty.com/v2/enqueue".to_owned().into()
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
    /// Whether it is told after each round that the prober works.
    #[serde(default)]
    pub watchdog: bool,
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
const fn submission() -> u16 {
    587
}
const fn starttls() -> Encryption {
    Encryption::Starttls
}
const fn one() -> u32 {
    1
}
const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

const MS: fn(u64) -> Duration = Duration::from_millis;
const MINUTE: Duration = Duration::from_mins(1);
const DAY: u64 = 24 * 3600;
/// What a round needs beside its probes: rows of history that wait for a database, and the last results.
const ROUND_SLACK: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_hours(366 * 24);
/// Each is sent a message of its own, one after the other.
const MOST_ADDRESSES: usize = 20;
/// What a drill needs beside its requests and the wait for notifications.
const DRILL_SLACK: Duration = Duration::from_secs(5);
/// Labels of metrics and alerts should stay readable.
const LONGEST_NAME: usize = 100;
/// Of an integration key of PagerDuty.
const ROUTING_KEY: usize = 32;
/// Shorter keys can be guessed.
const SHORTEST_SECRET: usize = 16;

impl ServiceSettings for ProbeSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");
    type Options = NoOptions;

    fn validate(&self, _options: &NoOptions, suite: &SuiteSettings, problems: &mut Problems) {
        self.probes.validate(suite, problems);
        self.notifications.validate(problems);
        self.notifications.validate_drill(suite, problems);
    }

    fn validate_start(&self, problems: &mut Problems) {
        if self.probes.targets.is_empty() {
            problems.add(
                "probes.targets",
                "names nothing: health-probe has nothing to look at",
                "name a target, such as probes.targets.trading.url: http://trading:8080/health",
            );
        }
        if self.notifications.has_no_receiver() {
            problems.add(
                "notifications",
                "names no receiver of alerts",
                "set notifications.log to true, or name one in notifications.webhooks, alertmanagers, pager_duty, slack or emails",
            );
        }
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
            let key = format!("probes.controls.{index}");
            match Address::parse(control) {
                Ok(address) if address.is_remote() => {}
                Ok(_) => problems.add(
                    key,
                    "needs no network: it answers without one",
                    "name another address",
                ),
                Err(reason) => problems.add(key, reason, SCHEMES),
            }
        }
        self.limits.validate(problems);
        for (name, target) in &self.targets {
            let key = format!("probes.targets.{name}");
            named(&key, name, problems);
            match Address::parse(target.url.expose_secret()) {
                Ok(address) => target.validate(&key, &address, problems),
                Err(reason) => problems.add(format!("{key}.url"), reason, SCHEMES),
            }
            self.validate_dependencies(&key, name, target, problems);
        }
    }

    fn validate_dependencies(&self, key: &str, name: &str, target: &TargetSettings, problems: &mut Problems) {
        for (index, other) in target.depends_on.iter().enumerate() {
            let key = format!("{key}.depends_on.{index}");
            if !self.targets.contains_key(other) {
                let reason = format!("there is no target '{other}' in probes.targets");
                problems.add(key, reason, "name a target");
            } else if self.reaches(other, name) {
                let reason = format!("'{other}' depends on '{name}' itself: neither alert would ever open");
                problems.add(key, reason, "remove one of the two");
            }
        }
    }

    /// Whether `from` depends on `to`, over others as well, or is it.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut left = vec![from];
        while let Some(name) = left.pop() {
            if name == to {
                return true;
            }
            if seen.insert(name)
                && let Some(target) = self.targets.get(name)
            {
                left.extend(target.depends_on.iter().map(String::as_str));
            }
        }
        false
    }
}

impl TargetSettings {
    /// Reports what a probe of this kind would not look at.
    fn validate(&self, key: &str, address: &Address, problems: &mut Problems) {
        let kind = address.kind();
        let is_encrypted = match address {
            Address::Http(url) | Address::Evm(url) => url.scheme() == "https",
            Address::Redis(url) => url.scheme() == "rediss",
            Address::Grpc { is_tls, .. } => *is_tls,
            Address::Tls(_) => true,
            _ => false,
        };
        let is_named = matches!(
            address,
            Address::Tls(_) | Address::Redis(_) | Address::Grpc { .. }
        );
        let fits = [
            (
                "token",
                self.token.is_some(),
                matches!(kind, "http" | "grpc" | "evm"),
            ),
            ("ca_cert", self.ca_cert.is_some(), is_encrypted),
            (
                "server_name",
                self.server_name.is_some(),
                is_encrypted && is_named,
            ),
            ("certificate", self.certificate.is_some(), kind == "tls"),
            ("role", self.role.is_some(), matches!(kind, "postgres" | "redis")),
            ("groups", !self.groups.is_empty(), kind == "kafka"),
            ("periods", !self.periods.is_empty(), kind == "jobs"),
        ];
        for (name, is_set, is_used) in fits {
            if is_set && !is_used {
                problems.add(
                    format!("{key}.{name}"),
                    "is not used by a probe of this URL",
                    "remove it, or correct the URL",
                );
            }
        }
        if kind == "jobs" && self.periods.is_empty() {
            problems.add(
                format!("{key}.periods"),
                "names no job: nothing could be late",
                "write a job and its period, such as kline-agg: 5m",
            );
        }
        for (job, Period(period)) in &self.periods {
            problems.duration(
                &format!("{key}.periods.{job}"),
                *period,
                Duration::from_secs(1)..=YEAR,
            );
        }
        for (group, topics) in &self.groups {
            let key = format!("{key}.groups.{group}");
            if topics.is_empty() {
                problems.add(
                    key.clone(),
                    "names no topic",
                    "name the topics that the group reads",
                );
            }
            for (index, topic) in topics.iter().enumerate() {
                if let Err(error) = Topic::new(topic.as_str()) {
                    problems.add(format!("{key}.{index}"), error.to_string(), "correct it");
                }
            }
        }
    }
}

impl Notifications {
    fn has_no_receiver(&self) -> bool {
        let others = [
            self.webhooks.is_empty(),
            self.pager_duty.is_empty(),
            self.slack.is_empty(),
            self.emails.is_empty(),
        ];
        !self.log && self.alertmanagers.is_empty() && others.iter().all(|is_empty| *is_empty)
    }

    fn validate(&self, problems: &mut Problems) {
        ranges!(problems, "notifications", self;
            duration repeat_after: MINUTE..=Duration::from_secs(7 * DAY);
            duration give_up_after: MINUTE..=Duration::from_secs(30 * DAY);
        );
        for (name, webhook) in &self.webhooks {
            let key = format!("notifications.webhooks.{name}");
            receiver(&key, name, &webhook.url, webhook.timeout, problems);
            let short = |secret: &SecretString| secret.expose_secret().len() < SHORTEST_SECRET;
            if webhook.secret.as_ref().is_some_and(short) {
                problems.add(
                    format!("{key}.secret"),
                    format!("is shorter than {SHORTEST_SECRET} characters"),
                    "use a longer random text",
                );
            }
        }
        for (name, server) in &self.alertmanagers {
            let key = format!("notifications.alertmanagers.{name}");
            receiver(&key, name, &server.url, server.timeout, problems);
            problems.duration(&format!("{key}.every"), server.every, MS(100)..=10 * MINUTE);
            problems.duration(
                &format!("{key}.group_wait"),
                server.group_wait,
                Duration::ZERO..=10 * MINUTE,
            );
            if server.ends_after < server.every * 3 {
                problems.add(
                    format!("{key}.ends_after"),
                    "is shorter than three times notifications.alertmanagers.<name>.every: a round that is late would end alerts",
                    "lengthen it",
                );
            }
        }
        for (name, service) in &self.pager_duty {
            let key = format!("notifications.pager_duty.{name}");
            receiver(&key, name, &service.url, service.timeout, problems);
            if service.routing_key.expose_secret().len() != ROUTING_KEY {
                problems.add(
                    format!("{key}.routing_key"),
                    format!("has not {ROUTING_KEY} characters"),
                    "copy the integration key of Events API v2",
                );
            }
        }
        for (name, channel) in &self.slack {
            let key = format!("notifications.slack.{name}");
            receiver(&key, name, &channel.url, channel.timeout, problems);
        }
        for (name, group) in &self.emails {
            group.validate(name, problems);
        }
        for (name, heartbeat) in &self.heartbeats {
            let key = format!("notifications.heartbeats.{name}");
            receiver(&key, name, &heartbeat.url, heartbeat.timeout, problems);
            problems.number(&format!("{key}.every_rounds"), heartbeat.every_rounds, 1..=1000);
        }
    }

    /// A drill waits until an Alertmanager has notified, with a request before and after.
    fn validate_drill(&self, suite: &SuiteSettings, problems: &mut Problems) {
        let Some(drill) = suite.job("alert-drill") else {
            return;
        };
        for (name, server) in &self.alertmanagers {
            let needed = server.group_wait + server.timeout * 4 + DRILL_SLACK;
            if drill.timeout < needed {
                problems.add(
                    "jobs.alert-drill.timeout",
                    format!(
                        "is shorter than the {} s that a drill of notifications.alertmanagers.{name} takes: its group_wait and \
                         four requests",
                        needed.as_secs_f32()
                    ),
                    "lengthen it",
                );
            }
        }
    }
}

impl EmailSection {
    fn validate(&self, name: &str, problems: &mut Problems) {
        let key = format!("notifications.emails.{name}");
        named(&key, name, problems);
        problems.duration(&format!("{key}.timeout"), self.timeout, MS(100)..=MINUTE);
        if self.to.is_empty() || self.to.len() > MOST_ADDRESSES {
            problems.add(
                format!("{key}.to"),
                format!("names {} addresses", self.to.len()),
                format!("name 1 to {MOST_ADDRESSES}; a list of the mail server reaches more"),
            );
        }
        if self.username.is_some() != self.password.is_some() {
            problems.add(
                format!("{key}.password"),
                "username and password belong together, and one of them is missing",
                "set both, or none for a server without a login",
            );
        }
        if self.password.is_some() && self.encryption == Encryption::None {
            problems.add(
                format!("{key}.encryption"),
                "is none: the password would be sent in the clear",
                "write starttls or tls",
            );
        }
        // The authority is read at the start.
        let made = Email::new(EmailSettings {
            name: name.to_owned(),
            host: self.host.clone(),
            port: self.port,
            encryption: self.encryption,
            login: None,
            authority: None,
            from: self.from.clone(),
            to: self.to.clone(),
            timeout: self.timeout,
        });
        if let Err(reason) = made {
            problems.add(key, reason, "correct it");
        }
    }
}

fn receiver(key: &str, name: &str, url: &SecretString, timeout: Duration, problems: &mut Problems) {
    named(key, name, problems);
    problems.duration(&format!("{key}.timeout"), timeout, MS(100)..=MINUTE);
    if !matches!(Address::parse(url.expose_secret()), Ok(Address::Http(_))) {
        problems.add(
            format!("{key}.url"),
            "is not the URL of a receiver of HTTP",
            "write http:// or https://",
        );
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
