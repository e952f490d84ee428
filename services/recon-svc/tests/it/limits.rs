//! What a node refuses once is known to the next process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use eidos_testkit::{RpcFault, RpcProxy};

use crate::fixture::Fixture;

const CAP: u64 = 16_777_216;

/// A node in front of the real one that takes no call with more gas than EIP-7825 allows.
async fn thrifty(node: &str) -> (RpcProxy, Arc<AtomicU32>) {
    let refusals = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refusals);
    let proxy = RpcProxy::before(node).await;
    proxy.misbehave(move |request| {
        let gas = request["params"][0]["gas"].as_str().map_or(0, |gas| {
            u64::from_str_radix(gas.trim_start_matches("0x"), 16).unwrap()
        });
        if gas <= CAP {
            return RpcFault::None;
        }
        count.fetch_add(1, Ordering::SeqCst);
        let words = format!("Transaction gas limit is {gas} and exceeds transaction gas cap of {CAP}");
        RpcFault::error(request, -32_000, &words)
    });
    (proxy, refusals)
}

#[tokio::test]
async fn a_limit_of_the_node_is_stored_without_its_key_and_known_to_the_next_process() {
    let fixture = Fixture::clean().await;
    let (proxy, refusals) = thrifty(&fixture.node_url()).await;
    let settings = [("CHAIN__RPC_URL", proxy.url.as_str())];

    let report = fixture.reconcile(&["--full", "--dry-run"], &settings).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");
    assert!(refusals.swap(0, Ordering::SeqCst) > 0);
    assert_eq!(rows(&fixture).await, [], "a dry run stores nothing");

    fixture.reconcile(&["--full"], &settings).await;
    assert!(refusals.swap(0, Ordering::SeqCst) > 0);
    assert_eq!(
        rows(&fixture).await,
        [(proxy.endpoint(), 31_337, i64::try_from(CAP).unwrap())]
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
