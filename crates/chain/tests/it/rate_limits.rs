//! A node that refuses by rate: the refused questions are asked again, later and by fewer requests at once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eidos_chain::{ChainError, Rung, RungState};
use serde_json::{Value, json};

use crate::fixture::{Fixture, connect};
use eidos_testkit::{RpcFault, RpcProxy, rpc_error};

/// How providers refuse by rate: code and words.
const RATE_LIMITS: [(i64, &str); 6] = [
    (-32_005, "daily request count exceeded, request rate limited"),
    (429, "Too Many Requests"),
    (
        -32_007,
        "50/second request limit reached - reduce calls per second or upgrade",
    ),
    (-32_012, "credits limited to 6000/sec"),
    (-32_016, "over rate limit"),
    (
        -32_000,
        "Your app has exceeded its compute units per second capacity",
    ),
];

#[tokio::test]
async fn a_call_refused_by_rate_within_http_200_is_asked_again() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    for (code, words) in RATE_LIMITS {
        let mut refusals = 6;
        proxy.misbehave(move |request| {
            if refusals > 0 {
                refusals -= 1;
                return RpcFault::error(request, code, words);
            }
            RpcFault::None
        });
        let head = reader.head().await;
        assert!(head.is_ok(), "{code} {words}: {head:?}");
    }
}

#[tokio::test]
async fn http_429_without_retry_after_is_waited_for_longer_than_an_outage() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let mut refusals = 10;
    proxy.misbehave(move |_request| {
        if refusals > 0 {
            refusals -= 1;
            return RpcFault::Status(429);
        }
        RpcFault::None
    });
    let head = reader.head().await;
    assert!(head.is_ok(), "{head:?}");
}

#[tokio::test]
async fn only_the_refused_calls_of_a_batch_are_asked_again() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(40, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.bulk.rungs = vec![Rung::Batch];
    settings.bulk.start_wallets = 100;
    settings.bulk.sample = 1;
    settings.rpc.parallel_requests = 1;
    let reader = connect(&settings).await;
    let at = reader.head().await.unwrap();
    for (code, words) in RATE_LIMITS {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let sizes = Arc::clone(&asked);
        proxy.misbehave(move |request| {
            let Value::Array(questions) = request else {
                return RpcFault::None;
            };
            let mut sizes = sizes.lock().unwrap();
            sizes.push(questions.len());
            // Every third call of the first batch is too many.
            if sizes.len() > 1 {
                return RpcFault::None;
            }
            RpcFault::answer(move |mut answer| {
                for answer in answer.as_array_mut().unwrap().iter_mut().step_by(3) {
                    *answer = rpc_error(answer, code, words);
                }
                answer
            })
        });
        assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals, "{words}");
        let sizes = asked.lock().unwrap().clone();
        assert_eq!(sizes[0].div_ceil(3), sizes[1], "{words}: {sizes:?}");
        assert_eq!(reader.ladder_report().rungs[0].state, RungState::Ready);
    }
}

/// Answers the first request with `reply`, the others honestly.
fn once(
    reply: impl FnOnce(&Value) -> RpcFault + Send + 'static,
) -> impl FnMut(&Value) -> RpcFault + Send + 'static {
    let mut reply = Some(reply);
    move |request| reply.take().map_or(RpcFault::None, |reply| reply(request))
}

type Refuse = Box<dyn FnOnce(&Value) -> RpcFault + Send>;

