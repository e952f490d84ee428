//! A node that refuses what is too large: a range, a batch, the gas of a call. It is asked for less, and what it taught
//! is remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eidos_chain::{ChainError, EventKind, LogFilter, LogProof, Rung, RungState};
use serde_json::{Value, json};

use crate::fixture::{Fixture, connect};
use crate::proxy::{Fault, Proxy, error_answer, is_bulk};

/// Words of providers about ranges of blocks, whose limit here is three: HTTP status, code, words.
const RANGE_WORDS: [(u16, i64, &str); 12] = [
    (200, -32_602, "range 221 exceeds limit of 3"),
    (200, -32_602, "maximum [from, to] blocks distance: 3"),
    (200, 35, "ranges over 3 blocks are not supported on freetier"),
    (200, -32_000, "number of requested blocks is 3"),
    (200, -32_000, "please limit the query to at most 3 blocks"),
    (200, -32_000, "query must be smaller than size 4"),
    (400, 35, "ranges over 3 blocks are not supported on freetier"),
    (402, 35, "ranges over 3 blocks are not supported on freetier"),
    (408, -32_000, "please limit the query to at most 3 blocks"),
    (500, -32_602, "maximum [from, to] blocks distance: 3"),
    (
        200,
        -32_000,
        "something about the plan that nobody has seen before",
    ),
    (
        400,
        -32_000,
        "something about the plan that nobody has seen before",
    ),
];

fn hex_number(value: &Value) -> u64 {
    u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap()
}

/// Refuses ranges of more than three blocks, and counts.
fn refuse_ranges(
    status: u16,
    code: i64,
    words: &'static str,
) -> (impl FnMut(&Value) -> Fault, Arc<AtomicUsize>) {
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refusals);
    let script = move |request: &Value| {
        let questions = request
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![request.clone()]);
        let too_far = questions.iter().find(|question| {
            let filter = &question["params"][0];
            question["method"] == "eth_getLogs"
                && filter["toBlock"].is_string()
                && hex_number(&filter["toBlock"]) - hex_number(&filter["fromBlock"]) >= 3
        });
        let Some(too_far) = too_far.cloned() else {
            return Fault::None;
        };
        count.fetch_add(1, Ordering::Relaxed);
        let error = error_answer(&too_far, code, words);
        if status != 200 {
            return Fault::Reply(status, vec![], error.to_string());
        }
        Fault::answer(move |mut answer| {
            match answer.as_array_mut() {
                Some(answers) => {
                    for answer in answers.iter_mut().filter(|answer| answer["id"] == too_far["id"]) {
                        *answer = error.clone();
                    }
                }
                None => answer = error,
            }
            answer
        })
    };
    (script, refusals)
}

#[tokio::test]
async fn a_range_refused_in_any_words_and_any_status_is_read_in_smaller_ones() {
    let fixture = Fixture::start().await;
    let from = fixture.reader().await.head().await.unwrap().number + 1;
    let mut hashes = Vec::new();
    for amount in 1..=12 {
        hashes.push(fixture.deposit(fixture.users[0], fixture.usdc, amount).await);
    }
    let filter = LogFilter {
        kinds: Some(vec![EventKind::Deposit]),
        proof: LogProof::Ranges,
        keep_unreadable: false,
        about: None,
    };
    let proxy = Proxy::before(&fixture.node).await;
    for (status, code, words) in RANGE_WORDS {
        proxy.behave();
        let reader = connect(&fixture.settings_at(&proxy.url)).await;
        let to = reader.head().await.unwrap();
        let (script, refusals) = refuse_ranges(status, code, words);
        proxy.misbehave(script);
        for round in 0..2 {
            let before = refusals.load(Ordering::Relaxed);
            let events = reader.logs(from, &to, &filter).await;
            let events = events.unwrap_or_else(|error| panic!("HTTP {status}, {words}: {error}"));
            let found: Vec<_> = events.iter().map(|event| event.at.tx_hash).collect();
            assert_eq!(found, hashes, "HTTP {status}, {words}");
            let refused = refusals.load(Ordering::Relaxed) - before;
            let most = [12, 1][round];
            assert!(
                refused <= most,
                "HTTP {status}, {words}: {refused} refusals, round {round}"
            );
        }
    }
}

#[tokio::test]
async fn a_range_beyond_the_head_of_the_node_is_a_node_behind_and_not_a_limit() {
    let fixture = Fixture::start().await;
    let from = fixture.reader().await.head().await.unwrap().number + 1;
    for amount in 1..=3 {
        fixture.deposit(fixture.users[0], fixture.usdc, amount).await;
    }
    let proxy = Proxy::before(&fixture.node).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let to = reader.head().await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    proxy.misbehave(move |request| {
        let Value::Array(questions) = request else {
            return Fault::None;
        };
        let logs = questions[1].clone();
        count.fetch_add(1, Ordering::Relaxed);
        Fault::answer(move |mut answer| {
            answer[1] = error_answer(&logs, -32_602, "block range extends beyond current head block");
            answer
        })
    });
    let error = reader.logs(from, &to, &LogFilter::default()).await.unwrap_err();
    assert!(matches!(error, ChainError::StateUnavailable { .. }), "{error}");
    assert_eq!(
        asked.load(Ordering::Relaxed),
        1,
        "a smaller range is not asked for"
    );
}

/// How batches above three calls are refused: the whole reply, for the id of the first call.
type RefuseBatch = fn(&Value) -> Fault;

