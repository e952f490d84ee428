//! Dimension deposit: each deposit against its event.

use std::time::Duration;

use eidos_devnet::{Fault, MovementFault, PlantedMovement, Trap};
use eidos_testkit::{RpcFault, RpcProxy};
use serde_json::{Value, json};

use crate::fixture::Fixture;

const YOUNG_NEVER: (&str, &str) = ("RECONCILIATION__IN_FLIGHT_MAX_AGE", "1ms");

/// A dimension's part of the report.
pub(crate) fn part<'a>(report: &'a Value, dimension: &str) -> &'a Value {
    let dimensions = report["dimensions"].as_array().unwrap();
    dimensions.iter().find(|of| of["dimension"] == dimension).unwrap()
}

fn deposits(report: &Value) -> &Value {
    part(report, "deposit")
}

/// How many faults of a dimension were planted.
pub(crate) fn planted(fixture: &Fixture, dimension: &str) -> u64 {
    let all = fixture.world.manifest().movements.iter();
    all.filter(|planted| planted.dimension == dimension).count() as u64
}

fn newest(fixture: &Fixture) -> PlantedMovement {
    fixture.world.manifest().movements.last().unwrap().clone()
}

#[tokio::test]
async fn every_fault_of_a_movement_is_found_once_and_nothing_else_is() {
    let fixture = Fixture::with_movements(&[], &MovementFault::ALL, &Trap::ALL).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let verdict = fixture.verdict(fixture.world.manifest()).await;
    assert!(verdict.is_clean(), "{:#?}\n{report:#}", verdict.movements);
    assert_eq!(report["breaks_found"], 0, "the balances are right: {report:#}");
    let deposits = deposits(&report);
    assert_eq!(deposits["mode"], "full");
    assert_eq!(
        deposits["breaks_found"].as_u64(),
        Some(planted(&fixture, "deposit")),
        "{deposits:#}"
    );
    assert!(deposits["checked"].as_u64() > Some(100), "{deposits:#}");
    assert!(
        deposits["in_flight"].as_u64() > Some(0),
        "the waiting one: {deposits:#}"
    );
    assert_eq!(deposits["findings"], json!([]), "{deposits:#}");

    // Seen again by an hourly run, each break is the same row, although nothing of it changed.
    let before = fixture.open_movements("deposit").await;
    let again = fixture.reconcile(&[], &[]).await;
    assert_eq!(deposits_mode(&again), "incremental");
    assert_eq!(fixture.open_movements("deposit").await, before);
    assert_eq!(
        self::deposits(&again)["breaks_found"],
        deposits["breaks_found"],
        "{again:#}"
    );
}

fn deposits_mode(report: &Value) -> &str {
    deposits(report)["mode"].as_str().unwrap()
}

/// Takes the rows of a deposit away, as if their transaction were not committed yet.
async fn take_away(fixture: &Fixture, planted: &PlantedMovement) {
    let hash = planted.subject.split(':').next().unwrap();
    for statement in [
        "CREATE TABLE late AS SELECT * FROM eidos_trading_deposits WHERE tx_hash = ",
        "DELETE FROM eidos_trading_deposits WHERE tx_hash = ",
    ] {
        let statement = format!("{statement}'{hash}'");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(fixture.books())
            .await
            .unwrap();
    }
}

/// Commits them: the times in them are from long ago.
async fn commit_late(fixture: &Fixture) {
    for statement in [
        "UPDATE late SET updated_at = 1, created_at = 1",
        "INSERT INTO eidos_trading_deposits SELECT * FROM late",
    ] {
        sqlx::query(statement).execute(fixture.books()).await.unwrap();
    }
}

