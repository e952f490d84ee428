//! [`Heartbeat`]: an address outside that notices when it is no longer asked.

use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::SendError;
use super::post::{self, Poster};

/// Where a heartbeat goes.
#[derive(Debug, Clone)]
pub struct HeartbeatSettings {
    /// `http://…` or `https://…`; may hold a secret.
    pub url: SecretString,
    /// Time limit of one request, connecting included.
    pub timeout: Duration,
}

/// Asks a URL as long as its sender works. Redirects are not followed.
pub struct Heartbeat {
    url: Url,
    poster: Poster,
}

impl Heartbeat {
    /// Makes it; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: &HeartbeatSettings) -> Result<Self, String> {
        Ok(Self {
            url: post::url(&settings.url)?,
            poster: Poster::new(settings.timeout)?,
        })
    }

    /// One GET request.
    ///
    /// # Errors
    /// It was not answered with a status of success.
    pub async fn beat(&self) -> Result<(), SendError> {
        self.poster.get(&self.url).await?.outcome()
    }
}
