//! An answer is not the end of an order: its row is.

use eidos_devnet::matching::{Misbehaviour, NOT_IN_BOOK};
use eidos_runtime::{Job as _, JobError};
use order_expirer::jobs::cleanup_orders::CleanupParams;
use order_expirer::store::requests;

use crate::fixture::{Fixture, MINUTE, ORDERS};

#[tokio::test]
async fn an_order_that_was_removed_and_forgotten_is_asked_for_under_a_new_id() {
    let fixture = Fixture::with(
        "",
        Misbehaviour {
            answer_without_removal: 1000,
            ..Misbehaviour::default()
        },
    )
    .await;
    fixture.expired_orders(1, 20).await;
    assert_eq!(fixture.run().await.verdicts.get("removed"), Some(&20));
    // Within `confirm_within` nothing is asked again.
    fixture.later(1);
    let report = fixture.run().await;
    assert_eq!((report.sent, report.asked_again), (0, 0), "{report:#?}");
    fixture.engine.set_misbehaviour(Misbehaviour::default()).await;
    fixture.later(2);
    let report = fixture.run().await;
    assert_eq!((report.sent, report.asked_again), (20, 20), "{report:#?}");
    fixture.until_expired(20).await;
    let log = fixture.engine.log().await;
    assert_eq!(
        log.iter()
            .filter(|asked| asked.idempotency_id.ends_with(":1"))
            .count(),
        20
    );
    assert_eq!(
        log.iter()
            .filter(|asked| asked.idempotency_id.ends_with(":2"))
            .count(),
        20
    );
    assert!(log.iter().all(|asked| !asked.is_repetition));
    fixture.later(2);
    assert_eq!(fixture.run().await.ended.get("expired"), Some(&20));
}

#[tokio::test]
async fn an_order_that_no_book_has_is_a_contradiction_and_is_given_up_after_the_last_id() {
    let fixture = Fixture::with("expiry: { max_epochs: 3 }\n", Misbehaviour::default()).await;
    fixture.expired_orders(1, 2).await;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET created_by = '{NOT_IN_BOOK}'"))
        .await;
    let mut given_up = 0;
    for _ in 0..12 {
        let report = fixture.run().await;
        given_up += report.given_up;
        fixture.later(5);
    }
    assert_eq!(given_up, 2);
    assert_eq!(
        fixture
            .requests("state = 'given_up' AND contradicted AND attempt_epoch = 3")
            .await,
        2
    );
    assert_eq!(
        fixture.engine.log().await.len(),
        6,
        "three ids for each order, and no more"
    );
    let totals = requests::totals(fixture.jobs.pool()).await.unwrap();
    assert_eq!(
        (totals[0].state.as_str(), totals[0].contradicted),
        ("given_up", 2)
    );
    // An operator has one asked for again; another order is ended by its service.
    fixture
        .sql(&format!("UPDATE {ORDERS} SET status = 5 WHERE id = 1"))
        .await;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET created_by = NULL WHERE id = 2"))
        .await;
    let ctx = fixture.context("cleanup-orders", false).await;
    let params = CleanupParams { retry: true };
    let report = fixture.cleanup_orders().run(&ctx, params).await.unwrap();
    assert_eq!((report.retried, report.sent), (2, 1), "{report:#?}");
    assert_eq!(report.ended.get("expired"), Some(&1), "{report:#?}");
    fixture.until_expired(2).await;
}

#[tokio::test]
async fn an_order_whose_expiry_was_moved_is_left_alone() {
    let fixture = Fixture::with(
        "",
        Misbehaviour {
            refuse: 1000,
            ..Misbehaviour::default()
        },
    )
    .await;
    fixture.expired_orders(1, 1).await;
    let report = fixture.run().await;
    assert_eq!(report.verdicts.get("refused"), Some(&1), "{report:#?}");
    let later = fixture.now_ms() + 30 * MINUTE;
    fixture
        .sql(&format!("UPDATE {ORDERS} SET expire_at = {later}"))
        .await;
    fixture.later(10);
    let report = fixture.run().await;
    assert_eq!(report.ended.get("not_due"), Some(&1), "{report:#?}");
    assert_eq!(report.sent, 0);
    // Its new time passes: it is asked for again.
    fixture.engine.set_misbehaviour(Misbehaviour::default()).await;
    fixture
        .sql(&format!(
            "UPDATE {ORDERS} SET expire_at = {}",
            fixture.now_ms() - 10 * MINUTE
        ))
        .await;
    let report = fixture.run().await;
    assert_eq!((report.reopened, report.sent), (1, 1), "{report:#?}");
    fixture.until_expired(1).await;
}

#[tokio::test]
async fn a_stale_run_cannot_write_and_asks_for_nothing() {
    let fixture = Fixture::new().await;
    fixture.expired_orders(1, 5).await;
    let stale = fixture.context("cleanup-orders", false).await;
    let _newer = fixture.context("cleanup-orders", false).await;
    let error = fixture
        .cleanup_orders()
        .run(&stale, CleanupParams::default())
        .await
        .unwrap_err();
    assert!(matches!(error.without_report(), JobError::Fenced), "{error}");
    assert_eq!(fixture.requests("true").await, 0);
    assert!(
        fixture.engine.log().await.is_empty(),
        "a request that is not durable is not sent"
    );
}
