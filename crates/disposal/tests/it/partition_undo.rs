//! `undo`, from every state of a unit: the rows are where they were, and writable, and the next run is not in the way.

use eidos_disposal::DisposalError;
use eidos_disposal::partition::{UndoRequest, Undone};
use eidos_disposal::unit::{Unit, UnitState};

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE, refusal};

fn request() -> UndoRequest {
    UndoRequest {
        reason: "case 17".to_owned(),
        hold: true,
    }
}

async fn undo(fixture: &Fixture, unit: Unit) -> Result<Undone, DisposalError> {
    let run = fixture.later_run().await;
    run.disposal().undo(unit, &request()).await
}

/// All rows are seen through the parent, January can be written to, and nothing of the disposal is left on it.
async fn is_as_before(fixture: &Fixture) {
    assert_eq!(fixture.rows().await, 1200);
    assert_eq!(
        fixture.count(&format!("SELECT count(*) FROM {JANUARY}")).await,
        400
    );
    fixture
        .sql(&format!(
            "UPDATE {TABLE} SET seen = NOT seen WHERE id = 7; \
             INSERT INTO {TABLE} (id, created_at) VALUES (5000, {0}); DELETE FROM {TABLE} WHERE id = 5000",
            MONTHS[0]
        ))
        .await;
    let ours = "SELECT count(*) FROM pg_constraint WHERE conname = 'eidos_disposal_bounds'";
    assert_eq!(fixture.count(ours).await, 0);
    let triggers = format!(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = '{JANUARY}'::regclass AND tgname LIKE 'eidos_jobs%'"
    );
    assert_eq!(fixture.count(&triggers).await, 0);
    assert!(fixture.objects().is_empty(), "{:?}", fixture.objects());
    assert_eq!(fixture.states().await.pop().unwrap(), "abandoned");
    assert_eq!(fixture.acts().await.pop().unwrap(), "undo");
    let held = "SELECT count(*)::text FROM eidos_jobs_legal_holds WHERE lifted_at IS NULL";
    assert_eq!(fixture.jobs_text(held).await, "1");
}

/// The next run leaves January alone while it is held, and disposes of it like any other month once it is not.
async fn goes_on_afterwards(fixture: &Fixture) {
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "hold");
    fixture.lift().await;
    let unit = fixture.quarantined().await;
    let later = fixture.later_run().await;
    assert_eq!(
        later.disposal().resume(unit).await.unwrap().unit.state,
        UnitState::Dropped
    );
    assert_eq!(fixture.rows().await, 800);
}

#[tokio::test]
async fn a_frozen_partition_is_undone() {
    let fixture = Fixture::new().await;
    let unit = fixture.frozen().await;
    let undone = undo(&fixture, unit).await.unwrap();
    assert_eq!(undone.was, UnitState::Frozen);
    is_as_before(&fixture).await;
    goes_on_afterwards(&fixture).await;
}

#[tokio::test]
async fn a_planned_and_an_exporting_partition_are_undone() {
    let fixture = Fixture::new().await;
    for state in ["planned", "exporting"] {
        let unit = fixture.frozen().await;
        fixture
            .jobs_sql(&format!(
                "UPDATE eidos_jobs_disposal_units SET state = '{state}' WHERE unit_id = '{}'",
                unit.unit_id
            ))
            .await;
        let undone = undo(&fixture, fixture.unit().await).await.unwrap();
        assert_eq!(undone.was.as_str(), state);
        is_as_before(&fixture).await;
        fixture.lift().await;
        fixture.jobs_sql("DELETE FROM eidos_jobs_legal_holds").await;
    }
}

#[tokio::test]
async fn a_verified_partition_is_undone_and_its_export_discarded() {
    let fixture = Fixture::new().await;
    let unit = fixture.verified().await;
    undo(&fixture, unit).await.unwrap();
    is_as_before(&fixture).await;
    goes_on_afterwards(&fixture).await;
}

#[tokio::test]
async fn a_partition_in_quarantine_is_undone_under_its_old_name() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    assert_eq!(fixture.rows().await, 800);
    let undone = undo(&fixture, unit.clone()).await.unwrap();
    assert!(undone.hold_id.is_some());
    is_as_before(&fixture).await;
    // Again: nothing is left to do, and nothing is done.
    let again = undo(&fixture, fixture.unit().await).await.unwrap();
    assert!(again.done[0].contains("nothing"), "{again:?}");
    assert_eq!(again.hold_id, undone.hold_id, "one hold");
    goes_on_afterwards(&fixture).await;
}

