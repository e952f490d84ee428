//! Rows of plain tables: selected, proved, deleted segment by segment.

use std::time::Duration;

use eidos_archive_store::ArchiveFormat;
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{self, TableShape};
use eidos_disposal::pace::{Pace, PaceMode, PaceSettings, Watch};
use eidos_disposal::rows::{RowDisposal, RowIdentity, RowMonth, RowOutcome, RowRule, StaysWhile, survey};
use eidos_disposal::settings::FinishedRule;
use eidos_disposal::unit::UnitState;
use eidos_settings::SourceName;
use futures::StreamExt;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, MONTHS, approval, refusal};
use crate::run::Run;

pub(crate) const LOGS: &str = "eidos_admin_audit_logs";
/// Rows of one segment, and of one batch.
const BATCH: u32 = 50;

/// 300 rows over January and February 2024; every fourth one is not finished.
pub(crate) async fn fixture() -> Fixture {
    let fixture = Fixture::bare().await;
    fixture
        .sql(&format!(
            "CREATE TABLE {LOGS} (id BIGINT NOT NULL, lang TEXT NOT NULL, created_at BIGINT NOT NULL, status SMALLINT NOT NULL, \
                 amount NUMERIC(36,18), note TEXT, PRIMARY KEY (id, lang)); \
             CREATE INDEX ON {LOGS} (created_at); \
             INSERT INTO {LOGS} SELECT i, CASE WHEN i % 2 = 0 THEN 'it''s' ELSE 'en' END, {} + i * 16000000, \
                 CASE WHEN i % 4 = 0 THEN 1 ELSE 2 END, i * 0.000000000000000001, CASE WHEN i % 3 = 0 THEN NULL ELSE 'n' || i END \
             FROM generate_series(1, 300::bigint) AS i",
            MONTHS[0]
        ))
        .await;
    fixture
}

pub(crate) fn rule(archive: Option<ArchiveFormat>) -> RowRule {
    RowRule {
        source: SourceName::Risk,
        time_column: "created_at".to_owned(),
        finished: Some(FinishedRule {
            column: "status".to_owned(),
            values: vec![json!(2), json!(3)],
        }),
        stays_while: None,
        batch_rows: BATCH,
        sleep: Duration::ZERO,
        archive,
    }
}

pub(crate) fn proved() -> RowRule {
    rule(Some(ArchiveFormat::Parquet))
}

pub(crate) fn disposal<'a>(fixture: &'a Fixture, run: &'a Run, rule: &'a RowRule) -> RowDisposal<'a> {
    RowDisposal {
        ctx: &run.ctx,
        external: &run.external,
        store: Some(&fixture.store),
        settings: &fixture.settings,
        rule,
    }
}

async fn shape(fixture: &Fixture, table: &str) -> TableShape {
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    catalogue::read_table(&mut conn, &table.parse().unwrap())
        .await
        .unwrap()
        .unwrap()
}

async fn months(fixture: &Fixture, rule: &RowRule) -> Result<Vec<RowMonth>, DisposalError> {
    let shape = shape(fixture, LOGS).await;
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    Ok(survey(&mut conn, &shape, rule, MONTHS[2]).await?.months)
}

/// January, as a plan made now has it.
pub(crate) async fn january(fixture: &Fixture, rule: &RowRule) -> RowIdentity {
    let month = months(fixture, rule).await.unwrap()[0];
    RowIdentity::of(&shape(fixture, LOGS).await, rule, &month)
}

async fn advance(fixture: &Fixture, rule: &RowRule) -> Result<RowOutcome, DisposalError> {
    let identity = january(fixture, rule).await;
    let run = fixture.run().await;
    disposal(fixture, &run, rule)
        .advance(&identity, &approval())
        .await
}

/// Finished rows of January that are there.
pub(crate) async fn due(fixture: &Fixture) -> i64 {
    let query = format!(
        "SELECT count(*) FROM {LOGS} WHERE status IN (2, 3) AND created_at < {}",
        MONTHS[1]
    );
    fixture.count(&query).await
}

async fn all(fixture: &Fixture) -> i64 {
    fixture.count(&format!("SELECT count(*) FROM {LOGS}")).await
}

