//! Keys of every kind, and what is on record about rows that are gone.

use std::time::Duration;

use eidos_disposal::rows::{RowDisposal, RowIdentity, RowRule, survey};
use eidos_disposal::unit::UnitState;
use eidos_disposal::{catalogue, rows};
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, MONTHS, approval, refusal};
use crate::rows::{LOGS, disposal, due, fixture, january, proved, rule};

/// 120 old rows under keys of this type, made of `n`.
async fn keyed(declaration: &str, key: &str) -> Fixture {
    let fixture = Fixture::bare().await;
    fixture
        .sql(&format!(
            "CREATE TABLE {LOGS} (hash {declaration} PRIMARY KEY, created_at BIGINT NOT NULL, status SMALLINT NOT NULL); \
             CREATE INDEX ON {LOGS} (created_at); \
             INSERT INTO {LOGS} SELECT {key}, {} + (n % 7) * 1000, 2 FROM generate_series(1, 120) AS n",
            MONTHS[0]
        ))
        .await;
    fixture
}

/// The whole way of the only month.
async fn leaves(fixture: &Fixture, rule: &RowRule) -> u64 {
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    let shape = catalogue::read_table(&mut conn, &LOGS.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let found = survey(&mut conn, &shape, rule, MONTHS[2]).await.unwrap();
    drop(conn);
    let identity = RowIdentity::of(&shape, rule, &found.months[0]);
    let run = fixture.run().await;
    let outcome = disposal(fixture, &run, rule)
        .advance(&identity, &approval())
        .await
        .unwrap();
    assert_eq!((outcome.unit.state, outcome.left), (UnitState::Deleted, None));
    outcome.deleted
}

/// Deleted rows that the audit counts.
async fn on_record(fixture: &Fixture) -> i64 {
    let sum = "SELECT coalesce(sum(row_count), 0)::text FROM eidos_jobs_disposals WHERE action = 'delete'";
    fixture.jobs_text(sum).await.parse().unwrap()
}

#[tokio::test]
async fn keys_of_bytes_and_keys_with_backslashes_leave_like_any_other() {
    for (declaration, key) in [
        (
            "bytea",
            r"decode(lpad(to_hex(n * 2654435761 % 4294967296), 16, '0'), 'hex')",
        ),
        ("bytea", r"decode(md5(n::text), 'hex')"),
        ("text", r"E'C:\\orders\\' || n || E'\'s \\'"),
        ("varchar(80)", r"repeat(E'\\', n % 3 + 1) || n || ''''"),
        ("uuid", "md5(n::text)::uuid"),
        ("char(12)", r"E'\\' || n"),
        ("numeric(36,18)", "n * -0.000000000000000001"),
        ("timestamptz", "to_timestamp(n * 0.001)"),
    ] {
        for rule in [proved(), rule(None)] {
            let fixture = keyed(declaration, key).await;
            // What a literal or a printed value means must not hang on the role's settings.
            fixture
                .sql(
                    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET standard_conforming_strings = off', current_database()); \
                     EXECUTE format('ALTER DATABASE %I SET bytea_output = escape', current_database()); END $$",
                )
                .await;
            let mut fixture = fixture;
            fixture.reconnect().await;
            assert_eq!(
                leaves(&fixture, &rule).await,
                120,
                "{declaration} {:?}",
                rule.archive
            );
            assert_eq!(fixture.count(&format!("SELECT count(*) FROM {LOGS}")).await, 0);
            assert_eq!(on_record(&fixture).await, 120);
        }
    }
}

#[tokio::test]
async fn rows_that_were_deleted_before_an_error_are_on_record_and_counted_in_the_end() {
    for rule in [proved(), rule(None)] {
        let fixture = fixture().await;
        let identity = january(&fixture, &rule).await;
        let before = due(&fixture).await;
        let run = fixture.run().await;
        // The second batch waits for this row, and meanwhile deleting becomes impossible.
        let mut holder = fixture.books.pool().begin().await.unwrap();
        let lock = format!("SELECT id FROM {LOGS} WHERE id = 101 FOR UPDATE");
        sqlx::query(AssertSqlSafe(lock))
            .fetch_all(&mut *holder)
            .await
            .unwrap();
        let word = approval();
        let means: RowDisposal<'_> = disposal(&fixture, &run, &rule);
        let deleting = means.advance(&identity, &word);
        let cascade = format!(
            "CREATE TABLE notes (log_id BIGINT, lang TEXT, FOREIGN KEY (log_id, lang) REFERENCES {LOGS} ON DELETE CASCADE)"
        );
        let interfering = async {
            eidos_testkit::eventually("the first batch is gone", Duration::from_secs(20), async || {
                if due(&fixture).await < before {
                    Ok(())
                } else {
                    Err("not yet")
                }
            })
            .await;
            sqlx::raw_sql(AssertSqlSafe(cascade))
                .execute(&mut *holder)
                .await
                .unwrap();
            holder.commit().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(deleting, interfering);
        assert_eq!(refusal(outcome), "cascade");
        let gone = before - due(&fixture).await;
        assert!(gone > 0);
        assert_eq!(on_record(&fixture).await, gone, "{:?}", rule.archive);
        fixture.sql("DROP TABLE notes").await;
        let run = fixture.run().await;
        let done = disposal(&fixture, &run, &rule)
            .resume(fixture.unit().await)
            .await
            .unwrap();
        assert_eq!(done.unit.state, UnitState::Deleted);
        assert_eq!(on_record(&fixture).await, before, "{:?}", rule.archive);
        assert_eq!(done.unit.row_count, Some(before), "of all runs");
    }
}

#[tokio::test]
async fn a_plan_asks_about_types_and_values_before_anything_is_exported() {
    let fixture = fixture().await;
    fixture
        .sql(&format!("ALTER TABLE {LOGS} ADD COLUMN price NUMERIC"))
        .await;
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    let shape = catalogue::read_table(&mut conn, &LOGS.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(refusal(rows::may_leave(&shape, &proved())), "type");
    assert!(
        rows::may_leave(&shape, &rule(None)).is_ok(),
        "nothing is archived"
    );
    assert_eq!(
        refusal(survey(&mut conn, &shape, &proved(), MONTHS[2]).await),
        "type"
    );
}

#[tokio::test]
async fn expired_rows_that_stay_say_why() {
    let fixture = fixture().await;
    fixture
        .sql(&format!(
            "CREATE TABLE cases (log_id BIGINT, status TEXT); INSERT INTO cases VALUES (1, 'open'), (3, 'open'), (4, 'open'); \
             CREATE TABLE notes (log_id BIGINT, lang TEXT, CONSTRAINT note_of FOREIGN KEY (log_id, lang) REFERENCES {LOGS}); \
             INSERT INTO notes VALUES (5, 'en'), (1, 'en')"
        ))
        .await;
    let rule = RowRule {
        stays_while: Some(eidos_disposal::rows::StaysWhile {
            column: "id".to_owned(),
            table: "cases".to_owned(),
            key: "log_id".to_owned(),
            status: "status".to_owned(),
            open: "open".to_owned(),
        }),
        ..proved()
    };
    let mut conn = fixture.books.pool().acquire().await.unwrap();
    let shape = catalogue::read_table(&mut conn, &LOGS.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let found = survey(&mut conn, &shape, &rule, MONTHS[1]).await.unwrap();
    let told: Vec<(String, u64)> = found
        .staying
        .into_iter()
        .map(|staying| (staying.why, staying.rows))
        .collect();
    let unfinished = (1..=300_i64)
        .filter(|i| i % 4 == 0 && MONTHS[0] + i * 16_000_000 < MONTHS[1])
        .count() as u64;
    assert_eq!(
        told,
        [
            ("are not finished (status is none of 2, 3)".to_owned(), unfinished),
            ("belong to rows of cases that are open".to_owned(), 2),
            (
                "are referenced by foreign key note_of of public.notes".to_owned(),
                1
            ),
        ]
    );
}
