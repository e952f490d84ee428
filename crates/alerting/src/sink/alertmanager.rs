//! [`Alertmanager`]: the alerts that last, told again each round (API version 2).
//!
//! An alert that it is not told of ends by itself. So every alert carries an end of its own in the future, and a sender that dies
//! does not look like a recovery before that.
//!
//! A server that was restarted knows no alert, and perhaps not what it has notified of either: it would not notify the end of
//! something that it does not know. So it is told such an alert once more, and of its end when it has notified.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::post::{self, Answer, Poster};
use super::webhook::time;
use super::{SendError, Sink};
use crate::{Alert, EpisodeId, Notice, Severity};

/// The alert that always fires: a receiver that no longer hears of it knows that its sender is gone.
const WATCHDOG: &str = "Watchdog";
/// An alert that ended is told for this long: a server that was restarted has forgotten it, and would not notify its end.
const ENDS_ARE_TOLD_FOR_MS: i64 = 5 * 60 * 1000;
/// A clock that is further ahead is said: such alerts may be refused.
const AHEAD_MS: i64 = 5 * 60 * 1000;
/// What a notification may take beyond the time that it waits.
const SLACK: Duration = Duration::from_secs(1);
/// Alerts of one request.
const BATCH: usize = 64;

/// Where an Alertmanager is.
#[derive(Debug, Clone)]
pub struct AlertmanagerSettings {
    /// The name of the sink.
    pub name: String,
    /// Its URL without `/api/v2`; may hold user and password.
    pub url: SecretString,
    /// An alert ends by itself after this time without being told again: at least three rounds.
    pub ends_after: Duration,
    /// How long it waits before it notifies of an alert that is new to it: the longest `group_wait` of its routes.
    pub group_wait: Duration,
    /// Time limit of one request, connecting included.
    pub timeout: Duration,
}

/// Tells Alertmanager. What is told follows from the desk; of its own it remembers what a restart of the server would lose.
pub struct Alertmanager {
    settings: AlertmanagerSettings,
    url: Url,
    status: Url,
    poster: Poster,
    /// Ends that it accepted lately.
    ended: Mutex<Vec<Ended>>,
    /// When it was told once more of an alert that ended while it did not know it, epoch milliseconds.
    fired_again: Mutex<BTreeMap<EpisodeId, i64>>,
    clock_is_wrong: AtomicBool,
    /// When this process began, which is when its watchdog did.
    started_ms: i64,
}

/// An end that it accepted.
struct Ended {
    /// When, epoch milliseconds.
    at_ms: i64,
    /// Since when it knows the alert, epoch milliseconds.
    known_ms: i64,
    /// Until then it is told that the alert lasts, epoch milliseconds.
    fires_until_ms: i64,
    /// The alert as it was told.
    alert: Value,
}

