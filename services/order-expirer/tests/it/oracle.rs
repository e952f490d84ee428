//! Orders of every kind, an engine with every fault, and the oracle of the devnet as the judge.

use eidos_devnet::matching::Misbehaviour;
use eidos_devnet::orders::{self, OrdersOptions};

use crate::fixture::Fixture;

#[tokio::test]
async fn every_expired_order_ends_once_and_none_that_should_live_is_touched() {
    let misbehaviour = Misbehaviour {
        event_delay_ms: 50,
        pause_ms: 50,
        retry_after_ms: 50,
        ..Misbehaviour::a_bit_of_everything()
    };
    let fixture = Fixture::with(
        "matching: { batch_orders: 20, answer_timeout: 1s }\nexpiry: { max_epochs: 50 }\n",
        misbehaviour,
    )
    .await;
    let options = OrdersOptions::some(fixture.now_ms(), 40);
    orders::fill(fixture.trading.pool(), 11, &options).await.unwrap();
    for run in 0.. {
        assert!(
            run < 60,
            "{}",
            orders::verdict(fixture.trading.pool()).await.unwrap()
        );
        fixture.sweep().await;
        // A run that the engine's faults ended is followed by another one.
        let _report = fixture.try_run().await;
        let verdict = orders::verdict(fixture.trading.pool()).await.unwrap();
        if verdict.holds() {
            break;
        }
        fixture.later(4);
    }
}
