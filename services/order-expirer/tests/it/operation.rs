//! What an operator meets: a start that is refused with the reason, and the table of a report.

use eidos_testkit::Command;

use crate::fixture::{Fixture, ORDERS, WITHIN};

async fn refused(command: &Command) -> String {
    let (status, child) = command.run(WITHIN).await;
    assert!(!status.success(), "{}", child.stdout());
    child.stderr()
}

#[tokio::test]
async fn ruling_16_a_profile_that_does_not_fit_the_table_refuses_the_start() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "ALTER TABLE {ORDERS} RENAME COLUMN expire_at TO expiration"
        ))
        .await;
    let said = refused(&fixture.command(&[("EXPIRY_PROFILE__WALLET", "nonce")])).await;
    assert!(
        said.contains("table eidos_trading_orders has no column expire_at"),
        "{said}"
    );
    assert!(
        said.contains("expiry_profile.wallet: column nonce"),
        "both at once: {said}"
    );
    let said = refused(&fixture.command(&[("EXPIRY_PROFILE__TABLE", "orders_v2")])).await;
    assert!(
        said.contains("table orders_v2 does not exist in database"),
        "{said}"
    );
}

#[tokio::test]
async fn the_binary_runs_with_a_table_for_a_terminal() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 8).await;
    let command = Command::new(env!("CARGO_BIN_EXE_order-expirer"))
        .args(["plan"])
        .env("EIDOS_CONFIG", fixture.dir.path().join("order-expirer.yaml"));
    let (status, child) = command.run(WITHIN).await;
    assert!(status.success(), "{}", child.stderr());
    assert!(child.stdout().contains("ETH-USDC"), "{}", child.stdout());
    assert_eq!(fixture.requests("true").await, 0);
}

#[tokio::test]
async fn the_login_may_be_one_that_only_reads_orders() {
    let fixture = Fixture::new().await;
    fixture
        .sql(include_str!(
            "../../../../crates/devnet/neighbours/expirer_role.sql"
        ))
        .await;
    fixture.expired_orders(1, 5).await;
    let url = fixture.trading.url();
    let (_, server) = url.split_once('@').unwrap();
    let url = format!("postgres://eidos_expirer_ro:eidos-expirer-read-only@{server}");
    let (status, child) = fixture
        .command(&[("DATABASES__TRADING__URL", &url)])
        .run(WITHIN)
        .await;
    assert!(status.success(), "{}", child.stderr());
    fixture.until_expired(5).await;
}
