//! A node that has not reached what the books know: what it does not know proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eidos_devnet::{Fault, Trap};
use eidos_testkit::{RpcFault, RpcProxy, asks_for};
use eidos_types::{Address, Amount};
use serde_json::{Value, json};

use crate::fixture::Fixture;

const QUICK: [(&str, &str); 1] = [("RECONCILIATION__RECHECK_ATTEMPTS", "2")];

/// A withdrawal that the books confirmed in a block, and the same node one block before that block. Returns the wallet
/// and the block.
async fn confirmed_and_gone(fixture: &mut Fixture) -> (Address, u64) {
    let snapshot = fixture
        .world
        .node()
        .call("evm_snapshot", json!([]))
        .await
        .unwrap();
    let before = fixture.world.node().block(None).await.unwrap().number;
    let wallet = fixture.wallet_with("USDC").await;
    let amount: Amount = "150".parse().unwrap();
    fixture
        .world
        .withdraw(&[((wallet, "USDC"), amount)])
        .await
        .unwrap();
    let block = fixture.world.node().block(None).await.unwrap();
    assert_eq!(block.number, before + 1, "mined in one block");
    fixture.world.cut().await.unwrap();
    fixture.indexed(block.number, block.hash).await;
    let reverted = fixture
        .world
        .node()
        .call("evm_revert", json!([snapshot]))
        .await
        .unwrap();
    assert_eq!(reverted, json!(true));
    assert_eq!(fixture.world.node().block(None).await.unwrap().number, before);
    (wallet, block.number)
}

fn finding<'a>(report: &'a Value, kind: &str) -> Option<&'a Value> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["kind"] == kind)
}

