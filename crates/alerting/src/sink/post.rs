//! One POST request of a sink, and what its answer means.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::SendError;

/// What is read of the text of an answer.
const LONGEST_TEXT: usize = 1024;

/// What is read of the JSON of an answer.
const LONGEST_JSON: usize = 4 * 1024 * 1024;

/// A client without redirects and proxies.
pub(super) struct Poster {
    client: Client,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The receiver's clock, epoch milliseconds; `None`: it does not say.
    pub(super) date_ms: Option<i64>,
    /// The begin of its text.
    pub(super) text: String,
}

impl Poster {
    pub(super) fn new(timeout: Duration) -> Result<Self, String> {
        // reqwest is built without a TLS provider; whoever installed one before us wins.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            // A receiver that was restarted leaves connections behind that fail at their next use.
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| format!("the HTTP client cannot be made: {error}"))?;
        Ok(Self { client })
    }

    /// Sends JSON. An answer of any status is one.
    pub(super) async fn post(
        &self,
        url: &Url,
        body: String,
        headers: HeaderMap,
    ) -> Result<Answer, SendError> {
        let request = self
            .client
            .post(url.clone())
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let response = request
            .send()
            .await
            .map_err(|error| SendError::Later(why(&error.without_url())))?;
        Ok(read(response, LONGEST_TEXT).await)
    }

    /// Asks, and returns the answer with the begin of its text.
    pub(super) async fn get(&self, url: &Url) -> Result<Answer, SendError> {
        Ok(read(self.ask(url).await?, LONGEST_TEXT).await)
    }

    /// Asks for JSON, and returns it with the server's clock, epoch milliseconds.
    pub(super) async fn get_json(&self, url: &Url) -> Result<(Value, Option<i64>), SendError> {
        let answer = read(self.ask(url).await?, LONGEST_JSON).await;
        answer.outcome()?;
        let json = serde_json::from_str(&answer.text);
        let json = json.map_err(|error| SendError::Later(format!("its answer is not JSON: {error}")))?;
        Ok((json, answer.date_ms))
    }

    async fn ask(&self, url: &Url) -> Result<Response, SendError> {
        let response = self.client.get(url.clone()).send().await;
        response.map_err(|error| SendError::Later(why(&error.without_url())))
    }
}

async fn read(mut response: Response, longest: usize) -> Answer {
    let date = response.headers().get(DATE).and_then(|value| value.to_str().ok());
    let date_ms = date
        .and_then(|text| DateTime::parse_from_rfc2822(text).ok())
        .map(|date| date.timestamp_millis());
    let status = response.status();
    let mut text = Vec::new();
    // A text that breaks off changes nothing of the status.
    while text.len() < longest
        && let Ok(Some(piece)) = response.chunk().await
    {
        text.extend_from_slice(&piece[..piece.len().min(longest - text.len())]);
    }
    let text = String::from_utf8_lossy(&text);
    Answer {
        status,
        date_ms,
        text: text.chars().filter(|c| !c.is_control()).collect(),
    }
}

impl Answer {
    /// Accepted; to be tried again; or never.
    pub(super) fn outcome(&self) -> Result<(), SendError> {
        let status = self.status;
        if status.is_success() {
            return Ok(());
        }
        let said = format!("answered {status}");
        let again = [
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_EARLY,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        if status.is_server_error() || again.contains(&status) {
            Err(SendError::Later(said))
        } else {
            Err(SendError::Refused(said))
        }
    }

    /// As [`Self::outcome`], with the begin of the text, in which `secret` is masked.
    pub(super) fn outcome_with_text(&self, secret: Option<&SecretString>) -> Result<(), SendError> {
        let mut text = self.text.clone();
        if let Some(secret) = secret {
            text = text.replace(secret.expose_secret(), "********");
        }
        let with_text = |said: String| {
            if text.is_empty() {
                said
            } else {
                format!("{said}: {text}")
            }
        };
        self.outcome().map_err(|error| match error {
            SendError::Refused(said) => SendError::Refused(with_text(said)),
            SendError::Later(said) => SendError::Later(with_text(said)),
        })
    }
}

/// Reads a URL, whose error could show a secret.
pub(super) fn url(text: &SecretString) -> Result<Url, String> {
    let url = text.expose_secret().parse();
    url.map_err(|_url| "is not a URL".to_owned())
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
