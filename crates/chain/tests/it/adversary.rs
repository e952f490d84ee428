//! A node that lies, lags, mixes up and breaks down: an error or another rung, never a wrong value.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy_primitives::{Bytes, U256};
use eidos_chain::{ChainError, Rung, RungState};
use serde_json::{Value, json};

use crate::fixture::{Fixture, connect};
use crate::requests::{has_override, is_bulk};
use eidos_testkit::{RpcFault, RpcProxy};

/// Adds one to every word of an answer.
fn every_word_plus_one(mut answer: Value) -> Value {
    let bytes: Bytes = serde_json::from_value(answer["result"].clone()).unwrap();
    let words: Vec<u8> = bytes
        .chunks(32)
        .flat_map(|word| {
            U256::from_be_slice(word)
                .wrapping_add(U256::ONE)
                .to_be_bytes::<32>()
        })
        .collect();
    answer["result"] = json!(Bytes::from(words));
    answer
}

#[tokio::test]
async fn a_rung_that_lies_is_found_out_and_never_used_again() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(40, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    proxy.misbehave(|request| {
        if has_override(request) {
            RpcFault::answer(every_word_plus_one)
        } else {
            RpcFault::None
        }
    });
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert!(matches!(
        reader.ladder_report().rungs[0].state,
        RungState::Distrusted(_)
    ));
    proxy.behave();
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert!(
        matches!(reader.ladder_report().rungs[0].state, RungState::Distrusted(_)),
        "it is not forgiven"
    );
}

#[tokio::test]
async fn a_rung_that_answers_for_another_block_is_found_out() {
    let fixture = Fixture::start().await;
    let (pairs, old) = fixture.fill(40, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    // anvil writes into the state of the head, so the head must be another block than the pinned one.
    fixture.node.mine(1).await;
    for (wallet, token) in &pairs {
        let slot = eidos_chain::vault_balance_slots(wallet, token).unwrap().total;
        let other = format!("{:#066x}", 12_345);
        fixture
            .node
            .rpc("anvil_setStorageAt", json!([fixture.vault, slot, other]))
            .await;
    }
    fixture.node.mine(1).await;
    proxy.misbehave(|request| {
        if !is_bulk(request) {
            return RpcFault::None;
        }
        let mut request = request.clone();
        request["params"][1] = json!("latest");
        RpcFault::Ask(request)
    });
    assert_eq!(
        reader.vault_totals(&at, &pairs).await.unwrap(),
        old,
        "read at the pinned block, not at the head"
    );
    assert!(matches!(
        reader.ladder_report().rungs[0].state,
        RungState::Distrusted(_)
    ));
}

#[tokio::test]
async fn empty_short_and_long_answers_are_no_values() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(40, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    for result in [
        "0x".to_owned(),
        format!("0x{}", "00".repeat(32)),
        format!("0x{}", "00".repeat(32 * 200)),
    ] {
        let reader = connect(&fixture.settings_at(&proxy.url)).await;
        let at = reader.head().await.unwrap();
        let lie = result.clone();
        proxy.misbehave(move |request| {
            let lie = lie.clone();
            if !is_bulk(request) {
                return RpcFault::None;
            }
            RpcFault::answer(move |mut answer| {
                answer["result"] = json!(lie);
                answer
            })
        });
        assert_eq!(
            reader.vault_totals(&at, &pairs).await.unwrap(),
            totals,
            "{}",
            result.len()
        );
        assert!(matches!(
            reader.ladder_report().rungs[0].state,
            RungState::Resting(_)
        ));
        proxy.behave();
    }
    // And when every call answers nothing, there is no value at all.
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_getBlockByNumber") => RpcFault::None,
        _ => RpcFault::answer(strip_results),
    });
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
}

fn strip_results(answer: Value) -> Value {
    match answer {
        Value::Array(answers) => Value::Array(answers.into_iter().map(strip_results).collect()),
        mut answer => {
            answer["result"] = json!("0x");
            answer
        }
    }
}

/// What is done to the answers of a batch.
type Change = fn(&mut Vec<Value>);

/// Applies `change` to every batch answer.
fn in_batches(change: Change) -> impl FnMut(&Value) -> RpcFault + Send + 'static {
    move |request| {
        if !request.is_array() {
            return RpcFault::None;
        }
        RpcFault::answer(move |answer| {
            let Value::Array(mut answers) = answer else {
                panic!("{answer}")
            };
            change(&mut answers);
            Value::Array(answers)
        })
    }
}