#[tokio::test]
async fn a_deposit_of_minutes_ago_is_in_flight_until_the_limit_and_a_late_row_resolves_its_break() {
    let mut fixture = Fixture::clean().await;
    fixture.reconcile(&["--full"], &[]).await;
    // The chain's time is now from here on.
    fixture.world.set_trap(Trap::DisplayScale).await.unwrap();
    fixture.world.plant(Fault::WrongAmount).await.unwrap();
    let planted = newest(&fixture);
    take_away(&fixture, &planted).await;

    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(
        deposits(&report)["breaks_found"],
        0,
        "within the limit: {report:#}"
    );
    assert_eq!(deposits(&report)["in_flight"], 1, "{report:#}");
    let report = fixture.reconcile(&[], &[YOUNG_NEVER]).await;
    assert_eq!(
        deposits(&report)["breaks"][0]["kind"],
        "missing_in_books",
        "{report:#}"
    );
    assert_eq!(deposits(&report)["breaks"][0]["subject"], planted.subject);

    // The row was written before all of these runs and is committed after them; it is wrong.
    commit_late(&fixture).await;
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(deposits(&report)["resolved"], 1, "{report:#}");
    let open = fixture.open_movements("deposit").await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(
        (open[0].0.as_str(), open[0].1.as_str()),
        (planted.subject.as_str(), "wrong_amount")
    );
}

#[tokio::test]
async fn a_wrong_row_that_is_committed_after_the_run_that_saw_its_event_is_found() {
    let mut fixture = Fixture::clean().await;
    fixture.reconcile(&["--full"], &[]).await;
    fixture.world.set_trap(Trap::DisplayScale).await.unwrap();
    fixture.world.plant(Fault::WrongWallet).await.unwrap();
    let planted = newest(&fixture);
    take_away(&fixture, &planted).await;
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(deposits(&report)["in_flight"], 1, "{report:#}");
    // No break is open and nothing says that the row changed: only the event that was in flight leads to it.
    commit_late(&fixture).await;
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(
        deposits(&report)["breaks"][0]["kind"],
        "wrong_wallet",
        "{report:#}"
    );
    assert_eq!(deposits(&report)["breaks"][0]["subject"], planted.subject);
}

/// Every log is left out of the answers.
pub(crate) fn forget_logs(proxy: &RpcProxy) {
    proxy.misbehave(|request| {
        RpcFault::each_answer(request, |question, answer| {
            if question["method"] == "eth_getLogs" {
                answer["result"] = json!([]);
            }
        })
    });
}

#[tokio::test]
async fn an_answer_without_logs_is_not_taken_for_nothing_happened() {
    let mut fixture = Fixture::clean().await;
    let proxy = RpcProxy::before(&fixture.node_url()).await;
    let settings = [
        ("CHAIN__RPC_URL", proxy.url.as_str()),
        ("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1"),
    ];
    fixture.reconcile(&["--full"], &settings).await;
    fixture.world.plant(Fault::MissingCredit).await.unwrap();
    let planted = newest(&fixture);

    forget_logs(&proxy);
    let (status, child) = fixture.command(&[], &settings).run(Duration::from_secs(90)).await;
    let said = format!("{}{}", child.stdout(), child.stderr());
    assert!(!status.success(), "{said}");
    assert!(said.contains("logs that eth_getLogs left out"), "{said}");
    assert_eq!(fixture.open_movements("deposit").await, []);

    // The checkpoint has not moved: the next run reads the same blocks.
    proxy.behave();
    let report = fixture.reconcile_when_free(&[], &settings).await;
    assert_eq!(deposits_mode(&report), "incremental");
    assert_eq!(
        deposits(&report)["breaks"][0]["subject"],
        planted.subject,
        "{report:#}"
    );
}

