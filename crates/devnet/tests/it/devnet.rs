use eidos_devnet::neighbours::{READ_ONLY_PASSWORD, READ_ONLY_ROLE};
use eidos_devnet::{DevnetOptions, Fault, Trap};
use sqlx::{Connection, PgConnection};

use crate::{clean, fixture, found, oracle, planted};

#[tokio::test]
async fn without_faults_books_chain_and_oracle_agree() {
    let fixture = clean(1).await;
    let audit = fixture.devnet.audit().await.unwrap();
    assert!(audit.differences.is_empty(), "{:?}", audit.differences);
    assert!(oracle(&fixture.devnet).is_empty());
    assert!(
        audit.checked > 100,
        "{} accounts are too few for a devnet of 40 wallets",
        audit.checked
    );
    for (what, statement) in [
        (
            "trades",
            "SELECT count(*) FROM eidos_trading_trades WHERE settlement_status = 3",
        ),
        (
            "withdrawals",
            "SELECT count(*) FROM eidos_trading_withdrawals WHERE status = 3",
        ),
        (
            "sub-accounts",
            "SELECT count(*) FROM eidos_trading_subaccount_balances WHERE available > 0",
        ),
        (
            "orders",
            "SELECT count(*) FROM eidos_trading_orders WHERE status = 1",
        ),
        (
            "fees",
            "SELECT count(*) FROM eidos_trading_fee_accounts WHERE balance > 0",
        ),
        (
            "events",
            "SELECT count(*) FROM eidos_chain_events WHERE event_type = 'Settlement'",
        ),
        (
            "native deposits",
            "SELECT count(*) FROM eidos_trading_deposits WHERE token = 'ETH'",
        ),
    ] {
        let count: i64 = sqlx::query_scalar(statement)
            .fetch_one(fixture.devnet.pool())
            .await
            .unwrap();
        assert!(count > 0, "this devnet has no {what}");
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_manifest() {
    let complete = |seed| Box::pin(fixture(seed, DevnetOptions::complete(50)));
    let (one, two, other) = tokio::join!(complete(5), complete(5), complete(6));
    assert_eq!(one.devnet.manifest(), two.devnet.manifest());
    assert_ne!(one.devnet.manifest().faults, other.devnet.manifest().faults);
}

#[tokio::test]
async fn a_complete_devnet_has_every_class_and_exactly_these_differences() {
    let mut fixture = fixture(7, DevnetOptions::complete(50)).await;
    let manifest = fixture.devnet.manifest();
    for class in Fault::ALL {
        assert!(
            manifest.faults.iter().any(|fault| fault.class == class),
            "no {class:?}"
        );
    }
    for trap in Trap::ALL {
        assert!(
            manifest.traps.iter().any(|trapped| trapped.trap == trap),
            "no {trap:?}"
        );
    }
    let mut wallets: Vec<_> = manifest.faults.iter().filter_map(|fault| fault.wallet).collect();
    let count = wallets.len();
    wallets.extend(manifest.traps.iter().map(|trapped| trapped.wallet));
    wallets.sort_unstable();
    wallets.dedup();
    let traps: std::collections::BTreeSet<_> = manifest.traps.iter().map(|trapped| trapped.wallet).collect();
    assert_eq!(wallets.len(), count + traps.len(), "a wallet carries two of them");
    assert_eq!(
        found(&fixture.devnet.audit().await.unwrap()),
        planted(&fixture.devnet)
    );

    // Everything arrives, the late rows are committed, the indexer catches up: the faults stay, the traps are gone.
    fixture.devnet.commit_late().await.unwrap();
    fixture.devnet.let_everything_arrive().await.unwrap();
    assert_eq!(
        found(&fixture.devnet.audit().await.unwrap()),
        planted(&fixture.devnet)
    );
    fixture.devnet.cut().await.unwrap();
    assert_eq!(
        found(&fixture.devnet.audit().await.unwrap()),
        planted(&fixture.devnet)
    );
}

#[tokio::test]
async fn the_read_only_role_reads_and_cannot_write() {
    let fixture = clean(2).await;
    let url = fixture.db.url();
    let (_, rest) = url.split_once('@').unwrap();
    let mut connection = PgConnection::connect(&format!(
        "postgres://{READ_ONLY_ROLE}:{READ_ONLY_PASSWORD}@{rest}"
    ))
    .await
    .unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM eidos_trading_balances")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(rows > 0);
    for statement in [
        "UPDATE eidos_trading_balances SET settled_available = 0",
        "DELETE FROM eidos_chain_events",
        "CREATE TABLE mine (id INT)",
        "SELECT count(*) FROM eidos_trading_orders",
    ] {
        let refused = sqlx::query(statement).execute(&mut connection).await.unwrap_err();
        assert_eq!(
            refused.as_database_error().unwrap().code().as_deref(),
            Some("42501"),
            "{statement}"
        );
    }
}