#[tokio::test]
async fn only_finished_rows_of_expired_months_are_due() {
    let fixture = fixture().await;
    let found = months(&fixture, &proved()).await.unwrap();
    // The naive model: every row by itself.
    let expected = |lower: i64, upper: i64| {
        (1..=300_i64)
            .filter(|i| i % 4 != 0 && (lower..upper).contains(&(MONTHS[0] + i * 16_000_000)))
            .count() as u64
    };
    assert_eq!(
        found
            .iter()
            .map(|month| (month.lower_ms, month.upper_ms, month.rows))
            .collect::<Vec<_>>(),
        [
            (MONTHS[0], MONTHS[1], expected(MONTHS[0], MONTHS[1])),
            (MONTHS[1], MONTHS[2], expected(MONTHS[1], MONTHS[2]))
        ]
    );
}

#[tokio::test]
async fn rows_whose_time_is_not_in_milliseconds_stay_and_are_told() {
    let fixture = fixture().await;
    fixture
        .sql(&format!(
            "UPDATE {LOGS} SET created_at = created_at / 1000 WHERE id IN (1, 2, 3); \
             UPDATE {LOGS} SET created_at = 0 WHERE id = 5; UPDATE {LOGS} SET created_at = created_at * 1000 WHERE id = 6"
        ))
        .await;
    let rule = rule(None);
    let shape = shape(&fixture, LOGS).await;
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    let found = survey(&mut conn, &shape, &rule, MONTHS[2]).await.unwrap();
    let lowest: Vec<i64> = found.months.iter().map(|month| month.lower_ms).collect();
    assert_eq!(lowest, [MONTHS[0], MONTHS[1]]);
    let note = found.notes.iter().find(|note| note.contains("before 2010"));
    assert!(
        note.is_some_and(|note| note.contains("4 rows") && note.contains("1 from after 2100")),
        "{:?}",
        found.notes
    );
}

#[tokio::test]
async fn a_month_is_exported_proved_and_deleted_and_comes_back_byte_for_byte() {
    let fixture = fixture().await;
    fixture
        .sql(&format!("CREATE TABLE truth AS SELECT * FROM {LOGS}"))
        .await;
    let before = due(&fixture).await;
    let outcome = advance(&fixture, &proved()).await.unwrap();
    assert_eq!((outcome.unit.state, outcome.left), (UnitState::Deleted, None));
    assert_eq!(i64::try_from(outcome.deleted).unwrap(), before);
    assert_eq!(due(&fixture).await, 0);
    assert_eq!(fixture.acts().await, ["export", "verify", "delete", "delete"]);

    let manifest = fixture
        .store
        .manifest(&outcome.unit.manifest().unwrap())
        .await
        .unwrap();
    assert_eq!(
        i64::try_from(manifest.segments.len()).unwrap(),
        (before + i64::from(BATCH) - 1) / i64::from(BATCH)
    );
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    let mut copy = conn
        .copy_in_raw(&format!("COPY {LOGS} FROM STDIN (FORMAT binary)"))
        .await
        .unwrap();
    let mut rows = std::pin::pin!(fixture.store.copy_stream(&manifest, None));
    while let Some(chunk) = rows.next().await {
        copy.send(chunk.unwrap().as_ref()).await.unwrap();
    }
    copy.finish().await.unwrap();
    let differing = format!(
        "SELECT count(*) FROM ((TABLE truth EXCEPT ALL TABLE {LOGS}) UNION ALL (TABLE {LOGS} EXCEPT ALL TABLE truth)) AS d"
    );
    assert_eq!(fixture.count(&differing).await, 0);
}

#[tokio::test]
async fn unfinished_business_is_never_deleted_however_old() {
    let fixture = fixture().await;
    let unfinished = format!("SELECT count(*) FROM {LOGS} WHERE status = 1");
    let before = fixture.count(&unfinished).await;
    for rule in [proved(), rule(None)] {
        while !months(&fixture, &rule).await.unwrap().is_empty() {
            advance(&fixture, &rule).await.unwrap();
        }
    }
    assert_eq!(all(&fixture).await, before);
    assert_eq!(fixture.count(&unfinished).await, before);
}

/// January proved, and nothing of it gone: somebody holds its rows.
async fn proved_and_locked(fixture: &Fixture, rule: &RowRule) -> RowIdentity {
    let identity = january(fixture, rule).await;
    let mut holder = fixture.books.pool().begin().await.unwrap();
    let lock = format!(
        "SELECT id FROM {LOGS} WHERE created_at < {} FOR UPDATE",
        MONTHS[1]
    );
    sqlx::query(AssertSqlSafe(lock))
        .fetch_all(&mut *holder)
        .await
        .unwrap();
    let run = fixture.run().await;
    let outcome = disposal(fixture, &run, rule)
        .advance(&identity, &approval())
        .await;
    assert!(matches!(outcome, Err(DisposalError::Busy { .. })), "{outcome:?}");
    holder.rollback().await.unwrap();
    identity
}

