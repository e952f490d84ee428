//! [`Slack`]: messages by an incoming webhook.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde_json::json;

use super::pager_duty::cut;
use super::post::{self, Poster};
use super::{SendError, Sink};
use crate::{Notice, NoticeKind};

/// Slack cuts longer texts at a place of its own.
const LONGEST_TEXT: usize = 3000;

/// A channel.
#[derive(Debug, Clone)]
pub struct SlackSettings {
    /// The name of the sink.
    pub name: String,
    /// `https://hooks.slack.com/services/…`: the whole URL is a secret.
    pub url: SecretString,
    /// Time limit of one delivery, connecting included.
    pub timeout: Duration,
}

/// Writes one message for each notice.
pub struct Slack {
    settings: SlackSettings,
    url: Url,
    poster: Poster,
}

impl Slack {
    /// Makes the sink; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: SlackSettings) -> Result<Self, String> {
        let url = post::url(&settings.url)?;
        let poster = Poster::new(settings.timeout)?;
        Ok(Self {
            settings,
            url,
            poster,
        })
    }

    async fn post(&self, notice: &Notice) -> Result<(), SendError> {
        let body = json!({"text": text(notice)}).to_string();
        let answer = self.poster.post(&self.url, body, HeaderMap::new()).await?;
        answer.outcome_with_text(None)
    }
}

impl Sink for Slack {
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

fn text(notice: &Notice) -> String {
    let alert = &notice.alert;
    let state = match notice.kind {
        NoticeKind::Resolved => "RESOLVED".to_owned(),
        NoticeKind::Reminder => format!("STILL {}", alert.severity.as_str().to_uppercase()),
        _ => alert.severity.as_str().to_uppercase(),
    };
    let summary = alert.annotations.get("summary").map_or("", String::as_str);
    let mut text = format!("*{state}* {}", escaped(&alert.name));
    if !summary.is_empty() {
        text = format!("{text}\n{}", escaped(summary));
    }
    if let Some(runbook) = alert.annotations.get("runbook") {
        text = format!("{text}\nrunbook: {}", escaped(runbook));
    }
    cut(&text, LONGEST_TEXT)
}

/// The three characters with a meaning. A mention (`<!channel>`) in the text of a server becomes text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
