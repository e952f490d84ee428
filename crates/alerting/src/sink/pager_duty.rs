//! [`PagerDuty`]: incidents by the Events API, version 2.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::post::{self, Poster};
use super::webhook::time;
use super::{SendError, Sink};
use crate::Notice;

/// The limit of the API.
const LONGEST_SUMMARY: usize = 1024;

/// A service of PagerDuty.
#[derive(Debug, Clone)]
pub struct PagerDutySettings {
    /// The name of the sink.
    pub name: String,
    /// `https://events.pagerduty.com/v2/enqueue`, or that of a test.
    pub url: SecretString,
    /// The integration key, 32 characters.
    pub routing_key: SecretString,
    /// Time limit of one delivery, connecting included.
    pub timeout: Duration,
}

/// Triggers and resolves. The episode is the key under which PagerDuty keeps an incident, so a repeated notice opens no second
/// one.
pub struct PagerDuty {
    settings: PagerDutySettings,
    url: Url,
    poster: Poster,
}

impl PagerDuty {
    /// Makes the sink; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: PagerDutySettings) -> Result<Self, String> {
        let url = post::url(&settings.url)?;
        let poster = Poster::new(settings.timeout)?;
        Ok(Self {
            settings,
            url,
            poster,
        })
    }

    fn body(&self, notice: &Notice) -> Value {
        let alert = &notice.alert;
        let routing_key = self.settings.routing_key.expose_secret();
        let mut body = json!({"routing_key": routing_key, "dedup_key": alert.episode});
        if notice.ends_at_ms.is_some() {
            body["event_action"] = "resolve".into();
            return body;
        }
        let summary = alert.annotations.get("summary").unwrap_or(&alert.name);
        let source = alert.labels.get("target").map_or("health-probe", String::as_str);
        body["event_action"] = "trigger".into();
        body["payload"] = json!({
            "summary": cut(summary, LONGEST_SUMMARY),
            "source": source,
            "severity": alert.severity.as_str(),
            "timestamp": time(alert.starts_at_ms),
            "class": alert.name,
            "custom_details": {
                "event": notice.kind.as_str(),
                "labels": alert.labels,
                "annotations": alert.annotations,
                "fingerprint": alert.fingerprint().to_string(),
            },
        });
        body
    }

    async fn post(&self, notice: &Notice) -> Result<(), SendError> {
        let body = self.body(notice).to_string();
        let answer = self.poster.post(&self.url, body, HeaderMap::new()).await?;
        answer.outcome_with_text(Some(&self.settings.routing_key))
    }
}

impl Sink for PagerDuty {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn delivers_within(&self) -> Duration {
        self.settings.timeout
    }

    fn send<'a>(&'a self, notice: &'a Notice, _now_ms: i64) -> BoxFuture<'a, Result<(), SendError>> {
        self.post(notice).boxed()
    }
}

/// At most so many characters, the last of which says that some are missing.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept = text.chars().take(longest.saturating_sub(1));
    kept.chain(std::iter::once('…')).collect()
}