impl Alertmanager {
    /// Makes the sink; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: AlertmanagerSettings, now_ms: i64) -> Result<Self, String> {
        let url = api(&settings.url, &["api", "v2", "alerts"])?;
        let status = api(&settings.url, &["api", "v2", "status"])?;
        let poster = Poster::new(settings.timeout)?;
        Ok(Self {
            settings,
            url,
            status,
            poster,
            ended: Mutex::default(),
            fired_again: Mutex::default(),
            clock_is_wrong: AtomicBool::new(false),
            started_ms: now_ms,
        })
    }

    async fn post(&self, alerts: Vec<Value>, now_ms: i64) -> Result<Answer, SendError> {
        let body = Value::Array(alerts).to_string();
        let answer = self.poster.post(&self.url, body, HeaderMap::new()).await?;
        self.compare_clocks(&answer, now_ms)?;
        Ok(answer)
    }

    /// Whether its clock allows alerts of ours to be open at all.
    fn compare_clocks(&self, answer: &Answer, now_ms: i64) -> Result<(), SendError> {
        let Some(ahead_ms) = answer.date_ms.map(|date_ms| now_ms.saturating_sub(date_ms)) else {
            return Ok(());
        };
        let behind_limit_ms = i64::try_from(self.settings.ends_after.as_millis()).unwrap_or(i64::MAX);
        if ahead_ms <= -behind_limit_ms {
            return Err(SendError::Later(format!(
                "the clock of this machine is {} s behind Alertmanager's: every alert has ended before it arrives; correct it",
                -ahead_ms / 1000
            )));
        }
        let is_wrong = ahead_ms > AHEAD_MS;
        if is_wrong && !self.clock_is_wrong.swap(is_wrong, Ordering::Relaxed) {
            tracing::error!(
                sink = self.settings.name,
                ahead_s = ahead_ms / 1000,
                "the clock of this machine is ahead of Alertmanager's, which may refuse alerts: correct it"
            );
        } else if !is_wrong {
            self.clock_is_wrong.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// When the server started, by our clock, epoch milliseconds; `None`: it does not say.
    async fn started_ms(&self, now_ms: i64) -> Option<i64> {
        let (status, date_ms) = self.poster.get_json(&self.status).await.ok()?;
        let started = DateTime::parse_from_rfc3339(status["uptime"].as_str()?).ok()?;
        Some(
            started
                .timestamp_millis()
                .saturating_add(now_ms.saturating_sub(date_ms?)),
        )
    }

    async fn tell(&self, notices: &[Notice], now_ms: i64) -> Vec<Result<(), SendError>> {
        let mut held = self.hold_ends(notices, now_ms).await;
        let others: Vec<Notice> = notices
            .iter()
            .filter(|notice| !held.contains_key(&notice.alert.episode))
            .cloned()
            .collect();
        let mut outcomes = if others.is_empty() {
            Vec::new()
        } else {
            self.tell_now(&others, now_ms).await
        }
        .into_iter();
        let outcome = |notice: &Notice| match held.remove(&notice.alert.episode) {
            Some(error) => Err(error),
            None => outcomes.next().unwrap_or(Ok(())),
        };
        notices.iter().map(outcome).collect()
    }

    /// The ends that it would not notify yet, since it was restarted while the alert lasted.
    async fn hold_ends(&self, notices: &[Notice], now_ms: i64) -> BTreeMap<EpisodeId, SendError> {
        let ends = notices.iter().filter(|notice| notice.ends_at_ms.is_some());
        let told: Vec<(&Notice, i64)> = ends
            .filter_map(|notice| Some((notice, notice.accepted_at_ms?)))
            .collect();
        let mut held = BTreeMap::new();
        if told.is_empty() {
            return held;
        }
        let Some(started_ms) = self.started_ms(now_ms).await else {
            return held;
        };
        let mut forgotten = Vec::new();
        for (notice, accepted_ms) in told {
            let episode = &notice.alert.episode;
            let again_ms = self.fired_again().get(episode).copied();
            let known_ms = again_ms.map_or(accepted_ms, |again_ms| again_ms.max(accepted_ms));
            if started_ms > known_ms {
                forgotten.push(notice);
            } else if started_ms > notice.alert.starts_at_ms
                && now_ms < known_ms.saturating_add(self.wait_ms())
            {
                let why =
                    "it was restarted while the alert lasted: its end follows when it has notified of it";
                held.insert(episode.clone(), SendError::Later(why.to_owned()));
            }
        }
        held.extend(self.fire_again(&forgotten, now_ms).await);
        held
    }

    /// Tells it once more of alerts that ended. What it refuses is not held back.
    async fn fire_again(&self, forgotten: &[&Notice], now_ms: i64) -> BTreeMap<EpisodeId, SendError> {
        if forgotten.is_empty() {
            return BTreeMap::new();
        }
        let firing = forgotten.iter().map(|notice| {
            let alert = &notice.alert;
            object(
                alert,
                notice.accepted.unwrap_or(alert.severity),
                self.end_ms(now_ms),
            )
        });
        let answer = self.post(firing.collect(), now_ms).await;
        let error = match answer.and_then(|answer| self.outcome(&answer)) {
            Ok(()) => {
                let mut fired_again = self.fired_again();
                fired_again.extend(
                    forgotten
                        .iter()
                        .map(|notice| (notice.alert.episode.clone(), now_ms)),
                );
                let wait = self.settings.group_wait;
                SendError::Later(format!(
                    "it was restarted since it was told: it was told once more, and its end follows in {wait:?}"
                ))
            }
            Err(error @ SendError::Later(_)) => error,
            Err(SendError::Refused(_)) => return BTreeMap::new(),
        };
        let held = forgotten
            .iter()
            .map(|notice| (notice.alert.episode.clone(), error.clone()));
        held.collect()
    }

    async fn tell_now(&self, notices: &[Notice], now_ms: i64) -> Vec<Result<(), SendError>> {
        let alerts = |notices: &[Notice]| {
            let alerts = notices.iter().flat_map(|notice| self.alerts(notice, now_ms));
            alerts.collect::<Vec<_>>()
        };
        let outcome = match self.post(alerts(notices), now_ms).await {
            // The good alerts of a bad batch are stored, and nothing says which: the others are found one by one.
            Ok(answer) if answer.status == StatusCode::BAD_REQUEST && notices.len() > 1 => {
                let mut outcomes = Vec::new();
                for notice in notices {
                    let answer = self.post(alerts(std::slice::from_ref(notice)), now_ms).await;
                    outcomes.push(answer.and_then(|answer| self.outcome(&answer)));
                }
                self.remember(notices, &outcomes, now_ms);
                return outcomes;
            }
            Ok(answer) => self.outcome(&answer),
            Err(error) => Err(error),
        };
        let outcomes: Vec<_> = notices.iter().map(|_| outcome.clone()).collect();
        self.remember(notices, &outcomes, now_ms);
        outcomes
    }

    fn outcome(&self, answer: &Answer) -> Result<(), SendError> {
        let outcome = answer.outcome_with_text(None);
        if !self.clock_is_wrong.load(Ordering::Relaxed) {
            return outcome;
        }
        outcome.map_err(|error| match error {
            SendError::Refused(why) => SendError::Refused(format!(
                "{why}; the clock of this machine is more than five minutes ahead of Alertmanager's: correct it"
            )),
            later @ SendError::Later(_) => later,
        })
    }

    /// What Alertmanager is told of a notice. Another severity is another alert to it, so the one before ends.
    fn alerts(&self, notice: &Notice, now_ms: i64) -> Vec<Value> {
        let alert = &notice.alert;
        let before = notice.accepted;
        if let Some(ended_ms) = notice.ends_at_ms {
            // Only what it was told of can end: an end alone is notified as the end of something.
            return vec![object(alert, before.unwrap_or(alert.severity), ended_ms)];
        }
        let mut alerts = vec![object(alert, alert.severity, self.end_ms(now_ms))];
        if let Some(before) = before.filter(|before| *before != alert.severity) {
            alerts.push(object(alert, before, now_ms));
        }
        alerts
    }

    fn end_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(i64::try_from(self.settings.ends_after.as_millis()).unwrap_or(i64::MAX))
    }

    fn wait_ms(&self) -> i64 {
        i64::try_from((self.settings.group_wait + SLACK).as_millis()).unwrap_or(i64::MAX)
    }

    fn remember(&self, notices: &[Notice], outcomes: &[Result<(), SendError>], now_ms: i64) {
        let mut ended = self.ended();
        for (notice, outcome) in notices.iter().zip(outcomes) {
            if outcome.is_ok() && notice.ends_at_ms.is_some() {
                self.fired_again().remove(&notice.alert.episode);
                let alerts = self.alerts(notice, now_ms).into_iter();
                ended.extend(alerts.map(|alert| Ended {
                    at_ms: now_ms,
                    // An end that it was not told the begin of is not one that it has forgotten.
                    known_ms: notice.accepted_at_ms.map_or(i64::MAX, |_at_ms| now_ms),
                    fires_until_ms: 0,
                    alert,
                }));
            }
        }
    }

    /// The ends of the last minutes. One that it knew before it was restarted is told as lasting first.
    async fn ends(&self, now_ms: i64) -> Vec<Value> {
        let forget = |ended: &mut Vec<Ended>| {
            ended.retain(|end| now_ms.saturating_sub(end.at_ms) < ENDS_ARE_TOLD_FOR_MS);
            ended.is_empty()
        };
        if forget(&mut self.ended()) {
            return Vec::new();
        }
        let started_ms = self.started_ms(now_ms).await.unwrap_or(i64::MIN);
        let mut ended = self.ended();
        let told = ended.iter_mut().map(|end| {
            if started_ms > end.known_ms {
                (end.at_ms, end.known_ms) = (now_ms, now_ms);
                end.fires_until_ms = now_ms.saturating_add(self.wait_ms());
            }
            let mut alert = end.alert.clone();
            if now_ms < end.fires_until_ms {
                alert["endsAt"] = time(self.end_ms(now_ms)).into();
            }
            alert
        });
        told.collect()
    }

    /// What it may not have been told once more is told again.
    fn doubt(&self, now_ms: i64) {
        for end in &mut *self.ended() {
            if now_ms < end.fires_until_ms {
                end.known_ms = i64::MIN;
            }
        }
    }

    fn ended(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fired_again(&self) -> MutexGuard<'_, BTreeMap<EpisodeId, i64>> {
        self.fired_again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell_that_we_live(&self, now_ms: i64) -> Result<(), SendError> {
        let mut alerts = vec![json!({
            "labels": {"alertname": WATCHDOG, "severity": "none", "sender": "health-probe"},
            "annotations": {"summary": "health-probe works; this alert always fires"},
            "startsAt": time(self.started_ms.min(now_ms)),
            "endsAt": time(self.end_ms(now_ms)),
        })];
        alerts.extend(self.ends(now_ms).await);
        let outcome = self
            .post(alerts, now_ms)
            .await
            .and_then(|answer| self.outcome(&answer));
        if outcome.is_err() {
            self.doubt(now_ms);
        }
        outcome
    }

    /// Reads an alert back. One that lasts must be there and be notified of; one that ended must not be there.
    async fn read_back(&self, notice: &Notice) -> Result<String, SendError> {
        let alert = &notice.alert;
        let mut url = self.url.clone();
        for (name, value) in labels(alert, notice.accepted.unwrap_or(alert.severity)) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            url.query_pairs_mut()
                .append_pair("filter", &format!("{name}=\"{value}\""));
        }
        let (found, _date) = self.poster.get_json(&url).await?;
        match (found.get(0), notice.ends_at_ms) {
            (None, Some(_)) => Ok("it has it no longer".to_owned()),
            (Some(_), Some(_)) => Err(SendError::Later(
                "it accepted the end, and the alert still lasts there".to_owned(),
            )),
            (None, None) => Err(SendError::Later(
                "it accepted the alert and does not have it".to_owned(),
            )),
            (Some(found), None) => receivers_of(found),
        }
    }
}

