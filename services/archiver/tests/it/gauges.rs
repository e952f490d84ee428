//! The service tells what is true, whichever process did the work.

use std::time::Duration;

use eidos_testkit::{ChildProcess, eventually};

use crate::fixture::{Fixture, ORDERS};

const WITHIN: Duration = Duration::from_secs(90);

struct Service {
    child: ChildProcess,
    url: String,
    client: reqwest::Client,
}

impl Service {
    async fn start(fixture: &Fixture) -> Self {
        // Several tests of one process may do so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = [
            ("SCHEDULER__OBSERVE_INTERVAL", "100ms"),
            ("TELEMETRY__LOG_FORMAT", "text"),
            ("TELEMETRY__LOG_LEVEL", "info"),
        ];
        let child = fixture.command(&["serve"], &settings).spawn();
        let line = child.wait_for_line("serving", WITHIN).await;
        let mut words = line.split_whitespace();
        let address = words.find_map(|word| word.strip_prefix("http=")).unwrap();
        Self {
            url: format!("http://{address}/metrics"),
            client: reqwest::Client::builder().timeout(WITHIN).build().unwrap(),
            child,
        }
    }

    async fn until_gauge(&self, series: &str, is_right: impl Fn(f64) -> bool) {
        eventually(series, WITHIN, async || {
            let response = self.client.get(&self.url).send().await.unwrap();
            let text = response.error_for_status().unwrap().text().await.unwrap();
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
            if found.is_some_and(&is_right) {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
    }
}

async fn jobs(fixture: &Fixture, statement: &'static str) {
    sqlx::query(statement).execute(fixture.jobs.pool()).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_ran_nothing_tells_what_is_true() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 3, 3, "2026-08-15T12:00:00Z").await;
    jobs(
        &fixture,
            "INSERT INTO eidos_jobs_disposal_units (unit_id, job_name, source, schema_name, table_name, unit_name, unit_kind, \
                 table_oid, lower_ms, upper_ms, state, archived, manifest_sha256, content_digest, columns_fingerprint, \
                 plan_digest, approved_by, execution_id, epoch, rot) \
             VALUES (gen_random_uuid(), 'archive-data', 'trading', 'public', 'eidos_trading_orders_archive', 'x', 'partition', \
                 1, 0, 1, 'quarantined', true, '', '', '', '', 'policy', gen_random_uuid(), 1, 'a part is missing')",
    )
    .await;
    fixture
        .sql("CREATE TABLE eidos_quarantine.x AS SELECT generate_series(1, 1000)")
        .await;
    let service = Service::start(&fixture).await;
    service
        .until_gauge("archive_rot_units", |units| units >= 1.0)
        .await;
    service
        .until_gauge(r#"quarantine_bytes{source="trading"}"#, |bytes| bytes >= 8192.0)
        .await;
    let resting =
        r#"disposal_units_open{source="trading",table="eidos_trading_orders_archive",state="quarantined"}"#;
    service.until_gauge(resting, |units| units >= 1.0).await;

    // Another process moves one of three.
    let settings = [("JOBS__ARCHIVE-DATA__MAX_ROWS_PER_RUN", "1")];
    let (status, child) = fixture
        .command(&["run", "archive-data"], &settings)
        .run(WITHIN)
        .await;
    assert!(status.success(), "{}", child.stderr());
    assert_eq!(fixture.count(ORDERS).await, 2);
    let late = format!(r#"archive_oldest_eligible_age_seconds{{table="{ORDERS}"}}"#);
    service.until_gauge(&late, |seconds| seconds > 86_400.0).await;
    jobs(
        &fixture,
        "UPDATE eidos_jobs_disposal_units SET rot = NULL, state = 'dropped'",
    )
    .await;
    service
        .until_gauge("archive_rot_units", |units| units < 1.0)
        .await;
    service.until_gauge(resting, |units| units < 1.0).await;
    service.child.terminate();
}

/// A series that first appears with its first event shows no increase of it: its alert and its panel miss the first one.
#[tokio::test]
async fn a_service_that_has_done_nothing_shows_its_counters_at_zero() {
    let fixture = Fixture::new().await;
    let service = Service::start(&fixture).await;
    for series in [
        r#"job_execution_total{job="archive-data",status="failed"}"#.to_owned(),
        format!(
            r#"disposal_rows_total{{job="archive-data",source="trading",table="{ORDERS}",action="move"}}"#
        ),
        format!(r#"archive_batch_duration_seconds_count{{table="{ORDERS}"}}"#),
    ] {
        service.until_gauge(&series, |count| count < 1.0).await;
    }
    service.child.terminate();
}