#[tokio::test]
async fn a_drop_that_was_announced_and_not_done_is_undone() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'dropping'")
        .await;
    let undone = undo(&fixture, fixture.unit().await).await.unwrap();
    assert_eq!((undone.was, undone.unit_id), (UnitState::Dropping, unit.unit_id));
    is_as_before(&fixture).await;
    goes_on_afterwards(&fixture).await;
}

#[tokio::test]
async fn an_undo_that_died_before_it_was_written_down_is_finished_by_the_next_one() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    undo(&fixture, unit).await.unwrap();
    // As after a crash between the two commits: attached, and the unit still says quarantined.
    fixture
        .jobs_sql(
            "DELETE FROM eidos_jobs_disposals WHERE action = 'undo'; \
             UPDATE eidos_jobs_disposal_units SET state = 'quarantined', reason = NULL",
        )
        .await;
    let undone = undo(&fixture, fixture.unit().await).await.unwrap();
    assert_eq!(undone.was, UnitState::Quarantined);
    is_as_before(&fixture).await;
    goes_on_afterwards(&fixture).await;
}

#[tokio::test]
async fn a_detach_that_ended_half_way_is_undone() {
    let fixture = Fixture::new().await;
    let unit = fixture.verified().await;
    // A reader that is older than the detach keeps the concurrent form from ending.
    let mut reader = fixture.books.pool().begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("SELECT FROM {TABLE} LIMIT 1")))
        .fetch_all(&mut *reader)
        .await
        .unwrap();
    let half = format!(
        "SET statement_timeout = '500ms'; ALTER TABLE {TABLE} DETACH PARTITION {JANUARY} CONCURRENTLY"
    );
    let mut session = <sqlx::PgConnection as sqlx::Connection>::connect(&fixture.books.url())
        .await
        .unwrap();
    for statement in half.split("; ") {
        let _timed_out = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&mut session)
            .await;
    }
    reader.commit().await.unwrap();
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    assert_eq!(fixture.count(pending).await, 1);
    let undone = undo(&fixture, unit).await.unwrap();
    assert!(
        undone.done.iter().any(|done| done.contains("finalize")),
        "{undone:?}"
    );
    is_as_before(&fixture).await;
    goes_on_afterwards(&fixture).await;
}

#[tokio::test]
async fn a_partition_taken_out_of_quarantine_by_hand_is_put_right() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    // What the runbook said before there was a command; it left the check, and the unit as it was.
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!(
            "ALTER TABLE {resting} RENAME TO {JANUARY}; ALTER TABLE eidos_quarantine.{JANUARY} SET SCHEMA public; \
             ALTER TABLE {TABLE} ATTACH PARTITION {JANUARY} FOR VALUES FROM ({}) TO ({})",
            MONTHS[0], MONTHS[1]
        ))
        .await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'abandoned', reason = 'attached again'")
        .await;
    undo(&fixture, fixture.unit().await).await.unwrap();
    assert_eq!(fixture.rows().await, 1200);
    fixture
        .sql(&format!("UPDATE {TABLE} SET seen = NOT seen WHERE id = 7"))
        .await;
    goes_on_afterwards(&fixture).await;
}

#[tokio::test]
async fn the_way_back_of_the_old_runbook_does_not_break_the_next_run() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!(
            "ALTER TABLE {resting} RENAME TO {JANUARY}; ALTER TABLE eidos_quarantine.{JANUARY} SET SCHEMA public; \
             DROP TRIGGER eidos_jobs_freeze_rows ON {JANUARY}; DROP TRIGGER eidos_jobs_freeze_truncate ON {JANUARY}; \
             ALTER TABLE {TABLE} ATTACH PARTITION {JANUARY} FOR VALUES FROM ({}) TO ({})",
            MONTHS[0], MONTHS[1]
        ))
        .await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'abandoned', reason = 'attached again'")
        .await;
    assert_eq!(fixture.quarantined().await.row_count, Some(400));
}

