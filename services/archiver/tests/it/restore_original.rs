//! Into the original: nothing is booked twice, and a partition that is made for it is one like the others.

use std::time::Duration;

use eidos_testkit::eventually;
use serde_json::json;

use crate::fixture::{Fixture, at};

const ARCHIVE: &str = "eidos_trading_orders_archive";
const MAY: &str = "eidos_trading_orders_archive_2023_05";
const WITHIN: Duration = Duration::from_secs(30);

/// May 2023 with `rows` orders is exported and dropped; August 2026 is still there.
async fn gone(rows: i64) -> Fixture {
    let fixture = Fixture::new().await;
    fixture.orders(1, rows, 3, "2023-05-15T12:00:00Z").await;
    fixture
        .orders(1_000_001, 1_000_010, 4, "2026-08-15T12:00:00Z")
        .await;
    fixture.archive().await;
    fixture.archive().await;
    fixture.archive_at(at("2026-10-30T03:00:00Z")).await.unwrap();
    assert_eq!(fixture.count(ARCHIVE).await, 10);
    fixture
}

/// Every row that comes adds one to a balance.
async fn with_booking(fixture: &Fixture) {
    fixture
        .sql(&format!(
            "CREATE TABLE balance (n BIGINT); INSERT INTO balance VALUES (0); \
             CREATE FUNCTION book() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 UPDATE balance SET n = n + 1; RETURN NULL; END $$; \
             CREATE TRIGGER booking AFTER INSERT ON {ARCHIVE} FOR EACH ROW EXECUTE FUNCTION book()"
        ))
        .await;
}

async fn booked(fixture: &Fixture) -> i64 {
    fixture.count("generate_series(1, (SELECT n FROM balance))").await
}

#[tokio::test]
async fn a_restore_that_would_fire_triggers_is_refused_by_their_names_and_the_plan_says_so() {
    let fixture = gone(100).await;
    with_booking(&fixture).await;
    let into = json!({"table": ARCHIVE, "range": "2023-05", "into": "original"});
    let planned = fixture.restore_planned(into.clone()).await.unwrap();
    assert!(
        planned.notes.iter().any(|note| note.contains("would be refused")
            && note.contains("trigger booking (book)")
            && note.contains("--triggers disable")),
        "{planned:?}"
    );
    let error = fixture.restore(into.clone()).await.unwrap_err().to_string();
    assert!(
        error.contains("trigger booking (book)") && error.contains("--triggers disable"),
        "{error}"
    );
    assert_eq!(booked(&fixture).await, 0);
    assert_eq!(
        fixture.count(&format!("pg_class WHERE relname = '{MAY}'")).await,
        0,
        "nothing is made for a restore that is refused"
    );
    // One that is disabled is no obstacle.
    fixture
        .sql(&format!("ALTER TABLE {ARCHIVE} DISABLE TRIGGER booking"))
        .await;
    assert_eq!(
        fixture.restore(into.clone()).await.unwrap().units[0].inserted,
        100
    );
    fixture
        .sql(&format!(
            "DROP TABLE {MAY}; ALTER TABLE {ARCHIVE} ENABLE TRIGGER booking"
        ))
        .await;
    let side = json!({"table": ARCHIVE, "range": "2023-05"});
    assert_eq!(
        fixture.restore(side).await.unwrap().units[0].inserted,
        100,
        "beside it nothing fires"
    );
    assert_eq!(booked(&fixture).await, 0);
}

