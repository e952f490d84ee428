//! Tables of other schemas, with capitals, blanks, dots and quotes in their names: configured, planned, held, archived,
//! dropped and reported like any other.

use serde_json::{Value, json};

use crate::cleanup_fixture::{JobFixture, Run, message};
use crate::fixture::{Fixture, OPERATOR, WITHIN, count, sql};
use crate::partitions_fixture;
use crate::partitions_fixture::ms;
use crate::partitions_service::Service;
use eidos_runtime::Job;
use retention_manager::jobs::data_cleanup::Params;

const SLOT: &str = "2024-07-31T04:00:00Z";
/// As a person writes them, and as a statement does.
const EVENTS: &str = r#""Risk Desk"."Events.2024 ""old""""#;
const LOGS: &str = r#"archive."2024-Logs""#;
const CANDLES: &str = "Märkte.Klines";
const CANDLES_SQL: &str = r#""Märkte"."Klines""#;

/// A partitioned table, a plain one and candles, each in a schema of its own; decoys of the same names in `public`.
async fn tables(pool: &sqlx::PgPool) {
    let (old, next, end) = (
        ms("2023-12-01T00:00:00Z"),
        ms("2024-01-01T00:00:00Z"),
        ms("2024-12-01T00:00:00Z"),
    );
    let hour = ms("2024-07-01T00:00:00Z");
    let klines = crate::cleanup_fixture::KLINES.replace("eidos_market_klines", CANDLES_SQL);
    sql(
        pool,
        &format!(
            r#"CREATE SCHEMA "Risk Desk"; CREATE SCHEMA archive; CREATE SCHEMA "Märkte";
            CREATE TABLE {EVENTS} ("Id" BIGSERIAL, "At" BIGINT NOT NULL, amount NUMERIC(36,18), PRIMARY KEY ("At", "Id"))
                PARTITION BY RANGE ("At");
            CREATE TABLE "Risk Desk"."Events Dec" PARTITION OF {EVENTS} FOR VALUES FROM ({old}) TO ({next});
            CREATE TABLE "Risk Desk"."Events Now" PARTITION OF {EVENTS} FOR VALUES FROM ({next}) TO ({end});
            INSERT INTO {EVENTS} ("At", amount) SELECT {old} + n, n FROM generate_series(0, 99) n;
            CREATE TABLE {LOGS} ("Log Id" TEXT PRIMARY KEY, "Made At" BIGINT NOT NULL, "State!" TEXT NOT NULL);
            CREATE INDEX ON {LOGS} ("Made At");
            INSERT INTO {LOGS} SELECT E'log\\' || n, {old} + n, CASE WHEN n % 4 = 0 THEN 'open' ELSE 'done' END
                FROM generate_series(0, 99) n;
            CREATE TABLE public."2024-Logs" (LIKE {LOGS} INCLUDING ALL); INSERT INTO public."2024-Logs" SELECT * FROM {LOGS};
            {klines};
            INSERT INTO {CANDLES_SQL} SELECT 'BTC-USDC', i, {hour} + n * w, 1, 1, 1, 1, 1, 1, 1
                FROM (VALUES ('5m', 300000, 11)) v (i, w, last), generate_series(0, last) n;
            INSERT INTO {CANDLES_SQL} VALUES ('BTC-USDC', '1h', {hour}, 1, 1, 1, 1, 12, 12, 12)"#
        ),
    )
    .await;
}

fn rules() -> Value {
    json!({
        "partitioned_tables": {
            EVENTS: { "source": "risk", "retention_months": 6, "archive_before_drop": true, "quarantine_days": 7 },
        },
        "regular_tables": {
            LOGS: { "source": "chain", "retention_months": 6, "sleep_ms": 0, "batch_size": 20, "time_column": "\"Made At\"",
                    "finished": { "column": "\"State!\"", "values": ["done"] } },
        },
        "timescaledb": {
            CANDLES: { "source": "market", "retention_by_interval": { "5m": 7 }, "proved_by": { "5m": "1h" } },
        },
        "keep_forever": ["_sqlx*", "eidos_jobs_*", "public.2024-Logs"],
    })
}

