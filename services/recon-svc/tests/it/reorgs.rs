//! Reorganisations: whatever depth and whenever they happen, the breaks are those of the final chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eidos_testkit::{RpcFault, RpcProxy, asks_for};
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::traffic::{
    book_deposit, book_withdrawal, deposit, forget_indexed_hash, fund, hash_of, index, reorganise, wallet,
    withdraw,
};

/// Head is final, nothing is young: what a block has, or has no longer, is a break at once.
const AT_THE_HEAD: [(&str, &str); 3] = [
    ("CHAIN__FINALITY__DEPTH", "0"),
    ("RECONCILIATION__IN_FLIGHT_MAX_AGE", "1ms"),
    ("RECONCILIATION__WITHDRAWAL_MAX_AGE", "1ms"),
];
const DEEPEST: u64 = 20;

/// Five blocks: a new account's deposit and a part of it taken out, both booked; a deposit that the books lost; a payment
/// that they lost; one more deposit, booked.
async fn blocks_of_traffic(fixture: &Fixture, round: u64) {
    let of = |number: u64| wallet(round * 10 + number);
    let first = deposit(fixture, of(0), 9).await;
    book_deposit(fixture, &first).await;
    let paid = withdraw(fixture, of(0), 2).await;
    book_withdrawal(fixture, &paid).await;
    deposit(fixture, of(1), 5).await;
    withdraw(fixture, of(1), 3).await;
    let last = deposit(fixture, of(2), 4).await;
    book_deposit(fixture, &last).await;
}

/// A world whose wallets of all rounds can pay for gas.
async fn funded() -> Fixture {
    let fixture = Fixture::clean().await;
    fund(&fixture, (DEEPEST + 1) * 10).await;
    index(&fixture).await;
    fixture
}

async fn lose(fixture: &Fixture, depth: u64) {
    let answer = fixture.world.node().call("anvil_reorg", json!([depth, []])).await;
    answer.unwrap();
}

fn has_finding(report: &Value, kind: &str) -> bool {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().any(|finding| finding["kind"] == kind)
}

#[tokio::test]
async fn reorganisations_between_runs_leave_the_breaks_of_the_final_chain() {
    let fixture = funded().await;
    fixture.reconcile(&["--full"], &AT_THE_HEAD).await;
    let mut seen = 0;
    for depth in 1..=DEEPEST {
        blocks_of_traffic(&fixture, depth).await;
        index(&fixture).await;
        let before = fixture.reconcile(&[], &AT_THE_HEAD).await;
        assert!(!has_finding(&before, "reorganised"), "depth {depth}: {before:#}");
        lose(&fixture, depth).await;
        if depth % 2 == 0 {
            deposit(&fixture, wallet(depth * 10 + 1), 7).await;
        }
        index(&fixture).await;
        let report = fixture.reconcile(&[], &AT_THE_HEAD).await;
        assert_eq!(report["mode"], "incremental", "depth {depth}: {report:#}");
        assert!(has_finding(&report, "reorganised"), "depth {depth}: {report:#}");
        let open = Fixture::every_open_break(fixture.jobs.pool()).await;
        let expected = fixture.as_a_first_run_finds_it(&AT_THE_HEAD).await;
        assert_eq!(open, expected, "depth {depth}: {report:#}");
        seen = seen.max(open.len());
    }
    assert!(seen > 60, "the lost blocks had something in them: {seen} breaks");
}

/// Where in a run the chain changes: before the first request of a kind after so many others of it.
const MOMENTS: [(&str, usize); 5] = [
    ("eth_getLogs", 0),
    ("eth_getLogs", 1),
    ("eth_getTransactionReceipt", 0),
    ("eth_call", 0),
    ("eth_getBlockByNumber", 2),
];

#[tokio::test]
async fn reorganisations_during_a_run_leave_the_breaks_of_the_final_chain() {
    let fixture = funded().await;
    let proxy = RpcProxy::before(&fixture.node_url()).await;
    let mut settings = AT_THE_HEAD.to_vec();
    settings.push(("CHAIN__RPC_URL", proxy.url.as_str()));
    fixture.reconcile(&["--full"], &settings).await;
    for depth in 1..=DEEPEST {
        blocks_of_traffic(&fixture, depth).await;
        index(&fixture).await;
        forget_indexed_hash(&fixture).await;
        let happened = change_once(&proxy, depth);
        let args: &[&str] = if depth % 3 == 0 { &["--full"] } else { &[] };
        let report = fixture.reconcile(args, &settings).await;
        assert!(happened.load(Ordering::SeqCst), "depth {depth}: nothing happened");
        proxy.behave();
        let open = Fixture::every_open_break(fixture.jobs.pool()).await;
        let expected = fixture.as_a_first_run_finds_it(&AT_THE_HEAD).await;
        assert_eq!(open, expected, "depth {depth}: {report:#}");
    }
}