#[tokio::test]
async fn batch_answers_are_matched_by_id() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(40, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.bulk.rungs = vec![Rung::Batch, Rung::Single];
    let is_resting = |reader: &eidos_chain::ChainReader| {
        matches!(reader.ladder_report().rungs[0].state, RungState::Resting(_))
    };

    let reader = connect(&settings).await;
    let at = reader.head().await.unwrap();
    proxy.misbehave(in_batches(|answers| answers.reverse()));
    assert_eq!(
        reader.vault_totals(&at, &pairs).await.unwrap(),
        totals,
        "any order will do"
    );
    assert!(!is_resting(&reader));

    let faults: [(&str, Change); 4] = [
        ("truncated", |answers| {
            answers.pop();
        }),
        ("one answer twice", |answers| {
            let first = answers[0].clone();
            let last = answers.len() - 1;
            answers[last] = first;
        }),
        ("an answer too many", |answers| {
            let mut stray = answers[0].clone();
            stray["id"] = json!(0);
            answers.push(stray);
        }),
        ("all ids moved by one", |answers| {
            for answer in answers {
                answer["id"] = json!(answer["id"].as_u64().unwrap() + 1);
            }
        }),
    ];
    for (fault, change) in faults {
        let reader = connect(&settings).await;
        proxy.misbehave(in_batches(change));
        assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals, "{fault}");
        assert!(
            is_resting(&reader),
            "{fault}: a batch whose ids are wrong must not be used"
        );
        proxy.behave();
    }
}

#[tokio::test]
async fn single_answers_are_matched_by_id_too() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    proxy.misbehave(|_request| {
        RpcFault::answer(|mut answer| {
            answer["id"] = json!(answer["id"].as_u64().unwrap() + 1);
            answer
        })
    });
    assert!(matches!(
        reader.head().await.unwrap_err(),
        ChainError::Malformed { .. }
    ));
}

#[tokio::test]
async fn garbage_is_an_error() {
    let fixture = Fixture::start().await;
    let (pairs, _totals) = fixture.fill(10, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    for body in [
        "",
        "<html>Bad gateway</html>",
        "{}",
        "[]",
        "null",
        r#"{"jsonrpc":"2.0","id":1,"resu"#,
    ] {
        proxy.misbehave(move |_request| RpcFault::Body(body.to_owned()));
        let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
        assert!(matches!(error, ChainError::Malformed { .. }), "{body}: {error}");
    }
    let mut settings = fixture.settings_at(&proxy.url);
    settings.rpc.max_response_bytes = 65_536;
    proxy.behave();
    let reader = connect(&settings).await;
    proxy.misbehave(|_request| RpcFault::Body("x".repeat(100_000)));
    let error = reader.head().await.unwrap_err();
    assert!(error.to_string().contains("more than 65536 bytes"), "{error}");
}

#[tokio::test]
async fn busy_and_broken_nodes_are_asked_again_but_not_for_ever() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(40, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    for status in [500, 502, 503] {
        let mut left = 2;
        proxy.misbehave(move |_request| {
            if left > 0 {
                left -= 1;
                return RpcFault::Status(status);
            }
            RpcFault::None
        });
        assert_eq!(
            reader.vault_totals(&at, &pairs).await.unwrap(),
            totals,
            "{status}"
        );
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        proxy.misbehave(move |_request| {
            count.fetch_add(1, Ordering::Relaxed);
            RpcFault::Status(status)
        });
        let error = reader.head().await.unwrap_err();
        assert!(
            matches!(error, ChainError::Transport { .. }) && error.is_retryable(),
            "{error}"
        );
        assert_eq!(
            asked.load(Ordering::Relaxed),
            4,
            "four attempts, then it is an error"
        );
    }
    assert!(
        matches!(reader.ladder_report().rungs[0].state, RungState::Ready),
        "an outage is not the rung's fault"
    );
    // What will not get better is not asked twice.
    let before = reader.ladder_report().requests.http_requests;
    proxy.misbehave(|_request| RpcFault::Status(403));
    reader.head().await.unwrap_err();
    assert_eq!(reader.ladder_report().requests.http_requests - before, 1);
}

#[tokio::test]
async fn late_answers_end_in_time_and_shrink_the_question() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(400, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.rpc.request_timeout = Duration::from_millis(400);
    (settings.bulk.start_wallets, settings.bulk.max_wallets) = (400, 400);
    let reader = connect(&settings).await;
    let at = reader.head().await.unwrap();
    // Slow for large questions only.
    proxy.misbehave(|request| {
        let bytes = request["params"][0]["data"].as_str().map_or(0, str::len);
        if is_bulk(request) && bytes > 10_000 {
            RpcFault::Late(Duration::from_secs(20))
        } else {
            RpcFault::None
        }
    });
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    let learned = &reader.ladder_report().rungs[0];
    assert!(
        learned.values == 800 && learned.state == RungState::Ready,
        "{learned:?}"
    );
    // Slow for everything.
    proxy.misbehave(|_request| RpcFault::Late(Duration::from_secs(20)));
    let started = std::time::Instant::now();
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(matches!(error, ChainError::Transport { .. }), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
