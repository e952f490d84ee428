//! Two requests of JSON-RPC: the newest block and the finalized one.

use reqwest::header::{CONNECTION, CONTENT_TYPE};
use reqwest::{Client, Url};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::finding::Finding;
use super::target::Target;
use crate::domain::evm::{Block, block, judge};
use crate::domain::limits::Limits;

/// A block lists the hashes of its transactions.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

pub(super) async fn probe(
    client: &Client,
    target: &Target,
    url: &Url,
    now_ms: i64,
    limits: &Limits,
) -> Finding {
    let latest = match ask(client, target, url, "latest").await {
        Ok(Ok(latest)) => latest,
        Ok(Err(why)) => return Finding::failed(why),
        Err(finding) => return finding,
    };
    let finalized = match ask(client, target, url, "finalized").await {
        Ok(finalized) => finalized,
        Err(finding) => return finding,
    };
    judge(latest, finalized, now_ms, limits).into()
}

/// What the node says, or why there is no answer.
async fn ask(
    client: &Client,
    target: &Target,
    url: &Url,
    tag: &str,
) -> Result<Result<Option<Block>, String>, Finding> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": [tag, false]});
    let mut request = client
        .post(url.clone())
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string());
    if let Some(token) = &target.token {
        request = request.bearer_auth(token.expose_secret());
    }
    // The URL may hold a key.
    let failed = |error: reqwest::Error| Finding::of_error(&error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(Finding::failed(format!("answered {status}")));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > LONGEST_ANSWER {
            return Err(Finding::failed(format!(
                "answered with more than {LONGEST_ANSWER} bytes: is it a node?"
            )));
        }
    }
    let answer: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Finding::failed(format!("answered with a body that is not JSON: {error}")))?;
    Ok(block(&answer))
}
