//! [`Webhook`]: notices by HTTP POST, signed.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use futures::FutureExt;
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Client, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::Sha256;

use super::{SendError, Sink};
use crate::Notice;

/// `t=<unix seconds>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`.
const SIGNATURE: HeaderName = HeaderName::from_static("eidos-signature");
/// The same for every attempt of a notice: a receiver that has seen it may ignore it.
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
}

/// POSTs each notice as JSON. Redirects are not followed, answers are not read.
pub struct Webhook {
    settings: WebhookSettings,
    url: Url,
    client: Client,
}

impl Webhook {
    /// Makes the sink; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: WebhookSettings) -> Result<Self, String> {
        // reqwest is built without a TLS provider; whoever installed one before us wins.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        // The error could show the URL, and with it a secret.
        let url: Url = settings
            .url
            .expose_secret()
            .parse()
            .map_err(|_url| "is not a URL".to_owned())?;
        let client = Client::builder()
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            // A receiver that was restarted leaves connections behind that fail at their next use.
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| format!("the HTTP client cannot be made: {error}"))?;
        Ok(Self {
            settings,
            url,
            client,
        })
    }

    async fn post(&self, notice: &Notice, now_ms: i64) -> Result<(), SendError> {
        let body = body(notice, now_ms).to_string();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, idempotency_key(notice));
        if let Some(secret) = &self.settings.secret {
            request = request.header(SIGNATURE, signature(secret, now_ms.div_euclid(1000), &body));
        }
        let answer = request.body(body).send().await;
        let status = answer
            .map_err(|error| SendError::Later(why(&error.without_url())))?
            .status();
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(SendError::Later(format!("answered {status}")))
            }
            status if status.is_server_error() => Err(SendError::Later(format!("answered {status}"))),
            status => Err(SendError::Refused(format!("answered {status}"))),
        }
    }
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn send<'a>(&'a self, notice: &'a Notice, now_ms: i64) -> BoxFuture<'a, Result<(), SendError>> {
        self.post(notice, now_ms).boxed()
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
        "starts_at": time(alert.starts_at_ms),
        "ends_at": notice.ends_at_ms.map(time),
        "sent_at": time(now_ms),
    })
}

fn idempotency_key(notice: &Notice) -> String {
    let alert = &notice.alert;
    format!("{}:{}:{}", alert.episode, notice.kind.as_str(), alert.severity)
}

/// RFC 3339 in UTC.
fn time(ms: i64) -> Option<String> {
    Some(DateTime::from_timestamp_millis(ms)?.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// reqwest's own text ends at "error sending request"; the causes below it say why.
fn why(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
