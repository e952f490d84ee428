//! Dimension settlement: each trade against its event and the views of the contract.

use std::time::Duration;

use eidos_devnet::{MovementFault, Trap};
use eidos_testkit::RpcProxy;
use serde_json::{Value, json};

use crate::deposits::{forget_logs, part, planted};
use crate::fixture::Fixture;

const PATIENCE_IS_OVER: (&str, &str) = ("RECONCILIATION__SETTLEMENT_MAX_AGE", "1ms");

fn trades(report: &Value) -> &Value {
    part(report, "settlement")
}

fn kinds(report: &Value) -> Vec<&str> {
    let breaks = trades(report)["breaks"].as_array().unwrap();
    let mut kinds: Vec<&str> = breaks
        .iter()
        .map(|found| found["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds
}

/// Runs statements over the exchange's tables.
async fn edit(fixture: &Fixture, statements: &[&str]) {
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe((*statement).to_owned()))
            .execute(fixture.books())
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[tokio::test]
async fn every_fault_of_a_trade_stays_one_break_when_it_is_read_again() {
    let traps = [
        Trap::RetriedBatch,
        Trap::HexId,
        Trap::BatchNotBooked,
        Trap::BatchNotSettled,
    ];
    let fixture = Fixture::with_movements(&[], &MovementFault::ALL, &traps).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let found = trades(&report);
    assert_eq!(found["mode"], "full");
    assert_eq!(
        found["breaks_found"].as_u64(),
        Some(planted(&fixture, "settlement")),
        "{found:#}"
    );
    assert!(found["checked"].as_u64() > Some(20), "{found:#}");
    assert_eq!(found["in_flight"], 2, "the two batches under way: {found:#}");
    assert_eq!(found["findings"], json!([]), "{found:#}");
    assert_eq!(report["breaks_found"], 0, "the balances are right: {report:#}");
    let verdict = fixture.verdict(fixture.world.manifest()).await;
    assert!(verdict.is_clean(), "{:#?}\n{report:#}", verdict.movements);
    let before = fixture.open_movements("settlement").await;
    for args in [&[][..], &["--full"]] {
        let again = fixture.reconcile(args, &[]).await;
        assert_eq!(fixture.open_movements("settlement").await, before, "{again:#}");
        assert_eq!(trades(&again)["breaks_found"], found["breaks_found"], "{again:#}");
        assert_eq!(trades(&again)["resolved"], 0, "{again:#}");
    }
}

#[tokio::test]
async fn a_trade_has_its_time_and_what_arrives_is_resolved() {
    let mut fixture = Fixture::new(&[], &[Trap::BatchNotBooked, Trap::BatchNotSettled]).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(trades(&report)["in_flight"], 2, "{report:#}");
    let report = fixture.reconcile(&[], &[PATIENCE_IS_OVER]).await;
    assert_eq!(trades(&report)["mode"], "incremental");
    assert_eq!(kinds(&report), ["settled_yet_pending", "stuck"], "{report:#}");
    assert_eq!(
        trades(&report)["critical"],
        0,
        "only a status is behind: {report:#}"
    );
    fixture.world.let_everything_arrive().await.unwrap();
    fixture.world.cut().await.unwrap();
    let report = fixture.reconcile(&[], &[PATIENCE_IS_OVER]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(trades(&report)["resolved"], 2, "{report:#}");
    assert_eq!(part(&report, "fee_account")["breaks_found"], 0, "{report:#}");
}

#[tokio::test]
async fn a_trade_that_is_rolled_back_after_it_was_settled_is_found_by_the_next_run() {
    let fixture = Fixture::clean().await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(part(&report, "fee_account")["breaks_found"], 0, "{report:#}");
    // Nothing but the row's time leads to it: its event is far below the checkpoint, and it names no transaction.
    edit(
        &fixture,
        &[
            "UPDATE eidos_trading_trades SET settlement_status = 5, tx_hash = NULL, batch_id = NULL, \
                 updated_at = (extract(epoch FROM now()) * 1000)::bigint \
             WHERE id = (SELECT min(id) FROM eidos_trading_trades)",
        ],
    )
    .await;
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(trades(&report)["mode"], "incremental");
    assert_eq!(kinds(&report), ["undone_yet_settled"], "{report:#}");
    assert_eq!(trades(&report)["breaks"][0]["shortfall"], true);
    assert_eq!(
        part(&report, "fee_account")["breaks"][0]["kind"],
        "fee_without_trade",
        "its fee is in the account still: {report:#}"
    );
}

/// A row may be committed after the run that saw its event: the event in flight leads to it.
#[tokio::test]
async fn a_row_that_is_committed_late_is_not_lost() {
    let fixture = Fixture::new(&[], &[Trap::BatchNotBooked]).await;
    edit(
        &fixture,
        &[
            "CREATE TABLE late AS SELECT * FROM eidos_trading_trades WHERE settlement_status = 2",
            "DELETE FROM eidos_trading_trades WHERE settlement_status = 2",
        ],
    )
    .await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "within the limit: {report:#}");
    assert_eq!(trades(&report)["in_flight"], 1, "{report:#}");
    let report = fixture.reconcile(&[], &[PATIENCE_IS_OVER]).await;
    assert_eq!(kinds(&report), ["missing_in_books"], "{report:#}");
    edit(
        &fixture,
        &[
            "UPDATE late SET updated_at = 1, taker_wallet = '0x' || repeat('9', 40)",
            "INSERT INTO eidos_trading_trades SELECT * FROM late",
        ],
    )
    .await;
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(kinds(&report), ["wrong_wallet"], "{report:#}");
    assert_eq!(trades(&report)["resolved"], 1, "{report:#}");
    fixture.world.mine_blocks(1).await.unwrap();
}

#[tokio::test]
async fn archived_trades_are_trades_and_what_is_too_old_is_not_read() {
    let fixture = Fixture::clean().await;
    edit(
        &fixture,
        &[
            "CREATE TABLE eidos_trading_trades_archive AS SELECT *, 0::bigint AS completed_at FROM eidos_trading_trades",
            "DELETE FROM eidos_trading_trades WHERE id % 2 = 0",
            "DELETE FROM eidos_trading_trades_archive WHERE id % 2 = 1",
            "GRANT SELECT ON eidos_trading_trades_archive TO PUBLIC",
        ],
    )
    .await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(part(&report, "fee_account")["breaks_found"], 0, "{report:#}");
    let checked = trades(&report)["checked"].as_u64().unwrap();
    assert!(checked > 20, "{report:#}");
    // The archive is exported and dropped: what it had is older than what is read, and its fees are said by a setting.
    let exported: String = sqlx::query_scalar(
        "SELECT sum(maker_fee + taker_fee)::text FROM eidos_trading_trades_archive WHERE settlement_status = 3",
    )
    .fetch_one(fixture.books())
    .await
    .unwrap();
    edit(&fixture, &["DROP TABLE eidos_trading_trades_archive"]).await;
    let opening = format!(r#"{{"USDC": "{exported}"}}"#);
    let settings = [
        ("RECONCILIATION__SETTLEMENT_HISTORY", "1s"),
        ("RECONCILIATION__FEE_ACCOUNT_OPENING", opening.as_str()),
    ];
    let report = fixture.reconcile(&["--full"], &settings).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(trades(&report)["findings"], json!([]), "{report:#}");
    assert_eq!(part(&report, "fee_account")["breaks_found"], 0, "{report:#}");
    let read = trades(&report)["checked"].as_u64().unwrap();
    assert!(
        read > 0 && read < checked,
        "the rows that are left: {read} of {checked}"
    );
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert!(
        kinds(&report).iter().all(|kind| *kind == "missing_in_books") && !kinds(&report).is_empty(),
        "their events, when they are read: {report:#}"
    );
}

#[tokio::test]
async fn an_answer_without_logs_is_not_taken_for_nothing_was_settled() {
    let mut fixture = Fixture::clean().await;
    let proxy = RpcProxy::before(&fixture.node_url()).await;
    let settings = [
        ("CHAIN__RPC_URL", proxy.url.as_str()),
        ("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1"),
        ("RECONCILIATION__DIMENSIONS", r#"["balance", "settlement"]"#),
    ];
    fixture.reconcile(&["--full"], &settings).await;
    fixture
        .world
        .plant_movement(MovementFault::SettledWithoutRow)
        .await
        .unwrap();
    forget_logs(&proxy);
    let (status, child) = fixture.command(&[], &settings).run(Duration::from_secs(90)).await;
    let said = format!("{}{}", child.stdout(), child.stderr());
    assert!(!status.success(), "{said}");
    assert!(said.contains("logs that eth_getLogs left out"), "{said}");
    assert_eq!(fixture.open_movements("settlement").await, []);
    proxy.behave();
    let report = fixture.reconcile_when_free(&[], &settings).await;
    assert_eq!(trades(&report)["mode"], "incremental");
    assert_eq!(kinds(&report), ["missing_in_books"], "{report:#}");
}

/// A trade that was settled and booked after the indexer's checkpoint: the books are ahead of the cut.
#[tokio::test]
async fn a_trade_that_is_settled_above_the_cut_is_not_missing() {
    let mut fixture = Fixture::new(&[], &[Trap::BatchNotSettled]).await;
    fixture.world.let_everything_arrive().await.unwrap();
    let report = fixture.reconcile(&["--full"], &[PATIENCE_IS_OVER]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(trades(&report)["in_flight"], 1, "{report:#}");
    // Where nobody names the transaction, the block that the chain service names says the same.
    edit(
        &fixture,
        &[
            "UPDATE eidos_trading_trades SET tx_hash = NULL",
            "UPDATE eidos_chain_settlement_batches SET tx_hash = NULL",
        ],
    )
    .await;
    let report = fixture.reconcile(&["--full"], &[PATIENCE_IS_OVER]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(trades(&report)["in_flight"], 1, "{report:#}");
    fixture.world.cut().await.unwrap();
    let report = fixture.reconcile(&[], &[PATIENCE_IS_OVER]).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(trades(&report)["in_flight"], 0, "{report:#}");
}

#[tokio::test]
async fn a_node_behind_the_books_proves_nothing_about_a_trade() {
    let mut fixture = Fixture::new(&[], &[Trap::BatchNotSettled]).await;
    let node = fixture.world.node();
    let snapshot = node.call("evm_snapshot", json!([])).await.unwrap();
    fixture.world.let_everything_arrive().await.unwrap();
    let block = fixture.world.node().block(None).await.unwrap();
    fixture.indexed(block.number, block.hash).await;
    let reverted = fixture.world.node().call("evm_revert", json!([snapshot])).await;
    assert_eq!(reverted.unwrap(), json!(true));
    let quick = [("RECONCILIATION__RECHECK_ATTEMPTS", "2")];
    let report = fixture.reconcile(&["--full"], &quick).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(trades(&report)["undecided"], 1, "{report:#}");
    // The node passes the block and still has no such trade.
    fixture.world.mine_blocks(3).await.unwrap();
    let canonical = fixture.world.node().block(Some(block.number)).await.unwrap();
    fixture.indexed(block.number, canonical.hash).await;
    let report = fixture.reconcile(&[], &quick).await;
    assert_eq!(trades(&report)["undecided"], 0, "{report:#}");
    assert_eq!(kinds(&report), ["missing_on_chain"], "{report:#}");
}

/// The state says that a trade is settled and the logs do not: neither is believed alone.
#[tokio::test]
async fn a_trade_that_only_the_view_knows_ends_the_run() {
    let fixture = Fixture::clean().await;
    edit(
        &fixture,
        &[
            "UPDATE eidos_trading_trades SET tx_hash = NULL",
            "UPDATE eidos_chain_settlement_batches SET tx_hash = NULL",
        ],
    )
    .await;
    let proxy = RpcProxy::before(&fixture.node_url()).await;
    forget_logs(&proxy);
    let settings = [
        ("CHAIN__RPC_URL", proxy.url.as_str()),
        ("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1"),
        ("RECONCILIATION__DIMENSIONS", r#"["balance", "settlement"]"#),
    ];
    let (status, child) = fixture
        .command(&["--full"], &settings)
        .run(Duration::from_secs(90))
        .await;
    let said = format!("{}{}", child.stdout(), child.stderr());
    assert!(!status.success(), "{said}");
    assert!(said.contains("the contract calls trade 0x"), "{said}");
    // Where the logs have them, no transaction of the books is needed.
    proxy.behave();
    let report = fixture.reconcile_when_free(&["--full"], &settings).await;
    assert_eq!(trades(&report)["breaks_found"], 0, "{report:#}");
}

#[tokio::test]
async fn values_that_no_trade_has_are_named_and_stop_nothing() {
    let fixture = Fixture::clean().await;
    let row = |offset: u32| format!("id = (SELECT min(id) + {offset} FROM eidos_trading_trades)");
    let changes = [
        "quote_amount = 'NaN'",
        "amount = NULL",
        "quote_amount = 1e60",
        "maker_fee = 'Infinity'",
        "quote_amount = -quote_amount",
        "maker_wallet = NULL",
        "market = E'\\u0007NOWHERE'",
        "maker_side = 99 - maker_side",
        "tx_hash = 'pending', batch_id = ''",
        "tx_hash = NULL, batch_id = NULL, matched_at = -9223372036854775808",
    ];
    let mut statements = vec![
        "ALTER TABLE eidos_trading_trades ALTER quote_amount TYPE NUMERIC, ALTER amount TYPE NUMERIC, \
         ALTER maker_fee TYPE NUMERIC, ALTER amount DROP NOT NULL, ALTER quote_amount DROP NOT NULL, \
         ALTER maker_wallet DROP NOT NULL, ALTER market DROP NOT NULL"
            .to_owned(),
    ];
    for (offset, change) in (0..).zip(changes) {
        statements.push(format!(
            "UPDATE eidos_trading_trades SET {change} WHERE {}",
            row(offset)
        ));
    }
    statements.push(
        "INSERT INTO eidos_trading_trades (trade_id, market, maker_order_id, taker_order_id, maker_wallet, taker_wallet, \
             price, amount, quote_amount, fee_token, maker_side, settlement_status, batch_id, tx_hash, matched_at, \
             created_at, updated_at) \
         VALUES ('', 'ETH-USDC', 'a', 'b', 'x', 'y', 1, 1, 1, 'USDC', 1, 3, repeat('z', 64), '0x12', 0, 0, 0), \
                (repeat('ff', 32), 'ETHUSDC', 'a', 'b', 'x', 'y', 1, 1, 1, 'USDC', 1, 99, NULL, NULL, 0, 0, 0)"
            .to_owned(),
    );
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    edit(&fixture, &statements).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let expected = [
        "beyond_decimal",
        "beyond_decimal",
        "beyond_decimal",
        "beyond_decimal",
        "missing_on_chain",
        "wrong_amount",
        "wrong_token",
        "wrong_wallet",
    ];
    let mut found = kinds(&report);
    // Which of them bought by their true side is chance.
    found.retain(|kind| *kind != "wrong_side");
    assert_eq!(found, expected, "{report:#}");
    assert_eq!(report["breaks_found"], 0, "the balances are right: {report:#}");
    assert_eq!(
        part(&report, "fee_account")["breaks"][0]["kind"],
        "beyond_decimal",
        "a sum with an infinite fee is no amount: {report:#}"
    );
}

#[tokio::test]
async fn without_a_settlement_contract_nothing_is_compared_and_the_report_says_so() {
    let fixture = Fixture::with_movements(&[], &[MovementFault::SettledInBooksOnly], &[]).await;
    fixture.without_lines("  settlement: ");
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(trades(&report)["checked"], 0, "{report:#}");
    let said = trades(&report)["findings"][0].as_str().unwrap();
    assert!(
        said.contains("chain.settlement names no Settlement contract"),
        "{said}"
    );
    assert_eq!(fixture.open_movements("settlement").await, []);
}
