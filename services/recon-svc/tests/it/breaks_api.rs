//! `/v1/breaks` and `/v1/pauses` of the real service: filters are the server's, pages follow a key, and what does not
//! exist is an error.

use std::time::Duration;

use eidos_testkit::ChildProcess;
use eidos_types::{BreakId, SystemClock};
use reqwest::StatusCode;
use serde_json::Value;

use crate::fixture::Fixture;

const WITHIN: Duration = Duration::from_mins(1);
/// Token of the role viewer in the world's configuration.
const VIEWER: &str = "quickstart-viewer-token";
/// More than one answer holds.
const ROWS: i64 = 1_050;

struct Api {
    /// Lives as long as the test.
    _service: ChildProcess,
    url: String,
    client: reqwest::Client,
}

impl Api {
    async fn of(fixture: &Fixture) -> Self {
        // Several tests of one process may do so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let service = fixture.serve();
        let line = service.wait_for_line("serving", WITHIN).await;
        let mut words = line.split_whitespace();
        let address = words.find_map(|word| word.strip_prefix("http=")).unwrap();
        Self {
            url: format!("http://{address}"),
            client: reqwest::Client::builder().timeout(WITHIN).build().unwrap(),
            _service: service,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(VIEWER);
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    }

    /// Every id of a list, page by page.
    async fn all(&self, filter: &str, limit: usize) -> Vec<String> {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let (status, page) = self
                .get(&format!("/v1/breaks?{filter}&limit={limit}{after}"))
                .await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let rows = page["breaks"].as_array().unwrap();
            ids.extend(
                rows.iter()
                    .map(|row| row["break_id"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return ids,
            }
        }
    }
}

/// One old critical break, and after it more warnings than one answer holds. Returns the id of the old one.
async fn history(fixture: &Fixture) -> String {
    let old = BreakId::new(&SystemClock::default());
    let insert = "INSERT INTO eidos_jobs_breaks (break_id, dimension, wallet_address, token, kind, severity, direction, \
                      first_seen, last_seen, evidence) \
                  SELECT $1, 'balance', '0x' || lpad(to_hex($2 + 1), 40, '0'), 'USDC', $3, $4, 'surplus', now(), now(), '{}'";
    let mut rows = vec![(old, "critical")];
    rows.extend((1..ROWS).map(|_| (BreakId::new(&SystemClock::default()), "warning")));
    let mut transaction = fixture.jobs.pool().begin().await.unwrap();
    for (n, (id, severity)) in rows.iter().enumerate() {
        sqlx::query(insert)
            .bind(id.as_uuid())
            .bind(i32::try_from(n).unwrap())
            .bind("surplus")
            .bind(severity)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    old.to_string()
}

#[tokio::test]
async fn a_break_older_than_the_newest_thousand_is_found_by_id_by_severity_and_by_paging() {
    let fixture = Fixture::clean().await;
    let old = history(&fixture).await;
    let api = Api::of(&fixture).await;

    let (status, row) = api.get(&format!("/v1/breaks/{old}")).await;
    assert_eq!(
        (status, row["severity"].as_str()),
        (StatusCode::OK, Some("critical")),
        "{row}"
    );
    assert_eq!(api.all("severity=critical", 10).await, [old.as_str()]);

    let ids = api.all("status=open", 1_000).await;
    assert_eq!(ids.len(), usize::try_from(ROWS).unwrap());
    assert_eq!(ids[0], old, "critical first");
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "no break on two pages");
    assert_eq!(
        api.all("token=USDC&status=open", 97).await,
        ids,
        "whatever the size of a page"
    );
}

#[tokio::test]
async fn what_does_not_exist_is_an_error_and_not_an_empty_list() {
    let fixture = Fixture::clean().await;
    let api = Api::of(&fixture).await;
    let (status, said) = api.get("/v1/breaks?token=USDC").await;
    assert_eq!(
        status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "before the first run nothing is known: {said}"
    );
    let report = fixture.reconcile_when_free(&["--full"], &[]).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");

    let (status, none) = api.get("/v1/breaks?token=WBTC").await;
    assert_eq!(
        (status, none["breaks"].as_array().map(Vec::len)),
        (StatusCode::OK, Some(0)),
        "{none}"
    );
    let unknown = BreakId::new(&SystemClock::default());
    for (path, expected, named) in [
        ("/v1/breaks?token=wbtc".to_owned(), 422, "WBTC"),
        (
            "/v1/breaks?wallet=0x61".to_owned(),
            422,
            "'0x61' is not an address",
        ),
        ("/v1/breaks?severity=bad".to_owned(), 422, "critical"),
        ("/v1/breaks?status=bad".to_owned(), 422, "resolved"),
        (format!("/v1/breaks?after={unknown}"), 404, "no break"),
        (format!("/v1/breaks/{unknown}"), 404, "no break"),
        ("/v1/breaks/7".to_owned(), 422, "not the id of a break"),
        ("/v1/pauses?limit=0".to_owned(), 422, "limit"),
    ] {
        let (status, said) = api.get(&path).await;
        assert_eq!(status.as_u16(), expected, "{path}: {said}");
        assert!(said["detail"].as_str().unwrap().contains(named), "{path}: {said}");
    }
}

#[tokio::test]
async fn pauses_are_paged_and_picked_by_the_server() {
    let fixture = Fixture::clean().await;
    sqlx::raw_sql(
        "INSERT INTO eidos_jobs_operation_pauses (operation, token, reason, set_by, set_at, lifted_by, lifted_at, lift_reason) \
         SELECT 'withdrawal', 'USDC', 'r', 'reconciliation', now(), 'ann', now(), 'ok' FROM generate_series(1, 25); \
         INSERT INTO eidos_jobs_operation_pauses (operation, token, reason, set_by, set_at) \
         VALUES ('withdrawal', 'USDC', 'r', 'reconciliation', now())",
    )
    .execute(fixture.jobs.pool())
    .await
    .unwrap();
    let api = Api::of(&fixture).await;
    let (_, active) = api.get("/v1/pauses?active=true").await;
    assert_eq!(active["pauses"].as_array().unwrap().len(), 1, "{active}");
    let (mut seen, mut after) = (0, String::new());
    loop {
        let (status, page) = api.get(&format!("/v1/pauses?limit=10{after}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        seen += page["pauses"].as_array().unwrap().len();
        match page["next"].as_i64() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 26);
}
