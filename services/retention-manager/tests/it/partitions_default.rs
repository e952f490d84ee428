//! Rows of a default partition move to their month, and are visible at every moment of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fixture::{count, sql};
use crate::partitions_fixture::{DEFAULT, JobFixture, TABLE};

/// 1,000 rows in January 2024, ten minutes apart, and 500 in December.
const ROWS: &str = "\
    INSERT INTO eidos_chain_events (created_at, kind, amount, note) \
    SELECT 1704067200000 + n * 600000, 'k' || n % 7, n * 1.000000000000000001, repeat('x', n % 50) \
    FROM generate_series(0, 999) n; \
    INSERT INTO eidos_chain_events (created_at, amount) \
    SELECT 1701388800000 + n * 600000, n FROM generate_series(0, 499) n";
const IN_DEFAULT: &str = "SELECT count(*) FROM eidos_chain_events_default";
const CONTENT: &str =
    "SELECT md5(string_agg(e::text, ',' ORDER BY created_at, id)) FROM eidos_chain_events e";
const SLOT: &str = "2024-01-20T00:00:00Z";

async fn content(fixture: &JobFixture) -> String {
    sqlx::query_scalar(CONTENT)
        .fetch_one(fixture.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn rows_move_to_their_month_unchanged() {
    let fixture = JobFixture::new(&[DEFAULT, ROWS]).await;
    let before = content(&fixture).await;
    let job = fixture.job(&[TABLE]).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(content(&fixture).await, before);
    assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 0);
    assert_eq!(
        count(
            fixture.pool(),
            "SELECT count(*) FROM ONLY eidos_chain_events_2024_01"
        )
        .await,
        1_000
    );
    assert_eq!(
        count(
            fixture.pool(),
            "SELECT count(*) FROM ONLY eidos_chain_events_2023_12"
        )
        .await,
        500
    );
    assert_eq!(
        (report.tables[0].rows_drained, report.tables[0].default_rows),
        (1_500, 0)
    );
    fixture
        .assert_tiles(TABLE, "2023-12-01T00:00:00Z", "2024-05-01T00:00:00Z")
        .await;
    // The new partitions are like their siblings: keys and indexes came along, the helper check did not stay.
    let checks = "SELECT count(*) FROM pg_constraint WHERE conname = 'eidos_partition_bounds'";
    assert_eq!(count(fixture.pool(), checks).await, 0);
    let keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND conrelid = 'eidos_chain_events_2024_01'::regclass";
    assert_eq!(count(fixture.pool(), keys).await, 1);
    let audited: Vec<(String, i64)> = sqlx::query_as(
        "SELECT action::text, sum(row_count)::bigint FROM eidos_jobs_disposals GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(fixture.jobs.pool())
    .await
    .unwrap();
    assert_eq!(audited, [("create".to_owned(), 0), ("drain".to_owned(), 1_500)]);
}

/// A month with more rows than one transaction may move becomes several partitions, and a reader never misses a row.
#[tokio::test]
async fn a_full_month_moves_piece_by_piece_and_every_row_stays_visible() {
    let fixture = JobFixture::new(&[DEFAULT, ROWS]).await;
    let before = content(&fixture).await;
    let mut job = fixture.job(&[TABLE]).await;
    job.options.drain_max_rows = 120;
    let stop = Arc::new(AtomicBool::new(false));
    let (pool, until) = (fixture.pool().clone(), Arc::clone(&stop));
    let reader = tokio::spawn(async move {
        let mut readings = 0_u32;
        while !until.load(Ordering::Relaxed) {
            let seen = count(&pool, "SELECT count(*) FROM eidos_chain_events").await;
            assert_eq!(seen, 1_500, "a row was invisible or twice there");
            readings += 1;
        }
        readings
    });
    let report = fixture.run(&job, SLOT).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
    assert_eq!(content(&fixture).await, before);
    assert!(report.tables[0].created.iter().all(|created| created.rows <= 120));
    assert!(
        report.tables[0].created.len() > 13,
        "{:?}",
        report.tables[0].created
    );
    assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 0);
    fixture
        .assert_tiles(TABLE, "2023-12-01T00:00:00Z", "2024-05-01T00:00:00Z")
        .await;
}

#[tokio::test]
async fn a_run_moves_no_more_than_its_share_and_the_next_goes_on() {
    let fixture = JobFixture::new(&[DEFAULT, ROWS]).await;
    let mut job = fixture.job(&[TABLE]).await;
    (job.options.drain_max_rows, job.options.drain_rows_per_run) = (100, 250);
    let first = fixture.run(&job, SLOT).await.unwrap();
    let table = &first.tables[0];
    assert_eq!((table.rows_drained, table.default_rows), (250, 1_250));
    assert_eq!(table.waiting.len(), 2, "{:?}", table.waiting);
    assert_eq!(
        table.months_ahead, 3,
        "months without rows are created all the same"
    );
    assert!(table.problems.is_empty());
    job.options.drain_rows_per_run = 10_000;
    let second = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(second.tables[0].default_rows, 0);
    assert_eq!(fixture.rows().await, 1_500);
}

#[tokio::test]
async fn rows_of_one_instant_move_together_or_are_reported() {
    let fixture = JobFixture::new(&[
        DEFAULT,
        "INSERT INTO eidos_chain_events (created_at, amount) \
         SELECT CASE WHEN n <= 80 THEN 1704067200000 ELSE 1704067200000 + n * 1000 END, 1 \
         FROM generate_series(1, 130) n",
    ])
    .await;
    let mut job = fixture.job(&[TABLE]).await;
    job.options.drain_max_rows = 60;
    let error = fixture.run(&job, SLOT).await.unwrap_err().to_string();
    assert!(error.contains("share the first instant"), "{error}");
    assert_eq!(fixture.rows().await, 130);
    job.options.drain_max_rows = 90;
    fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 0);
    assert_eq!(fixture.rows().await, 130);
}

