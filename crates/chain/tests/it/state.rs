//! A node that has the headers and not the state: it syncs, or answers from an older block without a word.

use eidos_chain::{BlockRef, ChainError, ChainReader, StateCheck};
use serde_json::{Value, json};

use crate::fixture::{Fixture, connect};
use eidos_testkit::{RpcFault, RpcProxy};

/// Answers `eth_syncing` with `progress`, alone or in a batch.
fn syncing(progress: Value) -> impl FnMut(&Value) -> RpcFault + Send {
    move |request| {
        if !request.to_string().contains("eth_syncing") {
            return RpcFault::None;
        }
        let (request, progress) = (request.clone(), progress.clone());
        RpcFault::answer(move |mut answer| {
            let id = |request: &Value| request["id"].clone();
            if let (Value::Array(requests), Value::Array(answers)) = (&request, &mut answer) {
                let asked = requests
                    .iter()
                    .find(|request| request["method"] == "eth_syncing")
                    .map(id);
                for one in answers
                    .iter_mut()
                    .filter(|one| Some(&one["id"]) == asked.as_ref())
                {
                    one["result"] = progress.clone();
                }
            } else {
                answer["result"] = progress;
            }
            answer
        })
    }
}

#[tokio::test]
async fn a_node_that_syncs_is_not_read() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let settings = fixture.settings_at(&proxy.url);
    let reader = connect(&settings).await;
    let progress = json!({"startingBlock": "0x0", "currentBlock": "0x2", "highestBlock": "0x3e"});
    proxy.misbehave(syncing(progress));
    // In each cut …
    let error = reader.finalized().await.unwrap_err();
    assert!(
        matches!(error, ChainError::Syncing { .. }) && error.is_retryable(),
        "{error}"
    );
    assert!(error.to_string().contains("block 2 of 62"), "{error}");
    // … and at the start.
    let error = ChainReader::connect(&settings).await.unwrap_err();
    assert!(matches!(error, ChainError::Syncing { .. }), "{error}");
    // A node that indexes transactions of blocks that it has executed is not syncing.
    let indexing = json!({"startingBlock": "0x0", "currentBlock": "0x3e", "highestBlock": "0x3e",
                          "txIndexFinishedBlocks": "0x1", "txIndexRemainingBlocks": "0x3d"});
    proxy.misbehave(syncing(indexing));
    reader.finalized().await.unwrap();
}

/// Every question about the state of `at` is answered from `older`; headers and logs are right.
fn executing(
    at: BlockRef,
    older: BlockRef,
    without: &'static [&'static str],
) -> impl FnMut(&Value) -> RpcFault + Send {
    fn replaced(value: &Value, from: &str, to: &str) -> Value {
        match value {
            Value::String(text) if text == from => json!(to),
            Value::Array(all) => all.iter().map(|one| replaced(one, from, to)).collect(),
            Value::Object(all) => Value::Object(
                all.iter()
                    .map(|(key, one)| (key.clone(), replaced(one, from, to)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }
    move |request| {
        if without.iter().any(|method| request["method"] == *method) {
            return RpcFault::error(request, -32_601, "the method does not exist/is not available");
        }
        let text = request.to_string();
        if text.contains("eth_getBlockBy") {
            return RpcFault::None;
        }
        RpcFault::Ask(replaced(request, &at.hash.to_string(), &older.hash.to_string()))
    }
}

#[tokio::test]
async fn an_older_state_under_right_headers_gives_no_values() {
    for (without, gave_away) in [
        (&[][..], "does not fit its state root"),
        (&["eth_getProof"][..], "sent nonce"),
    ] {
        let fixture = Fixture::start().await;
        let proxy = RpcProxy::before(&fixture.node.url).await;
        let reader = connect(&fixture.settings_at(&proxy.url)).await;
        let user = fixture.users[0];
        fixture.deposit(user, fixture.usdc, 100).await;
        let older = reader.head().await.unwrap();
        fixture.deposit(user, fixture.usdc, 11).await;
        let at = reader.head().await.unwrap();
        proxy.misbehave(executing(at, older, without));
        let pairs = [(user, fixture.usdc)];
        for error in [
            reader.vault_totals(&at, &pairs).await.map(drop).unwrap_err(),
            reader
                .token_held(&at, &[fixture.usdc])
                .await
                .map(drop)
                .unwrap_err(),
        ] {
            assert!(
                matches!(error, ChainError::StaleState { .. }) && error.is_retryable(),
                "{error}"
            );
            assert!(error.to_string().contains(gave_away), "{error}");
        }
        // When it has executed the block, the same reader reads it.
        proxy.behave();
        assert_eq!(
            reader.vault_totals(&at, &pairs).await.unwrap(),
            [eidos_types::BaseUnits::from(111)]
        );
    }
}

#[tokio::test]
async fn the_report_says_how_the_state_was_checked() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let settings = fixture.settings_at(&proxy.url);
    let check = |reader: &ChainReader| reader.ladder_report().state_check;
    assert_eq!(check(&connect(&settings).await), StateCheck::Proof);
    let no_proofs = |request: &Value| match request["method"].as_str() {
        Some("eth_getProof") => RpcFault::error(request, -32_601, "the method eth_getProof does not exist"),
        _ => RpcFault::None,
    };
    proxy.misbehave(no_proofs);
    let found = check(&connect(&settings).await);
    assert!(
        matches!(&found, StateCheck::Nonces(why) if why.contains("does not exist")),
        "{found:?}"
    );
    // reth keeps no proofs of older blocks by default: that says nothing about its state.
    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_getProof") => RpcFault::error(
            request,
            -32_000,
            "distance to target block exceeds maximum proof window",
        ),
        _ => RpcFault::None,
    });
    assert!(matches!(check(&connect(&settings).await), StateCheck::Nonces(_)));
    fixture.node.mine(10).await;
    proxy.misbehave(no_proofs);
    let found = check(&connect(&settings).await);
    assert!(
        matches!(&found, StateCheck::NotPossible(why) if why.contains("no transaction in blocks")),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_slow_proof_is_left_out_for_a_while() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_getProof") => RpcFault::Late(std::time::Duration::from_millis(1_100)),
        _ => RpcFault::None,
    });
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    fixture.deposit(fixture.users[0], fixture.usdc, 1).await;
    let at = reader.head().await.unwrap();
    reader.verify_state(&at).await.unwrap();
    let found = reader.ladder_report().state_check;
    assert!(
        matches!(&found, StateCheck::Nonces(why) if why.contains("eth_getProof took 1")),
        "{found:?}"
    );
}