#[tokio::test]
async fn rows_that_somebody_holds_wait_for_the_next_run() {
    let fixture = fixture().await;
    let rule = proved();
    let before = due(&fixture).await;
    let identity = proved_and_locked(&fixture, &rule).await;
    assert_eq!(
        (fixture.states().await, due(&fixture).await),
        (vec!["deleting".to_owned()], before)
    );
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    assert_eq!((outcome.unit.state, due(&fixture).await), (UnitState::Deleted, 0));
}

#[tokio::test]
async fn a_row_that_changed_since_the_export_is_not_deleted() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = proved_and_locked(&fixture, &rule).await;
    fixture
        .sql(&format!("UPDATE {LOGS} SET note = 'changed' WHERE id = 1"))
        .await;
    let before = due(&fixture).await;
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    // Its segment stays whole, the others go; the unit says so.
    assert_eq!(outcome.unit.state, UnitState::Deleted);
    assert!(outcome.left.unwrap().contains("1 of"));
    assert_eq!(due(&fixture).await, i64::from(BATCH));
    assert_eq!(i64::try_from(outcome.deleted).unwrap(), before - i64::from(BATCH));
    assert_eq!(
        fixture
            .count(&format!("SELECT count(*) FROM {LOGS} WHERE id = 1"))
            .await,
        1
    );
    // The next plan names what is left, and it goes with an export of its own.
    let again = advance(&fixture, &rule).await.unwrap();
    assert_eq!((again.left, due(&fixture).await), (None, 0));
}

#[tokio::test]
async fn where_every_segment_changed_nothing_is_deleted_and_the_export_is_kept() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = proved_and_locked(&fixture, &rule).await;
    fixture.sql(&format!("UPDATE {LOGS} SET note = 'changed'")).await;
    let before = due(&fixture).await;
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    assert_eq!((outcome.deleted, due(&fixture).await), (0, before));
    assert!(outcome.left.unwrap().contains("stay"));
    assert_eq!(fixture.manifests().len(), 1);
    // They are due as they are now, and go with an export of their own.
    let again = advance(&fixture, &rule).await.unwrap();
    assert_eq!((again.left, due(&fixture).await), (None, 0));
}

/// Every segment was deleted, the process died before it was written down, and a row has come into each since: what was
/// deleted is in the export and nowhere else.
#[tokio::test]
async fn an_export_whose_rows_are_gone_is_kept_whatever_came_in_their_place() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = proved_and_locked(&fixture, &rule).await;
    let first = format!(
        "SELECT min(created_at) FROM {LOGS} WHERE created_at >= {} AND created_at < {}",
        MONTHS[0], MONTHS[1]
    );
    let first = fixture.count(&first).await;
    fixture
        .sql(&format!(
            "UPDATE {LOGS} SET note = 'came later' WHERE created_at >= {first} AND created_at < {}; \
             DELETE FROM {LOGS} WHERE created_at >= {} AND created_at < {} AND id % 2 = 0",
            MONTHS[1], MONTHS[0], MONTHS[1]
        ))
        .await;
    let run = fixture.run().await;
    disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    assert_eq!(fixture.manifests().len(), 1, "the only copy of what was deleted");
}

#[tokio::test]
async fn the_export_of_a_table_that_was_rebuilt_is_kept() {
    let fixture = fixture().await;
    let rule = proved();
    proved_and_locked(&fixture, &rule).await;
    fixture
        .sql(&format!(
            "CREATE TABLE rebuilt (LIKE {LOGS} INCLUDING ALL); INSERT INTO rebuilt SELECT * FROM {LOGS} WHERE id % 2 = 0; \
             DROP TABLE {LOGS}; ALTER TABLE rebuilt RENAME TO {LOGS}"
        ))
        .await;
    assert_eq!(refusal(advance(&fixture, &rule).await), "removed");
    assert_eq!(fixture.manifests().len(), 1, "the only copy of half of the rows");
}

