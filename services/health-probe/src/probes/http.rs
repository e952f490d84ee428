//! A GET request over a connection of its own, so that name, certificate and listener are tried each time.

use reqwest::header::{CONNECTION, CONTENT_TYPE};
use reqwest::{Certificate, Client, Response, Url, redirect};
use secrecy::{ExposeSecret, SecretString};

use super::finding::Finding;
use crate::domain::health_body::judge;
use crate::domain::observation::Seen;

/// Redirects that are followed; a longer chain is a failure.
const REDIRECTS: usize = 3;
/// What is read of a body. The rest of a longer one is not asked for.
const BODY_BYTES: usize = 64 * 1024;

/// A client that trusts these authorities alone; `None`: those of this machine.
pub(super) fn client(authorities: Option<Vec<Certificate>>) -> Result<Client, reqwest::Error> {
    // reqwest is built without a TLS provider; whoever installed one before us wins.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder();
    let builder = match authorities {
        Some(authorities) => builder.tls_certs_only(authorities),
        None => builder,
    };
    builder
        .user_agent("eidos-health-probe")
        .redirect(redirect::Policy::limited(REDIRECTS))
        .pool_max_idle_per_host(0)
        // A proxy of the environment would be what is probed. Without compression the limit is that of the wire.
        .no_proxy()
        .no_gzip()
        .build()
}

pub(super) async fn probe(client: &Client, url: &Url, token: Option<&SecretString>) -> Finding {
    let mut request = client.get(url.clone()).header(CONNECTION, "close");
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    match request.send().await {
        Ok(response) => read(response).await,
        Err(error) if error.is_redirect() => {
            Finding::failed(format!("redirects more than {REDIRECTS} times"))
        }
        // The URL may hold a password.
        Err(error) => Finding::of_error(&error.without_url()),
    }
}

async fn read(mut response: Response) -> Finding {
    let status = response.status();
    let says_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("json")));
    let mut body = Vec::new();
    let mut is_whole = false;
    while body.len() < BODY_BYTES {
        match response.chunk().await {
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            Ok(None) => {
                is_whole = true;
                break;
            }
            Err(error) => return Finding::of_error(&error.without_url()),
        }
    }
    let json = serde_json::from_slice(&body);
    let said = json.as_ref().ok().and_then(judge);
    if !status.is_success() {
        let why = said.map(|(_, why)| why).filter(|why| !why.is_empty());
        let why = why.map(|why| format!(" and {why}")).unwrap_or_default();
        return Finding::failed(format!("answered {status}{why}"));
    }
    match said {
        Some((Seen::Good, _)) => Finding::good(),
        Some((seen, why)) => Finding { seen, why },
        None if !is_whole => {
            Finding::degraded(format!("answered {status} with more than {BODY_BYTES} bytes"))
        }
        None if says_json && json.is_err() => Finding::degraded(format!(
            "answered {status} with a body that is not the JSON it says"
        )),
        None => Finding::good(),
    }
}