#[tokio::test]
async fn the_pause_a_node_asks_for_is_kept_in_full_wherever_it_stands() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let with_data = |request: &Value, data: Value| {
        let mut answer = rpc_error(request, -32_005, "request rate limited");
        answer["error"]["data"] = data;
        RpcFault::Body(answer.to_string())
    };
    let pauses: Vec<(&str, u64, Refuse)> = vec![
        (
            "Retry-After",
            1_000,
            Box::new(|_request| RpcFault::Reply(429, vec![("retry-after", "1")], String::new())),
        ),
        (
            "Retry-After as a date",
            1_000,
            Box::new(|_request| {
                let headers = vec![
                    ("date", "Tue, 01 Dec 2026 13:00:00 GMT"),
                    ("retry-after", "Tue, 01 Dec 2026 13:00:01 GMT"),
                ];
                RpcFault::Reply(429, headers, String::new())
            }),
        ),
        (
            "data.try_again_in",
            300,
            Box::new(move |request| with_data(request, json!({"try_again_in": "300.5ms"}))),
        ),
        (
            "data.rate.backoff_seconds",
            1_000,
            Box::new(move |request| {
                with_data(
                    request,
                    json!({"rate": {"backoff_seconds": 1}, "see": "https://provider.example/limits"}),
                )
            }),
        ),
        (
            "words",
            250,
            Box::new(|request| RpcFault::error(request, -32_005, "rate limit, retry in 0.25s")),
        ),
    ];
    for (name, pause_ms, refuse) in pauses {
        proxy.misbehave(once(refuse));
        let started = Instant::now();
        reader.head().await.unwrap();
        let (took, pause) = (started.elapsed(), Duration::from_millis(pause_ms));
        assert!(took >= pause, "{name}: {took:?}");
    }
    // A pause beyond the budget is not waited for.
    proxy.misbehave(once(|_request| {
        RpcFault::Reply(429, vec![("retry-after", "3600")], String::new())
    }));
    let started = Instant::now();
    let error = reader.head().await.unwrap_err();
    assert!(
        matches!(error, ChainError::Transport { .. }) && error.is_retryable(),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn waiting_for_a_rate_limit_ends_with_the_budget_or_the_deadline_of_the_run() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.rpc.rate_limit_budget = Duration::from_millis(500);
    let reader = connect(&settings).await;
    proxy.misbehave(|request| RpcFault::error(request, -32_012, "credits limited to 6000/sec"));
    let started = Instant::now();
    let error = reader.head().await.unwrap_err();
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
    assert!(error.to_string().contains("credits limited"), "{error}");
    assert!(matches!(error, ChainError::Transport { .. }), "{error}");

    settings.rpc.rate_limit_budget = Duration::from_mins(10);
    proxy.behave();
    let reader = connect(&settings).await;
    proxy.misbehave(|_request| RpcFault::Status(429));
    let deadline = tokio::time::Instant::now() + Duration::from_millis(300);
    let started = Instant::now();
    eidos_chain::within(deadline, reader.head()).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_mins(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_rate_limit_lowers_the_concurrency_for_the_life_of_the_process() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(100, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    (settings.bulk.start_wallets, settings.bulk.max_wallets) = (5, 5);
    settings.rpc.parallel_requests = 8;
    let reader = connect(&settings).await;
    let at = reader.head().await.unwrap();
    let slowly = |_request: &Value| RpcFault::Late(Duration::from_millis(20));
    proxy.misbehave(slowly);
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    assert!(
        proxy.peak() > 4,
        "{} requests at once without a limit",
        proxy.peak()
    );

    proxy.misbehave(once(|request| {
        RpcFault::error(request, -32_007, "50/second request limit reached")
    }));
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    let allowed = reader.ladder_report().parallel_requests;
    assert_eq!(allowed, 4, "halved by one refusal");

    proxy.misbehave(slowly);
    for _ in 0..3 {
        assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
        assert!(proxy.peak() <= allowed, "{} requests at once", proxy.peak());
    }
    assert_eq!(reader.ladder_report().parallel_requests, allowed, "kept");
}

#[tokio::test]
async fn a_key_that_the_provider_repeats_is_not_in_the_error() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let mut settings = fixture.settings_at(&proxy.url);
    settings.rpc.rate_limit_budget = Duration::from_millis(50);
    let reader = connect(&settings).await;
    for status in [200, 400, 401, 402, 429, 500] {
        proxy.misbehave(move |request| {
            let words = "secret-key of user with secret-of-the-node is over its plan";
            RpcFault::Reply(status, vec![], rpc_error(request, -32_000, words).to_string())
        });
        let error = reader.head().await.unwrap_err();
        let words = format!("{error} {error:?}");
        assert!(
            words.contains("over its plan") && !words.contains("secret"),
            "HTTP {status}: {words}"
        );
    }
}
