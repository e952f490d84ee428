//! [`Webhook`]: notices by HTTP POST, signed.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use futures::FutureExt;
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::Sha256;

use super::post::{self, Poster};
use super::{SendError, Sink};
use crate::Notice;

/// `t=<unix seconds>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`.
const SIGNATURE: HeaderName = HeaderName::from_static("eidos-signature");
/// The same for every attempt of a notice, and of no other: a receiver that has seen it may ignore it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where a webhook goes.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// The name of the sink.
    pub name: String,
    /// `http://…` or `https://…`; may hold a secret.
    pub url: SecretString,
    /// The key of the signature; `None`: not signed.
    pub secret: Option<SecretString>,
    /// Time limit of one delivery, connecting included.
    pub timeout: Duration,
    /// Whether it is told each round that the sender lives.
    pub watchdog: bool,
}

/// POSTs each notice as JSON. Redirects are not followed.
pub struct Webhook {
    settings: WebhookSettings,
    url: Url,
    poster: Poster,
}

impl Webhook {
    /// Makes the sink; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: WebhookSettings) -> Result<Self, String> {
        let url = post::url(&settings.url)?;
        let poster = Poster::new(settings.timeout)?;
        Ok(Self {
            settings,
            url,
            poster,
        })
    }

    async fn post(&self, body: String, key: &str, now_ms: i64) -> Result<(), SendError> {
        let mut headers = HeaderMap::new();
        let header = |text: &str| {
            HeaderValue::try_from(text).map_err(|error| SendError::Refused(format!("no header: {error}")))
        };
        headers.insert(IDEMPOTENCY_KEY, header(key)?);
        if let Some(secret) = &self.settings.secret {
            let signed = signature(secret, now_ms.div_euclid(1000), &body);
            headers.insert(SIGNATURE, header(&signed)?);
        }
        self.poster.post(&self.url, body, headers).await?.outcome()
    }
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn delivers_within(&self) -> Duration {
        self.settings.timeout
    }

    fn send<'a>(&'a self, notice: &'a Notice, now_ms: i64) -> BoxFuture<'a, Result<(), SendError>> {
        async move {
            let body = body(notice, now_ms).to_string();
            self.post(body, &idempotency_key(notice), now_ms).await
        }
        .boxed()
    }

    fn pulse(&self, now_ms: i64) -> BoxFuture<'_, Result<(), SendError>> {
        if !self.settings.watchdog {
            return std::future::ready(Ok(())).boxed();
        }
        let body = json!({"version": 1, "event": "watchdog", "sent_at": time(now_ms)}).to_string();
        async move { self.post(body, &format!("watchdog:{now_ms}"), now_ms).await }.boxed()
    }
}

/// Signs a body: `t=<unix seconds>,v1=<hex>`. The receiver computes the same over `"<t>.<body>"`, compares in constant time,
/// and refuses a `t` that is too old.
#[must_use]
pub fn signature(secret: &SecretString, at_s: i64, body: &str) -> String {
    // Longer keys are hashed, shorter ones filled up: every length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{at_s}.{body}").as_bytes());
    format!("t={at_s},v1={}", hex::encode(mac.finalize().into_bytes()))
}

fn body(notice: &Notice, now_ms: i64) -> serde_json::Value {
    let alert = &notice.alert;
    json!({
        "version": 1,
        "event": notice.kind.as_str(),
        "status": if notice.ends_at_ms.is_some() { "resolved" } else { "firing" },
        "name": alert.name,
        "severity": alert.severity,
        "labels": alert.labels,
        "annotations": alert.annotations,
        "fingerprint": alert.fingerprint().to_string(),
        "episode": alert.episode,
        "number": notice.number,
        "starts_at": time(alert.starts_at_ms),
        "ends_at": notice.ends_at_ms.map(time),
        "sent_at": time(now_ms),
    })
}

fn idempotency_key(notice: &Notice) -> String {
    let alert = &notice.alert;
    let (kind, number) = (notice.kind.as_str(), notice.number);
    format!("{}:{number}:{kind}:{}", alert.episode, alert.severity)
}

/// RFC 3339 in UTC.
pub(super) fn time(ms: i64) -> Option<String> {
    Some(DateTime::from_timestamp_millis(ms)?.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alert, Desk, DeskPolicy, EpisodeId, Fingerprint, Severity};

    /// A receiver that ignores keys that it has seen must not lose a reminder, nor a second escalation.
    #[test]
    fn each_notice_has_a_key_of_its_own_and_its_retries_have_the_same() {
        const HOUR: i64 = 3_600_000;
        let policy = DeskPolicy {
            repeat_after: Duration::from_hours(1),
            retry_first: Duration::from_secs(1),
            retry_max: Duration::from_secs(8),
            give_up_after: Duration::from_hours(24),
        };
        let labels = std::collections::BTreeMap::new();
        let episode = EpisodeId::of(&Fingerprint::of("Down", &labels), 0);
        let alert = |severity| Alert {
            name: "Down".to_owned(),
            labels: labels.clone(),
            annotations: labels.clone(),
            severity,
            starts_at_ms: 0,
            episode: episode.clone(),
        };
        let mut desk = Desk::default();
        desk.set_sinks(["a".to_owned()]);
        let mut keys = Vec::new();
        let mut tell = |desk: &mut Desk, now_ms, accepted| {
            for notice in desk.due("a", &policy, now_ms) {
                desk.begin("a", &notice, &policy, now_ms);
                keys.push(idempotency_key(&notice));
                if accepted {
                    desk.sent("a", &notice, now_ms);
                }
            }
        };
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        desk.raise(alert(warning));
        // The first attempt may have arrived: the second has the same key, also after a restart.
        tell(&mut desk, 0, false);
        let stored = serde_json::to_string(&desk).unwrap();
        desk = serde_json::from_str(&stored).unwrap();
        desk.set_sinks(["a".to_owned()]);
        tell(&mut desk, 10_000, true);
        for (n, severity) in [critical, warning, critical, critical, critical]
            .into_iter()
            .enumerate()
        {
            desk.raise(alert(severity));
            tell(&mut desk, HOUR * (2 + i64::try_from(n).unwrap()), true);
        }
        desk.resolve(&episode, HOUR * 9);
        tell(&mut desk, HOUR * 9, false);
        tell(&mut desk, HOUR * 10, true);
        assert_eq!(keys[0], keys[1], "the same notice again");
        assert_eq!(keys[7], keys[8], "the same end again");
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!((keys.len(), different.len()), (9, 7), "{keys:#?}");
    }

    /// Verified with another implementation: `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn a_signature_is_that_of_other_implementations() {
        let signed = signature(&"key".to_owned().into(), 1_700_000_000, r#"{"a":1}"#);
        assert_eq!(
            signed,
            "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
        );
    }
}
