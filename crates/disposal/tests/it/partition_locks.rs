//! How long others wait for us, and what an interrupted detach leaves.

use std::time::{Duration, Instant};

use eidos_core::db::{DatabaseSettings, connect_external};
use eidos_disposal::DisposalError;
use eidos_disposal::partition::Recovered;
use eidos_disposal::unit::UnitState;
use eidos_testkit::eventually;
use sqlx::{Connection, PgConnection};

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE, refusal};

/// A transaction that has read the whole table and does not end.
async fn long_reader(fixture: &Fixture) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut reader = fixture.books.pool().begin().await.unwrap();
    let query = format!("SELECT count(*) FROM {TABLE}");
    sqlx::query(sqlx::AssertSqlSafe(query))
        .execute(&mut *reader)
        .await
        .unwrap();
    reader
}

/// The longest any of many queries through the parent took while `act` ran.
async fn slowest_query_during<T>(
    fixture: &Fixture,
    mut act: impl Future<Output = T> + Unpin,
) -> (T, Duration, u32) {
    let mut session = PgConnection::connect(&fixture.books.url()).await.unwrap();
    let query = format!("SELECT count(*) FROM {TABLE} WHERE id = 1001");
    let (mut slowest, mut asked) = (Duration::ZERO, 0);
    loop {
        let started = Instant::now();
        let asking = sqlx::query(sqlx::AssertSqlSafe(query.clone())).execute(&mut session);
        let mut asking = std::pin::pin!(asking);
        tokio::select! {
            done = &mut act => {
                // The query under way counts too.
                asking.await.unwrap();
                return (done, slowest.max(started.elapsed()), asked);
            }
            answer = &mut asking => {
                answer.unwrap();
                slowest = slowest.max(started.elapsed());
                asked += 1;
            }
        }
    }
}

#[tokio::test]
async fn nobody_waits_longer_than_the_lock_timeout_for_us() {
    let mut fixture = Fixture::new().await;
    // With a default partition only the plain detach is possible, which needs the strongest locks.
    fixture
        .sql(&format!("CREATE TABLE audit_rest PARTITION OF {TABLE} DEFAULT"))
        .await;
    fixture.verified().await;
    fixture.settings.lock_timeout = Duration::from_millis(300);
    fixture.settings.lock_attempts = 4;
    let reader = long_reader(&fixture).await;
    let run = fixture.run().await;
    let (outcome, slowest, asked) = slowest_query_during(&fixture, Box::pin(fixture.advance(&run))).await;
    let busy = outcome.unwrap_err();
    assert!(matches!(busy, DisposalError::Busy { .. }), "{busy:?}");
    assert!(asked > 10, "{asked}");
    assert!(
        slowest >= Duration::from_millis(200),
        "our lock was never in the way: {slowest:?}"
    );
    assert!(
        slowest < Duration::from_millis(300 + 400),
        "a query waited {slowest:?}"
    );
    assert_eq!(fixture.states().await, ["verified"]);
    assert_eq!(fixture.rows().await, 1200);
    reader.rollback().await.unwrap();
    let run = fixture.run().await;
    assert_eq!(
        fixture.advance(&run).await.unwrap().unit.state,
        UnitState::Quarantined
    );
}

#[tokio::test]
async fn a_reader_of_the_partition_itself_does_not_make_others_wait_longer() {
    let mut fixture = Fixture::new().await;
    fixture
        .sql(&format!("CREATE TABLE audit_rest PARTITION OF {TABLE} DEFAULT"))
        .await;
    fixture.verified().await;
    fixture.settings.lock_timeout = Duration::from_millis(300);
    // The parent's lock is had at once; the time it is held counts against the partition's.
    let mut reader = fixture.books.pool().begin().await.unwrap();
    let query = format!("SELECT count(*) FROM {JANUARY}");
    sqlx::query(sqlx::AssertSqlSafe(query))
        .execute(&mut *reader)
        .await
        .unwrap();
    let run = fixture.run().await;
    let (outcome, slowest, _asked) = slowest_query_during(&fixture, Box::pin(fixture.advance(&run))).await;
    assert!(matches!(outcome, Err(DisposalError::Busy { .. })));
    assert!(
        slowest < Duration::from_millis(300 + 400),
        "a query waited {slowest:?}"
    );
}

