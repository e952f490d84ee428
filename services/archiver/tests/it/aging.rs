//! Months that have served their time leave verified, come back equal, and rot is seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use archiver::jobs::verify_archive::VerifyParams;
use eidos_runtime::JobError;
use serde_json::json;
use uuid::Uuid;

use crate::fixture::{Fixture, ORDERS, at, slot};

/// Far above what one run takes.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(90);

const ARCHIVE: &str = "eidos_trading_orders_archive";
const ANCIENT: &str = "2023-05-15T12:00:00Z";

/// A fixture whose archive holds one expired month of `rows` orders, and one that is not expired.
pub(crate) async fn aged(rows: i64, yaml: &str) -> Fixture {
    let fixture = Fixture::with(yaml).await;
    fixture.orders(1, rows, 3, ANCIENT).await;
    fixture
        .orders(1_000_001, 1_000_010, 4, "2026-08-15T12:00:00Z")
        .await;
    fixture.archive().await;
    assert_eq!(fixture.count(&format!("{ARCHIVE}_2023_05")).await, rows);
    fixture
}

/// The month is exported and dropped.
async fn gone(rows: i64) -> Fixture {
    let fixture = aged(rows, "").await;
    fixture.archive().await;
    fixture.archive_at(at("2026-10-30T03:00:00Z")).await.unwrap();
    fixture
}

async fn state(fixture: &Fixture) -> String {
    sqlx::query_scalar("SELECT string_agg(state, ',') FROM eidos_jobs_disposal_units")
        .fetch_one(fixture.jobs.pool())
        .await
        .unwrap()
}

/// The export's parts and manifest.
fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn part(fixture: &Fixture) -> PathBuf {
    let all = objects(&fixture.dir.path().join("store"));
    all.into_iter()
        .find(|path| path.to_string_lossy().contains("part-00000"))
        .unwrap()
}

#[tokio::test]
async fn a_month_that_something_hangs_on_is_blocked_in_the_plan_and_told_by_the_run() {
    let fixture = aged(50, "").await;
    fixture
        .sql(&format!("CREATE VIEW of_may AS SELECT id FROM {ARCHIVE}_2023_05"))
        .await;
    let error = fixture.archive_at(slot()).await.unwrap_err();
    assert!(error.to_string().contains("view public.of_may"), "{error}");
    assert_eq!(state_or_none(&fixture).await, None, "nothing was frozen");
    let item = planned(&fixture).await;
    assert!(
        item["blocked"].as_str().unwrap().contains("view public.of_may"),
        "{item}"
    );
    let locks = item["locks"].to_string();
    assert!(
        locks.contains(&format!(
            "ACCESS EXCLUSIVE on public.{ARCHIVE}, public.{ARCHIVE}_2023_05"
        )),
        "{locks}"
    );
    fixture.sql("DROP VIEW of_may").await;
    fixture.archive().await;
    assert_eq!(state(&fixture).await, "quarantined");
}

/// The expired month, as a plan has it.
async fn planned(fixture: &Fixture) -> serde_json::Value {
    let args = ["plan", "--format", "json", "--slot", "2026-10-21T03:00:00Z"];
    let (status, child) = fixture.command(&args, &[]).run(WITHIN).await;
    assert!(status.success(), "{}", child.stderr());
    let report: serde_json::Value = serde_json::from_str(&child.stdout()).unwrap();
    let report = report.get("report").cloned().unwrap_or(report);
    let items = report["plan"]["items"].as_array().unwrap();
    items
        .iter()
        .find(|item| item["action"] == "archive_and_drop")
        .unwrap()
        .clone()
}

