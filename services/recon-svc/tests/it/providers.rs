//! A second provider controls the logs of the first one: what they disagree about is a break, and decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eidos_devnet::{Fault, MovementFault};
use eidos_testkit::{Anvil, AnvilOptions, RpcFault, RpcProxy, asks_for, calls_of};
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::traffic::{deposit, fund, index, wallet};

const WITHIN: Duration = Duration::from_secs(90);
const ONCE: (&str, &str) = ("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1");

/// A world with breaks, and two proxies of its node.
struct Two {
    fixture: Fixture,
    first: RpcProxy,
    second: RpcProxy,
}

impl Two {
    async fn new() -> Self {
        let faults = [Fault::MissingCredit, Fault::MissingInBooks];
        let movements = [MovementFault::NoRow, MovementFault::PaidWithoutRow];
        let fixture = Fixture::with_movements(&faults, &movements, &[]).await;
        let first = RpcProxy::before(&fixture.node_url()).await;
        let second = RpcProxy::before(&fixture.node_url()).await;
        Self {
            fixture,
            first,
            second,
        }
    }

    fn settings(&self) -> [(&str, &str); 3] {
        [
            ONCE,
            ("CHAIN__RPC_URL", &self.first.url),
            ("CHAIN__SECOND_RPC_URL", &self.second.url),
        ]
    }

    /// A run that fails; returns what it said.
    async fn fails(&self, args: &[&str]) -> String {
        let (status, child) = self.fixture.command(args, &self.settings()).run(WITHIN).await;
        let said = format!("{}\n{}", child.stdout(), child.stderr());
        assert!(!status.success(), "{said}");
        said
    }

    /// State, occurrences and evidence of the disagreements.
    async fn disagreements(&self) -> Vec<(String, i64, Value)> {
        sqlx::query_as(
            "SELECT state, occurrences, evidence FROM eidos_jobs_breaks WHERE dimension = 'providers' ORDER BY first_seen",
        )
        .fetch_all(self.fixture.jobs.pool())
        .await
        .unwrap()
    }

    /// Every open break but the disagreements.
    async fn open(&self) -> Vec<String> {
        let mut open = Fixture::every_open_break(self.fixture.jobs.pool()).await;
        open.retain(|found| !found.starts_with("providers"));
        open
    }
}

/// Leaves out the last log of each answer.
fn leaves_out_a_log(request: &Value) -> RpcFault {
    if !asks_for(request, "eth_getLogs") {
        return RpcFault::None;
    }
    RpcFault::each_answer(request, |question, answer| {
        if question["method"] == "eth_getLogs"
            && let Some(logs) = answer["result"].as_array_mut()
        {
            logs.pop();
        }
    })
}

fn finding<'a>(report: &'a Value, kind: &str) -> Option<&'a Value> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["kind"] == kind)
}