#[tokio::test]
async fn a_restore_with_triggers_disabled_books_nothing_and_leaves_them_as_they_were() {
    let fixture = gone(100).await;
    with_booking(&fixture).await;
    let into = json!({"table": ARCHIVE, "range": "2023-05", "into": "original", "triggers": "disable"});
    let planned = fixture.restore_planned(into.clone()).await.unwrap();
    assert!(
        planned.notes[0].contains("SHARE ROW EXCLUSIVE") && planned.notes[0].contains(MAY),
        "{planned:?}"
    );
    let report = fixture.restore(into.clone()).await.unwrap();
    assert_eq!(report.units[0].inserted, 100);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("trigger booking (book)")),
        "{report:?}"
    );
    assert_eq!(booked(&fixture).await, 0);
    let states = format!(
        "pg_trigger WHERE tgname = 'booking' AND tgenabled = 'O' AND tgrelid IN ('{ARCHIVE}'::regclass, '{MAY}'::regclass)"
    );
    assert_eq!(fixture.count(&states).await, 2, "enabled again");
    let recorded = "SELECT count(*) FROM eidos_jobs_disposals WHERE action = 'restore' \
                    AND evidence -> 'triggers_disabled' -> 0 ->> 'name' = 'booking'";
    assert_eq!(fixture.jobs_number(recorded).await, 1);

    // A trigger that fires always is one again, and a deferred check of somebody else is not in the way.
    fixture
        .sql(&format!(
            "ALTER TABLE {ARCHIVE} DISABLE TRIGGER eidos_archive_final; \
             DELETE FROM {ARCHIVE} WHERE id <= 10; ALTER TABLE {MAY} ENABLE ALWAYS TRIGGER booking; \
             CREATE TABLE wallets (wallet VARCHAR(64) PRIMARY KEY); INSERT INTO wallets SELECT '0x' || md5(i::text) \
                 FROM generate_series(1, 100) i UNION SELECT DISTINCT wallet FROM {ARCHIVE}; \
             ALTER TABLE {ARCHIVE} ADD CONSTRAINT known FOREIGN KEY (wallet) REFERENCES wallets \
                 DEFERRABLE INITIALLY DEFERRED"
        ))
        .await;
    assert_eq!(fixture.restore(into.clone()).await.unwrap().units[0].inserted, 10);
    assert_eq!(booked(&fixture).await, 0);
    let always =
        format!("pg_trigger WHERE tgname = 'booking' AND tgenabled = 'A' AND tgrelid = '{MAY}'::regclass");
    assert_eq!(fixture.count(&always).await, 1);
    // Constraints are not triggers of people: they hold, and the refusal leaves everything as it was.
    fixture
        .sql(&format!(
            "DELETE FROM {ARCHIVE} WHERE id <= 10; DELETE FROM wallets WHERE wallet = '0x' || md5('7')"
        ))
        .await;
    let error = fixture.restore(into).await.unwrap_err().to_string();
    assert!(
        error.contains("known") && error.contains("--into side"),
        "{error}"
    );
    assert_eq!(fixture.count(&always).await, 1);
    assert_eq!(fixture.count(MAY).await, 90);
}