/// Moving deletes: what listens to deletions, or refers to the rows, must not be told a lie.
#[tokio::test]
async fn rows_that_somebody_watches_or_refers_to_are_not_moved() {
    let trigger = "CREATE FUNCTION note_deletion() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RAISE EXCEPTION 'a row was deleted'; END $$; \
        CREATE TRIGGER audit BEFORE DELETE ON eidos_chain_events FOR EACH ROW EXECUTE FUNCTION note_deletion()";
    let reference = "CREATE TABLE notes (created_at BIGINT, event BIGINT, \
        FOREIGN KEY (created_at, event) REFERENCES eidos_chain_events (created_at, id) ON DELETE CASCADE)";
    for (watcher, said) in [(trigger, "trigger audit"), (reference, "foreign keys of")] {
        let fixture = JobFixture::new(&[DEFAULT, ROWS, watcher]).await;
        let job = fixture.job(&[TABLE]).await;
        let error = fixture.run(&job, SLOT).await.unwrap_err().to_string();
        assert!(
            error.contains(said) && error.contains("may not be moved"),
            "{error}"
        );
        assert!(
            error.contains("3 partitions created, 0 rows moved"),
            "the months ahead exist: {error}"
        );
        assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 1_500);
    }
}

/// The history of the jobs themselves goes the same way, through the fence of the jobs database.
#[tokio::test]
async fn the_jobs_own_history_is_among_the_tables() {
    let fixture = JobFixture::new(&[]).await;
    sql(
        fixture.jobs.pool(),
        "INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, execution_id, trigger) \
         SELECT 'old', 'success', 1893456000000 + n, 1893456000000 + n, gen_random_uuid(), 'cli' \
         FROM generate_series(1, 20) n",
    )
    .await;
    let in_default = "SELECT count(*) FROM eidos_jobs_executions_default";
    assert_eq!(count(fixture.jobs.pool(), in_default).await, 20);
    let job = fixture.job(&["eidos_jobs_executions"]).await;
    let report = fixture.run(&job, "2030-01-01T00:00:00Z").await.unwrap();
    assert_eq!(count(fixture.jobs.pool(), in_default).await, 0);
    assert_eq!(report.tables[0].rows_drained, 20);
    assert_eq!(
        count(
            fixture.jobs.pool(),
            "SELECT count(*) FROM eidos_jobs_executions_2030_01"
        )
        .await,
        20
    );
}