#[tokio::test]
async fn providers_that_disagree_are_a_break_whichever_is_wrong_and_a_run_in_which_they_agree_ends_it() {
    let two = Two::new().await;
    let all = two.fixture.as_a_first_run_finds_it(&[]).await;
    for (nr, wrong) in [&two.second, &two.first].into_iter().enumerate() {
        wrong.misbehave(leaves_out_a_log);
        let said = two.fails(&["--full"]).await;
        assert!(said.contains("give different events of blocks"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        let found = two.disagreements().await;
        assert_eq!(found.len(), nr + 1, "{found:?}");
        let (state, _, evidence) = &found[nr];
        assert_eq!(state, "open");
        let (one, other) = (&evidence["first_says"], &evidence["second_says"]);
        assert_eq!(one["block_hash"], other["block_hash"], "{evidence:#}");
        assert_ne!(one["events"], other["events"], "{evidence:#}");
        assert_ne!(one["sha256"], other["sha256"], "{evidence:#}");
        let missed = if nr == 0 { "only_first" } else { "only_second" };
        assert!(!evidence[missed].as_array().unwrap().is_empty(), "{evidence:#}");
        assert_eq!(
            two.open().await,
            if nr == 0 { Vec::new() } else { all.clone() },
            "nothing is decided"
        );

        // The second provider is silent: that ends no disagreement.
        wrong.behave();
        two.second.misbehave(|_request| RpcFault::Status(503));
        let report = two
            .fixture
            .reconcile_when_free(&["--full"], &two.settings())
            .await;
        assert!(finding(&report, "provider_silent").is_some(), "{report:#}");
        assert_eq!(two.disagreements().await[nr].0, "open", "{report:#}");
        assert_eq!(two.open().await, all, "{report:#}");

        two.second.behave();
        let report = two.fixture.reconcile(&["--full"], &two.settings()).await;
        assert!(finding(&report, "provider_silent").is_none(), "{report:#}");
        assert_eq!(two.disagreements().await[nr].0, "auto_closed", "{report:#}");
        assert_eq!(two.open().await, all, "{report:#}");
    }
}

#[tokio::test]
async fn a_gap_that_is_gone_when_it_is_read_again_is_no_disagreement() {
    let two = Two::new().await;
    let mut left = 1;
    two.first.misbehave(move |request| {
        if left > 0 && asks_for(request, "eth_getLogs") {
            left -= 1;
            return leaves_out_a_log(request);
        }
        RpcFault::None
    });
    two.fixture.reconcile(&["--full"], &two.settings()).await;
    assert_eq!(two.disagreements().await, []);
    assert_eq!(two.open().await, two.fixture.as_a_first_run_finds_it(&[]).await);
}

#[tokio::test]
async fn a_second_provider_on_another_branch_is_a_disagreement_and_one_of_another_chain_is_refused() {
    let two = Two::new().await;
    let head = two.fixture.world.node().block(None).await.unwrap().number;
    let node = two.fixture.node_url();
    let args = [
        "--fork-url",
        &node,
        "--fork-block-number",
        &(head - 12).to_string(),
    ]
    .map(Into::into);
    let fork = Anvil::start(AnvilOptions {
        args: args.into(),
        ..AnvilOptions::default()
    })
    .await
    .unwrap();
    fork.request("anvil_mine", r#"["0x28", "0x3"]"#).await.unwrap();
    let url = fork.url();
    two.second
        .misbehave(move |_request| RpcFault::Elsewhere(url.clone()));
    let said = two.fails(&["--full"]).await;
    assert!(said.contains("at http://127.0.0.1:"), "{said}");
    let found = two.disagreements().await;
    let hash = |side: &str| found[0].2[side]["block_hash"].clone();
    assert_ne!(hash("first_says"), hash("second_says"), "{found:?}");

    let other = Anvil::start(AnvilOptions {
        chain_id: 4_242,
        ..AnvilOptions::default()
    })
    .await
    .unwrap();
    let url = other.url();
    two.second
        .misbehave(move |_request| RpcFault::Elsewhere(url.clone()));
    let said = two.fails(&["--full"]).await;
    assert!(
        said.contains("chain.second_rpc_url") && said.contains("is on chain 4242"),
        "{said}"
    );
}

/// Counts the questions of a method.
fn counted(proxy: &RpcProxy, method: &'static str) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    proxy.misbehave(move |request| {
        let asked = calls_of(request)
            .iter()
            .filter(|call| call["method"] == method)
            .count();
        counter.fetch_add(asked as u64, Ordering::SeqCst);
        RpcFault::None
    });
    count
}

#[tokio::test]
async fn an_hourly_run_asks_each_provider_once_for_the_logs_of_a_block() {
    let two = Two::new().await;
    two.fixture.reconcile(&["--full"], &two.settings()).await;
    fund(&two.fixture, 2).await;
    deposit(&two.fixture, wallet(1), 3).await;
    two.fixture.world.mine_blocks(5).await.unwrap();
    index(&two.fixture).await;
    let (first, second) = (
        counted(&two.first, "eth_getLogs"),
        counted(&two.second, "eth_getLogs"),
    );
    let report = two.fixture.reconcile(&[], &two.settings()).await;
    assert_eq!(report["mode"], "incremental");
    // One range up to the block before the cut, and the cut's block by its hash.
    let asked = (first.load(Ordering::SeqCst), second.load(Ordering::SeqCst));
    assert_eq!(asked, (2, 2), "{report:#}");
    assert_eq!(report["dimensions"][0]["mode"], json!("incremental"));
}
