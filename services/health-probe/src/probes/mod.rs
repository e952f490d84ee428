//! One probe of each kind. A probe never takes longer than its limit and never fails otherwise than by what it observed.

mod finding;
mod http;
mod tcp;

use std::time::Duration;

use reqwest::Client;
use secrecy::SecretString;
use tokio::time::{Instant, timeout};

use self::finding::Finding;
use crate::domain::address::Address;
use crate::domain::observation::Observation;

/// What is probed.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in metrics, alerts and reports.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Bearer token of an HTTP request; `None`: none is sent.
    pub token: Option<SecretString>,
}

/// Makes probes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prober {
    http: Client,
    limit: Duration,
}

impl Prober {
    /// Makes a prober whose probes take at most `limit`.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub fn new(limit: Duration) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: http::client()?,
            limit,
        })
    }

    /// Probes once.
    pub async fn probe(&self, address: &Address, token: Option<&SecretString>) -> Observation {
        let started = Instant::now();
        let asking = async {
            match address {
                Address::Http(url) => http::probe(&self.http, url, token).await,
                Address::Tcp { host, port } => tcp::probe(host, *port).await,
            }
        };
        let finding = timeout(self.limit, asking).await.unwrap_or_else(|_elapsed| {
            Finding::failed(format!("no whole answer within {} ms", self.limit.as_millis()))
        });
        Observation {
            seen: finding.seen,
            why: finding.why,
            took: started.elapsed(),
        }
    }
}
