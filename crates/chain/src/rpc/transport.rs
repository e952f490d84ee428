//! HTTP, and nothing else: limits, and words without credentials.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Url, redirect};
use secrecy::{ExposeSecret, SecretString};

use super::RpcError;
use crate::settings::ChainSettings;
use crate::{ChainError, observe};

/// One endpoint.
pub(crate) struct Transport {
    client: Client,
    url: SecretString,
    endpoint: String,
    request_timeout: Duration,
    max_response_bytes: usize,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Scheme, host and port of an http or https URL; `None` for anything else.
pub(crate) fn endpoint_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    match (url.scheme(), url.port_or_known_default()) {
        (scheme @ ("http" | "https"), Some(port)) => Some(format!("{scheme}://{host}:{port}")),
        _ => None,
    }
}

impl Transport {
    pub(crate) fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        let refuse = |reason: String| ChainError::Refused {
            setting: "rpc_url".to_owned(),
            value: "(hidden)".to_owned(),
            reason,
            fix: "use http://host:port/path or https://host/path".to_owned(),
        };
        let endpoint = endpoint_of(settings.rpc_url.expose_secret())
            .ok_or_else(|| refuse("is not an http or https URL".to_owned()))?;
        install_crypto_provider();
        let client = Client::builder()
            .connect_timeout(settings.rpc.connect_timeout)
            .timeout(settings.rpc.request_timeout)
            // A redirect would carry the request, credentials included, to a host nobody configured.
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(settings.rpc.parallel_requests)
            .user_agent(concat!("eidos-chain/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| refuse(format!("no HTTP client can be made: {}", error.without_url())))?;
        Ok(Self {
            client,
            url: settings.rpc_url.clone(),
            endpoint,
            request_timeout: settings.rpc.request_timeout,
            max_response_bytes: settings.rpc.max_response_bytes,
        })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends `body` and reads the whole answer.
    pub(crate) async fn post(&self, body: Bytes) -> Result<Bytes, RpcError> {
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
        if !response.status().is_success() {
            return Err(RpcError::Http {
                status: response.status().as_u16(),
                retry_after: retry_after(response.headers()),
            });
        }
        let mut answer = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if answer.len() + chunk.len() > self.max_response_bytes {
                return Err(RpcError::AnswerTooLong(self.max_response_bytes));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer.freeze())
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

/// Seconds only: the other form, a date, would need a clock both sides agree on.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// reqwest is built without a TLS provider, so that there is one in the whole program: ring. The bootstrap of a
/// service installs it as well; whoever comes second changes nothing.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _already_installed_by_another_thread = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_shows_neither_credentials_nor_path() {
        assert_eq!(
            endpoint_of("https://user:pass@eth.example.com/v3/secret-key?token=x"),
            Some("https://eth.example.com:443".to_owned())
        );
        assert_eq!(
            endpoint_of("http://127.0.0.1:8545"),
            Some("http://127.0.0.1:8545".to_owned())
        );
        for bad in ["", "127.0.0.1:8545", "ws://node", "ipc:///x", "http://"] {
            assert_eq!(endpoint_of(bad), None, "{bad}");
        }
    }
}