#[tokio::test]
async fn a_row_that_came_after_the_export_stays() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = proved_and_locked(&fixture, &rule).await;
    // Between two exported keys, and behind the last one of the month.
    let late = |id: i64, at: i64| format!("INSERT INTO {LOGS} VALUES ({id}, 'de', {at}, 2, 0, 'late')");
    fixture.sql(&late(900, MONTHS[1] - 1)).await;
    let run = fixture.run().await;
    disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    assert_eq!(
        fixture
            .count(&format!("SELECT id FROM {LOGS} WHERE note = 'late'"))
            .await,
        900
    );
    assert_eq!(due(&fixture).await, 1);
}

#[tokio::test]
async fn a_row_that_slipped_into_an_exported_segment_keeps_it_whole() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = proved_and_locked(&fixture, &rule).await;
    let late = format!(
        "INSERT INTO {LOGS} VALUES (901, 'de', {}, 2, 0, 'late')",
        MONTHS[0] + 16_000_001
    );
    fixture.sql(&late).await;
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    assert!(outcome.left.is_some());
    assert_eq!(due(&fixture).await, i64::from(BATCH) + 1);
}

#[tokio::test]
async fn a_crash_between_segments_is_continued_where_rows_are_left() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = january(&fixture, &rule).await;
    let before = due(&fixture).await;
    let slow = RowRule {
        sleep: Duration::from_millis(200),
        ..rule.clone()
    };
    let run = fixture.run().await;
    {
        let (disposal, approval) = (disposal(&fixture, &run, &slow), approval());
        tokio::select! {
            outcome = disposal.advance(&identity, &approval) => panic!("it was not stopped: {outcome:?}"),
            () = async {
                while due(&fixture).await == before { tokio::task::yield_now().await; }
            } => {}
        }
    }
    assert_eq!(fixture.states().await, ["deleting"]);
    let left = due(&fixture).await;
    assert!(left > 0 && left < before, "{left} of {before}");
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .resume(fixture.unit().await)
        .await
        .unwrap();
    assert_eq!(
        (outcome.unit.state, outcome.left, due(&fixture).await),
        (UnitState::Deleted, None, 0)
    );
    assert_eq!(fixture.manifests().len(), 1);
}

#[tokio::test]
async fn an_interrupted_export_is_discarded_and_made_anew() {
    let fixture = fixture().await;
    let rule = proved();
    proved_and_locked(&fixture, &rule).await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'exporting'")
        .await;
    let run = fixture.run().await;
    let relation = shape(&fixture, LOGS).await.relation;
    let recovered = disposal(&fixture, &run, &rule).recover(&relation).await.unwrap();
    assert_eq!(recovered.len(), 1, "{recovered:?}");
    assert!(fixture.objects().is_empty());
    let outcome = advance(&fixture, &rule).await.unwrap();
    assert_eq!(outcome.unit.state, UnitState::Deleted);
    assert_eq!(fixture.manifests().len(), 1);
}

#[tokio::test]
async fn a_run_that_was_replaced_deletes_nothing() {
    let fixture = fixture().await;
    for rule in [proved(), rule(None)] {
        let identity = january(&fixture, &rule).await;
        let before = due(&fixture).await;
        let stale = fixture.run().await;
        let _newer = fixture.run().await;
        let outcome = disposal(&fixture, &stale, &rule)
            .advance(&identity, &approval())
            .await;
        assert!(outcome.unwrap_err().ends_the_run());
        assert_eq!(due(&fixture).await, before);
    }
}

pub(crate) async fn hold(fixture: &Fixture) {
    fixture
        .jobs_sql(&format!(
            "INSERT INTO eidos_jobs_legal_holds (hold_id, source, schema_name, table_name, reason, placed_by) \
             VALUES (gen_random_uuid(), 'risk', 'public', '{LOGS}', 'case 7', 'ada')"
        ))
        .await;
}

#[tokio::test]
async fn a_hold_that_is_placed_in_the_middle_stops_what_is_left() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = proved_and_locked(&fixture, &rule).await;
    let before = due(&fixture).await;
    hold(&fixture).await;
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    assert_eq!((refusal(outcome), due(&fixture).await), ("hold", before));
}