/// Who is notified of an alert that it has.
fn receivers_of(found: &Value) -> Result<String, SendError> {
    if found["status"]["state"] == "suppressed" {
        let why = "it has the alert, and a silence or an inhibition holds it back: no receiver is notified";
        return Err(SendError::Refused(why.to_owned()));
    }
    let receivers = found["receivers"].as_array().into_iter().flatten();
    let names: Vec<&str> = receivers
        .filter_map(|receiver| receiver["name"].as_str())
        .collect();
    Ok(format!("it notifies {}", names.join(", ")))
}

impl Sink for Alertmanager {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn send<'a>(&'a self, notice: &'a Notice, now_ms: i64) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let mut outcomes = self.tell(std::slice::from_ref(notice), now_ms).await;
            outcomes.pop().unwrap_or(Ok(()))
        }
        .boxed()
    }

    fn send_all<'a>(
        &'a self,
        notices: &'a [Notice],
        now_ms: i64,
    ) -> BoxFuture<'a, Vec<Result<(), SendError>>> {
        self.tell(notices, now_ms).boxed()
    }

    fn pulse(&self, now_ms: i64) -> BoxFuture<'_, Result<(), SendError>> {
        self.tell_that_we_live(now_ms).boxed()
    }

    fn confirm<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<String, SendError>> {
        self.read_back(notice).boxed()
    }

    fn notifies_within(&self) -> Duration {
        self.settings.group_wait + SLACK
    }

    fn delivers_within(&self) -> Duration {
        self.settings.timeout
    }
}

