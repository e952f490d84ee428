//! What a run finds, and what it does not believe.

use eidos_recon::Relation;

use crate::counters::Counters;
use crate::fixture::{Fixture, open};

/// One of each: equal, on one side only, differing, and below the threshold.
const ONE_OF_EACH: &str = "INSERT INTO counted VALUES ('agrees', 5), ('differs', 500), ('dust', 10), ('left', 7); \
    INSERT INTO reported VALUES ('agrees', 5), ('differs', 40), ('dust', 11), ('right', 9)";

#[tokio::test]
async fn each_difference_is_found_and_stored_under_its_subject() {
    let fixture = Fixture::with(ONE_OF_EACH).await;
    let summary = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let counts = summary.counts;
    assert_eq!((counts.checked, counts.matched, counts.suspects), (5, 1, 3));
    assert_eq!(
        summary.breaks,
        [
            ("differs".to_owned(), Relation::Below, "critical", 3, true),
            ("left".to_owned(), Relation::MissingRight, "warning", 2, true),
            ("right".to_owned(), Relation::MissingLeft, "warning", 2, true),
        ]
    );
    assert_eq!(
        fixture.breaks().await,
        [
            open("differs", "below"),
            open("left", "missing_right"),
            open("right", "missing_left")
        ]
    );
    let stored: (String, String, String, String, String) = sqlx::query_as(
        "SELECT direction, offchain_value::text, onchain_value::text, diff_value::text, subject_detail ->> 'name' \
         FROM eidos_jobs_breaks WHERE subject = 'differs'",
    )
    .fetch_one(fixture.pool())
    .await
    .unwrap();
    let amount = |text: &str| format!("{text}.000000000000000000");
    assert_eq!(
        stored,
        (
            "shortfall".to_owned(),
            amount("500"),
            amount("40"),
            amount("-460"),
            "differs".to_owned()
        )
    );
    let records: Vec<(String, String)> = sqlx::query_as(
        "SELECT subject, status FROM eidos_jobs_reconciliation_records WHERE dimension = 'counters' ORDER BY subject",
    )
    .fetch_all(fixture.pool())
    .await
    .unwrap();
    let record = |subject: &str, status: &str| (subject.to_owned(), status.to_owned());
    assert_eq!(
        records,
        [
            record("all counters", "matched"),
            record("differs", "mismatched"),
            record("dust", "ignored"),
            record("left", "mismatched"),
            record("right", "mismatched"),
        ]
    );
    let dust = "SELECT entries FROM eidos_jobs_dust WHERE dimension = 'counters' AND subject = 'all counters' AND net = 1";
    assert_eq!(fixture.count(dust).await, 1);
    assert_eq!(fixture.count("SELECT count(*) FROM eidos_jobs_outbox").await, 3);
    let unfinished = "SELECT count(*) FROM eidos_jobs_checkpoints \
        WHERE checkpoint_key LIKE 'counters/suspects/%' OR checkpoint_key LIKE 'counters/run/%'";
    assert_eq!(fixture.count(unfinished).await, 0);
}

#[tokio::test]
async fn ruling_24_a_difference_that_vanishes_was_late() {
    let fixture = Fixture::with(ONE_OF_EACH).await;
    let counters = fixture
        .counters()
        .before_cut(2, "UPDATE reported SET value = 500 WHERE name = 'differs'");
    let summary = counters.reconcile(&fixture.run().await).await.unwrap();
    assert_eq!((summary.lag, summary.breaks.len()), (1, 2), "{summary:?}");
}

#[tokio::test]
async fn ruling_24_a_counter_that_changes_is_left_to_the_next_run() {
    let fixture = Fixture::with(ONE_OF_EACH).await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let counters = fixture
        .counters()
        .before_cut(2, "UPDATE reported SET value = 50 WHERE name = 'differs'")
        .before_cut(3, "UPDATE reported SET value = 60 WHERE name = 'differs'");
    let summary = counters.reconcile(&fixture.run().await).await.unwrap();
    assert_eq!(
        (summary.undecided, summary.breaks.len(), summary.resolved),
        (1, 2, 0)
    );
    let carry_over = "SELECT count(*) FROM eidos_jobs_checkpoints \
        WHERE checkpoint_key = 'counters/debts' AND value = '[\"differs\"]'::jsonb";
    assert_eq!(
        fixture.count(carry_over).await,
        1,
        "the next run owes it a reading"
    );
    assert_eq!(
        fixture.breaks().await[0],
        open("differs", "below"),
        "undecided is not resolved"
    );
}

#[tokio::test]
async fn an_answer_that_is_missing_opens_and_resolves_nothing() {
    let fixture = Fixture::with(ONE_OF_EACH).await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    fixture
        .execute("UPDATE reported SET value = NULL WHERE name IN ('agrees', 'differs')")
        .await;
    let summary = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert_eq!(
        (summary.undecided, summary.breaks.len(), summary.resolved),
        (2, 2, 0)
    );
    assert_eq!(fixture.breaks().await.len(), 3);
}

#[tokio::test]
async fn a_side_that_does_not_answer_ends_the_run_and_changes_nothing() {
    let fixture = Fixture::with(ONE_OF_EACH).await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let before = fixture.breaks().await;
    fixture.execute("ALTER TABLE reported RENAME TO away").await;
    let error = fixture
        .counters()
        .reconcile(&fixture.run().await)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("reported"), "{error}");
    assert_eq!(fixture.breaks().await, before);
}

#[tokio::test]
async fn a_dry_run_finds_the_same_and_writes_nothing() {
    let fixture = Fixture::with(ONE_OF_EACH).await;
    let summary = fixture
        .counters()
        .reconcile(&fixture.dry_run().await)
        .await
        .unwrap();
    assert_eq!((summary.counts.checked, summary.breaks.len()), (5, 3));
    assert!(summary.breaks.iter().all(|found| !found.4), "{summary:?}");
    for table in [
        "SELECT count(*) FROM eidos_jobs_breaks",
        "SELECT count(*) FROM eidos_jobs_break_history",
        "SELECT count(*) FROM eidos_jobs_reconciliation_records",
        "SELECT count(*) FROM eidos_jobs_reconciliation_checkpoints",
        "SELECT count(*) FROM eidos_jobs_dust",
        "SELECT count(*) FROM eidos_jobs_checkpoints",
        "SELECT count(*) FROM eidos_jobs_outbox",
    ] {
        assert_eq!(fixture.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_difference_almost_everywhere_ends_the_run() {
    let fixture = Fixture::with("INSERT INTO counted SELECT 'n' || i, 50 FROM generate_series(1, 9) i").await;
    let error = fixture
        .counters()
        .reconcile(&fixture.run().await)
        .await
        .unwrap_err();
    let limit = Counters::rules().max_suspects;
    assert_eq!(error.to_string(), format!("6 counters differ, more than {limit}"));
    assert!(fixture.breaks().await.is_empty());
}