#[tokio::test]
async fn tokens_that_leave_without_an_event_are_a_finding_once_and_no_deposit_is_blamed() {
    let fixture = Fixture::new(&[Fault::EmergencyWithdrawal], &[]).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let found = &deposits(&report)["findings"];
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{report:#}");
    let said = found[0].as_str().unwrap();
    assert!(
        said.starts_with("WBTC:") && said.contains("without an event"),
        "{said}"
    );
    assert!(!said.contains("too many"), "every header was read: {said}");
    assert_eq!(deposits(&report)["breaks_found"], 0, "{report:#}");
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(deposits(&report)["findings"], json!([]), "not again: {report:#}");
}

#[tokio::test]
async fn values_that_no_deposit_has_are_named_and_stop_nothing() {
    let fixture = Fixture::clean().await;
    for statement in [
        "ALTER TABLE eidos_trading_deposits ALTER amount TYPE NUMERIC, ALTER amount DROP NOT NULL, \
         ALTER tx_hash DROP NOT NULL, ALTER log_index DROP NOT NULL, ALTER block_num DROP NOT NULL, \
         ALTER wallet DROP NOT NULL, ALTER token DROP NOT NULL, ALTER detected_at DROP NOT NULL",
        "UPDATE eidos_trading_deposits SET amount = 'NaN' WHERE id = (SELECT min(id) FROM eidos_trading_deposits)",
        "UPDATE eidos_trading_deposits SET amount = 'Infinity' WHERE id = (SELECT min(id) + 1 FROM eidos_trading_deposits)",
        "UPDATE eidos_trading_deposits SET amount = NULL WHERE id = (SELECT min(id) + 2 FROM eidos_trading_deposits)",
        "UPDATE eidos_trading_deposits SET amount = -amount WHERE id = (SELECT min(id) + 3 FROM eidos_trading_deposits)",
        "UPDATE eidos_trading_deposits SET amount = 1e60 WHERE id = (SELECT min(id) + 4 FROM eidos_trading_deposits)",
        "UPDATE eidos_trading_deposits SET wallet = NULL WHERE id = (SELECT min(id) + 5 FROM eidos_trading_deposits)",
        "UPDATE eidos_trading_deposits SET token = E'\\u0007DOGE' WHERE id = (SELECT min(id) + 6 FROM eidos_trading_deposits)",
        "INSERT INTO eidos_trading_deposits (deposit_id, wallet, token, amount, tx_hash, log_index, block_num, status, \
             detected_at, created_at, updated_at) \
         VALUES ('h1', NULL, NULL, NULL, NULL, NULL, NULL, 2, NULL, 0, 0), \
                ('h2', 'x', 'USDC', 1, '0x12', -1, -7, 2, -1, 0, 0), \
                ('h3', '0x' || repeat('1', 40), 'USDC', 1, '0x' || repeat('ef', 32), 2147483647, 9223372036854775807, 2, 0, 0, 0), \
                ('h4', 'x', 'USDC', 1, '0x' || repeat('ee', 32), 0, 0, 99, 0, 0, 0)",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(fixture.books())
            .await
            .unwrap();
    }
    let report = fixture.reconcile(&["--full"], &[]).await;
    let mut kinds: Vec<&str> = deposits(&report)["breaks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    let expected = [
        "beyond_decimal",
        "beyond_decimal",
        "beyond_decimal",
        "beyond_decimal",
        "missing_on_chain",
        "missing_on_chain",
        "unreadable_row",
        "unreadable_row",
        "wrong_amount",
        "wrong_token",
        "wrong_wallet",
    ];
    assert_eq!(kinds, expected, "{report:#}");
    assert_eq!(report["breaks_found"], 0, "the balances are right: {report:#}");
}

#[tokio::test]
async fn a_dimension_that_is_off_is_not_read() {
    let fixture = Fixture::with_movements(&[], &[MovementFault::NoRow], &[]).await;
    let off = ("RECONCILIATION__DIMENSIONS", r#"["balance"]"#);
    let report = fixture.reconcile(&["--full"], &[off]).await;
    assert_eq!(report["dimensions"], json!([]));
    assert_eq!(fixture.open_movements("deposit").await, []);
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(report["mode"], "incremental");
    assert_eq!(
        deposits_mode(&report),
        "full",
        "its first run reads everything: {report:#}"
    );
    assert_eq!(deposits(&report)["breaks"][0]["kind"], "missing_in_books");
}