#[tokio::test]
async fn without_an_archive_rows_go_in_counted_batches_and_locked_ones_stay() {
    let fixture = fixture().await;
    let rule = rule(None);
    let identity = january(&fixture, &rule).await;
    let mut holder = fixture.books.pool().begin().await.unwrap();
    let lock = format!("SELECT id FROM {LOGS} WHERE id = 1 FOR UPDATE");
    sqlx::query(AssertSqlSafe(lock))
        .fetch_all(&mut *holder)
        .await
        .unwrap();
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    assert!(matches!(outcome, Err(DisposalError::Busy { .. })), "{outcome:?}");
    assert_eq!(due(&fixture).await, 1);
    holder.rollback().await.unwrap();
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    assert_eq!((outcome.unit.state, due(&fixture).await), (UnitState::Deleted, 0));
    assert!(fixture.objects().is_empty());
}

#[tokio::test]
async fn rows_that_others_reference_stay_and_cascades_are_refused() {
    let fixture = fixture().await;
    fixture
        .sql(&format!(
            "CREATE TABLE appeals (log_id BIGINT, log_lang TEXT, FOREIGN KEY (log_id, log_lang) REFERENCES {LOGS} (id, lang)); \
             INSERT INTO appeals VALUES (1, 'en')"
        ))
        .await;
    advance(&fixture, &proved()).await.unwrap();
    assert_eq!(due(&fixture).await, 1);
    fixture
        .sql(&format!(
            "DROP TABLE appeals; CREATE TABLE appeals (log_id BIGINT, log_lang TEXT, \
             FOREIGN KEY (log_id, log_lang) REFERENCES {LOGS} (id, lang) ON DELETE CASCADE)"
        ))
        .await;
    assert_eq!(refusal(months(&fixture, &proved()).await), "cascade");
}

#[tokio::test]
async fn rows_stay_while_another_table_says_so() {
    let fixture = fixture().await;
    fixture
        .sql("CREATE TABLE cases (log_id BIGINT, status TEXT); INSERT INTO cases VALUES (1, 'open'), (2, 'closed')")
        .await;
    let rule = RowRule {
        stays_while: Some(StaysWhile {
            column: "id".to_owned(),
            table: "cases".to_owned(),
            key: "log_id".to_owned(),
            status: "status".to_owned(),
            open: "open".to_owned(),
        }),
        ..proved()
    };
    advance(&fixture, &rule).await.unwrap();
    assert_eq!(due(&fixture).await, 1);
}

#[tokio::test]
async fn tables_whose_rows_cannot_be_deleted_safely_are_refused_by_name() {
    let fixture = fixture().await;
    for (change, undo, label) in [
        (
            format!(
                "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
                     CREATE TRIGGER t AFTER DELETE ON {LOGS} FOR EACH ROW EXECUTE FUNCTION f()"
            ),
            format!("DROP TRIGGER t ON {LOGS}"),
            "trigger",
        ),
        (
            format!("ALTER TABLE {LOGS} DROP CONSTRAINT {LOGS}_pkey"),
            format!("ALTER TABLE {LOGS} ADD PRIMARY KEY (id, lang)"),
            "key",
        ),
        (
            format!("ALTER TABLE {LOGS} RENAME created_at TO born_at"),
            format!("ALTER TABLE {LOGS} RENAME born_at TO created_at"),
            "settings",
        ),
    ] {
        fixture.sql(&change).await;
        assert_eq!(refusal(months(&fixture, &proved()).await), label);
        fixture.sql(&undo).await;
    }
}

/// Half of a month went without an export; then the rule came to demand one.
#[tokio::test]
async fn what_is_left_is_exported_once_the_rule_demands_it() {
    let fixture = fixture().await;
    let bare = rule(None);
    proved_and_locked(&fixture, &bare).await;
    let before = due(&fixture).await;
    let outcome = advance(&fixture, &proved()).await.unwrap();
    assert_eq!(i64::try_from(outcome.deleted).unwrap(), before);
    assert_eq!((fixture.manifests().len(), due(&fixture).await), (1, 0));
    assert_eq!(fixture.states().await, ["deleted", "deleted"]);
}

#[tokio::test]
async fn a_month_whose_columns_changed_before_anything_was_deleted_begins_again() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = proved_and_locked(&fixture, &rule).await;
    fixture
        .sql(&format!("ALTER TABLE {LOGS} ADD COLUMN extra TEXT DEFAULT 'x'"))
        .await;
    let run = fixture.run().await;
    let stale = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    assert_eq!(refusal(stale), "changed");
    let outcome = advance(&fixture, &rule).await.unwrap();
    assert_eq!((outcome.left, due(&fixture).await), (None, 0));
}

