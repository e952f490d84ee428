//! What `/metrics` of a service says that has done nothing yet.

use std::time::Duration;

use eidos_testkit::eventually;

use crate::fixture::Fixture;

const WITHIN: Duration = Duration::from_mins(1);

/// A series that first appears with its first event shows no increase of it: its alert and its panel miss the first one.
#[tokio::test]
async fn a_service_that_has_done_nothing_shows_its_counters_at_zero() {
    // Another test of this process may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fixture = Fixture::new(&[], &[]).await;
    let service = fixture.serve();
    let line = service.wait_for_line("serving", WITHIN).await;
    let mut words = line.split_whitespace();
    let address = words.find_map(|word| word.strip_prefix("http=")).unwrap();
    let client = reqwest::Client::builder().timeout(WITHIN).build().unwrap();
    let url = format!("http://{address}/metrics");
    for series in [
        r#"job_execution_total{job="reconciliation",status="failed"} 0"#,
        r#"reconciliation_checked_total{dimension="balance"} 0"#,
        r#"reconciliation_repins_total{reason="chain"} 0"#,
    ] {
        eventually(series, WITHIN, async || {
            let response = client.get(&url).send().await.unwrap();
            let text = response.error_for_status().unwrap().text().await.unwrap();
            text.lines().find(|line| *line == series).map(|_| ()).ok_or(text)
        })
        .await;
    }
    service.terminate();
}
