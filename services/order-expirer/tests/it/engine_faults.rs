//! An engine that is away, slow, forgetful or of two minds: nothing is lost, and nothing floods it.

use eidos_devnet::matching::Misbehaviour;

use crate::fixture::{Fixture, ORDERS};

/// Runs until every order ended, and returns how many runs it took.
async fn until_ended(fixture: &Fixture, orders: i64) -> usize {
    for run in 1..=60 {
        let _report = fixture.try_run().await;
        if fixture.requests("state = 'closed'").await == orders {
            return run;
        }
        fixture.later(4);
    }
    panic!("{} of {orders} ended", fixture.requests("state = 'closed'").await);
}

#[tokio::test]
async fn an_engine_that_is_away_for_an_hour_loses_nothing_and_is_not_flooded() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 400).await;
    fixture.engine.take_down().await;
    for _ in 0..3 {
        let error = fixture.try_run().await.unwrap_err();
        assert!(
            error.to_string().contains("no connection to the matching engine"),
            "{error}"
        );
        fixture.later(20);
    }
    assert_eq!(
        fixture.requests("sends > 0").await,
        0,
        "nothing is promised to an engine that is away"
    );
    fixture.engine.bring_up().await.unwrap();
    let report = fixture.run().await;
    assert_eq!(report.verdicts.get("removed"), Some(&400), "{report:#?}");
    fixture.until_expired(400).await;
}

#[tokio::test]
async fn a_stream_that_breaks_in_the_middle_is_repeated_with_the_same_ids() {
    let misbehaviour = Misbehaviour {
        break_stream: 300,
        ..Misbehaviour::default()
    };
    let fixture = Fixture::with("matching: { batch_orders: 20 }\n", misbehaviour).await;
    fixture.expired_orders(1, 400).await;
    for run in 0.. {
        assert!(run < 60, "not every order was answered");
        let _report = fixture.try_run().await;
        let answered = fixture.requests("state <> 'requested'").await;
        if answered == 400 {
            break;
        }
        // A run that begins before the trading service has recorded what was answered would begin a new epoch.
        fixture
            .until(
                &format!("SELECT count(*) FROM {ORDERS} WHERE status = 5"),
                answered,
            )
            .await;
        fixture.later(2);
    }
    fixture.until_expired(400).await;
    let log = fixture.engine.log().await;
    assert!(
        log.iter().all(|asked| asked.attempt_epoch == 1),
        "no answer was lost for good"
    );
    assert!(
        log.iter().any(|asked| asked.is_repetition),
        "no stream broke after a decision"
    );
}

#[tokio::test]
async fn with_a_bit_of_every_fault_every_order_ends_expired_once_and_its_funds_are_free() {
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
    fixture.expired_orders(1, 300).await;
    fixture.orders(1001, 1050, 1, "0", "1").await;
    until_ended(&fixture, 300).await;
    assert_eq!(
        (fixture.with_status(5).await, fixture.with_status(1).await),
        (300, 50)
    );
    let frozen = "SELECT count(*) FROM eidos_trading_balances b JOIN eidos_trading_orders o USING (wallet) \
                  WHERE o.status = 5 AND (b.settled_frozen <> 0 OR b.settled_available <> 6)";
    assert_eq!(fixture.number(frozen).await, 0, "unfrozen once");
    assert_eq!(fixture.requests("outcome = 'expired'").await, 300);
}

#[tokio::test]
async fn a_restart_between_request_and_event_is_asked_again() {
    let misbehaviour = Misbehaviour {
        drop_events: 1000,
        forget_on_restart: true,
        ..Misbehaviour::default()
    };
    let fixture = Fixture::with("", misbehaviour).await;
    fixture.expired_orders(1, 50).await;
    assert_eq!(fixture.run().await.verdicts.get("removed"), Some(&50));
    fixture
        .engine
        .set_misbehaviour(Misbehaviour {
            forget_on_restart: true,
            ..Misbehaviour::default()
        })
        .await;
    fixture.engine.restart().await.unwrap();
    until_ended(&fixture, 50).await;
    assert_eq!(
        fixture
            .requests("outcome = 'expired' AND attempt_epoch > 1")
            .await,
        50
    );
}

#[tokio::test]
async fn the_window_of_the_engine_is_honoured() {
    let fixture = Fixture::with(
        "matching: { initial_window: 5, batch_orders: 100 }\n",
        Misbehaviour {
            window: 7,
            pause: 200,
            pause_ms: 30,
            slow_ms: 1,
            ..Misbehaviour::default()
        },
    )
    .await;
    fixture.expired_orders(1, 200).await;
    // The engine ends the stream of a caller that ignores its window.
    let report = fixture.run().await;
    assert!(report.stream_failures.is_empty(), "{report:#?}");
    assert_eq!(report.verdicts.get("removed"), Some(&200), "{report:#?}");
}

#[tokio::test]
async fn an_order_that_is_not_now_is_asked_again_under_the_same_id_after_the_pause() {
    let misbehaviour = Misbehaviour {
        retry_later: 1000,
        retry_after_ms: 200_000,
        ..Misbehaviour::default()
    };
    let fixture = Fixture::with("", misbehaviour).await;
    fixture.expired_orders(1, 10).await;
    assert_eq!(fixture.run().await.verdicts.get("retry_later"), Some(&10));
    fixture.engine.set_misbehaviour(Misbehaviour::default()).await;
    fixture.later(3);
    assert_eq!(
        fixture.run().await.sent,
        0,
        "the engine asked for more than three minutes"
    );
    fixture.later(1);
    assert_eq!(fixture.run().await.verdicts.get("removed"), Some(&10));
    assert!(
        fixture
            .engine
            .log()
            .await
            .iter()
            .all(|asked| asked.attempt_epoch == 1)
    );
    fixture.until_expired(10).await;
}