#[tokio::test]
async fn tables_outside_public_with_any_legal_name_leave_as_their_rules_say() {
    let fixture = JobFixture::new(&[]).await;
    tables(fixture.pool()).await;
    let job = fixture.job(rules()).await;
    let plan = fixture.plan(&job, SLOT).await.plan;
    let tables: Vec<&str> = plan.items.iter().map(|item| item.table.as_str()).collect();
    assert_eq!(tables, [EVENTS, LOGS, "Märkte.Klines"], "{}", plan.render());
    assert!(
        plan.items.iter().all(|item| item.blocked.is_none()),
        "{}",
        plan.render()
    );
    let report = fixture.apply(&job, SLOT, &plan.digest).await.unwrap();
    assert!(report.without_rule.is_empty(), "{:?}", report.without_rule);
    assert_eq!(
        fixture.units().await,
        ["Events Dec quarantined", "2024-Logs@2023-12 deleted"]
    );
    assert_eq!(fixture.count(&format!("SELECT count(*) FROM {EVENTS}")).await, 0);
    assert_eq!(fixture.count(&format!("SELECT count(*) FROM {LOGS}")).await, 25);
    assert_eq!(
        fixture.count(r#"SELECT count(*) FROM public."2024-Logs""#).await,
        100,
        "not this one"
    );
    assert_eq!(
        fixture
            .count(&format!("SELECT count(*) FROM {CANDLES_SQL}"))
            .await,
        1
    );
    let text = report.render();
    assert!(
        text.contains("25 expired rows stay: they are not finished (State! is none of 'done')"),
        "{text}"
    );
    let ctx = fixture
        .context(Run {
            dry: true,
            ..Run::of(SLOT)
        })
        .await;
    for chosen in [r#"archive."2024-Logs""#, r#""archive"."2024-Logs""#] {
        let params = Params {
            tables: Some(vec![chosen.to_owned()]),
            ..Params::default()
        };
        assert!(job.validate_params(&params).is_ok());
        let chosen = job.run(&ctx, params).await.unwrap();
        assert!(
            chosen.tables.iter().all(|table| table.table == LOGS),
            "{chosen:?}"
        );
    }
    let unknown = Params {
        tables: Some(vec!["2024-Logs".to_owned()]),
        ..Params::default()
    };
    assert!(job.validate_params(&unknown).is_err());
    // The plan is done: applying it again finds that out by the same names.
    let again = fixture.apply(&job, SLOT, &plan.digest).await.unwrap();
    assert!(again.plan.items.is_empty(), "{}", again.plan.render());
    fixture.run(&job, "2024-08-08T04:00:00Z").await.unwrap();
    assert_eq!(fixture.units().await[0], "Events Dec dropped");
}

#[tokio::test]
async fn a_table_without_a_rule_is_told_though_another_schema_has_one_of_its_name() {
    let fixture = JobFixture::new(&[]).await;
    tables(fixture.pool()).await;
    let mut rules = rules();
    rules["keep_forever"] = json!(["_sqlx*", "eidos_jobs_*"]);
    let job = fixture.job(rules).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    let told: Vec<&str> = report
        .without_rule
        .iter()
        .map(|table| table.table.as_str())
        .collect();
    assert_eq!(told, [r#"public."2024-Logs""#]);
    // Nor does a rule without a schema decide about a namesake outside of `public`.
    let job = fixture
        .job(json!({ "regular_tables": { "\"2024-Logs\"": { "source": "chain", "retention_months": 600, "time_column": "\"Made At\"" } },
            "keep_forever": ["_sqlx*", "eidos_jobs_*", "Risk Desk.*", "Märkte.*"] }))
        .await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    let told: Vec<&str> = report
        .without_rule
        .iter()
        .map(|table| table.table.as_str())
        .collect();
    assert_eq!(told, [LOGS]);
}

#[tokio::test]
async fn the_longest_names_fit_the_records() {
    let fixture = JobFixture::new(&[]).await;
    let part = |letter: &str| format!("\"{} \"\"{}\"", letter, "x".repeat(60));
    let (schema, table) = (part("s"), part("t"));
    let (old, next, end) = (
        ms("2023-12-01T00:00:00Z"),
        ms("2024-01-01T00:00:00Z"),
        ms("2024-12-01T00:00:00Z"),
    );
    sql(
        fixture.pool(),
        &format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.{table} (id BIGINT, at BIGINT NOT NULL) PARTITION BY RANGE (at); \
             CREATE TABLE {schema}.\"old {0}\" PARTITION OF {schema}.{table} FOR VALUES FROM ({old}) TO ({next}); \
             CREATE TABLE {schema}.\"new {0}\" PARTITION OF {schema}.{table} FOR VALUES FROM ({next}) TO ({end})",
            "y".repeat(59)
        ),
    )
    .await;
    let job = fixture
        .job(json!({ "partitioned_tables": { format!("{schema}.{table}"): { "source": "risk", "retention_months": 6,
            "archive_before_drop": true, "quarantine_days": 1 } } }))
        .await;
    fixture.run(&job, SLOT).await.unwrap();
    fixture.run(&job, "2024-08-02T04:00:00Z").await.unwrap();
    assert_eq!(fixture.units().await, [format!("old {} dropped", "y".repeat(59))]);
}

#[tokio::test]
async fn a_hold_and_the_settings_file_name_them_too() {
    let fixture = Fixture::new(&format!(
        "data_retention: {}\n",
        // JSON is YAML.
        rules()
    ))
    .await;
    tables(fixture.books()).await;
    let service = Service::start(&fixture).await;
    for (table, expected) in [
        (r#""archive"."2024-Logs""#, 201),
        ("archive.nothing_like_that", 422),
        ("2024-Logs", 422),
    ] {
        let hold = json!({ "source": "chain", "table": table, "reason": "a court order" });
        let (status, answer) = service.post(OPERATOR, "/v1/holds", &hold).await;
        assert_eq!(status.as_u16(), expected, "{table}: {answer}");
    }
    // The default rules also name tables that this database does not have: the run fails by name for those, and only those.
    let (_status, child) = fixture.run("data-cleanup", &["--slot", SLOT], &[]).await;
    let report = child.stdout();
    assert_eq!(
        count(fixture.books(), &format!("SELECT count(*) FROM {EVENTS}")).await,
        0,
        "{report}"
    );
    assert_eq!(
        count(fixture.books(), &format!("SELECT count(*) FROM {LOGS}")).await,
        100,
        "{report}"
    );
}

#[tokio::test]
async fn two_names_of_one_table_and_names_that_are_none_are_refused_at_start() {
    for (rule, told) in [
        (
            r#"regular_tables: { "public.eidos_chain_withdrawal_txs": { retention_months: 6 } }"#,
            "is another name of the table",
        ),
        (
            r#"regular_tables: { "eidos chain x": { retention_months: 6 } }"#,
            "needs double quotes",
        ),
        (
            r#"regular_tables: { "eidos_chain_x": { retention_months: 6, time_column: "t.created_at" } }"#,
            "a column's name has one",
        ),
    ] {
        let fixture = Fixture::new(&format!("data_retention:\n  {rule}\n")).await;
        let (status, child) = fixture.command(&["check-config"], &[]).run(WITHIN).await;
        assert!(!status.success(), "{rule}");
        let text = format!("{}{}", child.stdout(), child.stderr());
        assert!(text.contains(told), "{rule}: {text}");
    }
}

#[tokio::test]
async fn partitions_are_made_for_tables_with_any_legal_name() {
    let fixture = partitions_fixture::JobFixture::new(&[]).await;
    sql(
        fixture.pool(),
        &format!(
            r#"CREATE SCHEMA "Risk Desk"; CREATE TABLE {EVENTS} ("Id" BIGSERIAL, "At" BIGINT NOT NULL, PRIMARY KEY ("At", "Id"))
               PARTITION BY RANGE ("At"); CREATE TABLE "Risk Desk"."Der Rest" PARTITION OF {EVENTS} DEFAULT;
               INSERT INTO {EVENTS} ("At") VALUES ({})"#,
            ms("2024-05-02T00:00:00Z")
        ),
    )
    .await;
    let job = fixture.job(&[EVENTS]).await;
    let report = fixture.run(&job, "2024-05-15T00:00:00Z").await;
    assert!(
        report.is_ok(),
        "{}",
        report.map_or_else(|error| message(&error), |_report| String::new())
    );
    let made =
        r#"SELECT count(*) FROM pg_inherits WHERE inhparent = '"Risk Desk"."Events.2024 ""old"""'::regclass"#;
    assert_eq!(count(fixture.pool(), made).await, 5);
    assert_eq!(
        count(
            fixture.pool(),
            r#"SELECT count(*) FROM ONLY "Risk Desk"."Der Rest""#
        )
        .await,
        0
    );
}
