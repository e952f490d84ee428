//! State that is gone, and a reorganised block, mean: pin again. Never a difference (ruling 21).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// A node in front of the real one that forgets its state: from the first `eth_getLogs` on (so after the start's own
/// checks), it refuses this many requests for state.
#[derive(Clone)]
struct Forgetful {
    node: String,
    http: reqwest::Client,
    armed: Arc<AtomicBool>,
    refusals: Arc<AtomicU32>,
}

async fn forgetful(node: &str, refusals: u32) -> String {
    let proxy = Forgetful {
        node: node.to_owned(),
        http: reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(30))
            .build()
            .unwrap(),
        armed: Arc::default(),
        refusals: Arc::new(AtomicU32::new(refusals)),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(answer)).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(State(proxy): State<Forgetful>, body: String) -> String {
    if body.contains("eth_getLogs") {
        proxy.armed.store(true, Ordering::SeqCst);
    }
    let wants_state = body.contains("eth_call") || body.contains("eth_getStorage");
    let refuses = wants_state
        && proxy.armed.load(Ordering::SeqCst)
        && proxy
            .refusals
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
    if refuses {
        return refusal(&serde_json::from_str(&body).unwrap()).to_string();
    }
    let request = proxy
        .http
        .post(&proxy.node)
        .header("content-type", "application/json")
        .body(body);
    request.send().await.unwrap().text().await.unwrap()
}

fn refusal(request: &Value) -> Value {
    if let Some(batch) = request.as_array() {
        return batch.iter().map(refusal).collect();
    }
    let error =
        json!({ "code": -32_000, "message": "missing trie node 0xab (path ) state is not available" });
    json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })
}

#[tokio::test]
async fn ruling_21_state_that_is_gone_is_pinned_again() {
    let fixture = Fixture::clean().await;
    fixture.edit("USDC", 0, "7").await;
    let url = forgetful(&fixture.node_url(), 1).await;
    let report = fixture.reconcile(&["--full"], &[("CHAIN__RPC_URL", &url)]).await;
    assert_eq!(report["repins"], 1, "{report:#}");
    assert_eq!(report["breaks_found"], 1, "neither lost nor invented: {report:#}");
}

#[tokio::test]
async fn ruling_21_state_that_stays_gone_ends_the_run_as_failed() {
    let fixture = Fixture::clean().await;
    let url = forgetful(&fixture.node_url(), u32::MAX).await;
    let settings = [
        ("CHAIN__RPC_URL", url.as_str()),
        ("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1"),
    ];
    let (status, child) = fixture
        .command(&["--full"], &settings)
        .run(std::time::Duration::from_mins(1))
        .await;
    assert!(!status.success(), "an empty success: {}", child.stdout());
    assert!(
        child.stderr().contains("no state for block"),
        "{}",
        child.stderr()
    );
    assert_eq!(fixture.open_breaks().await, []);
}