#[tokio::test]
async fn the_partition_is_never_locked_while_the_parent_is_waited_for() {
    let fixture = Fixture::new().await;
    fixture
        .sql(&format!("CREATE TABLE audit_rest PARTITION OF {TABLE} DEFAULT"))
        .await;
    fixture.verified().await;
    let mut reader = fixture.books.pool().begin().await.unwrap();
    let lock = format!("LOCK TABLE ONLY {TABLE} IN ACCESS SHARE MODE");
    sqlx::query(sqlx::AssertSqlSafe(lock))
        .execute(&mut *reader)
        .await
        .unwrap();
    let run = fixture.run().await;
    let mut act = Box::pin(fixture.advance(&run));
    // Queries lock the parent before the partition: whoever does it the other way round meets them in the middle.
    let query = format!(
        "SELECT count(*) FILTER (WHERE relation = '{TABLE}'::regclass AND NOT granted), \
                count(*) FILTER (WHERE relation = '{JANUARY}'::regclass AND granted) \
         FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
    );
    let mut waits_seen = 0;
    loop {
        let looking = sqlx::query_as::<_, (i64, i64)>(sqlx::AssertSqlSafe(query.clone()))
            .fetch_one(fixture.books.pool());
        tokio::select! {
            outcome = &mut act => {
                assert!(matches!(outcome, Err(DisposalError::Busy { .. })), "{outcome:?}");
                break;
            }
            looked = looking => {
                let (waiting, partition) = looked.unwrap();
                assert_eq!(partition, 0);
                waits_seen += waiting;
            }
        }
    }
    assert!(waits_seen > 0, "nobody ever waited for the parent");
}

#[tokio::test]
async fn without_a_default_partition_a_busy_parent_is_detached_concurrently() {
    let fixture = Fixture::new().await;
    fixture.verified().await;
    let reader = long_reader(&fixture).await;
    let run = fixture.run().await;
    let outcome = fixture.advance(&run).await;
    assert!(matches!(outcome, Err(DisposalError::Busy { .. })), "{outcome:?}");
    let pending = |shape: eidos_disposal::catalogue::TableShape| {
        shape
            .partitioning
            .unwrap()
            .partitions
            .iter()
            .filter(|found| found.pending_detach)
            .count()
    };
    assert_eq!(pending(fixture.shape().await), 1, "half way");
    assert_eq!(fixture.states().await, ["verified"]);
    reader.rollback().await.unwrap();

    let run = fixture.run().await;
    let recovered = run.recover().await;
    let resting = fixture.unit().await;
    assert_eq!(
        recovered,
        [
            Recovered::Finalized {
                partition: format!("public.{JANUARY}")
            },
            Recovered::MovedOn {
                unit_id: resting.unit_id,
                unit_name: JANUARY.to_owned(),
                state: UnitState::Quarantined
            }
        ]
    );
    assert_eq!(pending(fixture.shape().await), 0);
    let later = fixture.later_run().await;
    assert_eq!(
        later.disposal().resume(resting).await.unwrap().unit.state,
        UnitState::Dropped
    );
}

#[tokio::test]
async fn a_writer_elsewhere_in_the_table_does_not_stop_a_concurrent_detach() {
    let fixture = Fixture::new().await;
    fixture.verified().await;
    // Holds ROW EXCLUSIVE on the parent and February: the plain form times out, the concurrent one as well at first.
    let mut writer = fixture.books.pool().begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE {TABLE} SET seen = true WHERE id = 1001 AND created_at > 0"
    )))
    .execute(&mut *writer)
    .await
    .unwrap();
    let run = fixture.run().await;
    let outcome = fixture.advance(&run).await;
    writer.commit().await.unwrap();
    assert!(matches!(outcome, Err(DisposalError::Busy { .. })), "{outcome:?}");
    let run = fixture.run().await;
    run.recover().await;
    assert_eq!(fixture.states().await, ["quarantined"]);
}

