//! The real binary: whatever the process's time zone, with exit codes, plans that are applied or refused, and the API.

use chrono::{Datelike, Utc};
use eidos_testkit::ChildProcess;
use eidos_types::{Clock, SystemClock};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, OPERATOR, VIEWER, WITHIN, count, report_of, sql};

const JOB: &str = "partition-manage";
/// The requirement's six tables, of which the sixth is ours.
const NEIGHBOURS: [&str; 5] = [
    "eidos_market_trade_history",
    "eidos_chain_events",
    "eidos_chain_deposit_records",
    "eidos_risk_audit_logs",
    "eidos_risk_events",
];

async fn with_tables(fixture: &Fixture) {
    for table in NEIGHBOURS {
        sql(
            fixture.books(),
            &format!(
                "CREATE TABLE {table} (id BIGSERIAL, created_at BIGINT NOT NULL, note TEXT, \
                 PRIMARY KEY (created_at, id)) PARTITION BY RANGE (created_at)"
            ),
        )
        .await;
    }
}

/// The first of the month that is so many months after this one, epoch ms.
fn month_start(ahead: u32) -> i64 {
    let now = SystemClock::default().now();
    let first: chrono::DateTime<Utc> = format!("{:04}-{:02}-01T00:00:00Z", now.year(), now.month())
        .parse()
        .unwrap();
    first
        .checked_add_months(chrono::Months::new(ahead))
        .unwrap()
        .timestamp_millis()
}

#[tokio::test]
async fn the_six_tables_of_the_requirement_are_ready_for_three_months() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    // The process lives in Shanghai, and so would every session that did not say otherwise.
    let command = fixture
        .command(&["run", JOB, "--format", "json"], &[])
        .env("TZ", "Asia/Shanghai")
        .env("PGTZ", "Asia/Shanghai");
    let (status, child) = command.run(WITHIN).await;
    assert!(
        status.success(),
        "{status}\n{}\n{}",
        child.stdout(),
        child.stderr()
    );
    let report = report_of(&child);
    assert_eq!(report["tables"].as_array().unwrap().len(), 6);
    for table in NEIGHBOURS {
        let bounds = format!(
            "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
             WHERE i.inhparent = '{table}'::regclass AND pg_get_expr(c.relpartbound, c.oid) IN ({})",
            (0..4)
                .map(|ahead| format!(
                    "$$FOR VALUES FROM ('{}') TO ('{}')$$",
                    month_start(ahead),
                    month_start(ahead + 1)
                ))
                .collect::<Vec<_>>()
                .join(", ")
        );
        assert_eq!(count(fixture.books(), &bounds).await, 4, "{table}");
    }
    let audited =
        "SELECT count(*) FROM eidos_jobs_disposals WHERE action = 'create' AND job_name = 'partition-manage'";
    assert_eq!(
        count(fixture.jobs.pool(), audited).await,
        20,
        "ours existed already"
    );
    let stored = "SELECT count(*) FROM eidos_jobs_executions WHERE job_name = 'partition-manage' AND status = 'success' \
                  AND result -> 'plan' ->> 'digest' IS NOT NULL";
    assert_eq!(count(fixture.jobs.pool(), stored).await, 1);
}

#[tokio::test]
async fn a_table_that_is_missing_fails_the_run_after_the_others_were_done() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    sql(fixture.books(), "DROP TABLE eidos_chain_events").await;
    let settings = [("JOBS__PARTITION_MANAGE__RETRY__MAX_ATTEMPTS", "1")];
    let (status, child) = fixture.run(JOB, &[], &settings).await;
    assert_eq!(status.code(), Some(1), "{}\n{}", child.stdout(), child.stderr());
    let message: String = sqlx::query_scalar(
        "SELECT error_message FROM eidos_jobs_executions WHERE job_name = 'partition-manage' AND status = 'failed'",
    )
    .fetch_one(fixture.jobs.pool())
    .await
    .unwrap();
    assert!(
        message.contains("1 of 6 tables") && message.contains("eidos_chain_events does not exist"),
        "{message}"
    );
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM pg_inherits").await - index_children(&fixture).await,
        16
    );
}

/// Partitions' indexes are children too.
async fn index_children(fixture: &Fixture) -> i64 {
    count(
        fixture.books(),
        "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'i'",
    )
    .await
}

async fn plan(fixture: &Fixture) -> Value {
    let args = ["plan", "--job", JOB, "--format", "json"];
    let (status, child) = fixture.command(&args, &[]).run(WITHIN).await;
    assert!(
        status.success(),
        "{status}\n{}\n{}",
        child.stdout(),
        child.stderr()
    );
    report_of(&child)["plan"].clone()
}

