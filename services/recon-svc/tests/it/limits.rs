//! What a node refuses once is known to the next process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// A node in front of the real one that takes no call with more gas than EIP-7825 allows.
#[derive(Clone)]
struct Thrifty {
    node: String,
    http: reqwest::Client,
    refusals: Arc<AtomicU32>,
}

const CAP: u64 = 16_777_216;

async fn thrifty(node: &str) -> (String, Arc<AtomicU32>) {
    let proxy = Thrifty {
        node: node.to_owned(),
        http: reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(30))
            .build()
            .unwrap(),
        refusals: Arc::default(),
    };
    let refusals = Arc::clone(&proxy.refusals);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, refusals)
}

async fn answer(State(proxy): State<Thrifty>, body: String) -> String {
    let request: Value = serde_json::from_str(&body).unwrap();
    let gas = request["params"][0]["gas"].as_str().map_or(0, |gas| {
        u64::from_str_radix(gas.trim_start_matches("0x"), 16).unwrap()
    });
    if gas > CAP {
        proxy.refusals.fetch_add(1, Ordering::SeqCst);
        let words = format!("Transaction gas limit is {gas} and exceeds transaction gas cap of {CAP}");
        let error = json!({ "code": -32_000, "message": words });
        return json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }).to_string();
    }
    let request = proxy
        .http
        .post(&proxy.node)
        .header("content-type", "application/json")
        .body(body);
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_limit_of_the_node_is_stored_without_its_key_and_known_to_the_next_process() {
    let fixture = Fixture::clean().await;
    let (endpoint, refusals) = thrifty(&fixture.node_url()).await;
    let url = format!("{endpoint}/v3/Key-12345678");
    let settings = [("CHAIN__RPC_URL", url.as_str())];

    let report = fixture.reconcile(&["--full", "--dry-run"], &settings).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");
    assert!(refusals.swap(0, Ordering::SeqCst) > 0);
    assert_eq!(rows(&fixture).await, [], "a dry run stores nothing");

    fixture.reconcile(&["--full"], &settings).await;
    assert!(refusals.swap(0, Ordering::SeqCst) > 0);
    assert_eq!(
        rows(&fixture).await,
        [(endpoint, 31_337, i64::try_from(CAP).unwrap())]
    );

    let report = fixture.reconcile(&["--full"], &settings).await;
    assert_eq!(
        refusals.load(Ordering::SeqCst),
        0,
        "the next process is not refused"
    );
    assert_eq!(report["breaks_found"], 0, "{report:#}");

    // Plans and nodes change: after a week the setting is tried again.
    sqlx::query("UPDATE eidos_jobs_chain_limits SET learned_at = now() - interval '8 days'")
        .execute(fixture.jobs.pool())
        .await
        .unwrap();
    fixture.reconcile(&["--full"], &settings).await;
    assert!(refusals.load(Ordering::SeqCst) > 0);
    let young: bool =
        sqlx::query_scalar("SELECT learned_at > now() - interval '1 day' FROM eidos_jobs_chain_limits")
            .fetch_one(fixture.jobs.pool())
            .await
            .unwrap();
    assert!(young, "it was learned anew");
}

async fn rows(fixture: &Fixture) -> Vec<(String, i64, i64)> {
    sqlx::query_as("SELECT endpoint, chain_id, call_gas FROM eidos_jobs_chain_limits")
        .fetch_all(fixture.jobs.pool())
        .await
        .unwrap()
}
