//! Dimension fee account: what is booked as fees against what trades paid.

use eidos_devnet::Fault;
use serde_json::Value;

use crate::deposits::part;
use crate::fixture::Fixture;

fn fees(report: &Value) -> &Value {
    part(report, "fee_account")
}

#[tokio::test]
async fn fees_that_were_not_booked_are_found_and_resolved_when_they_are() {
    let fixture = Fixture::new(&[Fault::FeeNotBooked], &[]).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let found = &fees(&report)["breaks"][0];
    assert_eq!(found["kind"], "fee_not_booked", "{report:#}");
    assert_eq!(found["subject"], "fees:USDC");
    assert_eq!(found["shortfall"], false);
    let verdict = fixture.verdict(fixture.world.manifest()).await;
    assert!(verdict.is_clean(), "{verdict:#?}");
    let booked = sqlx::query(
        "UPDATE eidos_trading_fee_accounts SET balance = balance + $1::numeric \
         WHERE id = (SELECT min(id) FROM eidos_trading_fee_accounts WHERE token = 'USDC')",
    )
    .bind(found["diff"].as_str().unwrap())
    .execute(fixture.books())
    .await
    .unwrap();
    assert_eq!(booked.rows_affected(), 1);
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(fees(&report)["breaks_found"], 0, "{report:#}");
    assert_eq!(fees(&report)["resolved"], 1, "{report:#}");
}

/// The account and the chain agree, so no balance shows it.
#[tokio::test]
async fn fees_that_no_trade_paid_are_found_although_every_balance_is_right() {
    let fixture = Fixture::clean().await;
    let clean = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(fees(&clean)["breaks_found"], 0, "{clean:#}");
    assert!(fees(&clean)["checked"].as_u64() > Some(0), "{clean:#}");
    sqlx::query(
        "UPDATE eidos_trading_trades SET maker_fee = maker_fee - 0.02, taker_fee = taker_fee + 0.01 \
         WHERE id = (SELECT min(id) FROM eidos_trading_trades)",
    )
    .execute(fixture.books())
    .await
    .unwrap();
    let report = fixture.reconcile(&[], &[]).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");
    assert_eq!(
        fees(&report)["breaks"][0]["kind"],
        "fee_without_trade",
        "{report:#}"
    );
    assert_eq!(fees(&report)["breaks"][0]["diff"], "-0.01");
    assert_eq!(fees(&report)["breaks"][0]["severity"], "warning");
    assert_eq!(fees(&report)["breaks"][0]["shortfall"], true);
}

/// What the fee recipient takes out lessens the account and not what trades paid.
#[tokio::test]
async fn what_the_recipient_withdrew_is_not_missing() {
    let fixture = Fixture::clean().await;
    let recipient = fixture.world.addresses().fee_recipient.to_string();
    for statement in [
        "UPDATE eidos_trading_fee_accounts SET balance = balance - 0.5 \
         WHERE id = (SELECT min(id) FROM eidos_trading_fee_accounts WHERE token = 'USDC') AND $1 <> ''",
        "INSERT INTO eidos_trading_withdrawals (withdraw_id, wallet, token, amount, to_address, nonce, status, created_at, \
             updated_at) VALUES ('fees', $1, 'USDC', 0.5, $1, 1, 1, 0, 0)",
        "INSERT INTO eidos_trading_withdrawals (withdraw_id, wallet, token, amount, to_address, nonce, status, created_at, \
             updated_at) VALUES ('given back', $1, 'USDC', 7, $1, 2, 4, 0, 0)",
    ] {
        sqlx::query(statement)
            .bind(&recipient)
            .execute(fixture.books())
            .await
            .unwrap();
    }
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(fees(&report)["breaks_found"], 0, "{report:#}");
}