async fn state_or_none(fixture: &Fixture) -> Option<String> {
    sqlx::query_scalar("SELECT string_agg(state, ',') FROM eidos_jobs_disposal_units")
        .fetch_one(fixture.jobs.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_expired_month_rests_in_quarantine_and_is_dropped_after_it() {
    let fixture = aged(200, "").await;
    let before = fixture.fingerprint(&[ARCHIVE]).await;
    let report = fixture.archive().await;
    assert_eq!(report.aged.len(), 1, "{report:#?}");
    assert_eq!(state(&fixture).await, "quarantined");
    assert_eq!(fixture.count(ARCHIVE).await, 10, "the young month stays");
    let resting: String = sqlx::query_scalar("SELECT quarantine_table FROM eidos_jobs_disposal_units")
        .fetch_one(fixture.jobs.pool())
        .await
        .unwrap();
    assert!(resting.starts_with("eidos_quarantine."), "{resting}");
    assert_eq!(fixture.count(&resting).await, 200);

    fixture.archive_at(at("2026-10-27T03:00:00Z")).await.unwrap();
    assert_eq!(state(&fixture).await, "quarantined", "seven days are not over");
    fixture.archive_at(at("2026-10-29T03:00:00Z")).await.unwrap();
    assert_eq!(state(&fixture).await, "dropped");
    assert_eq!(
        fixture
            .count(&format!("pg_class WHERE relname = '{ARCHIVE}_2023_05'"))
            .await,
        0
    );

    let restored = fixture
        .restore(json!({"table": ARCHIVE, "range": "2023-05"}))
        .await
        .unwrap();
    assert_eq!((restored.units[0].rows, restored.units[0].inserted), (200, 200));
    assert_eq!(
        fixture
            .fingerprint(&[ARCHIVE, &format!("{ARCHIVE}_restored")])
            .await,
        before
    );
}

#[tokio::test]
async fn a_restore_done_twice_is_done_once_and_refuses_what_is_different() {
    let fixture = gone(300).await;
    let params = json!({"table": ARCHIVE, "range": "2023-01..2023-12"});
    assert_eq!(
        fixture.restore(params.clone()).await.unwrap().units[0].inserted,
        300
    );
    let again = fixture.restore(params.clone()).await.unwrap();
    assert_eq!(
        (again.units[0].inserted, again.units[0].outcome),
        (0, "were there:")
    );

    fixture
        .sql(&format!("DELETE FROM {ARCHIVE}_restored WHERE id = 7"))
        .await;
    let error = fixture.restore(params.clone()).await.unwrap_err().to_string();
    assert!(
        error.contains("neither none nor those of") && error.contains("drop or rename"),
        "{error}"
    );
    fixture.sql(&format!("TRUNCATE {ARCHIVE}_restored")).await;
    assert_eq!(fixture.restore(params).await.unwrap().units[0].inserted, 300);
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_disposals WHERE action = 'restore'")
            .await,
        2
    );
}

#[tokio::test]
async fn a_month_that_was_brought_back_and_left_again_is_restored_once() {
    let fixture = gone(100).await;
    let params = json!({"table": ARCHIVE, "range": "2023-05", "into": "original"});
    fixture.restore(params).await.unwrap();
    fixture.archive_at(at("2026-11-01T03:00:00Z")).await.unwrap();
    fixture.archive_at(at("2026-11-20T03:00:00Z")).await.unwrap();
    let gone = "SELECT count(*) FROM eidos_jobs_disposal_units WHERE state = 'dropped'";
    assert_eq!(fixture.jobs_number(gone).await, 2);
    let side = json!({"table": ARCHIVE, "range": "2023-05"});
    for inserted in [100, 0] {
        let report = fixture.restore(side.clone()).await.unwrap();
        assert_eq!((report.units.len(), report.units[0].inserted), (1, inserted));
    }
}

/// A new partition needs a lock on the whole table; it is let go before the export is copied.
#[tokio::test]
async fn into_the_original_nobody_waits_for_the_copy() {
    let fixture = gone(20_000).await;
    let params = json!({"table": ARCHIVE, "range": "2023-05", "into": "original"});
    let restoring = fixture.restore(params);
    let watching = async {
        let locks = format!(
            "SELECT (SELECT count(*) FROM pg_locks WHERE relation = '{ARCHIVE}'::regclass AND granted \
                     AND mode = 'AccessExclusiveLock') \
             FROM pg_stat_activity WHERE query LIKE 'COPY eidos_restore_stage%' AND datname = current_database()"
        );
        eidos_testkit::eventually("the copy is seen", Duration::from_secs(30), async || {
            sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(locks.clone()))
                .fetch_optional(fixture.trading.pool())
                .await
                .unwrap()
                .ok_or("not yet")
        })
        .await
    };
    let (report, locks) = tokio::join!(restoring, watching);
    assert_eq!((report.unwrap().units[0].inserted, locks), (20_000, 0));
}

