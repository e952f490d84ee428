//! A run that ends between two steps is continued and ends like an undisturbed one.

use crate::counters::{Counters, Death};
use crate::fixture::Fixture;

const ROWS: &str = "INSERT INTO counted SELECT 'n' || i, 50 FROM generate_series(1, 8) i; \
    INSERT INTO reported SELECT 'n' || i, CASE i WHEN 2 THEN 20 WHEN 7 THEN 500 ELSE 50 END FROM generate_series(1, 8) i";

#[tokio::test]
async fn ruling_28_durable_pages_are_not_read_again() {
    let fixture = Fixture::with(ROWS).await;
    let failing = Counters {
        fails_at_page: Some(3),
        ..fixture.counters()
    };
    let error = failing.reconcile(&fixture.run().await).await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    let durable = "SELECT (state -> 'tally' ->> 'checked')::bigint FROM eidos_jobs_reconciliation_checkpoints \
        WHERE dimension = 'counters' AND next_key = 'n4'";
    assert_eq!(fixture.count(durable).await, 4);

    let continued = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert_eq!(continued.resumed, Some(4));
    assert_eq!((continued.counts.checked, continued.counts.matched), (8, 6));
    assert_eq!(
        continued.breaks.len(),
        2,
        "the suspect of a durable page is not forgotten"
    );

    let undisturbed = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert_eq!(
        (undisturbed.resumed, undisturbed.counts),
        (None, continued.counts)
    );
}

#[tokio::test]
async fn a_run_that_died_between_two_steps_is_continued_under_its_identity() {
    for death in [Death::AfterFirstReading, Death::AfterRecord] {
        let fixture = Fixture::with(ROWS).await;
        let dying = Counters {
            dies: Some(death),
            ..fixture.counters()
        };
        let ctx = fixture.run().await;
        dying.reconcile(&ctx).await.unwrap_err();
        let continued = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
        assert_eq!(continued.run, ctx.execution_id().as_uuid(), "{death:?}");
        assert_eq!(
            (continued.resumed, continued.breaks.len()),
            (Some(8), 2),
            "{death:?}"
        );
        let occurrences: Vec<i64> = fixture.breaks().await.iter().map(|found| found.3).collect();
        assert_eq!(occurrences, [1, 1], "one run sees a break once: {death:?}");
        assert_eq!(
            fixture.count("SELECT count(*) FROM eidos_jobs_outbox").await,
            2,
            "{death:?}"
        );
    }
}

#[tokio::test]
async fn other_settings_start_again() {
    let fixture = Fixture::with(ROWS).await;
    let failing = Counters {
        fails_at_page: Some(3),
        ..fixture.counters()
    };
    failing.reconcile(&fixture.run().await).await.unwrap_err();
    fixture
        .execute(
            "UPDATE eidos_jobs_checkpoints SET value = jsonb_set(value, '{digest}', '\"others\"') \
            WHERE checkpoint_key = 'counters/run/full'",
        )
        .await;
    let fresh = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert_eq!(
        (fresh.resumed, fresh.counts.checked, fresh.breaks.len()),
        (None, 8, 2)
    );
}

#[tokio::test]
async fn a_run_that_was_replaced_writes_nothing() {
    let fixture = Fixture::with(ROWS).await;
    let (replaced, _newer) = (fixture.run().await, fixture.run().await);
    fixture.counters().reconcile(&replaced).await.unwrap_err();
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_jobs_reconciliation_checkpoints")
            .await,
        0
    );
}
