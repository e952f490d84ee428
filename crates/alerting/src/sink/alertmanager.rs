//! [`Alertmanager`]: the alerts that last, told again each round (API version 2).
//!
//! An alert that it is not told of ends by itself. So every alert carries an end of its own in the future, and a sender that dies
//! does not look like a recovery before that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::post::{self, Answer, Poster};
use super::webhook::time;
use super::{SendError, Sink};
use crate::{Alert, Notice, Severity};

/// The alert that always fires: a receiver that no longer hears of it knows that its sender is gone.
const WATCHDOG: &str = "Watchdog";
/// An alert that ended is told for this long: a server that was restarted has forgotten it, and would not notify its end.
const ENDS_ARE_TOLD_FOR_MS: i64 = 5 * 60 * 1000;
/// A clock that is further ahead is said: such alerts may be refused.
const AHEAD_MS: i64 = 5 * 60 * 1000;
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
    /// Time limit of one request, connecting included.
    pub timeout: Duration,
}

/// Tells Alertmanager. It needs no memory of its own: what is told follows from the desk.
pub struct Alertmanager {
    settings: AlertmanagerSettings,
    url: Url,
    poster: Poster,
    /// Ends that it accepted lately, with the time.
    ended: Mutex<Vec<(i64, Value)>>,
    clock_is_wrong: AtomicBool,
    /// When this process began, which is when its watchdog did.
    started_ms: i64,
}

impl Alertmanager {
    /// Makes the sink; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: AlertmanagerSettings, now_ms: i64) -> Result<Self, String> {
        let url = api(&settings.url, &["api", "v2", "alerts"])?;
        let poster = Poster::new(settings.timeout)?;
        Ok(Self {
            settings,
            url,
            poster,
            ended: Mutex::default(),
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

    async fn tell(&self, notices: &[Notice], now_ms: i64) -> Vec<Result<(), SendError>> {
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

    fn remember(&self, notices: &[Notice], outcomes: &[Result<(), SendError>], now_ms: i64) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for (notice, outcome) in notices.iter().zip(outcomes) {
            if outcome.is_ok() && notice.ends_at_ms.is_some() {
                ended.extend(
                    self.alerts(notice, now_ms)
                        .into_iter()
                        .map(|alert| (now_ms, alert)),
                );
            }
        }
        ended.retain(|(at_ms, _)| now_ms.saturating_sub(*at_ms) < ENDS_ARE_TOLD_FOR_MS);
    }

    async fn tell_that_we_live(&self, now_ms: i64) -> Result<(), SendError> {
        let mut alerts = vec![json!({
            "labels": {"alertname": WATCHDOG, "severity": "none", "sender": "health-probe"},
            "annotations": {"summary": "health-probe works; this alert always fires"},
            "startsAt": time(self.started_ms.min(now_ms)),
            "endsAt": time(self.end_ms(now_ms)),
        })];
        {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let recent = ended
                .iter()
                .filter(|(at_ms, _)| now_ms.saturating_sub(*at_ms) < ENDS_ARE_TOLD_FOR_MS);
            alerts.extend(recent.map(|(_, alert)| alert.clone()));
        }
        self.post(alerts, now_ms)
            .await
            .and_then(|answer| self.outcome(&answer))
    }
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

/// An alert in its words. A name of a label that it would refuse is written with underscores.
fn object(alert: &Alert, severity: Severity, ends_at_ms: i64) -> Value {
    let label = |name: &str| -> String {
        let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        name.chars().map(allowed).collect()
    };
    let mut labels: Map<String, Value> = alert
        .labels
        .iter()
        .map(|(name, value)| (label(name), value.as_str().into()))
        .collect();
    labels.insert("alertname".to_owned(), alert.name.as_str().into());
    labels.insert("severity".to_owned(), severity.as_str().into());
    let annotations: Map<String, Value> = alert
        .annotations
        .iter()
        .map(|(name, value)| (label(name), value.as_str().into()))
        .collect();
    json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": time(alert.starts_at_ms.min(ends_at_ms)),
        "endsAt": time(ends_at_ms),
    })
}