#[tokio::test]
async fn into_the_original_the_partition_comes_back_and_missing_rows_only() {
    let fixture = gone(100).await;
    let params = json!({"table": ARCHIVE, "range": "2023-05", "into": "original"});
    assert_eq!(
        fixture.restore(params.clone()).await.unwrap().units[0].inserted,
        100
    );
    assert_eq!(fixture.count(&format!("{ARCHIVE}_2023_05")).await, 100);
    assert_eq!(
        fixture.restore(params.clone()).await.unwrap().units[0].inserted,
        0
    );

    fixture
        .sql(&format!(
            "ALTER TABLE {ARCHIVE} DISABLE TRIGGER eidos_archive_final"
        ))
        .await;
    fixture
        .sql(&format!("DELETE FROM {ARCHIVE} WHERE id <= 30"))
        .await;
    fixture.sql(&format!("ALTER TABLE {ORDERS} ADD COLUMN fee_tier smallint; ALTER TABLE {ARCHIVE} ADD COLUMN fee_tier smallint")).await;
    assert_eq!(
        fixture.restore(params.clone()).await.unwrap().units[0].inserted,
        30,
        "a column that came later stays empty"
    );

    fixture
        .sql(&format!("UPDATE {ARCHIVE} SET amount = amount + 1 WHERE id = 50"))
        .await;
    let error = fixture.restore(params.clone()).await.unwrap_err().to_string();
    assert!(error.contains("not what was exported"), "{error}");
    fixture
        .sql(&format!("ALTER TABLE {ARCHIVE} DROP COLUMN wallet"))
        .await;
    let error = fixture.restore(params).await.unwrap_err().to_string();
    assert!(
        error.contains("column wallet") && error.contains("is gone"),
        "{error}"
    );
}

