//! The real binary with the requirement's own retention table: every table of it, a plan that a person applies, a kill
//! in the middle, and settings that are refused at start.

use eidos_testkit::eventually;
use serde_json::Value;

use crate::cleanup_fixture::{KLINES, WITHDRAWALS};
use crate::fixture::{Fixture, WITHIN, count, report_of, sql};
use crate::partitions_fixture::ms;

const JOB: &str = "data-cleanup";
const SLOT: &str = "2026-03-31T04:00:00Z";

/// The neighbours' tables of the requirement: partitioned ones with a month that is over and one that is not.
async fn with_tables(fixture: &Fixture) {
    for (table, key) in [
        ("eidos_market_trade_history", "traded_at"),
        ("eidos_chain_events", "created_at"),
        ("eidos_chain_deposit_records", "created_at"),
        ("eidos_risk_audit_logs", "created_at"),
        ("eidos_risk_events", "created_at"),
    ] {
        let (old, next) = (ms("2023-12-01T00:00:00Z"), ms("2024-01-01T00:00:00Z"));
        let (new, end) = (ms("2026-03-01T00:00:00Z"), ms("2026-04-01T00:00:00Z"));
        sql(
            fixture.books(),
            &format!(
                "CREATE TABLE {table} (id BIGSERIAL, {key} BIGINT NOT NULL, amount NUMERIC(36,18), details JSONB, \
                     PRIMARY KEY ({key}, id)) PARTITION BY RANGE ({key}); \
                 CREATE TABLE {table}_2023_12 PARTITION OF {table} FOR VALUES FROM ({old}) TO ({next}); \
                 CREATE TABLE {table}_2026_03 PARTITION OF {table} FOR VALUES FROM ({new}) TO ({end}); \
                 INSERT INTO {table} ({key}, amount, details) SELECT {old} + n, n / 3.0, jsonb_build_object('n', n) \
                 FROM generate_series(0, 99) n"
            ),
        )
        .await;
    }
    let old = ms("2023-11-30T23:00:00Z");
    sql(fixture.books(), WITHDRAWALS).await;
    sql(fixture.books(), KLINES).await;
    sql(
        fixture.books(),
        &format!(
            "CREATE TABLE eidos_chain_settlement_batches (id BIGSERIAL PRIMARY KEY, batch_id VARCHAR(64), status SMALLINT, \
                 created_at BIGINT NOT NULL); \
             CREATE TABLE eidos_risk_withdrawal_reviews (id BIGSERIAL PRIMARY KEY, status VARCHAR(20), created_at BIGINT NOT NULL); \
             CREATE TABLE eidos_admin_audit_logs (id BIGSERIAL PRIMARY KEY, action VARCHAR(64), old_value JSONB, \
                 created_at BIGINT NOT NULL); \
             INSERT INTO eidos_chain_withdrawal_txs (withdraw_id, amount, status, created_at) \
                 SELECT n::text, n, n % 4, {old} + n FROM generate_series(0, 99) n; \
             INSERT INTO eidos_chain_settlement_batches (batch_id, status, created_at) \
                 SELECT n::text, n % 4, {old} + n FROM generate_series(0, 99) n; \
             INSERT INTO eidos_risk_withdrawal_reviews (status, created_at) \
                 SELECT (ARRAY['pending', 'approved', 'rejected', 'approved'])[n % 4 + 1], {old} + n \
                 FROM generate_series(0, 99) n; \
             INSERT INTO eidos_admin_audit_logs (action, created_at) SELECT 'login', {old} + n FROM generate_series(0, 99) n; \
             INSERT INTO eidos_market_klines \
                 SELECT 'BTC-USDC', i, {hour} + n * w, 1, 1, 1, 1, 1, 1, 1 \
                 FROM (VALUES ('1m', 60000, 59), ('5m', 300000, 11)) v (i, w, last), generate_series(0, last) n; \
             INSERT INTO eidos_market_klines VALUES ('BTC-USDC', '1h', {hour}, 1, 1, 1, 1, 60, 60, 60)",
            hour = ms("2026-02-01T00:00:00Z"),
        ),
    )
    .await;
}

