//! The chain of events: written by whoever writes, in one order, and nothing is taken away or changed unnoticed.

use eidos_recon::audit::{Anchor, Finding};
use eidos_recon::store::audit::{self, Verified};
use eidos_recon::store::edits::Act;
use eidos_types::{BreakId, SystemClock};
use sqlx::PgPool;

use crate::fixture::Fixture;

/// Two breaks with eight events.
async fn trail() -> Fixture {
    let fixture = Fixture::with(
        "INSERT INTO counted VALUES ('a', 50), ('b', 9); INSERT INTO reported VALUES ('a', 40), ('b', 2)",
    )
    .await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let id = fixture.newest().await;
    fixture.edit(id, Act::Acknowledge { note: None }).await.unwrap();
    fixture.edit(id, Act::Comment { text: "looking" }).await.unwrap();
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    fixture.edit(id, Act::Resolve { reason: "booked" }).await.unwrap();
    fixture.edit(id, Act::Comment { text: "done" }).await.unwrap();
    let verified = fixture.verify().await;
    assert_eq!((verified.links, verified.found), (8, 0), "{verified:?}");
    fixture
}

/// As somebody who owns the tables could.
async fn tamper(pool: &PgPool, statements: &str) {
    let free = "SET session_replication_role = replica";
    let mut tx = pool.begin().await.unwrap();
    sqlx::raw_sql(free).execute(&mut *tx).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::raw_sql("SET session_replication_role = DEFAULT")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn events_are_never_changed_or_taken_away() {
    let fixture = trail().await;
    for statement in [
        "UPDATE eidos_jobs_break_history SET by = 'nobody' WHERE id = 1",
        "DELETE FROM eidos_jobs_break_history WHERE id = 8",
        "TRUNCATE eidos_jobs_break_history CASCADE",
        "TRUNCATE eidos_jobs_breaks CASCADE",
        "UPDATE eidos_jobs_break_chain SET event_id = 99 WHERE seq = 1",
        "DELETE FROM eidos_jobs_break_chain WHERE seq = 8",
        "TRUNCATE eidos_jobs_break_chain",
    ] {
        let error = sqlx::raw_sql(statement)
            .execute(fixture.pool())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    fixture.assert_verifies().await;
}

const AGAIN: &str = "INSERT INTO eidos_jobs_break_history (break_id, event, at, by, version, state) \
    SELECT break_id, 'commented', at, by, version, state FROM eidos_jobs_break_history WHERE id = 8";

/// What is done to the trail, and what the findings name.
const TAMPERED: &[(&str, &[&str])] = &[
    (
        "UPDATE eidos_jobs_break_history SET by = 'eve' WHERE id = 4",
        &["event 4 of break"],
    ),
    (
        "UPDATE eidos_jobs_break_history SET at = at + '1 microsecond' WHERE id = 1",
        &["event 1 of break"],
    ),
    (
        "UPDATE eidos_jobs_break_history SET details = details || '{\"x\": 1}' WHERE id = 3",
        &["event 3 of break"],
    ),
    (
        "UPDATE eidos_jobs_break_history SET block_hash = NULL WHERE id = 1",
        &["event 1 of break"],
    ),
    (
        "UPDATE eidos_jobs_break_history SET execution_id = NULL WHERE id = 2",
        &["event 2 of break"],
    ),
    (
        "DELETE FROM eidos_jobs_break_history WHERE id = 3",
        &["event 3, of link 3, is missing"],
    ),
    (
        "DELETE FROM eidos_jobs_break_history WHERE id = 8",
        &[
            "event 8, of link 8, is missing",
            "its newest event left it resolved at version 4",
        ],
    ),
    (
        "DELETE FROM eidos_jobs_break_chain WHERE seq = 3",
        &["link 3 is missing", "event 3 (acknowledged) of break"],
    ),
    (
        "DELETE FROM eidos_jobs_break_chain WHERE seq = 8",
        &["event 8 (commented) of break"],
    ),
    (AGAIN, &["(commented) of break"]),
    (
        "DELETE FROM eidos_jobs_break_chain WHERE seq = 5; DELETE FROM eidos_jobs_break_history WHERE id = 5",
        &["link 5 is missing"],
    ),
    (
        "DELETE FROM eidos_jobs_break_chain WHERE seq = 8; DELETE FROM eidos_jobs_break_history WHERE id = 8",
        &["was changed without an event, or events are missing"],
    ),
    (
        "UPDATE eidos_jobs_break_chain SET event_id = -event_id WHERE seq IN (3, 4); \
             UPDATE eidos_jobs_break_chain SET event_id = 7 - seq WHERE seq IN (3, 4)",
        &["event 4 of break", "event 3 of break"],
    ),
    // The hash is computed again, and the next link still names the old one.
    (
        "UPDATE eidos_jobs_break_history SET by = 'eve' WHERE id = 4; \
             UPDATE eidos_jobs_break_chain c SET hash = eidos_jobs_break_event_hash(c.seq, c.previous, h) \
                 FROM eidos_jobs_break_history h WHERE h.id = c.event_id AND c.seq = 4",
        &["link 5 (event 5) does not follow"],
    ),
    (
        "UPDATE eidos_jobs_breaks SET state = 'written_off' WHERE state = 'resolved'",
        &["is written_off at version"],
    ),
    (
        "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, token, kind, severity, direction, \
                 first_seen, last_seen, evidence) \
             VALUES (gen_random_uuid(), 'x', 'x', '{}', 'x', 'x', 'warning', 'surplus', now(), now(), '{}')",
        &["has no event"],
    ),
];

#[tokio::test]
async fn one_row_that_was_altered_deleted_inserted_or_moved_is_named() {
    for (statements, named) in TAMPERED {
        let fixture = trail().await;
        tamper(fixture.pool(), statements).await;
        let verified = fixture.verify().await;
        let found: Vec<String> = verified.findings.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), named.len(), "{statements}: {found:#?}");
        for (found, named) in found.iter().zip(*named) {
            assert!(found.contains(named), "{statements}: {found} has no {named}");
        }
    }
}

