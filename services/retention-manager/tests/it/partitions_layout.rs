//! Bounds: in UTC, from the catalogue, tiling the time line, whatever clocks and time zones say.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use eidos_settings::SourceName;

use crate::fixture::sql;
use crate::partitions_fixture::{DEFAULT, JobFixture, TABLE, ms};

/// The function of the requirement (§3.7), as it is written there.
const OF_THE_DOCUMENTS: &str = "\
    CREATE FUNCTION create_monthly_partition(table_name TEXT, year INT, month INT) RETURNS VOID AS $$ \
    DECLARE partition_name TEXT; start_ts BIGINT; end_ts BIGINT; \
    BEGIN \
        partition_name := table_name || '_' || year || '_' || LPAD(month::TEXT, 2, '0'); \
        start_ts := EXTRACT(EPOCH FROM DATE_TRUNC('month', make_date(year, month, 1))) * 1000; \
        end_ts := EXTRACT(EPOCH FROM DATE_TRUNC('month', make_date(year, month, 1) + INTERVAL '1 month')) * 1000; \
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)', \
            partition_name, table_name, start_ts, end_ts); \
    END; $$ LANGUAGE plpgsql";

/// Ruling 33, with sessions in four time zones and slots at the ends of months, in leap February and at New Year.
#[tokio::test]
async fn the_months_tile_the_line_in_every_time_zone() {
    for (zone, slot, from, to) in [
        (
            "UTC",
            "2024-01-31T23:59:59Z",
            "2024-01-01T00:00:00Z",
            "2024-05-01T00:00:00Z",
        ),
        (
            "Asia/Shanghai",
            "2024-02-29T16:30:00Z",
            "2024-02-01T00:00:00Z",
            "2024-06-01T00:00:00Z",
        ),
        (
            "America/New_York",
            "2023-02-01T00:00:00Z",
            "2023-02-01T00:00:00Z",
            "2023-06-01T00:00:00Z",
        ),
        (
            "Pacific/Kiritimati",
            "2024-12-31T23:30:00Z",
            "2024-12-01T00:00:00Z",
            "2025-04-01T00:00:00Z",
        ),
    ] {
        let fixture = JobFixture::new(&[]).await;
        let mut job = fixture.job(&[TABLE]).await;
        let options: PgConnectOptions = fixture.books.url().parse().unwrap();
        // As `eidos_core::db` sets sessions up, but for the zone.
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(options.options([
                ("timezone", zone),
                ("default_transaction_read_only", "on"),
                ("eidos.statement_timeout", "30000"),
                ("eidos.lock_timeout", "2000"),
                ("eidos.idle_in_transaction_session_timeout", "10000"),
            ]));
        job.sources = [(SourceName::Chain, pool)].into_iter().collect();
        let report = fixture.run(&job, slot).await.unwrap();
        assert_eq!(report.tables[0].created.len(), 4, "{zone}");
        assert_eq!(report.tables[0].months_ahead, 3);
        fixture.assert_tiles(TABLE, from, to).await;
        let again = fixture.run(&job, slot).await.unwrap();
        assert!(again.tables[0].created.is_empty(), "{zone}");
        // The requirement's own bounds take rows at both their ends.
        let last = ms(to) - 1;
        sql(
            fixture.pool(),
            &format!(
                "INSERT INTO {TABLE} (created_at, amount) VALUES ({}, 1), ({last}, 2)",
                ms(from)
            ),
        )
        .await;
    }
}

#[tokio::test]
async fn what_the_documents_function_left_out_in_new_york_is_filled() {
    let fixture = JobFixture::new(&[OF_THE_DOCUMENTS]).await;
    let mut session = fixture.pool().acquire().await.unwrap();
    sqlx::raw_sql("SET timezone = 'America/New_York'")
        .execute(&mut *session)
        .await
        .unwrap();
    for month in [1, 2, 3] {
        sqlx::query("SELECT create_monthly_partition('eidos_chain_events', 2024, $1)")
            .bind(month)
            .execute(&mut *session)
            .await
            .unwrap();
    }
    drop(session);
    let job = fixture.job(&[TABLE]).await;
    let report = fixture.run(&job, "2024-03-15T00:00:00Z").await.unwrap();
    // Five hours at the start of February, four hours' worth of daylight saving is nobody's business, and the future.
    fixture
        .assert_tiles(TABLE, "2024-01-01T05:00:00Z", "2024-07-01T00:00:00Z")
        .await;
    assert!(report.tables[0].odd.len() >= 2, "{:?}", report.tables[0].odd);
    assert!(report.tables[0].gaps.is_empty());
    let names: Vec<String> = fixture
        .partitions(TABLE)
        .await
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert!(
        names.contains(&"eidos_chain_events_2024_02_01t000000".to_owned()),
        "the month's own name is taken by the part that exists: {names:?}"
    );
}