#[tokio::test]
async fn while_triggers_are_disabled_other_months_are_written_to_and_this_one_waits() {
    let fixture = gone(20_000).await;
    with_booking(&fixture).await;
    let into = json!({"table": ARCHIVE, "range": "2023-05", "into": "original", "triggers": "disable"});
    let restoring = fixture.restore(into);
    let watching = async {
        let locked = format!(
            "pg_locks WHERE granted AND mode = 'ShareRowExclusiveLock' AND relation = to_regclass('{MAY}')::oid"
        );
        eventually("the partition is locked", WITHIN, async || {
            if fixture.count(&locked).await == 1 {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
        let parent = format!(
            "pg_locks WHERE granted AND mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
             AND relation = '{ARCHIVE}'::regclass"
        );
        fixture.count(&parent).await
    };
    let (report, strong_locks_on_the_parent) = tokio::join!(restoring, watching);
    assert_eq!(report.unwrap().units[0].inserted, 20_000);
    assert_eq!(strong_locks_on_the_parent, 0);
    assert_eq!(booked(&fixture).await, 0);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of what a parent has")]
async fn a_partition_that_a_restore_makes_has_what_its_parent_has() {
    let fixture = gone(50).await;
    let (owner, reader) = (
        format!("owner_{}", std::process::id()),
        format!("reader_{}", std::process::id()),
    );
    fixture
        .sql(&format!(
            "CREATE ROLE {owner}; CREATE ROLE {reader}; GRANT CREATE, USAGE ON SCHEMA public TO {owner}; \
             ALTER TABLE {ARCHIVE} OWNER TO {owner}; GRANT SELECT ON {ARCHIVE} TO {reader}; \
             GRANT UPDATE (wallet) ON {ARCHIVE} TO {reader}; \
             ALTER TABLE {ARCHIVE} ALTER COLUMN signature SET STORAGE EXTERNAL, ALTER COLUMN signature SET COMPRESSION pglz; \
             ALTER TABLE {ARCHIVE} ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY own ON {ARCHIVE} FOR SELECT TO {reader} USING (id <= 10); \
             CREATE POLICY young ON {ARCHIVE} AS RESTRICTIVE FOR SELECT USING (id < 1000000); \
             CREATE UNIQUE INDEX by_pair ON {ARCHIVE} (archive_completed_at, id); \
             ALTER TABLE {ARCHIVE} REPLICA IDENTITY USING INDEX by_pair"
        ))
        .await;
    let into = json!({"table": ARCHIVE, "range": "2023-05", "into": "original"});
    assert_eq!(fixture.restore(into).await.unwrap().units[0].inserted, 50);
    let (owned_by, secured, identity): (String, bool, String) = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT pg_get_userbyid(relowner)::text, relrowsecurity, relreplident::text FROM pg_class WHERE oid = '{MAY}'::regclass"
    )))
    .fetch_one(fixture.trading.pool())
    .await
    .unwrap();
    assert_eq!(
        (owned_by.as_str(), secured, identity.as_str()),
        (owner.as_str(), true, "i")
    );
    let mut session = fixture.trading.pool().begin().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET LOCAL ROLE {reader}")))
        .execute(&mut *session)
        .await
        .unwrap();
    let seen: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {MAY}")))
        .fetch_one(&mut *session)
        .await
        .unwrap();
    assert_eq!(seen, 10, "by its own name it shows what its parent shows");
    session.rollback().await.unwrap();
    for (what, question) in [
        (
            "a grant of a column",
            format!(
                "pg_class WHERE oid = '{MAY}'::regclass AND has_column_privilege('{reader}', oid, 'wallet', 'UPDATE')"
            ),
        ),
        (
            "no other",
            format!(
                "pg_class WHERE oid = '{MAY}'::regclass AND NOT has_column_privilege('{reader}', oid, 'amount', 'UPDATE')"
            ),
        ),
        (
            "storage",
            format!(
                "pg_attribute WHERE attrelid = '{MAY}'::regclass AND attname = 'signature' AND attstorage = 'e' AND attcompression = 'p'"
            ),
        ),
        (
            "the index of its identity",
            format!("pg_index WHERE indrelid = '{MAY}'::regclass AND indisreplident"),
        ),
    ] {
        assert_eq!(fixture.count(&question).await, 1, "{what}");
    }
    let policies = format!("pg_policy WHERE polrelid = '{MAY}'::regclass");
    assert_eq!(fixture.count(&policies).await, 2);
    fixture
        .sql(&format!(
            "REASSIGN OWNED BY {owner} TO current_user; DROP OWNED BY {owner}, {reader}; DROP ROLE {owner}, {reader}"
        ))
        .await;
}

#[tokio::test]
async fn a_month_of_an_archive_is_undone_by_the_archiver() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 40, 3, "2023-05-15T12:00:00Z").await;
    fixture
        .orders(1_000_001, 1_000_010, 4, "2026-08-15T12:00:00Z")
        .await;
    fixture.archive().await;
    fixture.archive().await;
    assert_eq!(fixture.count(ARCHIVE).await, 10, "May rests");
    let (status, child) = fixture
        .command(&["undo", MAY, "--reason", "case 17"], &[])
        .run(Duration::from_secs(90))
        .await;
    assert!(status.success(), "{}\n{}", child.stdout(), child.stderr());
    assert!(child.stdout().contains("attached it to"), "{}", child.stdout());
    assert_eq!(fixture.count(ARCHIVE).await, 50);
    // Held: the next run leaves it alone.
    fixture.archive().await;
    assert_eq!(fixture.count(ARCHIVE).await, 50);
}
