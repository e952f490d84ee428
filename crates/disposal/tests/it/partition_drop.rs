//! The DROP waits for others as long as `disposal.lock_timeout` allows, and works as long as it has to.

use std::time::Duration;

use eidos_disposal::unit::UnitState;
use eidos_testkit::eventually;
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, TABLE};

const DROP_WORKS: &str = "\
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' \
      AND query LIKE 'DROP TABLE%'";
const WITHIN: Duration = Duration::from_secs(30);

/// Every DROP TABLE of this database takes so long, as one of 400 columns with defaults does.
async fn with_slow_drops(fixture: &Fixture, seconds: f32) {
    fixture
        .sql(&format!(
            "CREATE FUNCTION slowly() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF tg_tag = 'DROP TABLE' THEN PERFORM pg_sleep({seconds}); END IF; END $$; \
             CREATE EVENT TRIGGER slow_drops ON sql_drop EXECUTE FUNCTION slowly()"
        ))
        .await;
}

#[tokio::test]
async fn a_drop_s_own_work_is_not_taken_for_somebody_in_the_way() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    with_slow_drops(&fixture, 1.0).await;
    let later = fixture.later_run().await;
    let done = later.disposal().resume(unit).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped, "lock_timeout is 500 ms");
}

/// Has every session of the test tell what it has counted. The one that built an index would wait some seconds with that,
/// and be counted between two looks. There may be several: a pool takes connections back in the background, and opens
/// another one meanwhile.
async fn tell_what_was_counted(fixture: &Fixture) {
    let pool = fixture.books.pool();
    let mut sessions = Vec::new();
    while sessions.len() < usize::try_from(pool.size()).unwrap() {
        sessions.push(pool.acquire().await.unwrap());
    }
    for session in &mut sessions {
        sqlx::query("SELECT pg_stat_force_next_flush()")
            .execute(&mut **session)
            .await
            .unwrap();
    }
}

/// How often a table was read from one end to the other. The job's sessions are ended first: what they counted is there
/// once they are gone.
async fn scans(fixture: &mut Fixture, table: &str) -> i64 {
    fixture.external.close().await;
    eventually("the job's sessions are gone", WITHIN, async || {
        let left = fixture
            .count(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'disposal-test'",
            )
            .await;
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    fixture.reconnect().await;
    fixture
        .count(&format!(
            "SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_all_tables WHERE relid = '{table}'::regclass"
        ))
        .await
}

#[tokio::test]
async fn rows_are_digested_once_however_often_the_drop_waits_for_a_reader() {
    let mut fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let resting = unit.quarantine_table.clone().unwrap();
    tell_what_was_counted(&fixture).await;
    let before = scans(&mut fixture, &resting).await;
    let mut reader = fixture.books.pool().begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "LOCK TABLE {resting} IN ACCESS SHARE MODE"
    )))
    .execute(&mut *reader)
    .await
    .unwrap();
    let mut later = fixture.later_run().await;
    later.settings.lock_attempts = 6;
    let busy = later.disposal().resume(unit).await.unwrap_err();
    assert!(
        busy.is_retryable() && busy.to_string().contains("6 attempts"),
        "{busy}"
    );
    assert_eq!(fixture.states().await, ["quarantined"], "taken back");
    drop(later);
    let digests = scans(&mut fixture, &resting).await - before;
    assert_eq!(digests, 1, "one digest for six attempts");
    reader.commit().await.unwrap();
    let later = fixture.later_run().await;
    let done = later.disposal().resume(fixture.unit().await).await.unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped);
}

#[tokio::test]
async fn a_writer_that_comes_while_the_drop_waits_for_a_reader_does_not_get_in() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let resting = unit.quarantine_table.clone().unwrap();
    fixture
        .sql(&format!("ALTER TABLE {resting} DISABLE TRIGGER ALL"))
        .await;
    let mut reader = fixture.books.pool().begin().await.unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "LOCK TABLE {resting} IN ACCESS SHARE MODE"
    )))
    .execute(&mut *reader)
    .await
    .unwrap();
    let mut later = fixture.later_run().await;
    (later.settings.lock_attempts, later.settings.lock_timeout) = (100, Duration::from_millis(300));
    let disposal = later.disposal();
    let dropping = disposal.resume(unit);
    let writing = async {
        eventually("the drop waits for the reader", WITHIN, async || {
            let waiting = fixture
                .count(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' \
                         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                )
                .await;
            if waiting == 1 { Ok(()) } else { Err("nobody waits") }
        })
        .await;
        let write = format!("SET lock_timeout = '1s'; DELETE FROM {resting} WHERE id = 7");
        let refused = fixture.try_sql(&write).await.unwrap_err();
        assert!(refused.to_string().contains("lock timeout"), "{refused}");
        reader.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(dropping, writing);
    assert_eq!(outcome.unwrap().unit.state, UnitState::Dropped);
}

#[tokio::test]
async fn a_drop_that_works_long_does_not_hold_the_tables_its_foreign_keys_name() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!(
            "CREATE TABLE actors (name VARCHAR(64) PRIMARY KEY, seen INT); \
             INSERT INTO actors SELECT DISTINCT actor FROM {TABLE} WHERE actor IS NOT NULL; \
             ALTER TABLE {TABLE} ADD CONSTRAINT by_actor FOREIGN KEY (actor) REFERENCES actors"
        ))
        .await;
    let unit = fixture.quarantined().await;
    with_slow_drops(&fixture, 2.0).await;
    let later = fixture.later_run().await;
    let disposal = later.disposal();
    let dropping = disposal.resume(unit);
    let traffic = async {
        eventually("the drop works", WITHIN, async || {
            let working = fixture.count(DROP_WORKS).await;
            if working == 1 { Ok(()) } else { Err("not yet") }
        })
        .await;
        fixture
            .sql("SET lock_timeout = '500ms'; UPDATE actors SET seen = 1; SET lock_timeout = 0")
            .await;
        fixture.count(DROP_WORKS).await
    };
    let (outcome, still_working) = tokio::join!(dropping, traffic);
    assert_eq!(outcome.unwrap().unit.state, UnitState::Dropped);
    assert_eq!(still_working, 1, "the traffic passed while the drop worked");
}
