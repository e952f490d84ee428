use eidos_devnet::Trap;

use crate::{clean, oracle};

/// No trap makes a difference: when it is set, while it lasts, and after it has ended.
#[tokio::test]
async fn no_trap_is_a_difference() {
    let mut fixture = clean(8).await;
    for trap in Trap::ALL {
        assert!(!fixture.devnet.set_trap(trap).await.unwrap().is_empty());
        assert_eq!(
            fixture.devnet.audit().await.unwrap().differences,
            [].into(),
            "{trap:?}"
        );
        assert!(
            oracle(&fixture.devnet).is_empty(),
            "the oracle about {trap:?}: {:?}",
            oracle(&fixture.devnet)
        );
    }
    fixture.devnet.commit_late().await.unwrap();
    fixture.devnet.let_everything_arrive().await.unwrap();
    assert_eq!(
        fixture.devnet.audit().await.unwrap().differences,
        [].into(),
        "arrived above the cut"
    );
    assert!(
        oracle(&fixture.devnet).is_empty(),
        "{:?}",
        oracle(&fixture.devnet)
    );
    fixture.devnet.cut().await.unwrap();
    assert_eq!(
        fixture.devnet.audit().await.unwrap().differences,
        [].into(),
        "arrived and indexed"
    );
    assert!(
        oracle(&fixture.devnet).is_empty(),
        "{:?}",
        oracle(&fixture.devnet)
    );
}

/// A trap that could not catch a reconciler is not one: each of these leaves the two raw sides apart.
#[tokio::test]
async fn a_reader_without_in_flight_lines_would_fall_for_them() {
    let mut fixture = clean(9).await;
    for trap in [
        Trap::InFlightWithdrawal,
        Trap::DepositNotCredited,
        Trap::BatchNotBooked,
        Trap::SubAccountTransfer,
    ] {
        let trapped = fixture.devnet.set_trap(trap).await.unwrap().remove(0);
        let row: String = sqlx::query_scalar(
            "SELECT (settled_available + settled_frozen)::text FROM eidos_trading_balances
             WHERE wallet = $1 AND token = $2",
        )
        .bind(trapped.wallet.to_string())
        .bind(&trapped.token)
        .fetch_one(fixture.devnet.pool())
        .await
        .unwrap();
        let token = fixture
            .devnet
            .tokens()
            .values()
            .find(|token| token.symbol == trapped.token)
            .unwrap();
        let on_chain = fixture.devnet.ledger().on_chain((trapped.wallet, token.symbol));
        assert_ne!(row.parse::<eidos_types::Amount>().unwrap(), on_chain, "{trap:?}");
    }
}
