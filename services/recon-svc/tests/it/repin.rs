//! State that is gone, and a reorganised block, mean: pin again. Never a difference (ruling 21).

use eidos_testkit::{RpcFault, RpcProxy, asks_for, calls_of, rpc_error};
use serde_json::Value;

use crate::fixture::Fixture;

/// A node in front of the real one that forgets its state: from the first `eth_getLogs` on (so after the start's own
/// checks), it refuses this many requests for state.
async fn forgetful(node: &str, refusals: u32) -> RpcProxy {
    let proxy = RpcProxy::before(node).await;
    let (mut armed, mut left) = (false, refusals);
    proxy.misbehave(move |request| {
        armed |= asks_for(request, "eth_getLogs");
        let is_state = |call: &Value| {
            let method = call["method"].as_str().unwrap();
            method == "eth_call" || method.starts_with("eth_getStorage")
        };
        if !armed || left == 0 || !calls_of(request).iter().any(is_state) {
            return RpcFault::None;
        }
        left -= 1;
        refusal(request)
    });
    proxy
}

fn refusal(request: &Value) -> RpcFault {
    let refused = |call: &Value| {
        rpc_error(
            call,
            -32_000,
            "missing trie node 0xab (path ) state is not available",
        )
    };
    let answer = match request {
        Value::Array(calls) => Value::Array(calls.iter().map(refused).collect()),
        one => refused(one),
    };
    RpcFault::Body(answer.to_string())
}

#[tokio::test]
async fn ruling_21_state_that_is_gone_is_pinned_again() {
    let fixture = Fixture::clean().await;
    fixture.edit("USDC", 0, "7").await;
    let proxy = forgetful(&fixture.node_url(), 1).await;
    let report = fixture
        .reconcile(&["--full"], &[("CHAIN__RPC_URL", &proxy.url)])
        .await;
    assert_eq!(report["repins"], 1, "{report:#}");
    assert_eq!(report["breaks_found"], 1, "neither lost nor invented: {report:#}");
}

#[tokio::test]
async fn ruling_21_state_that_stays_gone_ends_the_run_as_failed() {
    let fixture = Fixture::clean().await;
    let proxy = forgetful(&fixture.node_url(), u32::MAX).await;
    let settings = [
        ("CHAIN__RPC_URL", proxy.url.as_str()),
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