async fn apply(fixture: &Fixture, digest: &str) -> (Option<i32>, ChildProcess) {
    let given = format!("--plan={digest}");
    let args = ["apply", "--job", JOB, "--format", "json", &given];
    let (status, child) = fixture.command(&args, &[]).run(WITHIN).await;
    (status.code(), child)
}

#[tokio::test]
async fn a_plan_is_carried_out_as_it_was_read() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    let plan = plan(&fixture).await;
    assert_eq!(plan["items"].as_array().unwrap().len(), 20);
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM pg_inherits").await,
        0
    );
    let digest = plan["digest"].as_str().unwrap();
    let (code, child) = apply(&fixture, digest).await;
    assert_eq!(code, Some(0), "{}\n{}", child.stdout(), child.stderr());
    assert!(count(fixture.books(), "SELECT count(*) FROM pg_inherits").await > 0);
    let who = "SELECT count(*) FROM eidos_jobs_disposals WHERE approved_by <> 'policy' AND plan_digest = '";
    assert_eq!(count(fixture.jobs.pool(), &format!("{who}{digest}'")).await, 20);
    // Once more is nothing more.
    let (code, child) = apply(&fixture, digest).await;
    assert_eq!(code, Some(0), "{}\n{}", child.stdout(), child.stderr());
    assert_eq!(count(fixture.jobs.pool(), &format!("{who}{digest}'")).await, 20);
}

#[tokio::test]
async fn a_plan_whose_world_has_changed_is_refused_as_a_whole() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    let plan = plan(&fixture).await;
    sql(
        fixture.books(),
        "ALTER TABLE eidos_risk_events ADD COLUMN surprise INT",
    )
    .await;
    let (code, child) = apply(&fixture, plan["digest"].as_str().unwrap()).await;
    assert_eq!(code, Some(1), "{}\n{}", child.stdout(), child.stderr());
    let said = format!("{}{}", child.stdout(), child.stderr());
    assert!(
        said.contains("eidos_risk_events") && said.contains("retention-manager plan"),
        "{said}"
    );
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM pg_inherits").await,
        0,
        "not even the other tables"
    );

    let (code, child) = apply(&fixture, &"0".repeat(64)).await;
    assert_eq!(code, Some(1), "{}\n{}", child.stdout(), child.stderr());
}

pub(crate) struct Service {
    child: ChildProcess,
    url: String,
    client: Client,
}

impl Service {
    pub(crate) async fn start(fixture: &Fixture) -> Self {
        Self::start_with(fixture, &[]).await
    }

    async fn start_with(fixture: &Fixture, settings: &[(&str, &str)]) -> Self {
        // Several tests of one process may do so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let child = fixture.command(&["serve"], settings).spawn();
        let line = child.wait_for_line("serving", WITHIN).await;
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="))
            .unwrap_or_else(|| panic!("no address in {line}"))
            .to_owned();
        Self {
            child,
            url: format!("http://{address}"),
            client: Client::builder().timeout(WITHIN).build().unwrap(),
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(VIEWER);
        answer(request).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body.to_string());
        answer(request).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}

#[tokio::test]
async fn a_hold_that_would_protect_nothing_is_refused() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    sql(
        fixture.books(),
        "CREATE TABLE eidos_risk_events_2024_01 PARTITION OF eidos_risk_events FOR VALUES FROM (1704067200000) TO (1706745600000); \
         CREATE TABLE eidos_trading_orders (id BIGINT PRIMARY KEY)",
    )
    .await;
    let down = [("DATABASES__TRADING__URL", "postgres://nobody:x@127.0.0.1:9/none")];
    let service = Service::start_with(&fixture, &down).await;
    for (source, table, says) in [
        (
            "risk",
            "eidos_risk_event",
            "no table public.eidos_risk_event in risk",
        ),
        ("chain", "eidos_risk_events", "place it on risk"),
        (
            "risk",
            "eidos_risk_events_2024_01",
            "place it on public.eidos_risk_events with from_ms",
        ),
    ] {
        let hold = json!({"source": source, "table": table, "reason": "case 18"});
        let (status, problem) = service.post(OPERATOR, "/v1/holds", &hold).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    let (_, shown) = service.get("/v1/holds?all=true").await;
    assert_eq!(shown["holds"], json!([]));
    // Here all sources are one database, and archiver looks for holds under `trading`.
    let misplaced = json!({"source": "market", "table": "eidos_trading_orders", "reason": "case 18"});
    let (status, placed) = service.post(OPERATOR, "/v1/holds", &misplaced).await;
    assert_eq!(status, StatusCode::CREATED, "{placed}");
    assert!(
        placed["warning"].as_str().unwrap().contains("belongs to trading"),
        "{placed}"
    );
    // A database that does not answer cannot be asked: better a hold that may be in vain than none.
    let elsewhere = json!({"source": "trading", "table": "ledger", "reason": "case 19"});
    let (status, placed) = service.post(OPERATOR, "/v1/holds", &elsewhere).await;
    assert_eq!(status, StatusCode::CREATED, "{placed}");
    assert!(
        placed["warning"].as_str().unwrap().contains("was not checked"),
        "{placed}"
    );
    service.child.terminate();
}

/// Issue 8, 22: times in seconds were accepted, and the hold covered January 1970: nothing.
#[tokio::test]
async fn a_hold_with_times_in_another_unit_is_refused_with_the_reading_that_was_made() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    let service = Service::start(&fixture).await;
    let hold = |from: Value, to: Value| json!({"source": "risk", "table": "eidos_risk_events", "from_ms": from, "to_ms": to, "reason": "case 20"});
    for (from, to, says) in [
        (
            json!(1_704_067_200),
            json!(1_706_745_600),
            "1970-01-20T17:21:07.200Z when read as epoch milliseconds",
        ),
        (
            json!(1_704_067_200_000_000_i64),
            Value::Null,
            "read as microseconds it is 2024-01-01T00:00:00Z",
        ),
        (json!("2024-01-01"), Value::Null, "RFC 3339"),
        (json!(0), Value::Null, "1970-01-01T00:00:00Z"),
        (json!("0024-01-01T00:00:00Z"), Value::Null, "2000 to 2199"),
    ] {
        let (status, problem) = service.post(OPERATOR, "/v1/holds", &hold(from, to)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{says}: {problem}"
        );
    }
    let (_, shown) = service.get("/v1/holds?all=true").await;
    assert_eq!(shown["holds"], json!([]), "a refused hold changes nothing");