#[tokio::test]
async fn rows_that_another_job_disposes_of_are_left_to_it() {
    let fixture = fixture().await;
    let rule = proved();
    proved_and_locked(&fixture, &rule).await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET job_name = 'another-job'")
        .await;
    assert_eq!(refusal(advance(&fixture, &rule).await), "open");
}

/// A waiting lock on the table is seen, and the pace gives way to it.
#[tokio::test]
async fn an_adaptive_pace_looks_at_the_table() {
    let fixture = fixture().await;
    let relation = shape(&fixture, LOGS).await.relation;
    let mut holder = fixture.books.pool().begin().await.unwrap();
    let lock = format!("LOCK TABLE {LOGS} IN ROW EXCLUSIVE MODE");
    sqlx::query(AssertSqlSafe(lock))
        .execute(&mut *holder)
        .await
        .unwrap();
    let seen = Watch::default()
        .after(Duration::from_millis(1), fixture.books.pool(), &relation)
        .await
        .unwrap();
    assert_eq!(seen.waiting_locks, 0);
    let lock = format!("LOCK TABLE {LOGS} IN ACCESS EXCLUSIVE MODE");
    let mut waiter = fixture.books.pool().begin().await.unwrap();
    let waiting = async {
        sqlx::query(AssertSqlSafe(lock))
            .execute(&mut *waiter)
            .await
            .unwrap();
    };
    let looking = async {
        let mut last = seen;
        eidos_testkit::eventually("the waiting lock is seen", Duration::from_secs(20), async || {
            last = Watch::default()
                .after(Duration::from_millis(1), fixture.books.pool(), &relation)
                .await
                .unwrap();
            if last.waiting_locks == 1 {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
        holder.rollback().await.unwrap();
        last
    };
    let ((), suffering) = tokio::join!(waiting, looking);
    let settings = PaceSettings {
        mode: PaceMode::Adaptive,
        ..PaceSettings::default()
    };
    let next = |seen| Pace::new(&settings, 1_000, Duration::ZERO).next(seen);
    assert!(next(&suffering).rows < next(&seen).rows);
    assert!(next(&suffering).pause > next(&seen).pause);
}

/// The rows are proved by the columns they had. What an ALTER TABLE added meanwhile is in no export.
#[tokio::test]
async fn a_column_or_a_cascade_that_comes_between_two_batches_stops_the_deletion() {
    for (change, label) in [
        (
            format!("ALTER TABLE {LOGS} ADD COLUMN extra TEXT DEFAULT 'x'"),
            "columns",
        ),
        (
            format!(
                "CREATE TABLE notes (log_id BIGINT, lang TEXT, FOREIGN KEY (log_id, lang) REFERENCES {LOGS} ON DELETE CASCADE)"
            ),
            "cascade",
        ),
    ] {
        for rule in [proved(), rule(None)] {
            let fixture = fixture().await;
            let identity = january(&fixture, &rule).await;
            let run = fixture.run().await;
            // The second segment waits for this row. The change is made by whoever holds it, so it comes before that one.
            let mut holder = fixture.books.pool().begin().await.unwrap();
            let lock = format!("SELECT id FROM {LOGS} WHERE id = 101 FOR UPDATE");
            sqlx::query(AssertSqlSafe(lock))
                .fetch_all(&mut *holder)
                .await
                .unwrap();
            let disposal = disposal(&fixture, &run, &rule);
            let approval = approval();
            let deleting = disposal.advance(&identity, &approval);
            let altering = async {
                let begun = due(&fixture).await;
                eidos_testkit::eventually("the first batch is gone", Duration::from_secs(20), async || {
                    if due(&fixture).await < begun {
                        Ok(())
                    } else {
                        Err("not yet")
                    }
                })
                .await;
                sqlx::raw_sql(AssertSqlSafe(change.clone()))
                    .execute(&mut *holder)
                    .await
                    .unwrap();
                holder.commit().await.unwrap();
            };
            let (outcome, ()) = tokio::join!(deleting, altering);
            assert_eq!(refusal(outcome), label);
            assert!(due(&fixture).await > 0, "row 101 at least is there");
        }
    }
}

#[tokio::test]
async fn a_plan_that_no_longer_fits_is_refused() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = january(&fixture, &rule).await;
    fixture
        .sql(&format!("ALTER TABLE {LOGS} ADD COLUMN extra TEXT"))
        .await;
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    assert_eq!(refusal(outcome), "changed");
    assert_eq!(fixture.states().await, Vec::<String>::new());
}
