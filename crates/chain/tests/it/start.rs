//! The start is patient: what one answer of one backend says is not what the node offers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use eidos_chain::{Addressing, ChainError, ChainReader, ChainSettings, Finality, Rung, RungState, StateKept};
use eidos_sandbox::AnvilOptions;
use serde_json::{Value, json};

use crate::fixture::{Fixture, connect};
use eidos_testkit::{RpcFault, RpcProxy};

async fn refusal(settings: &ChainSettings) -> (String, String) {
    let error = ChainReader::connect(settings).await.unwrap_err();
    let words = error.to_string();
    match error {
        ChainError::Refused { setting, .. } => (setting, words),
        other => panic!("not a refusal: {other}"),
    }
}

/// A script that answers the first question of `method` with an error.
fn first_time(method: &'static str, code: i64, words: &'static str) -> impl FnMut(&Value) -> RpcFault + Send {
    let mut done = false;
    move |request| {
        if !done && request["method"] == method {
            done = true;
            return RpcFault::error(request, code, words);
        }
        RpcFault::None
    }
}

#[tokio::test]
async fn one_internal_error_is_not_a_missing_view() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    proxy.misbehave(first_time("eth_call", -32_603, "Internal error"));
    let reader = ChainReader::connect(&fixture.settings_at(&proxy.url)).await;
    assert!(reader.is_ok(), "{}", reader.unwrap_err());
}

#[tokio::test]
async fn an_internal_error_that_stays_is_not_a_missing_view_either() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_call") => RpcFault::error(request, -32_603, "Internal error"),
        _ => RpcFault::None,
    });
    let error = ChainReader::connect(&fixture.settings_at(&proxy.url))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ChainError::Node { code: -32_603, .. }),
        "the node's words, not a wrong setting: {error}"
    );
}

#[tokio::test]
async fn state_that_one_answer_has_pruned_does_not_end_addressing_by_hash() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    for (code, words) in [
        (-32_000, "missing trie node 5f1b (path )"),
        (-32_603, "Internal error"),
    ] {
        proxy.misbehave(first_time("eth_getCode", code, words));
        let reader = connect(&fixture.settings_at(&proxy.url)).await;
        assert_eq!(reader.ladder_report().addressing, Addressing::Hash, "{words}");
    }
}

#[tokio::test]
async fn a_node_that_says_that_it_takes_no_hashes_is_believed_and_asked_again_later() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let by_hash = |request: &Value| {
        request["params"]
            .as_array()
            .is_some_and(|params| params.iter().any(|block| block.get("blockHash").is_some()))
    };
    for (code, words) in [
        (
            -32_602,
            "invalid argument 1: json: cannot unmarshal object into Go value of type string",
        ),
        (-32_603, "hex string expected"),
    ] {
        proxy.misbehave(move |request| {
            if by_hash(request) {
                return RpcFault::error(request, code, words);
            }
            RpcFault::None
        });
        let mut settings = fixture.settings_at(&proxy.url);
        settings.bulk.retry_rung_after = Duration::from_millis(1);
        let reader = connect(&settings).await;
        assert_eq!(reader.ladder_report().addressing, Addressing::Number, "{words}");
        proxy.behave();
        reader.finalized().await.unwrap();
        assert_eq!(reader.ladder_report().addressing, Addressing::Hash, "{words}");
    }
}

/// What a backend answers that does not have the head yet.
fn a_block_behind(head: u64, hash: &str, request: &Value, answer: Value) -> Value {
    if let (Value::Array(requests), Value::Array(answers)) = (request, answer.clone()) {
        let one = |answer: Value| {
            let asked = requests.iter().find(|request| request["id"] == answer["id"]);
            a_block_behind(head, hash, asked.unwrap(), answer)
        };
        return Value::Array(answers.into_iter().map(one).collect());
    }
    let asked = request["params"].to_string();
    let number = format!("\"{head:#x}\"");
    let mut answer = answer;
    if request["method"] == "eth_getBlockByNumber" && asked.contains("latest") {
        answer["result"]["number"] = json!(format!("{:#x}", head - 1));
        let parent = answer["result"]["parentHash"].clone();
        answer["result"]["hash"] = parent;
    } else if asked.contains(hash) || asked.contains(&number) {
        let unknown = json!({"code": -32_000, "message": "header not found"});
        answer.as_object_mut().unwrap().remove("result");
        answer["error"] = unknown;
    }
    answer
}

#[tokio::test]
async fn one_of_two_backends_may_be_a_block_behind() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.rpc.start_patience = Duration::from_secs(20);
    let head = fixture.reader().await.head().await.unwrap();
    let hash = head.hash.to_string();
    for first in [0, 1] {
        let (turn, hash) = (Arc::new(AtomicUsize::new(first)), hash.clone());
        proxy.misbehave(move |request| {
            // In turn, as a balancer does.
            if turn.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
                return RpcFault::None;
            }
            let (request, hash) = (request.clone(), hash.clone());
            RpcFault::answer(move |answer| a_block_behind(head.number, &hash, &request, answer))
        });
        let reader = ChainReader::connect(&settings).await;
        assert!(reader.is_ok(), "{}", reader.unwrap_err());
        assert_eq!(reader.unwrap().ladder_report().addressing, Addressing::Hash);
    }
}