    let written = hold(json!("2024-01-01T08:00:00+08:00"), json!(1_706_745_600_000_i64));
    let (status, placed) = service.post(OPERATOR, "/v1/holds", &written).await;
    assert_eq!(status, StatusCode::CREATED, "{placed}");
    assert_eq!(placed["hold"]["from_ms"], 1_704_067_200_000_i64, "{placed}");
    // NUL cannot be stored: the request is wrong, not the database.
    let nul = json!({"source": "risk", "table": "eidos_risk_events", "reason": "case\u{0}21"});
    let (status, problem) = service.post(OPERATOR, "/v1/holds", &nul).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    service.child.terminate();
}

#[tokio::test]
async fn holds_are_placed_by_operators_seen_by_everybody_and_lifted_not_deleted() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    let service = Service::start(&fixture).await;
    let hold = json!({
        "source": "risk", "table": "eidos_risk_events", "from_ms": 1_704_067_200_000_i64, "reason": "case 17",
    });
    let (status, forbidden) = service.post(VIEWER, "/v1/holds", &hold).await;
    assert_eq!(
        (status, &forbidden["type"]),
        (StatusCode::FORBIDDEN, &json!("urn:eidos:problem:forbidden"))
    );
    for (wrong, expected) in [
        (
            json!({"source": "risk", "table": "eidos_risk_events"}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"source": "nowhere", "table": "t", "reason": "x"}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"source": "risk", "table": "t; DROP TABLE x", "reason": "x"}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"source": "risk", "table": "t", "reason": "x", "from_ms": 1_704_067_200_000_i64, "to_ms": 1_704_067_200_000_i64}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            json!({"source": "risk", "table": "t", "reason": " "}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let (status, problem) = service.post(OPERATOR, "/v1/holds", &wrong).await;
        assert_eq!(status, expected, "{wrong}: {problem}");
        assert!(
            problem["type"]
                .as_str()
                .unwrap()
                .starts_with("urn:eidos:problem:")
        );
    }
    let (status, placed) = service.post(OPERATOR, "/v1/holds", &hold).await;
    assert_eq!(status, StatusCode::CREATED, "{placed}");
    assert_eq!(placed["hold"]["placed_by"], "otto");
    assert_eq!(placed["warning"], Value::Null);
    let (_, shown) = service.get("/v1/holds").await;
    assert_eq!(shown["holds"].as_array().unwrap().len(), 1, "{shown}");

    let lift = format!("/v1/holds/{}/lift", placed["hold"]["hold_id"].as_str().unwrap());
    let (status, lifted) = service.post(OPERATOR, &lift, &json!({"reason": "closed"})).await;
    assert_eq!(status, StatusCode::OK, "{lifted}");
    assert_eq!(lifted["hold"]["lifted_by"], "otto");
    let (status, _) = service.post(OPERATOR, &lift, &json!({"reason": "again"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, in_force) = service.get("/v1/holds").await;
    let (_, all) = service.get("/v1/holds?all=true").await;
    assert_eq!(in_force["holds"], json!([]));
    assert_eq!(all["holds"].as_array().unwrap().len(), 1);
    service.child.terminate();
}

#[tokio::test]
async fn the_audit_is_read_in_pages_newest_first() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    fixture.report(JOB, &[], &[]).await;
    let service = Service::start(&fixture).await;
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let (status, page) = service
            .get(&format!("/v1/disposals?job={JOB}&limit=7{next}"))
            .await;
        assert_eq!(status, StatusCode::OK, "{page}");
        seen.extend(
            page["disposals"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["id"].as_i64().unwrap()),
        );
        match page["next"].as_i64() {
            Some(before) => next = format!("&before={before}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 20);
    assert!(seen.is_sorted_by(|newer, older| newer > older), "{seen:?}");
    let (_, one) = service.get("/v1/disposals?table=eidos_risk_events").await;
    assert_eq!(one["disposals"].as_array().unwrap().len(), 4);
    for wrong in [
        "/v1/disposals?limit=0",
        "/v1/units?state=gone",
        "/v1/units?limit=5000",
    ] {
        let (status, problem) = service.get(wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {problem}");
    }
    let (status, units) = service.get("/v1/units?state=quarantined").await;
    assert_eq!((status, &units["units"]), (StatusCode::OK, &json!([])));
    service.child.terminate();
}

impl Service {
    /// The value of a series of `/metrics`, named with its labels.
    async fn gauge(&self, series: &str) -> Option<String> {
        let response = self
            .client
            .get(format!("{}/metrics", self.url))
            .send()
            .await
            .unwrap();
        let text = response.error_for_status().unwrap().text().await.unwrap();
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(series)?.trim().to_owned()))
    }

    async fn until_gauge(&self, series: &str, value: &str) {
        eidos_testkit::eventually(series, WITHIN, async || {
            let found = self.gauge(series).await;
            if found.as_deref() == Some(value) {
                Ok(())
            } else {
                Err(format!("{found:?} instead of {value}"))
            }
        })
        .await;
    }
}

/// An alert hangs on no replica: neither on the one that ran last, nor on one that ran a month ago.
#[tokio::test]
async fn a_replica_that_ran_nothing_tells_what_is_true() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    sql(
        fixture.books(),
        "CREATE TABLE eidos_risk_events_default PARTITION OF eidos_risk_events DEFAULT; \
         INSERT INTO eidos_risk_events (created_at) VALUES (5)",
    )
    .await;
    let service = Service::start_with(&fixture, &[("SCHEDULER__OBSERVE_INTERVAL", "100ms")]).await;
    let labels = r#"source="risk",table="eidos_risk_events""#;
    let ahead = format!("partition_months_ahead{{{labels}}}");
    service.until_gauge(&ahead, "0").await;
    let in_default = format!("partition_default_rows{{{labels}}}");
    assert_eq!(
        service.gauge(&in_default).await,
        None,
        "nobody has counted them yet"
    );

    let report = fixture.report(JOB, &[], &[]).await;
    assert_eq!(report["tables"].as_array().unwrap().len(), 6);
    service.until_gauge(&ahead, "3").await;
    service.until_gauge(&in_default, "1").await;
    service
        .until_gauge(&format!("partition_gaps{{{labels}}}"), "0")
        .await;

    let last: String = sqlx::query_scalar(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'eidos_risk_events'::regclass AND c.relname <> 'eidos_risk_events_default' \
         ORDER BY c.relname DESC LIMIT 1",
    )
    .fetch_one(fixture.books())
    .await
    .unwrap();
    sql(fixture.books(), &format!("DROP TABLE {last}")).await;
    service.until_gauge(&ahead, "2").await;
    service.child.terminate();
}

/// A series that first appears with its first event shows no increase of it: its alert and its panel miss the first one.
#[tokio::test]
async fn a_service_that_has_done_nothing_shows_its_counters_at_zero() {
    let fixture = Fixture::new("").await;
    let service = Service::start(&fixture).await;
    let risk = r#"source="risk",table="eidos_risk_audit_logs""#;
    let exported = r#"source="risk",table="public.eidos_risk_audit_logs""#;
    for series in [
        r#"job_execution_total{job="partition-manage",status="failed"}"#.to_owned(),
        r#"job_execution_total{job="data-cleanup",status="failed"}"#.to_owned(),
        format!(r#"disposal_rows_total{{job="partition-manage",{risk},action="drain"}}"#),
        format!(r#"disposal_rows_total{{job="data-cleanup",{exported},action="drop"}}"#),
        format!(r"archive_stored_bytes_total{{{exported}}}"),
    ] {
        service.until_gauge(&series, "0").await;
    }
    service.child.terminate();
}