#[tokio::test]
async fn the_requirement_s_own_retention_table_is_carried_out() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    let (status, child) = fixture.command(&["plan", "--slot", SLOT], &[]).run(WITHIN).await;
    let (text, errors) = (child.stdout(), child.stderr());
    assert!(status.success(), "{status}\n{text}\n{errors}");
    for told in [
        "public.eidos_chain_events (chain): drop without archive",
        "public.eidos_risk_events (risk): archive and drop",
        "public.eidos_admin_audit_logs (admin): archive and delete",
        "eidos_market_klines@1m",
        "Digest ",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM eidos_chain_events").await,
        100,
        "a plan changes nothing"
    );

    let report = fixture.report(JOB, &["--slot", SLOT], &[]).await;
    for table in [
        "eidos_chain_events",
        "eidos_risk_audit_logs",
        "eidos_risk_events",
        "eidos_chain_deposit_records",
    ] {
        assert_eq!(
            count(fixture.books(), &format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
    // Unfinished business of 2023: 0 and 1 of four statuses, one review of four; audit logs have no status.
    for (table, left) in [
        ("eidos_chain_withdrawal_txs", 50),
        ("eidos_chain_settlement_batches", 50),
        ("eidos_risk_withdrawal_reviews", 25),
        ("eidos_admin_audit_logs", 0),
    ] {
        assert_eq!(
            count(fixture.books(), &format!("SELECT count(*) FROM {table}")).await,
            left,
            "{table}"
        );
    }
    // 60 minutes add up to the hour; the twelve 5m candles, made from other trades, do not.
    let klines = "SELECT count(*) FROM eidos_market_klines WHERE interval = ";
    assert_eq!(count(fixture.books(), &format!("{klines}'1m'")).await, 0);
    assert_eq!(count(fixture.books(), &format!("{klines}'5m'")).await, 12);
    assert_eq!(report["candles"][1]["kept"][0]["why"], "disagrees", "{report:#}");
    let resting = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = 'eidos_quarantine' AND c.relkind = 'r'";
    assert_eq!(count(fixture.books(), resting).await, 5);
    // A week later they are gone, and the run after that has nothing to do but the candles nobody proves.
    let later = "2026-04-07T04:00:00Z";
    fixture.report(JOB, &["--slot", later], &[]).await;
    assert_eq!(count(fixture.books(), resting).await, 0);
    let report = fixture.report(JOB, &["--slot", later], &[]).await;
    let objects: Vec<&Value> = report["plan"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["object"])
        .collect();
    assert_eq!(objects, ["eidos_market_klines@5m"]);
}

#[tokio::test]
async fn a_person_applies_the_plan_from_the_command_line() {
    let fixture = Fixture::new(
        "data_retention:\n  partitioned_tables:\n    eidos_risk_events: { require_approval: true }\n",
    )
    .await;
    with_tables(&fixture).await;
    let report = fixture.report(JOB, &["--slot", SLOT], &[]).await;
    let waiting = report["tables"]
        .as_array()
        .unwrap()
        .iter()
        .find(|table| table["table"] == "eidos_risk_events")
        .unwrap();
    assert_eq!(waiting["waiting_for_approval"], 1);
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM eidos_risk_events").await,
        100
    );

    let (_, child) = fixture
        .command(&["plan", "--slot", SLOT, "--format", "json"], &[])
        .run(WITHIN)
        .await;
    let digest = report_of(&child)["plan"]["digest"].as_str().unwrap().to_owned();
    let (status, child) = fixture
        .command(&["apply", &format!("--plan={digest}")], &[])
        .run(WITHIN)
        .await;
    assert!(status.success(), "{}\n{}", child.stdout(), child.stderr());
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM eidos_risk_events").await,
        0
    );
    let by = "SELECT count(*) FROM eidos_jobs_disposals WHERE approved_by = 'policy' AND table_name = 'public.eidos_risk_events'";
    assert_eq!(count(fixture.jobs.pool(), by).await, 0);
    // The next plan is another one, and this one cannot be applied to a world it was not made for.
    sql(
        fixture.books(),
        "ALTER TABLE eidos_market_klines ADD COLUMN note TEXT",
    )
    .await;
    let (status, child) = fixture
        .command(&["apply", &format!("--plan={digest}")], &[])
        .run(WITHIN)
        .await;
    assert!(!status.success());
    assert!(child.stderr().contains("no longer fits"), "{}", child.stderr());
}

#[tokio::test]
async fn a_person_takes_a_unit_back_from_the_command_line() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    fixture.report(JOB, &["--slot", SLOT], &[]).await;
    let rows = "SELECT count(*) FROM eidos_risk_events";
    assert_eq!(count(fixture.books(), rows).await, 0);
    let undo = ["undo", "eidos_risk_events_2023_12", "--reason", "case 17"];
    let (status, child) = fixture.command(&undo, &[]).run(WITHIN).await;
    assert!(status.success(), "{}\n{}", child.stdout(), child.stderr());
    for told in [
        "was quarantined",
        "attached it to public.eidos_risk_events",
        "until hold",
    ] {
        assert!(child.stdout().contains(told), "{told}\n{}", child.stdout());
    }
    assert_eq!(count(fixture.books(), rows).await, 100);
    sql(fixture.books(), "UPDATE eidos_risk_events SET amount = 0").await;
    // The other tables' runs go on, and this month stays while it is held.
    fixture.report(JOB, &["--slot", SLOT], &[]).await;
    assert_eq!(count(fixture.books(), rows).await, 100);
    let by = "SELECT count(*) FROM eidos_jobs_disposals WHERE action = 'undo' AND reason = 'case 17' AND approved_by <> 'policy'";
    assert_eq!(count(fixture.jobs.pool(), by).await, 1);
    sql(
        fixture.jobs.pool(),
        "UPDATE eidos_jobs_legal_holds SET lifted_by = 'x', lifted_at = now(), lift_reason = 'over'",
    )
    .await;
    fixture.report(JOB, &["--slot", SLOT], &[]).await;
    assert_eq!(
        count(fixture.books(), rows).await,
        0,
        "disposed of like any other"
    );

    for (args, told) in [
        (vec!["undo", "nosuch"], "there is no unit of the name nosuch"),
        (vec!["undo"], "--undo is missing"),
        (vec!["undo", "x", "--plan", "3f"], "leave out plan and tables"),
    ] {
        let (status, child) = fixture.command(&args, &[]).run(WITHIN).await;
        assert!(!status.success());
        assert!(child.stderr().contains(told), "{told}: {}", child.stderr());
    }
}

