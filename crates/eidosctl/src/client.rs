//! The HTTP side: one client with a timeout, and problem+json as an error a person can read.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Larger answers are refused: the API pages its lists.
const MAX_BODY_BYTES: u64 = 64 * 1_024 * 1_024;

/// A service's API.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

/// A request that is being put together.
pub(crate) struct Request<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    body: Option<Value>,
    idempotency_key: Option<String>,
}

/// RFC 9457: what the service says when it refuses.
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// The kind of problem, in a few words.
    #[serde(default)]
    pub title: String,
    /// This problem in particular: which value, what to do.
    #[serde(default)]
    pub detail: Option<String>,
    /// Members beyond the standard's, such as the execution that is in the way.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.title, self.status)?;
        if let Some(detail) = self.detail.as_deref().filter(|detail| !detail.is_empty()) {
            write!(f, ": {detail}")?;
        }
        let members = self
            .extra
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "type" | "instance"));
        for (key, value) in members {
            write!(f, "\n  {key}: {}", plain(value))?;
        }
        if self.status == 401 {
            f.write_str("\n  set EIDOS_TOKEN or --token-file to a token of the service's auth.tokens")?;
        }
        Ok(())
    }
}

/// Returns a JSON value without quotes around text.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl Client {
    /// Returns a client for the API at `base`.
    pub(crate) fn new(base: Url, token: Option<SecretString>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(RESPONSE_TIMEOUT)
            // The token must not follow a redirect to somewhere else.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("eidosctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot create an HTTP client")?;
        Ok(Self { http, base, token })
    }

    /// The address that is asked.
    pub(crate) const fn base(&self) -> &Url {
        &self.base
    }

    /// Begins a `GET` of the path made of `v1` and `segments`.
    pub(crate) fn get(&self, segments: &[&str]) -> Request<'_> {
        self.request(Method::GET, &[&["v1"], segments].concat())
    }

    /// Begins a `GET` of a path outside the service's API, such as a probe.
    pub(crate) fn get_outside(&self, segments: &[&str]) -> Request<'_> {
        self.request(Method::GET, segments)
    }

    /// Begins a `POST` to the path made of `v1` and `segments`.
    pub(crate) fn post(&self, segments: &[&str]) -> Request<'_> {
        self.request(Method::POST, &[&["v1"], segments].concat())
    }

    fn request(&self, method: Method, segments: &[&str]) -> Request<'_> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            // Each segment is escaped, so that a token name cannot reach another path.
            path.pop_if_empty().extend(segments);
        }
        Request {
            client: self,
            method,
            url,
            body: None,
            idempotency_key: None,
        }
    }
}

impl Request<'_> {
    /// Adds `key=value` to the query when there is a value.
    pub(crate) fn query(mut self, key: &str, value: Option<impl fmt::Display>) -> Self {
        if let Some(value) = value {
            self.url.query_pairs_mut().append_pair(key, &value.to_string());
        }
        self
    }

    /// Sends `body` as JSON.
    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Makes repeating the request safe.
    pub(crate) fn idempotency_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }

    /// Sends the request and reads the JSON answer (`null` for an empty one).
    pub(crate) async fn send(self) -> Result<Value> {
        let url = self.url.to_string();
        let key = self.idempotency_key.clone();
        let lost = |error: &reqwest::Error| {
            let reason = reason(error);
            match key.clone().filter(|_| !error.is_connect()) {
                Some(key) => Failure::OutcomeUnknown {
                    url: url.clone(),
                    reason,
                    key,
                },
                None => Failure::Unreachable {
                    url: url.clone(),
                    reason,
                },
            }
        };
        let response = self.build().send().await.map_err(|error| lost(&error))?;
        let status = response.status();
        if response
            .content_length()
            .is_some_and(|bytes| bytes > MAX_BODY_BYTES)
        {
            anyhow::bail!("{url} answered with more than {MAX_BODY_BYTES} bytes; ask for less with --limit");
        }
        let body = response.bytes().await.map_err(|error| lost(&error))?;
        if !status.is_success() {
            return Err(Failure::Refused(problem(status, &body)).into());
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).with_context(|| {
            format!("{url} did not answer with JSON; is --url the address of a service's API?")
        })
    }

    fn build(self) -> reqwest::RequestBuilder {
        let mut request = self.client.http.request(self.method, self.url);
        if let Some(token) = &self.client.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        match &self.body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

/// Reads a base URL; the error names `setting`, where it was written.
pub(crate) fn base_url(setting: &str, url: &str) -> Result<Url> {
    Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            Failure::Settings(format!(
                "{setting}: '{url}' is not an http(s) URL such as http://127.0.0.1:8080"
            ))
            .into()
        })
}

/// Returns the token of the file that the command line names, else of the profile's file, else of the environment: a
/// token in the environment is not sent to services that have one of their own. `None`: there is none, which a
/// development service may allow.
pub(crate) fn token_of(named: Option<&Path>, of_profile: Option<&Path>) -> Result<Option<SecretString>> {
    let text = match named.or(of_profile) {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Failure::Settings(format!("token file {} cannot be read: {error}", path.display()))
        })?,
        None => std::env::var("EIDOS_TOKEN").unwrap_or_default(),
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Settings("the API token holds spaces or control characters".to_owned()).into());
    }
    Ok(Some(SecretString::from(text.to_owned())))
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let mut problem = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_not_a_problem| Problem {
        status: status.as_u16(),
        title: String::new(),
        // A proxy's HTML page is not worth more than its first words.
        detail: Some(String::from_utf8_lossy(body).chars().take(200).collect()),
        extra: serde_json::Map::new(),
    });
    problem.status = status.as_u16();
    if problem.title.is_empty() {
        status
            .canonical_reason()
            .unwrap_or("refused")
            .clone_into(&mut problem.title);
    }
    problem
}

/// Returns the innermost reason; the outer ones repeat the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    if error.is_timeout() {
        format!("timed out ({source})")
    } else {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<Client> {
        Client::new(base_url("--url", url)?, None)
    }

    #[test]
    fn names_are_escaped_so_they_cannot_reach_another_path() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client("http://localhost:1/eidos/").unwrap();
        let request = client.post(&["pauses", "withdraw", "../US?DC", "lift"]);
        assert_eq!(
            request.url.as_str(),
            "http://localhost:1/eidos/v1/pauses/withdraw/..%2FUS%3FDC/lift"
        );
    }

    #[test]
    fn a_wrong_url_is_a_settings_error_that_names_it() {
        for url in ["", "localhost:8080", "ftp://host", "/v1"] {
            let error = client(url).expect_err(url);
            assert_eq!(
                error.downcast_ref::<Failure>().map(Failure::exit_code),
                Some(78),
                "{url}"
            );
        }
    }

    #[test]
    fn problems_are_readable() {
        let body = br#"{"type":"about:blank","title":"Conflict","status":409,"detail":"reconciliation is running","execution_id":"e1"}"#;
        let text = problem(StatusCode::CONFLICT, body).to_string();
        assert_eq!(
            text,
            "Conflict (HTTP 409): reconciliation is running\n  execution_id: e1"
        );
        let text = problem(StatusCode::BAD_GATEWAY, b"<html>nginx</html>").to_string();
        assert_eq!(text, "Bad Gateway (HTTP 502): <html>nginx</html>");
    }
}