/// A run that was replaced while it was away creates nothing, in neither database.
#[tokio::test]
async fn a_replaced_run_creates_nothing() {
    use eidos_runtime::{Job, JobError};
    use retention_manager::jobs::partition_manage::Params;

    let fixture = JobFixture::new(&[DEFAULT, ROWS]).await;
    let job = fixture.job(&[TABLE]).await;
    let stale = fixture.context(SLOT, false).await;
    let current = fixture.context(SLOT, false).await;
    current
        .raised_in(job.sources.pool(eidos_settings::SourceName::Chain).unwrap())
        .await
        .unwrap();
    let refused = job.run(&stale, Params::default()).await.unwrap_err();
    assert!(matches!(refused, JobError::Fenced), "{refused}");
    assert!(fixture.partitions(TABLE).await.is_empty());
    assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 1_500);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_says_what_it_would_do() {
    use eidos_runtime::Job;
    use retention_manager::jobs::partition_manage::Params;

    let fixture = JobFixture::new(&[DEFAULT, ROWS]).await;
    let job = fixture.job(&[TABLE]).await;
    let ctx = fixture.context(SLOT, true).await;
    let report = job.run(&ctx, Params::default()).await.unwrap();
    assert!(fixture.partitions(TABLE).await.is_empty());
    assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 1_500);
    assert_eq!(
        count(fixture.jobs.pool(), "SELECT count(*) FROM eidos_jobs_disposals").await,
        0
    );
    assert_eq!(report.plan.items.len(), 5);
    let text = report.render();
    assert!(
        text.contains("eidos_chain_events_2024_01") && text.contains("~1,000"),
        "{text}"
    );
}

/// Counted, then locked: what came between the two is found by the server, and the piece is counted again.
#[tokio::test]
async fn a_row_that_arrives_after_the_count_is_moved_as_well() {
    let fixture = JobFixture::new(&[DEFAULT]).await;
    let job = fixture.job(&[TABLE]).await;
    let mut writer = fixture.pool().begin().await.unwrap();
    sqlx::query("INSERT INTO eidos_chain_events (created_at, amount) VALUES (1705000000000, 1)")
        .execute(&mut *writer)
        .await
        .unwrap();
    // Not visible yet, so nothing is counted; the writer's lock makes the transaction wait, then it commits.
    let (run, committed) = tokio::join!(fixture.run(&job, SLOT), async {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'eidos_chain_events'::regclass";
        eidos_testkit::eventually(
            "the job waits for the writer",
            crate::fixture::WITHIN,
            async || {
                if count(fixture.pool(), waiting).await > 0 {
                    Ok(())
                } else {
                    Err("not yet")
                }
            },
        )
        .await;
        writer.commit().await
    });
    committed.unwrap();
    let report = run.unwrap();
    assert_eq!(report.tables[0].rows_drained, 1);
    assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 0);
    assert_eq!(fixture.rows().await, 1);
}

/// Rows that are slow to move (here by a check that takes a millisecond each) move in smaller pieces, so that nobody waits
/// longer for them.
#[tokio::test]
async fn what_takes_too_long_is_done_in_smaller_pieces() {
    let fixture = JobFixture::new(&[
        "CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ \
         BEGIN \
             IF current_setting('application_name') = 'retention-manager' THEN PERFORM pg_sleep(0.001); END IF; \
             RETURN true; \
         END $$; \
         ALTER TABLE eidos_chain_events ADD CHECK (slow())",
        DEFAULT,
        ROWS,
    ])
    .await;
    let before = content(&fixture).await;
    let job = fixture.job(&[TABLE]).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(content(&fixture).await, before);
    assert_eq!(count(fixture.pool(), IN_DEFAULT).await, 0);
    let patience = u64::try_from(job.disposal.lock_timeout.as_millis()).unwrap();
    for created in &report.tables[0].created {
        assert!(
            created.rows <= 250 && created.held_ms <= patience + 50,
            "{created:?}"
        );
    }
}