const BATCH_REFUSALS: [(&str, RefuseBatch); 5] = [
    ("HTTP 500 with words", |first| {
        let words = "Batch of more than 3 requests are not allowed";
        Fault::Reply(500, vec![], error_answer(first, -32_600, words).to_string())
    }),
    ("go-ethereum's array of one", |first| {
        Fault::Body(json!([error_answer(first, -32_600, "batch too large")]).to_string())
    }),
    ("an error without an id", |_first| {
        Fault::Body(error_answer(&json!({}), -32_600, "batch limit of 3 exceeded").to_string())
    }),
    ("HTTP 413", |_first| Fault::Status(413)),
    ("HTTP 400 in plain words", |_first| {
        Fault::Reply(400, vec![], "Maximum batch size is 3".to_owned())
    }),
];

#[tokio::test]
async fn a_refused_batch_is_made_smaller_and_its_size_is_remembered() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(20, 1).await;
    let proxy = Proxy::before(&fixture.node).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.bulk.rungs = vec![Rung::Batch];
    for (name, refuse) in BATCH_REFUSALS {
        proxy.behave();
        let reader = connect(&settings).await;
        let at = reader.head().await.unwrap();
        let refusals = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refusals);
        proxy.misbehave(move |request| match request.as_array() {
            Some(questions) if questions.len() > 3 => {
                count.fetch_add(1, Ordering::Relaxed);
                refuse(&questions[0])
            }
            _ => Fault::None,
        });
        for round in 0..2 {
            let before = refusals.load(Ordering::Relaxed);
            let read = reader.vault_totals(&at, &pairs).await;
            assert_eq!(
                read.unwrap_or_else(|error| panic!("{name}: {error}")),
                totals,
                "{name}"
            );
            let refused = refusals.load(Ordering::Relaxed) - before;
            let most = [24, 0][round];
            assert!(refused <= most, "{name}: {refused} refusals in round {round}");
        }
        assert_eq!(reader.ladder_report().rungs[0].state, RungState::Ready, "{name}");
    }
}

#[tokio::test]
async fn the_gas_of_bulk_calls_follows_what_the_node_takes() {
    let fixture = Fixture::start().await;
    let multicall_code_hash = fixture.install_multicall().await;
    let (pairs, totals) = fixture.fill(150, 42).await;
    let proxy = Proxy::before(&fixture.node).await;
    let words = [
        "Transaction gas limit is 50000000 and exceeds transaction gas cap of 16777216",
        "intrinsic gas too high -- CallerGasLimitMoreThanBlock",
    ];
    for rung in [Rung::StorageReader, Rung::ViewReader, Rung::Multicall3] {
        for words in words {
            proxy.behave();
            let mut settings = fixture.settings_at(&proxy.url);
            settings.bulk.rungs = vec![rung];
            settings.bulk.multicall_code_hash = multicall_code_hash;
            let reader = connect(&settings).await;
            let at = reader.head().await.unwrap();
            let refusals = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&refusals);
            proxy.misbehave(move |request| {
                if is_bulk(request) && hex_number(&request["params"][0]["gas"]) > 16_777_216 {
                    count.fetch_add(1, Ordering::Relaxed);
                    return Fault::error(request, -32_000, words);
                }
                Fault::None
            });
            let read = reader.vault_totals(&at, &pairs).await;
            assert_eq!(
                read.unwrap_or_else(|error| panic!("{rung}: {error}")),
                totals,
                "{rung}"
            );
            let first = refusals.load(Ordering::Relaxed);
            assert!((1..=8).contains(&first), "{rung}: {first} refusals");
            assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals, "{rung}");
            assert_eq!(
                refusals.load(Ordering::Relaxed),
                first,
                "{rung}: it is remembered"
            );
        }
    }
}

#[tokio::test]
async fn learned_limits_are_given_to_the_next_reader_which_is_not_refused() {
    let fixture = Fixture::start().await;
    let from = fixture.reader().await.head().await.unwrap().number + 1;
    for amount in 1..=12 {
        fixture.deposit(fixture.users[0], fixture.usdc, amount).await;
    }
    let (pairs, totals) = fixture.fill(20, 1).await;
    let proxy = Proxy::before(&fixture.node).await;
    let settings = fixture.settings_at(&proxy.url);
    let (mut ranges, range_refusals) =
        refuse_ranges(200, -32_000, "please limit the query to at most 3 blocks");
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refusals);
    let limited = move |request: &Value| {
        if is_bulk(request) && hex_number(&request["params"][0]["gas"]) > 16_777_216 {
            count.fetch_add(1, Ordering::Relaxed);
            return Fault::error(request, -32_000, "exceeds transaction gas cap of 16777216");
        }
        match request.as_array() {
            Some(questions) if questions.len() > 5 => {
                count.fetch_add(1, Ordering::Relaxed);
                Fault::error(&questions[0], -32_600, "batch limit is 5")
            }
            _ => ranges(request),
        }
    };
    let first = connect(&settings).await;
    proxy.misbehave(limited);
    let to = first.head().await.unwrap();
    assert_eq!(first.vault_totals(&to, &pairs).await.unwrap(), totals);
    first.logs(from, &to, &LogFilter::default()).await.unwrap();
    let limits = first.learned_limits();
    assert_eq!(
        limits,
        eidos_chain::LearnedLimits {
            batch_calls: Some(5),
            log_blocks: Some(3),
            call_gas: Some(16_777_216)
        }
    );
    let learned = (
        refusals.swap(0, Ordering::Relaxed),
        range_refusals.swap(0, Ordering::Relaxed),
    );
    assert!(learned.0 >= 2 && learned.1 >= 1, "{learned:?}");

    let next = connect(&settings).await;
    next.recall_limits(&limits);
    assert_eq!(next.vault_totals(&to, &pairs).await.unwrap(), totals);
    next.logs(from, &to, &LogFilter::default()).await.unwrap();
    assert_eq!(
        (
            refusals.load(Ordering::Relaxed),
            range_refusals.load(Ordering::Relaxed)
        ),
        (0, 0)
    );
}