/// The next run meets a reorganisation of this depth, at one of the moments.
fn change_once(proxy: &RpcProxy, depth: u64) -> Arc<AtomicBool> {
    let happened = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&happened);
    let moments = MOMENTS.len() as u64;
    let (method, after) = MOMENTS[usize::try_from(depth % moments).unwrap()];
    // What the start asks is no part of the run, which begins with its first logs.
    let (mut is_running, mut left) = (false, after);
    proxy.misbehave(move |request| {
        is_running |= asks_for(request, "eth_getLogs");
        if done.load(Ordering::SeqCst) || !is_running || !asks_for(request, method) {
            return RpcFault::None;
        }
        if left > 0 {
            left -= 1;
            return RpcFault::None;
        }
        done.store(true, Ordering::SeqCst);
        RpcFault::First(vec![reorganise(depth)])
    });
    happened
}

#[tokio::test]
async fn a_final_block_that_changes_is_a_critical_break_that_only_a_person_ends() {
    let fixture = funded().await;
    fixture.reconcile(&["--full"], &[]).await;
    deposit(&fixture, wallet(1), 9).await;
    fixture.world.mine_blocks(3).await.unwrap();
    let head = index(&fixture).await;
    fixture.reconcile(&[], &[]).await;
    let number = head - 3;
    let was = hash_of(&fixture, number).await;
    lose(&fixture, 4).await;
    index(&fixture).await;

    let report = fixture.reconcile(&[], &[]).await;
    let found = &report["breaks"][0];
    assert_eq!(found["kind"], "finalized_block_changed", "{report:#}");
    assert_eq!(
        (&found["severity"], &found["new"]),
        (&json!("critical"), &json!(true))
    );
    assert!(has_finding(&report, "reorganised"), "{report:#}");
    let row = || async {
        sqlx::query_as::<_, (String, String, i64, Value)>(
            "SELECT subject, state, occurrences, evidence FROM eidos_jobs_breaks WHERE dimension = 'finality'",
        )
        .fetch_all(fixture.jobs.pool())
        .await
        .unwrap()
    };
    let rows = row().await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].0, format!("31337/{number}"));
    assert_eq!(rows[0].3["hash_when_final"], was.to_string());
    assert_eq!(rows[0].3["hash_now"], hash_of(&fixture, number).await.to_string());
    let notified: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM eidos_jobs_outbox WHERE payload ->> 'kind' = 'finalized_block_changed'",
    )
    .fetch_one(fixture.jobs.pool())
    .await
    .unwrap();
    assert_eq!(notified, 1);

    // Clean runs of the chain as it is now do not end it.
    fixture.reconcile(&["--full"], &[]).await;
    let report = fixture.reconcile(&[], &[]).await;
    assert!(!has_finding(&report, "reorganised"), "{report:#}");
    assert_eq!(row().await[0].1, "open");
}

#[tokio::test]
async fn a_fork_below_everything_that_is_kept_is_read_from_the_first_block_on() {
    let fixture = funded().await;
    blocks_of_traffic(&fixture, 1).await;
    index(&fixture).await;
    fixture.reconcile(&["--full"], &AT_THE_HEAD).await;
    // Only the two newest blocks are kept, as after an upgrade.
    sqlx::query(
        "DELETE FROM eidos_jobs_chain_blocks WHERE number < (SELECT max(number) - 1 FROM eidos_jobs_chain_blocks)",
    )
    .execute(fixture.jobs.pool())
    .await
    .unwrap();
    lose(&fixture, 4).await;
    index(&fixture).await;
    for args in [&["--dry-run"] as &[&str], &[]] {
        let report = fixture.reconcile(args, &AT_THE_HEAD).await;
        assert_eq!(report["mode"], "full", "{report:#}");
        assert!(has_finding(&report, "reorganised"), "{report:#}");
    }
    let open = Fixture::every_open_break(fixture.jobs.pool()).await;
    assert_eq!(open, fixture.as_a_first_run_finds_it(&AT_THE_HEAD).await);
}

#[tokio::test]
async fn kept_blocks_are_joined_and_bounded() {
    let fixture = funded().await;
    fixture.reconcile(&["--full"], &AT_THE_HEAD).await;
    fixture.world.mine_blocks(300).await.unwrap();
    let head = index(&fixture).await;
    fixture.reconcile(&[], &AT_THE_HEAD).await;
    let (rows, newest, joined): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), max(number), count(*) FILTER (WHERE parent_hash = before) FROM \
             (SELECT number, parent_hash, lag(hash) OVER (ORDER BY number) AS before FROM eidos_jobs_chain_blocks) AS kept",
    )
    .fetch_one(fixture.jobs.pool())
    .await
    .unwrap();
    assert_eq!((rows, joined), (256, 255));
    assert_eq!(u64::try_from(newest).unwrap(), head);
}
