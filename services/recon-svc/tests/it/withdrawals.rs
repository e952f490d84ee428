//! Dimension withdrawal: each withdrawal against its event.

use eidos_devnet::{Fault, MovementFault, Trap};
use eidos_types::Amount;
use serde_json::{Value, json};

use crate::deposits::{part, planted};
use crate::fixture::Fixture;

const PATIENCE_IS_OVER: (&str, &str) = ("RECONCILIATION__WITHDRAWAL_MAX_AGE", "1ms");

fn withdrawals(report: &Value) -> &Value {
    part(report, "withdrawal")
}

fn kinds(report: &Value) -> Vec<&str> {
    let breaks = withdrawals(report)["breaks"].as_array().unwrap();
    let mut kinds: Vec<&str> = breaks
        .iter()
        .map(|found| found["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test]
async fn every_fault_of_a_withdrawal_stays_one_break_when_it_is_read_again() {
    let fixture = Fixture::with_movements(&[], &MovementFault::ALL, &[Trap::RefundedWithdrawal]).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let found = withdrawals(&report);
    assert_eq!(found["mode"], "full");
    assert_eq!(
        found["breaks_found"].as_u64(),
        Some(planted(&fixture, "withdrawal")),
        "{found:#}"
    );
    assert!(found["checked"].as_u64() > Some(10), "{found:#}");
    let before = fixture.open_movements("withdrawal").await;
    for args in [&[][..], &["--full"]] {
        let again = fixture.reconcile(args, &[]).await;
        assert_eq!(fixture.open_movements("withdrawal").await, before, "{again:#}");
        assert_eq!(
            withdrawals(&again)["breaks_found"],
            found["breaks_found"],
            "{again:#}"
        );
        assert_eq!(withdrawals(&again)["resolved"], 0, "{again:#}");
    }
}

#[tokio::test]
async fn a_withdrawal_has_its_time_and_what_arrives_is_resolved() {
    let mut fixture = Fixture::new(&[], &[Trap::InFlightWithdrawal, Trap::WithdrawalNotConfirmed]).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(withdrawals(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(withdrawals(&report)["in_flight"], 2, "{report:#}");
    let report = fixture.reconcile(&[], &[PATIENCE_IS_OVER]).await;
    assert_eq!(kinds(&report), ["mined_yet_pending", "stuck"], "{report:#}");
    assert_eq!(
        withdrawals(&report)["critical"],
        0,
        "only a status is behind: {report:#}"
    );
    fixture.world.let_everything_arrive().await.unwrap();
    fixture.world.cut().await.unwrap();
    let report = fixture.reconcile(&[], &[PATIENCE_IS_OVER]).await;
    assert_eq!(withdrawals(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(withdrawals(&report)["resolved"], 2, "{report:#}");
}

#[tokio::test]
async fn a_withdrawal_that_is_given_back_after_it_was_mined_is_found_by_the_next_run() {
    let mut fixture = Fixture::clean().await;
    let wallet = fixture.wallet_with("USDC").await;
    let amount: Amount = "150".parse().unwrap();
    fixture
        .world
        .withdraw(&[((wallet, "USDC"), amount)])
        .await
        .unwrap();
    fixture.world.cut().await.unwrap();
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(withdrawals(&report)["breaks_found"], 0, "{report:#}");
    sqlx::query(
        "UPDATE eidos_trading_withdrawals SET status = 4, updated_at = (extract(epoch FROM now()) * 1000)::bigint \
         WHERE id = (SELECT max(id) FROM eidos_trading_withdrawals)",
    )
    .execute(fixture.books())
    .await
    .unwrap();
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(withdrawals(&report)["mode"], "incremental");
    assert_eq!(kinds(&report), ["refunded_yet_mined"], "{report:#}");
    assert_eq!(
        withdrawals(&report)["breaks"][0]["severity"],
        "critical",
        "the whole amount: {report:#}"
    );
    assert_eq!(withdrawals(&report)["breaks"][0]["shortfall"], true);
}

#[tokio::test]
async fn a_row_that_is_committed_late_is_not_lost() {
    let mut fixture = Fixture::clean().await;
    let wallet = fixture.wallet_with("USDC").await;
    fixture.reconcile(&["--full"], &[]).await;
    // The chain's time is now from here on.
    fixture.world.set_trap(Trap::DisplayScale).await.unwrap();
    let amount: Amount = "150".parse().unwrap();
    fixture
        .world
        .withdraw(&[((wallet, "USDC"), amount)])
        .await
        .unwrap();
    fixture.world.cut().await.unwrap();
    for statement in [
        "CREATE TABLE late AS SELECT * FROM eidos_trading_withdrawals ORDER BY id DESC LIMIT 1",
        "CREATE TABLE late_tx AS SELECT * FROM eidos_chain_withdrawal_txs ORDER BY id DESC LIMIT 1",
        "DELETE FROM eidos_trading_withdrawals WHERE id IN (SELECT id FROM late)",
        "DELETE FROM eidos_chain_withdrawal_txs WHERE id IN (SELECT id FROM late_tx)",
        "UPDATE late SET amount = amount - 1, updated_at = 1, created_at = 1",
    ] {
        sqlx::query(statement).execute(fixture.books()).await.unwrap();
    }
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(withdrawals(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(withdrawals(&report)["in_flight"], 1, "{report:#}");
    for statement in [
        "INSERT INTO eidos_trading_withdrawals SELECT * FROM late",
        "INSERT INTO eidos_chain_withdrawal_txs SELECT * FROM late_tx",
    ] {
        sqlx::query(statement).execute(fixture.books()).await.unwrap();
    }
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(kinds(&report), ["wrong_amount"], "{report:#}");
    let found = &withdrawals(&report)["breaks"][0];
    assert_eq!(
        (&found["diff"], &found["shortfall"]),
        (&json!("-1"), &json!(true)),
        "{found:#}"
    );
}

#[tokio::test]
async fn a_payment_that_no_row_knows_is_found_and_its_row_resolves_it() {
    let mut fixture = Fixture::clean().await;
    fixture.reconcile(&["--full"], &[]).await;
    fixture.world.plant(Fault::MissingWithdrawalDebit).await.unwrap();
    let planted = fixture.world.manifest().movements.last().unwrap().clone();
    let report = fixture.reconcile(&[], &[]).await;
    let found = &withdrawals(&report)["breaks"][0];
    assert_eq!(found["kind"], "missing_in_books", "{report:#}");
    assert_eq!(
        (&found["subject"], &found["shortfall"]),
        (&json!(planted.subject), &json!(true))
    );
    sqlx::query(
        "INSERT INTO eidos_trading_withdrawals \
             (withdraw_id, wallet, token, amount, to_address, nonce, status, tx_hash, created_at, updated_at) \
         VALUES ('w-late', $1, 'WETH', $2::text::numeric + 0.25, $1, 999, 3, $3, 1, 1)",
    )
    .bind(found["wallet"].as_str().unwrap())
    .bind(planted.difference.trim_start_matches('-'))
    .bind(planted.subject.split(':').next().unwrap())
    .execute(fixture.books())
    .await
    .unwrap();
    // The row has an old time and another amount: only the open break leads to it.
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(withdrawals(&report)["resolved"], 1, "{report:#}");
    let open = fixture.open_movements("withdrawal").await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(
        (open[0].0.as_str(), open[0].1.as_str()),
        ("row:w-late", "wrong_amount")
    );
}

#[tokio::test]
async fn values_that_no_withdrawal_has_are_named_and_stop_nothing() {
    let fixture = Fixture::clean().await;
    for statement in [
        "ALTER TABLE eidos_trading_withdrawals ALTER amount TYPE NUMERIC, ALTER amount DROP NOT NULL, \
         ALTER wallet DROP NOT NULL, ALTER token DROP NOT NULL",
        "UPDATE eidos_trading_withdrawals SET amount = 'NaN' WHERE id = (SELECT min(id) FROM eidos_trading_withdrawals)",
        "UPDATE eidos_trading_withdrawals SET amount = NULL WHERE id = (SELECT min(id) + 1 FROM eidos_trading_withdrawals)",
        "UPDATE eidos_trading_withdrawals SET amount = 1e60 WHERE id = (SELECT min(id) + 2 FROM eidos_trading_withdrawals)",
        "UPDATE eidos_trading_withdrawals SET amount = -amount WHERE id = (SELECT min(id) + 3 FROM eidos_trading_withdrawals)",
        "UPDATE eidos_trading_withdrawals SET wallet = NULL WHERE id = (SELECT min(id) + 4 FROM eidos_trading_withdrawals)",
        "UPDATE eidos_trading_withdrawals SET token = E'\\u0007' WHERE id = (SELECT min(id) + 5 FROM eidos_trading_withdrawals)",
        "INSERT INTO eidos_trading_withdrawals \
             (withdraw_id, wallet, token, amount, to_address, nonce, status, tx_hash, submitted_at, created_at, updated_at) \
         VALUES ('h1', NULL, NULL, NULL, '', -1, 3, 'pending', -5, 0, 0), \
                ('h2', 'x', 'USDC', 1, '', -2, 99, '0x12', NULL, 0, 0)",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(fixture.books())
            .await
            .unwrap();
    }
    let report = fixture.reconcile(&["--full"], &[]).await;
    let expected = [
        "beyond_decimal",
        "beyond_decimal",
        "beyond_decimal",
        "missing_on_chain",
        "wrong_amount",
        "wrong_token",
        "wrong_wallet",
    ];
    assert_eq!(kinds(&report), expected, "{report:#}");
}