#[tokio::test]
async fn a_node_one_block_behind_the_books_makes_no_break_of_a_confirmed_withdrawal() {
    let mut fixture = Fixture::clean().await;
    let (wallet, block) = confirmed_and_gone(&mut fixture).await;

    let report = fixture.reconcile(&["--full"], &QUICK).await;
    assert_eq!(report["breaks_found"], 0, "absence proves nothing: {report:#}");
    assert_eq!(fixture.open_breaks().await, []);
    assert_eq!(report["paused"], json!([]));
    assert_eq!(report["undecided"], 1, "and nothing was called equal: {report:#}");
    assert_eq!(report["node_behind_accounts"], 1, "for the gauge: {report:#}");
    assert_eq!(
        report["cut"]["indexer_block"].as_u64().unwrap(),
        report["cut"]["head_block"].as_u64().unwrap() + 1,
        "likewise: {report:#}"
    );
    let found = finding(&report, "node_behind").unwrap_or_else(|| panic!("{report:#}"));
    let detail = found["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("indexer is at {block}")), "{detail}");
    assert!(detail.contains("1 accounts"), "{detail}");

    // The account is a debt of the next run, whichever kind that is.
    let report = fixture.reconcile(&[], &QUICK).await;
    assert_eq!(report["mode"], "incremental", "{report:#}");
    assert_eq!(report["undecided"], 1, "{report:#}");

    // The node passes the block and still does not know the transaction: now its absence is the proof of a fault.
    fixture.world.mine_blocks(3).await.unwrap();
    let canonical = fixture.world.node().block(Some(block)).await.unwrap();
    fixture.indexed(block, canonical.hash).await;
    let report = fixture.reconcile(&[], &QUICK).await;
    assert!(finding(&report, "node_behind").is_none(), "{report:#}");
    assert_eq!(report["node_behind_accounts"], 0, "{report:#}");
    assert_eq!(report["undecided"], 0, "{report:#}");
    let breaks = fixture.open_breaks().await;
    assert_eq!(breaks.len(), 1, "{breaks:?}");
    assert_eq!(breaks[0].0, wallet.to_string());
    assert_eq!(
        (breaks[0].2.as_str(), breaks[0].3.as_str()),
        ("surplus", "critical")
    );
}

#[tokio::test]
async fn a_real_shortfall_elsewhere_is_found_while_the_node_is_behind_the_books() {
    let mut fixture = Fixture::clean().await;
    let (wallet, _) = confirmed_and_gone(&mut fixture).await;
    let other = fixture.edit("WETH", 5, "7").await;
    assert_ne!(other, wallet.to_string());
    let report = fixture.reconcile(&["--full"], &QUICK).await;
    assert_eq!(report["breaks_found"], 1, "{report:#}");
    assert_eq!(report["breaks"][0]["wallet"], other);
    assert_eq!(report["breaks"][0]["kind"], "shortfall");
}

#[tokio::test]
async fn a_deposit_and_a_batch_above_the_head_of_the_node_are_not_judged() {
    let mut fixture = Fixture::new(&[], &[]).await;
    let snapshot = fixture
        .world
        .node()
        .call("evm_snapshot", json!([]))
        .await
        .unwrap();
    fixture.world.set_trap(Trap::CreditAboveCut).await.unwrap();
    let head = fixture.world.node().block(None).await.unwrap();
    fixture.indexed(head.number, head.hash).await;
    fixture
        .world
        .node()
        .call("evm_revert", json!([snapshot]))
        .await
        .unwrap();
    let report = fixture.reconcile(&["--full"], &QUICK).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");
    assert_eq!(
        report["undecided"], 1,
        "the credit is the books' word alone: {report:#}"
    );
    assert!(finding(&report, "node_behind").is_some(), "{report:#}");

    // A batch that the books settled in a block that the node has not.
    let trades = fixture.settled_above(head.number).await;
    let report = fixture.reconcile(&["--full"], &QUICK).await;
    assert!(
        report["undecided"].as_u64().unwrap() > 1,
        "{trades} trades: {report:#}"
    );
    assert_eq!(report["breaks_found"], 0, "{report:#}");
}

/// A balancer with two nodes, of which the one that answers for receipts is behind by a number of blocks: to it no
/// transaction above its head exists. Nobody has the block `missing`; `u64::MAX` for none.
async fn balancer(node: &str, missing: u64) -> (RpcProxy, Arc<AtomicU64>) {
    let head_of_the_late_one = Arc::new(AtomicU64::new(u64::MAX));
    let head = Arc::clone(&head_of_the_late_one);
    let proxy = RpcProxy::before(node).await;
    proxy.misbehave(move |request| {
        let (missing, head) = (json!(format!("{missing:#x}")), head.load(Ordering::SeqCst));
        let is_late = head != u64::MAX && asks_for(request, "eth_getTransactionReceipt");
        RpcFault::each_answer(request, move |question, answer| {
            if question["method"] == "eth_getBlockByNumber" && question["params"][0] == missing {
                answer["result"] = Value::Null;
            } else if is_late {
                fall_behind(answer, head);
            }
        })
    });
    (proxy, head_of_the_late_one)
}

fn fall_behind(answer: &mut Value, head: u64) {
    let above = |number: &Value| {
        let digits = number.as_str().unwrap_or("0x0").trim_start_matches("0x");
        u64::from_str_radix(digits, 16).unwrap() > head
    };
    let result = &answer["result"];
    if result.is_string() && above(result) {
        answer["result"] = json!(format!("{head:#x}"));
    } else if above(&result["blockNumber"]) {
        answer["result"] = Value::Null;
    }
}

#[tokio::test]
async fn a_receipt_asked_of_a_node_that_is_behind_the_cut_proves_nothing() {
    let fixture = Fixture::new(&[], &[Trap::WithdrawalNotConfirmed, Trap::DepositNotCredited]).await;
    let (proxy, head) = balancer(&fixture.node_url(), u64::MAX).await;
    let settings = [QUICK[0], ("CHAIN__RPC_URL", proxy.url.as_str())];
    let report = fixture.reconcile(&["--full"], &settings).await;
    assert_eq!(
        (&report["breaks_found"], &report["undecided"]),
        (&json!(0), &json!(0)),
        "{report:#}"
    );

    let vault_block = fixture.world.addresses().deployed_in;
    head.store(vault_block, Ordering::SeqCst);
    let report = fixture.reconcile(&["--full"], &settings).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");
    assert_eq!(fixture.open_breaks().await, []);
    assert_eq!(report["undecided"], 2, "{report:#}");
    assert!(finding(&report, "node_behind").is_some(), "{report:#}");
}

#[tokio::test]
async fn events_that_end_below_the_cut_because_a_node_lacks_a_block_are_no_success() {
    let fixture = Fixture::new(&[Fault::MissingInBooks], &[]).await;
    let (proxy, _) = balancer(&fixture.node_url(), fixture.world.addresses().deployed_in + 2).await;
    let few = ("RECONCILIATION__EVENT_BLOCKS", "3");
    let once = ("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1");
    let settings = [few, once, ("CHAIN__RPC_URL", proxy.url.as_str())];
    let (status, child) = fixture
        .command(&["--full"], &settings)
        .run(std::time::Duration::from_mins(1))
        .await;
    assert!(
        !status.success(),
        "an account only the chain knows was hidden: {}",
        child.stdout()
    );
    assert!(
        child.stderr().contains("no block of this number"),
        "{}",
        child.stderr()
    );

    let report = fixture.reconcile_when_free(&["--full"], &[few]).await;
    assert_eq!(report["breaks"][0]["kind"], "missing_in_books", "{report:#}");
}