#[tokio::test]
async fn what_is_gone_is_not_undone_and_the_way_to_restore_it_is_said() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let later = fixture.later_run().await;
    let dropped = later.disposal().resume(unit).await.unwrap().unit;
    for state in ["dropped", "dropping", "deleting", "deleted"] {
        fixture
            .jobs_sql(&format!("UPDATE eidos_jobs_disposal_units SET state = '{state}'"))
            .await;
        let error = undo(&fixture, fixture.unit().await).await.unwrap_err();
        assert_eq!(error.refusal(), Some("gone"), "{state}: {error}");
        let advice = format!("archiver restore --unit {}", dropped.unit_id);
        assert!(error.to_string().contains(&advice), "{error}");
    }
    let holds = "SELECT count(*)::text FROM eidos_jobs_legal_holds";
    assert_eq!(
        fixture.jobs_text(holds).await,
        "0",
        "nothing is held that is not there"
    );
}

#[tokio::test]
async fn what_is_in_the_place_of_a_partition_is_named_and_nothing_is_changed() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let (lower, upper) = (MONTHS[0], MONTHS[1]);
    let cases = [
        (
            format!("CREATE TABLE other PARTITION OF {TABLE} FOR VALUES FROM ({lower}) TO ({upper})"),
            "DROP TABLE other".to_owned(),
            "public.other covers",
        ),
        (
            format!("CREATE TABLE {JANUARY} (x INT)"),
            format!("DROP TABLE {JANUARY}"),
            "there is another public.eidos_risk_audit_logs_2024_01",
        ),
        (
            format!("ALTER TABLE {TABLE} ADD COLUMN fresh TEXT"),
            format!("ALTER TABLE {TABLE} DROP COLUMN fresh"),
            "ADD COLUMN \"fresh\" text",
        ),
        (
            format!(
                "CREATE TABLE rest PARTITION OF {TABLE} DEFAULT; INSERT INTO {TABLE} (id, created_at) VALUES (9, {lower})"
            ),
            format!("DELETE FROM {TABLE} WHERE id = 9 AND created_at = {lower}"),
            "rows of that month came to the default partition",
        ),
    ];
    for (obstacle, removal, named) in cases {
        fixture.sql(&obstacle).await;
        let error = undo(&fixture, unit.clone()).await.unwrap_err();
        assert!(error.refusal().is_some(), "{error:?}");
        assert!(error.to_string().contains(named), "{named}: {error}");
        assert_eq!(fixture.states().await, ["quarantined"]);
        fixture.sql(&removal).await;
    }
    // With a default partition, which is empty of that month again.
    undo(&fixture, unit).await.unwrap();
    is_as_before(&fixture).await;
}

#[tokio::test]
async fn a_unit_of_another_job_is_undone_by_its_own_program() {
    let fixture = Fixture::new().await;
    fixture.frozen().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET job_name = 'archive-data'")
        .await;
    let error = undo(&fixture, fixture.unit().await).await.unwrap_err();
    assert!(error.to_string().contains("archiver undo"), "{error}");
    assert_eq!(fixture.states().await, ["frozen"]);
}

#[tokio::test]
async fn a_partition_that_was_taken_up_again_is_undone_by_its_newest_unit_only() {
    let fixture = Fixture::new().await;
    let first = fixture.quarantined().await;
    undo(&fixture, first).await.unwrap();
    let first = fixture.unit().await;
    fixture.lift().await;
    fixture.quarantined().await;
    assert_eq!(refusal(undo(&fixture, first).await), "open");
    assert_eq!(fixture.rows().await, 800);
}

#[tokio::test]
async fn an_undo_without_a_hold_says_so_and_a_busy_table_is_waited_for() {
    let mut fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let mut reader = fixture.books.pool().begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT FROM {} LIMIT 1",
        unit.quarantine_table.as_deref().unwrap()
    )))
    .fetch_all(&mut *reader)
    .await
    .unwrap();
    fixture.settings.lock_attempts = 2;
    let run = fixture.later_run().await;
    let request = UndoRequest {
        hold: false,
        ..request()
    };
    let busy = run.disposal().undo(unit.clone(), &request).await.unwrap_err();
    assert!(busy.is_retryable(), "{busy:?}");
    assert_eq!(fixture.rows().await, 800);
    reader.commit().await.unwrap();
    let run = fixture.later_run().await;
    let undone = run.disposal().undo(unit, &request).await.unwrap();
    assert_eq!(undone.hold_id, None);
    assert_eq!(fixture.rows().await, 1200);
    let holds = "SELECT count(*)::text FROM eidos_jobs_legal_holds";
    assert_eq!(fixture.jobs_text(holds).await, "0");
}