/// A link to itself cannot be opened, not even by root, as an object without its key cannot: the other export is read all
/// the same.
#[tokio::test]
async fn an_export_that_cannot_be_read_does_not_hide_the_others() {
    let fixture = Fixture::new().await;
    fixture.orders(1, 50, 3, ANCIENT).await;
    fixture.orders(100, 150, 3, "2023-06-15T12:00:00Z").await;
    fixture
        .orders(1_000_001, 1_000_010, 4, "2026-08-15T12:00:00Z")
        .await;
    for slot in [
        "2026-10-21T03:00:00Z",
        "2026-10-22T03:00:00Z",
        "2026-10-31T03:00:00Z",
    ] {
        fixture.archive_at(at(slot)).await.unwrap();
    }
    assert_eq!(fixture.verify(VerifyParams::default()).await.unwrap().sound, 2);
    let manifests = objects(&fixture.dir.path().join("store"))
        .into_iter()
        .filter(|path| path.ends_with("manifest.json"))
        .collect::<Vec<_>>();
    let whole = fs::read(&manifests[0]).unwrap();
    fs::remove_file(&manifests[0]).unwrap();
    std::os::unix::fs::symlink(&manifests[0], &manifests[0]).unwrap();
    let error = fixture.verify(VerifyParams::default()).await.unwrap_err();
    assert!(matches!(error.without_report(), JobError::Retry(_)), "{error}");
    let JobError::Reported { report, .. } = &error else {
        panic!("no report: {error}")
    };
    assert_eq!(
        (&report["sound"], report["unread"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    fs::remove_file(&manifests[0]).unwrap();
    fs::write(&manifests[0], whole).unwrap();
    assert_eq!(fixture.verify(VerifyParams::default()).await.unwrap().sound, 2);
}

#[tokio::test]
async fn no_month_is_begun_in_the_time_that_is_for_moves() {
    let fixture = aged(50, "").await;
    let report = fixture.archive_without_time().await.unwrap();
    assert!(
        report.aged[0].outcome.contains("not reached"),
        "{:?}",
        report.aged
    );
    let begun = "SELECT count(*) FROM eidos_jobs_disposal_units";
    let begun: i64 = sqlx::query_scalar(begun)
        .fetch_one(fixture.jobs.pool())
        .await
        .unwrap();
    assert_eq!(begun, 0);
}

#[tokio::test]
async fn a_store_that_takes_nothing_lets_one_month_be_frozen_and_no_more() {
    let fixture = Fixture::new().await;
    // Nobody makes a folder there, not even root.
    let store = fixture.dir.path().join("store");
    fs::create_dir_all(&store).unwrap();
    std::os::unix::fs::symlink("/sys/kernel", store.join("trading")).unwrap();
    fixture.orders(1, 50, 3, ANCIENT).await;
    fixture.orders(100, 150, 3, "2023-06-15T12:00:00Z").await;
    fixture
        .orders(1_000_001, 1_000_010, 4, "2026-08-15T12:00:00Z")
        .await;
    fixture.archive().await;
    let error = fixture.archive_at(slot()).await.unwrap_err();
    assert!(error.to_string().contains("was refused"), "{error}");
    let begun = "SELECT count(*) FROM eidos_jobs_disposal_units";
    let begun: i64 = sqlx::query_scalar(begun)
        .fetch_one(fixture.jobs.pool())
        .await
        .unwrap();
    assert_eq!(begun, 1);
}

#[tokio::test]
async fn months_from_before_and_after_a_column_came_are_restored_side_by_side() {
    let fixture = gone(50).await;
    fixture
        .sql(&format!("ALTER TABLE {ORDERS} ADD COLUMN fee_tier smallint"))
        .await;
    fixture.orders(100, 150, 3, "2023-06-15T12:00:00Z").await;
    fixture.sql(&format!("UPDATE {ORDERS} SET fee_tier = 7")).await;
    for slot in [
        "2026-11-01T03:00:00Z",
        "2026-11-02T03:00:00Z",
        "2026-11-12T03:00:00Z",
    ] {
        fixture.archive_at(at(slot)).await.unwrap();
    }
    let both = json!({"table": ARCHIVE, "range": "2023-05..2023-06", "into": "side"});
    for expected in [[50, 51], [0, 0]] {
        let restored = fixture.restore(both.clone()).await.unwrap();
        let inserted: Vec<u64> = restored.units.iter().map(|unit| unit.inserted).collect();
        assert_eq!(inserted, expected);
    }
    let side = format!("{ARCHIVE}_restored");
    assert_eq!(fixture.count(&format!("{side} WHERE fee_tier IS NULL")).await, 50);
    assert_eq!(fixture.count(&format!("{side} WHERE fee_tier = 7")).await, 51);
}

#[tokio::test]
async fn rot_is_found_recorded_and_never_restored() {
    let fixture = gone(100).await;
    assert_eq!(fixture.verify(VerifyParams::default()).await.unwrap().sound, 1);
    let whole = fs::read(part(&fixture)).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for bad in [Some(flipped), Some(whole[..whole.len() - 9].to_vec()), None] {
        match &bad {
            Some(bytes) => fs::write(part(&fixture), bytes).unwrap(),
            None => fs::remove_file(part(&fixture)).unwrap(),
        }
        let error = fixture
            .verify(VerifyParams::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("rotten") && error.contains("2023_05"), "{error}");
        assert_eq!(
            fixture
                .jobs_number("SELECT count(*) FROM eidos_jobs_disposal_units WHERE rot IS NOT NULL")
                .await,
            1
        );
        let error = fixture
            .restore(json!({"table": ARCHIVE, "range": "2023-05"}))
            .await
            .unwrap_err();
        assert_eq!(
            fixture
                .count(&format!("pg_class WHERE relname = '{ARCHIVE}_restored'"))
                .await,
            0,
            "{error}"
        );
        let folder = objects(&fixture.dir.path().join("store"))[0]
            .parent()
            .unwrap()
            .to_path_buf();
        fs::write(folder.join("part-00000.parquet"), &whole).unwrap();
    }
    assert_eq!(fixture.verify(VerifyParams::default()).await.unwrap().sound, 1);
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_disposal_units WHERE rot IS NOT NULL")
            .await,
        0
    );
}

#[tokio::test]
async fn an_export_in_another_one_s_place_is_rot() {
    let fixture = Box::pin(gone(20)).await;
    sqlx::query("UPDATE eidos_jobs_disposal_units SET row_count = 21")
        .execute(fixture.jobs.pool())
        .await
        .unwrap();
    let error = fixture
        .verify(VerifyParams::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("another export lies in its place"), "{error}");
}

/// What is in the table after the copy is what counts, not what was sent.
#[tokio::test]
async fn a_side_table_that_changes_what_it_is_given_keeps_nothing() {
    let fixture = Box::pin(gone(30)).await;
    let params = json!({"table": ARCHIVE, "range": "2023-05"});
    fixture.restore(params.clone()).await.unwrap();
    fixture
        .sql(&format!(
            "TRUNCATE {ARCHIVE}_restored; CREATE FUNCTION bend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.id = 15 THEN NEW.amount := 0; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER bend BEFORE INSERT ON {ARCHIVE}_restored FOR EACH ROW EXECUTE FUNCTION bend()"
        ))
        .await;
    let error = fixture.restore(params).await.unwrap_err().to_string();
    assert!(error.contains("nothing was kept"), "{error}");
    assert_eq!(fixture.count(&format!("{ARCHIVE}_restored")).await, 0);
}

#[tokio::test]
async fn verify_begins_with_what_was_not_read_for_the_longest_time() {
    let fixture = gone(10).await;
    let sample = VerifyParams {
        sample: Some(1),
        ..VerifyParams::default()
    };
    assert_eq!(fixture.verify(sample).await.unwrap().sound, 1);
    let other = VerifyParams {
        table: Some("eidos_risk_events".to_owned()),
        ..VerifyParams::default()
    };
    let refused = fixture.verify(other).await.unwrap_err().to_string();
    assert!(
        refused.contains("no export of a table 'eidos_risk_events'") && refused.contains(ARCHIVE),
        "not an empty success: {refused}"
    );
    let known = VerifyParams {
        table: Some(ARCHIVE.to_owned()),
        ..VerifyParams::default()
    };
    fixture.verify(known).await.unwrap();
    let later = VerifyParams {
        since: Some("2024-01".to_owned()),
        ..VerifyParams::default()
    };
    assert_eq!(fixture.verify(later).await.unwrap().sound, 0);
}

#[tokio::test]
async fn a_hold_on_the_hot_table_keeps_its_archived_rows_too() {
    let fixture = aged(50, "").await;
    sqlx::query(
        "INSERT INTO eidos_jobs_legal_holds (hold_id, source, schema_name, table_name, from_ms, to_ms, reason, placed_by) \
         VALUES ($1, 'trading', 'public', 'eidos_trading_orders', NULL, $2, 'case 9', 'ada')",
    )
    .bind(Uuid::from_u128(9))
    .bind(crate::fixture::ms("2023-06-01T00:00:00Z"))
    .execute(fixture.jobs.pool())
    .await
    .unwrap();
    let report = fixture.archive().await;
    assert!(
        report.plan.items.iter().any(|item| item.blocked.is_some()),
        "{report:#?}"
    );
    fixture.archive_at(at("2026-11-20T03:00:00Z")).await.unwrap();
    assert_eq!(fixture.count(&format!("{ARCHIVE}_2023_05")).await, 50);
}

#[tokio::test]
async fn months_wait_for_a_person_where_the_setting_says_so() {
    let fixture = aged(50, "jobs: { archive-data: { require_approval: true } }\n").await;
    fixture.archive().await;
    assert_eq!(
        fixture
            .jobs_number("SELECT count(*) FROM eidos_jobs_disposal_units")
            .await,
        0
    );
    let args = ["plan", "--format", "json", "--slot", "2026-10-21T03:00:00Z"];
    let child = crate::process::run_when_free(&fixture, &args, &[]).await;
    let digest = crate::process::report_of(&child)["plan"]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    crate::process::run_when_free(&fixture, &["apply", "--plan", &digest], &[]).await;
    assert_eq!(state(&fixture).await, "quarantined");
}

#[tokio::test]
async fn late_rows_of_a_month_that_is_leaving_wait_in_the_hot_table() {
    let fixture = aged(50, "").await;
    fixture.archive().await;
    fixture.orders(2_000_001, 2_000_005, 3, ANCIENT).await;
    let report = fixture.archive_at(slot()).await.unwrap();
    assert_eq!(report.tables[1].waiting.len(), 1, "{report:#?}");
    assert_eq!(fixture.count(ORDERS).await, 5);
    fixture.archive_at(at("2026-10-30T03:00:00Z")).await.unwrap();
    assert_eq!(
        fixture.count(ORDERS).await,
        0,
        "after the drop they follow, into a month of their own"
    );
    fixture.archive_at(at("2026-11-01T03:00:00Z")).await.unwrap();
    fixture.archive_at(at("2026-11-20T03:00:00Z")).await.unwrap();
    let restored = fixture
        .restore(json!({"table": ARCHIVE, "range": "2023-05"}))
        .await
        .unwrap();
    assert_eq!(
        restored.units.iter().map(|unit| unit.inserted).sum::<u64>(),
        55,
        "{restored:#?}"
    );
    let again = fixture
        .restore(json!({"table": ARCHIVE, "range": "2023-05"}))
        .await
        .unwrap();
    assert_eq!(
        again.units.iter().map(|unit| unit.inserted).sum::<u64>(),
        0,
        "{again:#?}"
    );
}

#[tokio::test]
async fn the_commands_verify_and_restore_do_it_from_a_terminal() {
    let fixture = gone(40).await;
    let verified = crate::process::run_when_free(&fixture, &["verify", "--format", "json"], &[]).await;
    assert_eq!(crate::process::report_of(&verified)["sound"], 1);
    let args = ["restore", "--table", ARCHIVE, "--range", "2023-05"];
    let restored = crate::process::run_when_free(&fixture, &args, &[]).await;
    let shown = restored.stdout();
    assert!(shown.contains("40 rows restored into"), "{shown}");
    assert_eq!(fixture.count(&format!("{ARCHIVE}_restored")).await, 40);

    fs::remove_file(part(&fixture)).unwrap();
    let within = std::time::Duration::from_mins(1);
    let (status, child) = fixture.command(&["verify"], &[]).run(within).await;
    assert_eq!(status.code(), Some(1), "{}", child.stdout());
    let (status, child) = fixture
        .command(&["restore", "--table", ARCHIVE], &[])
        .run(within)
        .await;
    assert!(!status.success(), "a restore without a range: {}", child.stdout());
}