async fn verify(fixture: &Fixture, anchor: Anchor) -> Verified {
    let mut conn = fixture.pool().acquire().await.unwrap();
    audit::verify(&mut conn, Some(anchor)).await.unwrap()
}

/// Who owns the tables can compute the whole chain again; not one that was noted elsewhere.
#[tokio::test]
async fn a_chain_that_was_rewritten_or_cut_does_not_have_the_link_that_was_noted() {
    let fixture = trail().await;
    let noted = fixture.verify().await.head.unwrap();
    assert_eq!(noted.seq, 8);
    fixture
        .edit(fixture.newest().await, Act::Comment { text: "later" })
        .await
        .unwrap();
    let verified = verify(&fixture, noted).await;
    assert_eq!((verified.found, verified.links), (0, 9), "{verified:?}");

    let rewrite = "UPDATE eidos_jobs_break_history SET by = 'eve' WHERE id = 4; \
        DO $$ DECLARE link RECORD; before BYTEA; BEGIN \
            FOR link IN SELECT * FROM eidos_jobs_break_chain WHERE seq >= 4 ORDER BY seq LOOP \
                SELECT hash INTO before FROM eidos_jobs_break_chain WHERE seq = link.seq - 1; \
                UPDATE eidos_jobs_break_chain c SET previous = before, \
                       hash = eidos_jobs_break_event_hash(c.seq, before, h) \
                    FROM eidos_jobs_break_history h WHERE h.id = c.event_id AND c.seq = link.seq; \
            END LOOP; END $$";
    tamper(fixture.pool(), rewrite).await;
    assert_eq!(fixture.verify().await.found, 0, "by itself it agrees");
    let verified = verify(&fixture, noted).await;
    assert!(
        matches!(
            verified.findings[..],
            [Finding::NotAnchored { found: Some(_), .. }]
        ),
        "{verified:?}"
    );

    let cut = "DELETE FROM eidos_jobs_break_chain WHERE seq > 2; DELETE FROM eidos_jobs_break_history WHERE id > 2; \
               UPDATE eidos_jobs_breaks SET state = 'open', status = 'open', resolved_at = NULL, version = 1, live = TRUE";
    tamper(fixture.pool(), cut).await;
    assert_eq!(fixture.verify().await.found, 0, "by itself it agrees");
    let verified = verify(&fixture, noted).await;
    assert!(
        matches!(verified.findings[..], [Finding::NotAnchored { found: None, .. }]),
        "{verified:?}"
    );
}

/// Writers that take breaks in opposite orders, and commit when they want: no link is lost, none is there twice, and none
/// waits for the other because of the chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_at_once_make_one_chain() {
    let fixture = Fixture::with("SELECT 1").await;
    let pool = fixture.pool();
    let ids: Vec<BreakId> = (0..8).map(|_| BreakId::new(&SystemClock::default())).collect();
    let insert = "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, token, reference, kind, severity, \
                      direction, first_seen, last_seen, evidence) \
                  VALUES ($1, 'x', $1::text, '{}', 'x', $1::text, 'x', 'warning', 'surplus', now(), now(), '{}')";
    let event =
        "INSERT INTO eidos_jobs_break_history (break_id, event, at, by) VALUES ($1, 'commented', now(), $2)";
    for id in &ids {
        sqlx::query(insert)
            .bind(id.as_uuid())
            .execute(pool)
            .await
            .unwrap();
    }
    // One has its event and does not commit; the others are not kept from theirs.
    let mut slow = pool.begin().await.unwrap();
    sqlx::query(event)
        .bind(ids[0].as_uuid())
        .bind("slow")
        .execute(&mut *slow)
        .await
        .unwrap();
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let (pool, mut ids) = (pool.clone(), ids.clone());
            tokio::spawn(async move {
                ids.rotate_left(writer);
                for round in 0..10 {
                    let mut tx = pool.begin().await.unwrap();
                    for id in &ids {
                        sqlx::query(event)
                            .bind(id.as_uuid())
                            .bind(format!("writer {writer}"))
                            .execute(&mut *tx)
                            .await
                            .unwrap();
                    }
                    if round % 5 == 4 {
                        tx.rollback().await.unwrap();
                    } else {
                        tx.commit().await.unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    slow.commit().await.unwrap();
    let verified = fixture.verify().await;
    assert_eq!(
        (verified.found, verified.links),
        (0, 4 * 8 * 8 + 1),
        "{verified:?}"
    );
    let last = "SELECT count(*) FROM eidos_jobs_break_chain c JOIN eidos_jobs_break_history h ON h.id = c.event_id \
                WHERE h.by = 'slow' AND c.seq = 257 AND h.id = (SELECT min(id) FROM eidos_jobs_break_history)";
    assert_eq!(fixture.count(last).await, 1, "the order is that of the commits");
}