#[tokio::test]
async fn a_node_that_comes_up_during_the_start_is_waited_for() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.rpc.start_patience = Duration::from_secs(20);
    let left = Arc::new(AtomicUsize::new(20));
    proxy.misbehave(move |_request| {
        let taken = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if taken.is_ok() {
            RpcFault::Status(503)
        } else {
            RpcFault::None
        }
    });
    let reader = ChainReader::connect(&settings).await;
    assert!(reader.is_ok(), "{}", reader.unwrap_err());
}

#[tokio::test]
async fn a_node_that_forgets_its_final_block_is_asked_again_later() {
    let fixture = Fixture::start().await;
    fixture.node.mine(3).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.finality = Finality::Finalized;
    let reader = connect(&settings).await;
    proxy.misbehave(|request| {
        if !request.to_string().contains("finalized") {
            return RpcFault::None;
        }
        RpcFault::answer(|mut answers| {
            for answer in answers.as_array_mut().unwrap() {
                if answer["result"].is_object() {
                    answer["result"] = json!(null);
                }
            }
            answers
        })
    });
    let error = reader.finalized().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("no finalized block now"), "{error}");
}

#[tokio::test]
async fn a_final_block_before_the_deployment_is_named() {
    let fixture = Fixture::start().await;
    let mut settings = fixture.settings();
    settings.finality = Finality::Depth(10_000);
    let (setting, words) = refusal(&settings).await;
    assert_eq!(setting, "finality");
    assert!(
        words.contains("the newest final block is 0, and the Vault was deployed after it"),
        "{words}"
    );
}

#[tokio::test]
async fn a_block_before_the_deployment_is_not_an_impossible_answer() {
    let fixture = Fixture::start().await;
    let reader = fixture.reader().await;
    let first = reader.block(0).await.unwrap().unwrap();
    for error in [
        reader
            .vault_totals(&first, &[(fixture.owner, fixture.usdc)])
            .await
            .unwrap_err(),
        reader.token_held(&first, &[fixture.usdc]).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, ChainError::NotDeployed { number: 0, .. }),
            "{error}"
        );
        assert!(error.is_retryable(), "a later block will do");
    }
}

#[tokio::test]
async fn a_list_of_rungs_that_the_node_cannot_serve_is_refused() {
    let fixture = Fixture::start().await;
    let mut settings = fixture.settings();
    settings.bulk.rungs = vec![Rung::Multicall3];
    let (setting, words) = refusal(&settings).await;
    assert_eq!(setting, "bulk.rungs");
    assert!(words.contains("there is no contract at 0xca11"), "{words}");
    // The same for a method that the node does not have.
    let proxy = RpcProxy::before(&fixture.node.url).await;
    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_getStorageValues") => RpcFault::error(request, -32_601, "the method does not exist"),
        _ => RpcFault::None,
    });
    let mut settings = fixture.settings_at(&proxy.url);
    settings.bulk.rungs = vec![Rung::StorageValues, Rung::Multicall3];
    let (setting, words) = refusal(&settings).await;
    assert_eq!(setting, "bulk.rungs");
    assert!(
        words.contains("storage_values: the method does not exist"),
        "{words}"
    );
    // One that works is enough.
    settings.bulk.rungs = vec![Rung::Multicall3, Rung::Batch];
    connect(&settings).await;
}

#[tokio::test]
async fn multicall_that_is_deployed_later_is_used_later() {
    let fixture = Fixture::start().await;
    let mut settings = fixture.settings();
    settings.bulk.retry_rung_after = Duration::from_millis(1);
    settings.bulk.multicall_code_hash = Fixture::multicall_hash();
    let reader = connect(&settings).await;
    let state = |reader: &ChainReader| reader.ladder_report().rungs[3].state.clone();
    assert!(matches!(state(&reader), RungState::Unavailable(_)));
    fixture.install_multicall().await;
    fixture.node.mine(1).await;
    reader.finalized().await.unwrap();
    assert_eq!(state(&reader), RungState::Ready);
}

#[tokio::test]
async fn a_policy_behind_the_kept_state_is_refused_with_the_figure() {
    // A real node that keeps the state of few blocks.
    let fixture = Fixture::with(AnvilOptions {
        args: vec!["--prune-history".into(), "20".into()],
        ..AnvilOptions::default()
    })
    .await;
    fixture.node.mine(100).await;
    let reader = fixture.reader().await;
    let kept = reader.state_kept(1_000).await.unwrap();
    assert!(kept.is_limit && (15..=25).contains(&kept.blocks), "{kept:?}");
    let within = reader.state_kept(10).await.unwrap();
    assert_eq!(
        within,
        StateKept {
            blocks: 10,
            is_limit: false,
            ..kept
        }
    );
    let mut settings = fixture.settings();
    settings.finality = Finality::Depth(60);
    let (setting, words) = refusal(&settings).await;
    assert_eq!(setting, "finality");
    assert!(
        words.contains("{depth: 60}")
            && words.contains(&format!("keeps the state of the last {} only", kept.blocks)),
        "{words}"
    );
    settings.finality = Finality::Depth(10);
    connect(&settings).await;
}

#[tokio::test]
async fn no_answer_at_all_ends_the_start_when_its_patience_ends() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    proxy.misbehave(move |_request| {
        seen.store(true, Ordering::Relaxed);
        RpcFault::Status(503)
    });
    let started = std::time::Instant::now();
    let error = ChainReader::connect(&fixture.settings_at(&proxy.url))
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::Transport { .. }), "{error}");
    assert!(asked.load(Ordering::Relaxed));
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