/// An address below the URL of an Alertmanager.
pub(super) fn api(base: &SecretString, path: &[&str]) -> Result<Url, String> {
    let mut url = post::url(base)?;
    url.path_segments_mut()
        .map_err(|()| "is not the URL of a server".to_owned())?
        .pop_if_empty()
        .extend(path);
    Ok(url)
}

/// A name of a label that it would refuse is written with underscores.
fn label(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(allowed).collect()
}

/// The labels of an alert in its words.
pub(super) fn labels(alert: &Alert, severity: Severity) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = alert
        .labels
        .iter()
        .map(|(name, value)| (label(name), value.clone()))
        .collect();
    labels.insert("alertname".to_owned(), alert.name.clone());
    labels.insert("severity".to_owned(), severity.as_str().to_owned());
    labels
}

/// An alert in its words.
fn object(alert: &Alert, severity: Severity, ends_at_ms: i64) -> Value {
    let annotations: Map<String, Value> = alert
        .annotations
        .iter()
        .map(|(name, value)| (label(name), value.as_str().into()))
        .collect();
    json!({
        "labels": labels(alert, severity),
        "annotations": annotations,
        "startsAt": time(alert.starts_at_ms.min(ends_at_ms)),
        "endsAt": time(ends_at_ms),
    })
}
