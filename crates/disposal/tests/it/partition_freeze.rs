//! A frozen partition can be read and not written, whichever way a write comes.

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_disposal::unit::UnitState;
use eidos_testkit::eventually;
use sqlx::Connection;

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE, approval, refusal};

const WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_way_to_write_is_refused_and_every_way_to_read_is_open() {
    let fixture = Fixture::new().await;
    fixture.frozen().await;
    let (january, february) = (MONTHS[0], MONTHS[1]);
    for write in [
        format!("INSERT INTO {TABLE} (id, created_at) VALUES (5000, {january})"),
        format!("INSERT INTO {JANUARY} (id, created_at) VALUES (5000, {january})"),
        format!(
            "INSERT INTO {TABLE} (id, created_at) VALUES (1, {january} + 1000) ON CONFLICT (id, created_at) DO UPDATE SET seen = true"
        ),
        format!("UPDATE {TABLE} SET seen = true WHERE id = 1"),
        format!("UPDATE {JANUARY} SET seen = true"),
        format!("DELETE FROM {TABLE} WHERE created_at < {february}"),
        format!("DELETE FROM ONLY {JANUARY}"),
        format!("UPDATE {TABLE} SET created_at = {january} WHERE id = 1001"),
        format!("UPDATE {TABLE} SET created_at = {february} WHERE id = 1"),
        format!("TRUNCATE {JANUARY}"),
        format!("TRUNCATE {TABLE}"),
        format!("SET session_replication_role = replica; DELETE FROM {TABLE} WHERE id = 1; "),
        format!("SET session_replication_role = replica; TRUNCATE {JANUARY}"),
    ] {
        let mut session = sqlx::PgConnection::connect(&fixture.books.url()).await.unwrap();
        let outcome = sqlx::raw_sql(sqlx::AssertSqlSafe(write.clone()))
            .execute(&mut session)
            .await;
        let error = outcome.expect_err(&write);
        let code = error
            .as_database_error()
            .and_then(|error| error.code().map(String::from));
        assert_eq!(code.as_deref(), Some("55000"), "{write}: {error}");
    }
    assert_eq!(fixture.rows().await, 1200);
    assert_eq!(
        fixture
            .count(&format!("SELECT count(*) FROM {JANUARY} WHERE NOT seen"))
            .await,
        200
    );
    // The other months go on.
    fixture
        .sql(&format!(
            "UPDATE {TABLE} SET seen = true WHERE created_at >= {february}"
        ))
        .await;
    assert!(fixture.shape().await.partitioning.unwrap().partitions[0].frozen);
}

#[tokio::test]
async fn a_writer_is_waited_out_and_its_rows_are_exported() {
    let mut fixture = Fixture::new().await;
    fixture.settings.lock_attempts = 100;
    let mut writer = fixture.books.pool().begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO {TABLE} (id, created_at) VALUES (5000, {})",
        MONTHS[0]
    )))
    .execute(&mut *writer)
    .await
    .unwrap();
    let run = fixture.run().await;
    let identity = fixture.identity(&run, JANUARY).await;
    let (approval, disposal) = (approval(), run.disposal());
    let advancing = disposal.advance(&identity, &approval);
    let committing = async {
        eventually("the freeze waits for the writer", WITHIN, async || {
            let waiting = fixture
                .count("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'")
                .await;
            if waiting == 1 { Ok(()) } else { Err("nobody waits") }
        })
        .await;
        writer.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(advancing, committing);
    assert_eq!(outcome.unwrap().unit.row_count, Some(401));
}

#[tokio::test]
async fn a_writer_that_does_not_end_makes_the_freeze_give_up_and_the_next_run_try_again() {
    let fixture = Fixture::new().await;
    let mut writer = fixture.books.pool().begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {TABLE} WHERE id = 1")))
        .execute(&mut *writer)
        .await
        .unwrap();
    let run = fixture.run().await;
    let busy = fixture.advance(&run).await.unwrap_err();
    assert!(
        matches!(busy, DisposalError::Busy { .. }) && busy.is_retryable(),
        "{busy:?}"
    );
    assert!(busy.to_string().contains("3 attempts"), "{busy}");
    assert_eq!(fixture.states().await, ["planned"]);
    assert!(!fixture.shape().await.partitioning.unwrap().partitions[0].frozen);
    writer.commit().await.unwrap();
    let run = fixture.run().await;
    assert_eq!(fixture.advance(&run).await.unwrap().unit.row_count, Some(399));
    assert_eq!(fixture.states().await, ["quarantined"], "the same unit");
}

#[tokio::test]
async fn a_disabled_or_changed_trigger_is_no_freeze() {
    let fixture = Fixture::new().await;
    fixture.frozen().await;
    for thaw in [
        format!("ALTER TABLE {JANUARY} DISABLE TRIGGER eidos_jobs_freeze_rows"),
        format!("ALTER TABLE {JANUARY} ENABLE TRIGGER eidos_jobs_freeze_rows"),
        format!("DROP TRIGGER eidos_jobs_freeze_truncate ON {JANUARY}"),
        format!(
            "CREATE OR REPLACE TRIGGER eidos_jobs_freeze_rows BEFORE INSERT OR UPDATE OR DELETE ON {JANUARY} \
             FOR EACH ROW WHEN (false) EXECUTE FUNCTION eidos_jobs_refuse_write(); \
             ALTER TABLE {JANUARY} ENABLE ALWAYS TRIGGER eidos_jobs_freeze_rows"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER eidos_jobs_freeze_rows BEFORE INSERT ON {JANUARY} \
             FOR EACH ROW EXECUTE FUNCTION eidos_jobs_refuse_write(); \
             ALTER TABLE {JANUARY} ENABLE ALWAYS TRIGGER eidos_jobs_freeze_rows"
        ),
    ] {
        fixture.sql(&thaw).await;
        let frozen = fixture.shape().await.partitioning.unwrap().partitions[0].frozen;
        assert!(!frozen, "{thaw}");
        // Whoever goes on freezes again first.
        let run = fixture.run().await;
        fixture.hold().await;
        assert_eq!(refusal(fixture.advance(&run).await), "hold");
        let state = fixture.unit().await.state;
        fixture.jobs_sql("DELETE FROM eidos_jobs_legal_holds").await;
        if state == UnitState::Verified {
            fixture
                .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'frozen' WHERE state = 'verified'")
                .await;
        }
        let frozen = fixture.shape().await.partitioning.unwrap().partitions[0].frozen;
        assert!(frozen, "{thaw}");
        fixture.store_emptied().await;
    }
}

#[tokio::test]
async fn a_released_partition_can_be_written_again_and_its_export_is_gone() {
    let fixture = Fixture::new().await;
    let unit = fixture.verified().await;
    assert_eq!(fixture.manifests().len(), 1);
    let run = fixture.run().await;
    let released = run
        .disposal()
        .release(&unit, "its rule was taken out")
        .await
        .unwrap();
    assert_eq!(
        (released.state, released.reason.as_deref()),
        (UnitState::Abandoned, Some("its rule was taken out"))
    );
    fixture.sql(&format!("DELETE FROM {TABLE} WHERE id = 1")).await;
    assert!(fixture.objects().is_empty(), "{:?}", fixture.objects());
    let resting = fixture.quarantined().await;
    let run = fixture.later_run().await;
    assert_eq!(
        refusal(run.disposal().release(&resting, "too late").await),
        "changed"
    );
}