/// Somebody's concurrent detach that ended half way.
async fn left_pending(fixture: &Fixture, partition: &str) {
    let reader = long_reader(fixture).await;
    let mut somebody = PgConnection::connect(&fixture.books.url()).await.unwrap();
    sqlx::raw_sql("SET lock_timeout = 50")
        .execute(&mut somebody)
        .await
        .unwrap();
    let detach = format!("ALTER TABLE {TABLE} DETACH PARTITION {partition} CONCURRENTLY");
    sqlx::raw_sql(sqlx::AssertSqlSafe(detach))
        .execute(&mut somebody)
        .await
        .unwrap_err();
    reader.rollback().await.unwrap();
}

#[tokio::test]
async fn a_unit_that_is_half_way_out_is_not_released() {
    let fixture = Fixture::new().await;
    let unit = fixture.verified().await;
    left_pending(&fixture, JANUARY).await;
    let run = fixture.run().await;
    assert_eq!(
        refusal(run.disposal().release(&unit, "kept longer").await),
        "changed"
    );
    assert_eq!(fixture.states().await, ["verified"]);
    assert_eq!(fixture.manifests().len(), 1);
}

#[tokio::test]
async fn a_pending_detach_that_somebody_left_is_finalized_first_and_written_down() {
    let fixture = Fixture::new().await;
    let february = "eidos_risk_audit_logs_2024_02";
    left_pending(&fixture, february).await;
    let run = fixture.run().await;
    assert_eq!(
        run.recover().await,
        [Recovered::Finalized {
            partition: format!("public.{february}")
        }]
    );
    assert_eq!(run.recover().await, []);
    assert_eq!(fixture.acts().await, ["finalize"]);
    assert_eq!(
        fixture.count(&format!("SELECT count(*) FROM {february}")).await,
        400,
        "its rows are all there"
    );
    fixture.advance(&run).await.unwrap();
}

/// The unit's table in quarantine without its triggers, and a transaction that has written a row to it.
async fn writer_in_quarantine(
    fixture: &Fixture,
    resting: &str,
) -> sqlx::Transaction<'static, sqlx::Postgres> {
    fixture
        .sql(&format!("ALTER TABLE {resting} DISABLE TRIGGER ALL"))
        .await;
    let mut writer = fixture.books.pool().begin().await.unwrap();
    let insert = format!(
        "INSERT INTO {resting} (id, created_at) VALUES (9000, {})",
        MONTHS[0]
    );
    sqlx::query(sqlx::AssertSqlSafe(insert))
        .execute(&mut *writer)
        .await
        .unwrap();
    writer
}

async fn lock_is(fixture: &Fixture, what: &str) {
    let query = format!(
        "SELECT count(*) FROM pg_locks WHERE relation::regclass::text LIKE 'eidos_quarantine.%' AND {what}"
    );
    eventually(what, Duration::from_secs(20), async || {
        if fixture.count(&query).await > 0 {
            Ok(())
        } else {
            Err("no such lock")
        }
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_commits_at_the_last_moment_is_seen() {
    let mut fixture = Fixture::new().await;
    fixture.settings.lock_attempts = 100;
    let unit = fixture.quarantined().await;
    let resting = unit.quarantine_table.clone().unwrap();
    let writer = writer_in_quarantine(&fixture, &resting).await;
    let later = fixture.later_run().await;
    let disposal = later.disposal();
    let committing = async {
        lock_is(&fixture, "NOT granted").await;
        writer.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(Box::pin(disposal.resume(unit)), committing);
    assert_eq!(refusal(outcome), "mismatch");
    assert_eq!(
        fixture.count(&format!("SELECT count(*) FROM {resting}")).await,
        401
    );
}

#[tokio::test]
async fn a_proof_may_take_longer_than_a_transaction_may_be_silent() {
    let mut fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    let few = DatabaseSettings {
        max_connections: 2,
        idle_in_transaction_timeout: Duration::from_millis(1_800),
        ..DatabaseSettings::new(fixture.books.url().into())
    };
    fixture.external = connect_external(few, "disposal-test", "risk").await.unwrap();
    let later = fixture.later_run().await;
    // One connection for the step; the proof has to wait for the other.
    let taken = fixture.external.acquire().await.unwrap();
    let disposal = later.disposal();
    let giving_back = async {
        lock_is(&fixture, "granted AND mode = 'ExclusiveLock'").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(taken);
    };
    let (outcome, ()) = tokio::join!(Box::pin(disposal.resume(unit)), giving_back);
    assert_eq!(outcome.unwrap().unit.state, UnitState::Dropped);
}
