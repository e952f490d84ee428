//! HTTP, and nothing else: limits, and words without credentials.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Client, redirect};
use secrecy::{ExposeSecret, SecretString};

use super::RpcError;
use super::endpoint::{Secrets, endpoint_of};
use crate::settings::ChainSettings;
use crate::{ChainError, observe};

/// One endpoint.
pub(crate) struct Transport {
    client: Client,
    url: SecretString,
    endpoint: String,
    secrets: Secrets,
    request_timeout: Duration,
    max_response_bytes: usize,
}

/// What came back, whatever its status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The pause that the header `Retry-After` asks for.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        let refuse = |reason: String| {
            let fix = "use http://host:port/path or https://host/path";
            ChainError::refused("rpc_url", "(hidden)", reason, fix)
        };
        let endpoint = endpoint_of(settings.rpc_url.expose_secret())
            .ok_or_else(|| refuse("is not an http or https URL".to_owned()))?;
        install_crypto_provider();
        let client = Client::builder()
            .connect_timeout(settings.rpc.connect_timeout)
            .timeout(settings.rpc.request_timeout)
            // A redirect would carry the request, credentials included, to a host that is not configured.
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(settings.rpc.parallel_requests)
            .user_agent(concat!("eidos-chain/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refuse(format!("no HTTP client can be made: {}", error.without_url())))?;
        Ok(Self {
            client,
            url: settings.rpc_url.clone(),
            endpoint,
            secrets: Secrets::of(settings.rpc_url.expose_secret()),
            request_timeout: settings.rpc.request_timeout,
            max_response_bytes: settings.rpc.max_response_bytes,
        })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Sends `body` and reads the whole reply.
    pub(super) async fn post(&self, body: Bytes) -> Result<Reply, RpcError> {
        let mut headers = HeaderMap::new();
        observe::propagate_trace(&mut headers);
        let mut response = self
            .client
            .post(self.url.expose_secret())
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await
            .map_err(|error| self.broken(error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let mut answer = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.len() + chunk.len() > self.max_response_bytes => {
                    return Err(RpcError::AnswerTooLong(self.max_response_bytes));
                }
                Ok(Some(chunk)) => answer.extend_from_slice(&chunk),
                // A status is an answer, even if its text breaks off.
                Err(error) if response.status().is_success() => return Err(self.broken(error)),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(Reply {
            status,
            retry_after,
            body: answer.freeze(),
        })
    }

    fn broken(&self, error: reqwest::Error) -> RpcError {
        if error.is_timeout() {
            return RpcError::TimedOut(self.request_timeout);
        }
        // reqwest's own text ends at "error sending request"; the causes below it say why.
        let error = error.without_url();
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            words = format!("{words}: {inner}");
            cause = inner.source();
        }
        RpcError::Broken(words)
    }
}

/// Seconds, or a date: that one is measured from the `Date` of the same reply, so that no clock of ours takes part.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let wish = text(RETRY_AFTER)?;
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    (date(wish)? - date(text(DATE)?)?).to_std().ok()
}

/// Installs ring: reqwest is built without a TLS provider, so that there is one in the whole program. The bootstrap of
/// a service installs it as well; the second installation changes nothing.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _already_installed_by_another_thread = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_from_seconds_and_from_a_date() {
        let mut headers = HeaderMap::new();
        let mut pause = |name: HeaderName, value: &'static str| {
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(pause(DATE, "Tue, 01 Dec 2026 13:00:00 GMT"), None);
        assert_eq!(pause(RETRY_AFTER, " 120 "), Some(Duration::from_mins(2)));
        let date = pause(RETRY_AFTER, "Tue, 01 Dec 2026 13:00:30 GMT");
        assert_eq!(date, Some(Duration::from_secs(30)));
        assert_eq!(
            pause(RETRY_AFTER, "Tue, 01 Dec 2026 12:00:00 GMT"),
            None,
            "in the past"
        );
        assert_eq!(pause(RETRY_AFTER, "soon"), None);
    }
}
