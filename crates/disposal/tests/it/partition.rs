//! The whole way of a partition when nothing goes wrong.

use eidos_disposal::export::{LongRead, content_of};
use eidos_disposal::partition::Waiting;
use eidos_disposal::unit::UnitState;

use crate::fixture::{Fixture, JANUARY, approval};

#[tokio::test]
async fn a_partition_is_frozen_exported_quarantined_and_dropped_days_later() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let own = fixture.identity(&run, JANUARY).await;
    let mut read = LongRead::open(&fixture.external, &fixture.settings)
        .await
        .unwrap();
    let select = format!("SELECT id, created_at, actor, amount, detail, seen FROM {JANUARY}");
    let before = content_of(&run.ctx, &mut read, &select, 6).await.unwrap();
    read.close().await;

    let outcome = run.disposal().advance(&own, &approval()).await.unwrap();
    assert_eq!(outcome.acts, ["freeze", "export", "quarantine"]);
    assert_eq!(outcome.unit.state, UnitState::Quarantined);
    let due = run.ctx.slot().ms() + 7 * 24 * 60 * 60 * 1000;
    assert_eq!(outcome.waiting, Some(Waiting::Until(due)));
    assert_eq!(outcome.unit.row_count, Some(400));
    assert_eq!(
        outcome.unit.content_digest,
        Some(before.digest.to_string()),
        "the rows' own bytes"
    );
    assert_eq!(
        fixture.rows().await,
        800,
        "January is no longer seen through the parent"
    );
    let resting = outcome.unit.quarantine_table.clone().unwrap();
    assert_eq!(
        fixture.count(&format!("SELECT count(*) FROM {resting}")).await,
        400
    );
    let valid = format!(
        "SELECT count(*) FROM pg_constraint WHERE conrelid = '{resting}'::regclass \
         AND conname = 'eidos_disposal_bounds' AND convalidated"
    );
    assert_eq!(
        fixture.count(&valid).await,
        1,
        "attaching it again would not read it"
    );

    // Not due yet: nothing happens, however often it is asked.
    let again = run.disposal().resume(outcome.unit.clone()).await.unwrap();
    assert_eq!((again.acts.len(), again.waiting), (0, Some(Waiting::Until(due))));

    let later = fixture.later_run().await;
    let done = later.disposal().resume(outcome.unit).await.unwrap();
    assert_eq!((done.unit.state, done.acts), (UnitState::Dropped, vec!["drop"]));
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM pg_class WHERE relname LIKE '%2024_01%'")
            .await,
        0
    );
    assert_eq!(fixture.manifests().len(), 1, "the export stays");
    assert_eq!(
        fixture.acts().await,
        ["freeze", "export", "verify", "quarantine", "drop", "drop"]
    );
    let approved = fixture
        .jobs_text("SELECT string_agg(DISTINCT approved_by || plan_digest, ',') FROM eidos_jobs_disposals");
    assert_eq!(approved.await, "ada0123");
}

#[tokio::test]
async fn without_quarantine_and_without_an_export_it_goes_in_one_run_and_is_counted() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await.unarchived().with_quarantine_days(0);
    let outcome = fixture.advance(&run).await.unwrap();
    assert_eq!(outcome.unit.state, UnitState::Dropped);
    assert_eq!(outcome.unit.row_count, Some(400));
    assert!(fixture.objects().is_empty());
    assert_eq!(fixture.rows().await, 800);
}

#[tokio::test]
async fn no_run_drops_more_than_its_quota() {
    let mut fixture = Fixture::new().await;
    fixture.settings.drops_per_run = 1;
    let run = fixture.run().await.unarchived().with_quarantine_days(0);
    let february = fixture.identity(&run, "eidos_risk_audit_logs_2024_02").await;
    assert_eq!(
        fixture.advance(&run).await.unwrap().unit.state,
        UnitState::Dropped
    );
    let second = run.disposal().advance(&february, &approval()).await.unwrap();
    assert_eq!(
        (second.unit.state, second.waiting),
        (UnitState::Quarantined, Some(Waiting::Quota))
    );
}

#[tokio::test]
async fn a_default_partition_stays_and_the_detach_is_plain() {
    let fixture = Fixture::new().await;
    fixture
        .sql("CREATE TABLE audit_rest PARTITION OF eidos_risk_audit_logs DEFAULT")
        .await;
    fixture
        .sql("INSERT INTO eidos_risk_audit_logs (id, created_at) VALUES (9, 1)")
        .await;
    let unit = fixture.quarantined().await;
    assert_eq!(fixture.rows().await, 801);
    let later = fixture.later_run().await;
    let done = later.disposal().resume(unit).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
}

#[tokio::test]
async fn csv_and_empty_partitions_go_the_same_way() {
    let fixture = Fixture::new().await;
    fixture.sql(&format!("TRUNCATE {JANUARY}")).await;
    let mut run = fixture.run().await.with_quarantine_days(0);
    run.policy.archive = Some(eidos_archive_store::ArchiveFormat::Csv);
    let outcome = fixture.advance(&run).await.unwrap();
    assert_eq!(
        (outcome.unit.state, outcome.unit.row_count),
        (UnitState::Dropped, Some(0))
    );
    let february = fixture.identity(&run, "eidos_risk_audit_logs_2024_02").await;
    let outcome = run.disposal().advance(&february, &approval()).await.unwrap();
    assert_eq!(
        (outcome.unit.state, outcome.unit.row_count),
        (UnitState::Dropped, Some(400))
    );
}

#[tokio::test]
async fn names_with_quotes_generated_columns_and_another_schema_are_no_obstacle() {
    let fixture = Fixture::new().await;
    fixture.sql("CREATE SCHEMA \"odd \"\"schema\"").await;
    fixture
        .sql(&format!(
            "ALTER TABLE eidos_risk_audit_logs ADD COLUMN \"to\"\"ld\" BIGINT GENERATED ALWAYS AS (id * 2) STORED; \
             ALTER TABLE {JANUARY} SET SCHEMA \"odd \"\"schema\""
        ))
        .await;
    let unit = fixture.quarantined().await;
    let later = fixture.later_run().await;
    assert_eq!(
        later.disposal().resume(unit).await.unwrap().unit.state,
        UnitState::Dropped
    );
}

#[tokio::test]
async fn a_run_that_is_made_up_for_an_old_slot_does_not_find_its_quarantine_over() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let reached = run.ctx.slot().ms() + 30 * 24 * 60 * 60 * 1000;
    let reached_slot = eidos_types::Slot::from_ms(reached).unwrap();
    fixture
        .jobs_sql(&format!(
            "INSERT INTO eidos_jobs_state (job_name, last_slot_ms) VALUES ('data-cleanup', {reached}) \
             ON CONFLICT (job_name) DO UPDATE SET last_slot_ms = {reached}"
        ))
        .await;
    let outcome = fixture.advance(&run).await.unwrap();
    let due = reached + 7 * 24 * 60 * 60 * 1000;
    assert_eq!(outcome.waiting, Some(Waiting::Until(due)));
    let next = fixture.run_at(&reached_slot.to_string()).await;
    let waits = next.disposal().resume(outcome.unit).await.unwrap();
    assert_eq!((waits.acts.len(), waits.waiting), (0, Some(Waiting::Until(due))));
}