#[tokio::test]
async fn a_run_that_is_killed_in_the_middle_is_continued_by_the_next() {
    let fixture = Fixture::new(
        "data_retention:\n  regular_tables:\n    eidos_chain_withdrawal_txs: { batch_size: 10, sleep_ms: 20 }\n",
    )
    .await;
    with_tables(&fixture).await;
    let old = ms("2023-06-01T00:00:00Z");
    sql(
        fixture.books(),
        &format!(
            "INSERT INTO eidos_chain_withdrawal_txs (withdraw_id, amount, status, created_at) \
             SELECT 'k' || n, n, 2, {old} + n FROM generate_series(0, 2999) n"
        ),
    )
    .await;
    let left = "SELECT count(*) FROM eidos_chain_withdrawal_txs WHERE withdraw_id LIKE 'k%'";
    // As if the dead node's lease had ended at once: the fence is what counts.
    let prefixes = ["first", "second", "third"].map(|round| format!("{}:{round}", fixture.jobs.name()));
    let run = |round: usize| {
        let settings = [("REDIS__LOCK_PREFIX", prefixes[round].as_str())];
        fixture.command(&["run", JOB, "--slot", SLOT], &settings)
    };
    for (round, upto) in [(0, 2900), (1, 2000)] {
        let child = run(round).spawn();
        eventually("rows are being deleted", WITHIN, async || {
            match count(fixture.books(), left).await {
                rows if rows < upto => Ok(()),
                rows => Err(format!("{rows} rows, {}", child.stderr())),
            }
        })
        .await;
        if round == 0 {
            child.kill();
        } else {
            child.terminate();
            assert!(
                !child.wait_exit(WITHIN).await.success(),
                "a run that was cancelled is no success"
            );
        }
        let rest = count(fixture.books(), left).await;
        assert!(rest > 0 && rest % 10 == 0, "whole batches: {rest}");
    }
    let (status, child) = run(2).run(WITHIN).await;
    assert!(status.success(), "{}", child.stderr());
    assert_eq!(count(fixture.books(), left).await, 0);
    let deleted = "SELECT count(*) FROM eidos_jobs_disposal_units WHERE unit_name = 'eidos_chain_withdrawal_txs@2023-06' \
                   AND state = 'deleted' AND row_count = 3000";
    assert_eq!(count(fixture.jobs.pool(), deleted).await, 1);
}

#[tokio::test]
async fn a_table_that_is_not_there_fails_the_run_after_the_others_were_cleaned() {
    let fixture = Fixture::new("").await;
    with_tables(&fixture).await;
    sql(fixture.books(), "DROP TABLE eidos_chain_events").await;
    let (status, child) = fixture.run(JOB, &["--slot", SLOT], &[]).await;
    assert_eq!(status.code(), Some(1), "{}", child.stderr());
    assert!(
        child.stderr().contains("eidos_chain_events does not exist"),
        "{}",
        child.stderr()
    );
    assert_eq!(
        count(fixture.books(), "SELECT count(*) FROM eidos_risk_events").await,
        0
    );
}

#[tokio::test]
async fn rules_that_cannot_be_end_the_start() {
    let fixture = Fixture::new(
        "jobs:\n  data-cleanup:\n    archive_before_cleanup: false\n\
         data_retention:\n  timescaledb:\n    eidos_market_klines:\n      retention_by_interval: { \"1m\": 400 }\n",
    )
    .await;
    let (status, child) = fixture.command(&["check-config"], &[]).run(WITHIN).await;
    assert_eq!(status.code(), Some(78), "{}", child.stderr());
    let text = format!("{}{}", child.stdout(), child.stderr());
    for key in [
        "data_retention.partitioned_tables.eidos_risk_events.archive_before_drop",
        "data_retention.timescaledb.eidos_market_klines.retention_by_interval.1m",
    ] {
        assert!(text.contains(key), "{key}\n{text}");
    }
}