#[tokio::test]
async fn what_the_documents_function_left_out_in_shanghai_is_filled() {
    let fixture = JobFixture::new(&[OF_THE_DOCUMENTS]).await;
    let mut session = fixture.pool().acquire().await.unwrap();
    sqlx::raw_sql(
        "SET timezone = 'Asia/Shanghai'; SELECT create_monthly_partition('eidos_chain_events', 2024, 1); \
         SELECT create_monthly_partition('eidos_chain_events', 2024, 3)",
    )
    .execute(&mut *session)
    .await
    .unwrap();
    drop(session);
    let job = fixture.job(&[TABLE]).await;
    fixture.run(&job, "2024-02-29T23:00:00Z").await.unwrap();
    fixture
        .assert_tiles(TABLE, "2023-12-31T16:00:00Z", "2024-06-01T00:00:00Z")
        .await;
}

#[tokio::test]
async fn a_row_dated_2097_creates_nothing() {
    let fixture = JobFixture::new(&[
        DEFAULT,
        "INSERT INTO eidos_chain_events (created_at, amount) VALUES (4018636800000, 1), (1000, 2)",
    ])
    .await;
    let job = fixture.job(&[TABLE]).await;
    let report = fixture.run(&job, "2024-01-15T00:00:00Z").await.unwrap();
    fixture
        .assert_tiles(TABLE, "2024-01-01T00:00:00Z", "2024-05-01T00:00:00Z")
        .await;
    let table = &report.tables[0];
    assert_eq!(table.default_rows_out_of_range, 2);
    assert_eq!(table.out_of_range_between_ms, Some((1_000, 4_018_636_800_000)));
    assert!(job_text(&report).contains("2097-05-06T"), "{}", job_text(&report));
    assert_eq!(fixture.rows().await, 2, "they stay where they are");
}

#[tokio::test]
async fn bounds_in_seconds_are_refused_and_the_next_table_goes_on() {
    let fixture = JobFixture::new(&[
        "CREATE TABLE eidos_chain_old (created_at BIGINT NOT NULL) PARTITION BY RANGE (created_at)",
        "CREATE TABLE eidos_chain_old_2024_01 PARTITION OF eidos_chain_old FOR VALUES FROM (1704067200) TO (1706745600)",
    ])
    .await;
    let job = fixture
        .job(&["eidos_chain_old", "eidos_chain_missing", TABLE])
        .await;
    let error = fixture
        .run(&job, "2024-01-15T00:00:00Z")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("2 of 3 tables") && error.contains("4 partitions created"),
        "{error}"
    );
    assert!(
        error.contains("eidos_chain_old_2024_01 has the bound 1704067200, which looks like seconds"),
        "{error}"
    );
    assert!(error.contains("eidos_chain_missing does not exist"), "{error}");
    assert_eq!(fixture.partitions("eidos_chain_old").await.len(), 1);
    fixture
        .assert_tiles(TABLE, "2024-01-01T00:00:00Z", "2024-05-01T00:00:00Z")
        .await;
}

#[tokio::test]
async fn partitioned_tables_nobody_configured_are_named() {
    let fixture = JobFixture::new(&[
        "CREATE TABLE eidos_chain_forgotten (created_at BIGINT NOT NULL) PARTITION BY RANGE (created_at)",
    ])
    .await;
    let job = fixture.job(&[TABLE]).await;
    let report = fixture.run(&job, "2024-01-15T00:00:00Z").await.unwrap();
    let named: Vec<&str> = report
        .unmanaged
        .iter()
        .map(|stranger| stranger.table.as_str())
        .collect();
    assert!(named.contains(&"public.eidos_chain_forgotten"), "{named:?}");
    assert!(!named.contains(&"public.eidos_chain_events"));
}

/// A detach that was cut off leaves its partition invisible and blocks every other one: it is finished first.
#[tokio::test]
async fn an_interrupted_detach_is_finished_and_expired_months_do_not_come_back() {
    let fixture = JobFixture::new(&[
        "CREATE TABLE eidos_chain_events_2023_10 PARTITION OF eidos_chain_events \
         FOR VALUES FROM (1696118400000) TO (1698796800000)",
        "CREATE TABLE eidos_chain_events_2023_12 PARTITION OF eidos_chain_events \
         FOR VALUES FROM (1701388800000) TO (1704067200000)",
    ])
    .await;
    let mut reader = fixture.pool().begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM eidos_chain_events_2023_10")
        .execute(&mut *reader)
        .await
        .unwrap();
    let mut session = fixture.pool().acquire().await.unwrap();
    sqlx::raw_sql("SET lock_timeout = '200ms'")
        .execute(&mut *session)
        .await
        .unwrap();
    sqlx::raw_sql("ALTER TABLE eidos_chain_events DETACH PARTITION eidos_chain_events_2023_10 CONCURRENTLY")
        .execute(&mut *session)
        .await
        .unwrap_err();
    drop(reader);
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    assert_eq!(crate::fixture::count(fixture.pool(), pending).await, 1);

    let mut job = fixture.job(&[TABLE]).await;
    job.tables[0].retention_months = Some(2);
    let report = fixture.run(&job, "2024-01-15T00:00:00Z").await.unwrap();
    assert_eq!(crate::fixture::count(fixture.pool(), pending).await, 0);
    assert_eq!(report.tables[0].finalized.len(), 1);
    // The line begins with what is still attached: October is over, and so is November, which nobody has missed.
    fixture
        .assert_tiles(TABLE, "2023-12-01T00:00:00Z", "2024-05-01T00:00:00Z")
        .await;
}

fn job_text(report: &retention_manager::jobs::partition_manage::Report) -> String {
    report.render()
}
