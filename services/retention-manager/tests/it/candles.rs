//! Candles: deleted only where the coarser one exists and says the same, to the last digit.

use eidos_disposal::settings::DisposalSettings;
use retention_manager::cleanup::Verdict;
use retention_manager::cleanup::candles::{CandleReport, Kept};
use serde_json::{Value, json};

use crate::cleanup_fixture::{JobFixture, KLINES, message};
use crate::fixture::sql;
use crate::partitions_fixture::ms;

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
/// Seven days before it, minutes expire: at 2024-03-01.
const SLOT: &str = "2024-03-08T04:00:00Z";

fn rules(intervals: &Value) -> Value {
    json!({ "timescaledb": { "eidos_market_klines": { "retention_by_interval": intervals } } })
}

fn minutes() -> Value {
    rules(&json!({ "1m": 7, "1h": 365, "1d": 0 }))
}

/// Minutes of one hour, with prices and volumes of many digits; every seventh minute without a trade.
async fn minutes_of(fixture: &JobFixture, market: &str, hour_ms: i64) {
    sql(
        fixture.pool(),
        &format!(
            "INSERT INTO eidos_market_klines \
             SELECT '{market}', '1m', {hour_ms} + n * {MINUTE}, p, p + 0.000000000000000002, p - 0.000000000000000001, \
                    p + 0.000000000000000001, \
                    CASE WHEN n % 7 = 0 THEN 0 ELSE 0.100000000000000001 * n END, \
                    CASE WHEN n % 7 = 0 THEN 0 ELSE 4300.000000000000000007 * n END, CASE WHEN n % 7 = 0 THEN 0 ELSE n END \
             FROM (SELECT n, 43000 + n * 0.000000000000000001 AS p FROM generate_series(0, 59) n) m"
        ),
    )
    .await;
}

/// What the minutes of an hour add up to, as its producer would write it. `change` is put in place of a column.
async fn hour_of(fixture: &JobFixture, market: &str, hour_ms: i64, change: Option<(&str, &str)>) {
    let column = |name: &str, right: &str| match change {
        Some((changed, value)) if changed == name => value.replace("{}", right),
        _ => right.to_owned(),
    };
    let with_trades = "FILTER (WHERE trade_count > 0)";
    sql(
        fixture.pool(),
        &format!(
            "INSERT INTO eidos_market_klines \
             SELECT '{market}', '1h', {hour_ms}, {}, {}, {}, {}, {}, {}, {} FROM eidos_market_klines \
             WHERE market = '{market}' AND interval = '1m' AND open_time >= {hour_ms} AND open_time < {hour_ms} + {HOUR}",
            column("open", &format!("(array_agg(open ORDER BY open_time) {with_trades})[1]")),
            column("high", &format!("max(high) {with_trades}")),
            column("low", &format!("min(low) {with_trades}")),
            column("close", &format!("(array_agg(close ORDER BY open_time DESC) {with_trades})[1]")),
            column("volume", "sum(volume)"),
            column("quote_volume", "sum(quote_volume)"),
            column("trade_count", "sum(trade_count)"),
        ),
    )
    .await;
}

async fn left(fixture: &JobFixture, interval: &str, hour_ms: i64) -> i64 {
    fixture
        .count(&format!(
            "SELECT count(*) FROM eidos_market_klines WHERE interval = '{interval}' AND open_time >= {hour_ms} \
             AND open_time < {hour_ms} + {HOUR}"
        ))
        .await
}

fn only(reports: &[CandleReport]) -> &CandleReport {
    assert_eq!(reports.len(), 1, "{reports:#?}");
    &reports[0]
}

#[tokio::test]
async fn ruling_36_finer_candles_go_only_where_the_coarser_one_says_the_same() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let first = ms("2024-02-20T00:00:00Z");
    let hour = |n: i64| first + n * HOUR;
    for n in 0..9 {
        minutes_of(&fixture, "BTC-USDC", hour(n)).await;
    }
    // Equal; none; and one last digit off in each of the columns.
    hour_of(&fixture, "BTC-USDC", hour(0), None).await;
    let off = "{} + 0.000000000000000001";
    for (n, change) in [
        (2, ("volume", off)),
        (3, ("quote_volume", off)),
        (4, ("trade_count", "{} - 1")),
        (5, ("high", off)),
        (6, ("low", "{} - 0.000000000000000001")),
        (7, ("open", off)),
        (8, ("close", off)),
    ] {
        hour_of(&fixture, "BTC-USDC", hour(n), Some(change)).await;
    }
    let job = fixture.job(minutes()).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    let candles = only(&report.candles);
    assert_eq!((candles.deleted, candles.windows), (60, 1), "{candles:#?}");
    assert_eq!(
        candles.kept,
        [
            Kept {
                market: "BTC-USDC".to_owned(),
                why: Verdict::NoCoarser,
                windows: 1,
                candles: 60,
                first_window_ms: hour(1),
            },
            Kept {
                market: "BTC-USDC".to_owned(),
                why: Verdict::Disagrees,
                windows: 7,
                candles: 420,
                first_window_ms: hour(2),
            },
        ]
    );
    assert_eq!(left(&fixture, "1m", hour(0)).await, 0);
    for n in 1..9 {
        assert_eq!(left(&fixture, "1m", hour(n)).await, 60, "hour {n}");
    }
    // No hour was touched, and the person reads how much stays and why.
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_market_klines WHERE interval = '1h'")
            .await,
        8
    );
    let text = report.render();
    assert!(
        text.contains("60 candles kept in 1 windows from 2024-02-20T01:00:00Z: there is no coarser candle"),
        "{text}"
    );
    assert!(text.contains("420 candles kept in 7 windows"), "{text}");

    // The producer catches up; the next run needs nothing else.
    hour_of(&fixture, "BTC-USDC", hour(1), None).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(only(&report.candles).deleted, 60);
    assert_eq!(left(&fixture, "1m", hour(1)).await, 0);
}

#[tokio::test]
async fn a_late_minute_keeps_its_hour() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let hour = ms("2024-02-20T00:00:00Z");
    minutes_of(&fixture, "BTC-USDC", hour).await;
    sql(
        fixture.pool(),
        &format!("DELETE FROM eidos_market_klines WHERE open_time = {hour} + 5 * {MINUTE}"),
    )
    .await;
    hour_of(&fixture, "BTC-USDC", hour, None).await;
    // The hour was made without it.
    sql(
        fixture.pool(),
        &format!(
            "INSERT INTO eidos_market_klines VALUES ('BTC-USDC', '1m', {hour} + 5 * {MINUTE}, 43000, 43000, 43000, 43000, \
             0.000000000000000001, 0.000000000000043, 1)"
        ),
    )
    .await;
    let job = fixture.job(minutes()).await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    let candles = only(&report.candles);
    assert_eq!((candles.deleted, candles.kept[0].why), (0, Verdict::Disagrees));
    // And a minute that arrives after its hour was thinned out is kept as well: nothing proves it alone.
    sql(
        fixture.pool(),
        "DELETE FROM eidos_market_klines WHERE interval = '1h'",
    )
    .await;
    hour_of(&fixture, "BTC-USDC", hour, None).await;
    assert_eq!(only(&fixture.run(&job, SLOT).await.unwrap().candles).deleted, 60);
    sql(
        fixture.pool(),
        &format!("INSERT INTO eidos_market_klines VALUES ('BTC-USDC', '1m', {hour} + 7 * {MINUTE}, 1, 1, 1, 1, 1, 1, 1)"),
    )
    .await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(only(&report.candles).kept[0].candles, 1);
}

#[tokio::test]
async fn an_hour_without_trades_is_proved_by_its_sums_alone() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let hour = ms("2024-02-20T00:00:00Z");
    // Flat minutes carry the last close, and the hour was carried from another one.
    sql(
        fixture.pool(),
        &format!(
            "INSERT INTO eidos_market_klines SELECT 'BTC-USDC', '1m', {hour} + n * {MINUTE}, 5, 5, 5, 5, 0, 0, 0 \
             FROM generate_series(0, 59) n; \
             INSERT INTO eidos_market_klines VALUES ('BTC-USDC', '1h', {hour}, 4, 4, 4, 4, 0, 0, 0)"
        ),
    )
    .await;
    let report = fixture.run(&fixture.job(minutes()).await, SLOT).await.unwrap();
    assert_eq!(only(&report.candles).deleted, 60);
}

#[tokio::test]
async fn what_cannot_be_added_up_is_kept() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let hour = ms("2024-02-20T00:00:00Z");
    minutes_of(&fixture, "BTC-USDC", hour).await;
    sql(
        fixture.pool(),
        &format!("UPDATE eidos_market_klines SET volume = 'NaN' WHERE open_time = {hour} + 3 * {MINUTE}"),
    )
    .await;
    // The hour is NaN as well: equal, as PostgreSQL sees it.
    hour_of(&fixture, "BTC-USDC", hour, None).await;
    let report = fixture.run(&fixture.job(minutes()).await, SLOT).await.unwrap();
    let candles = only(&report.candles);
    assert_eq!((candles.deleted, candles.kept[0].why), (0, Verdict::Unusable));
}

#[tokio::test]
async fn intervals_are_counted_by_their_own_days_and_zero_is_for_ever() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let (old, young) = (ms("2024-02-29T23:00:00Z"), ms("2024-03-01T00:00:00Z"));
    for market in ["BTC-USDC", "ETH-USDC"] {
        for hour in [old, young] {
            minutes_of(&fixture, market, hour).await;
            hour_of(&fixture, market, hour, None).await;
        }
    }
    sql(
        fixture.pool(),
        "INSERT INTO eidos_market_klines SELECT 'BTC-USDC', i, 0, 1, 1, 1, 1, 1, 1, 1 FROM unnest('{1d,1w,5m}'::text[]) i",
    )
    .await;
    let job = fixture
        .job(rules(&json!({ "1m": 7, "5m": 0, "1h": 365, "1d": 0, "1w": 0 })))
        .await;
    let report = fixture.run(&job, SLOT).await.unwrap();
    let candles = only(&report.candles);
    assert_eq!(
        (candles.deleted, candles.kept.len()),
        (120, 0),
        "two markets, the hour before midnight only"
    );
    assert_eq!(left(&fixture, "1m", old).await, 0);
    assert_eq!(left(&fixture, "1m", young).await, 120);
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_market_klines WHERE open_time = 0")
            .await,
        3
    );
    // Recorded per market, with the plan and the approval.
    assert_eq!(
        fixture
            .jobs_count(
                "SELECT count(*) FROM eidos_jobs_disposals WHERE action = 'delete' AND row_count = 60 \
                 AND object_name = 'eidos_market_klines@1m' AND approved_by = 'policy' AND plan_digest IS NOT NULL"
            )
            .await,
        2
    );
    assert_eq!(
        fixture
            .jobs_count(
                "SELECT last_id FROM eidos_jobs_archive_progress WHERE table_name = 'eidos_market_klines@1m'"
            )
            .await,
        young
    );
    // The second run finds nothing.
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert!(
        report.candles.is_empty() && report.plan.items.is_empty(),
        "{:#?}",
        report.plan
    );
}

#[tokio::test]
async fn days_are_proved_by_weeks_from_monday_only_where_that_is_configured() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let monday = ms("2024-01-01T00:00:00Z");
    sql(
        fixture.pool(),
        &format!(
            "INSERT INTO eidos_market_klines SELECT 'BTC-USDC', '1d', {monday} + n * 86400000, 1, 2, 1, 2, 10, 20, 3 \
             FROM generate_series(0, 13) n; \
             INSERT INTO eidos_market_klines VALUES ('BTC-USDC', '1w', {monday}, 1, 2, 1, 2, 70, 140, 21)"
        ),
    )
    .await;
    let mut rules = rules(&json!({ "1d": 30, "1w": 0 }));
    rules["timescaledb"]["eidos_market_klines"]["proved_by"] = json!({ "1d": "1w" });
    let job = fixture.job(rules).await;
    // Thursday, 15 February: 30 days back is the 16th of January, in the middle of the third week.
    let report = fixture.run(&job, "2024-02-15T04:00:00Z").await.unwrap();
    let candles = only(&report.candles);
    assert_eq!((candles.deleted, candles.kept[0].candles), (7, 7), "{candles:#?}");
    assert_eq!(
        candles.cutoff_ms,
        ms("2024-01-15T00:00:00Z"),
        "only whole weeks are looked at"
    );
}

#[tokio::test]
async fn a_hold_on_a_range_keeps_its_candles_and_no_others() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let first = ms("2024-02-20T00:00:00Z");
    for n in 0..4 {
        minutes_of(&fixture, "BTC-USDC", first + n * HOUR).await;
        hour_of(&fixture, "BTC-USDC", first + n * HOUR, None).await;
    }
    fixture
        .hold(
            "market",
            "eidos_market_klines",
            Some("2024-02-20T01:30:00Z"),
            Some("2024-02-20T02:00:00Z"),
        )
        .await;
    let report = fixture.run(&fixture.job(minutes()).await, SLOT).await.unwrap();
    assert_eq!(only(&report.candles).deleted, 180);
    assert_eq!(left(&fixture, "1m", first + HOUR).await, 60);
}

#[tokio::test]
async fn a_dry_run_counts_what_is_proved_and_changes_nothing() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let first = ms("2024-02-20T00:00:00Z");
    for n in 0..2 {
        minutes_of(&fixture, "BTC-USDC", first + n * HOUR).await;
    }
    hour_of(&fixture, "BTC-USDC", first, None).await;
    let report = fixture.plan(&fixture.job(minutes()).await, SLOT).await;
    let candles = only(&report.candles);
    assert_eq!((candles.deleted, candles.kept[0].candles), (60, 60));
    assert_eq!(
        fixture
            .count("SELECT count(*) FROM eidos_market_klines WHERE interval = '1m'")
            .await,
        120
    );
    assert_eq!(
        fixture
            .jobs_count("SELECT count(*) FROM eidos_jobs_disposals")
            .await,
        0
    );
}

#[tokio::test]
async fn candles_that_somebody_holds_locked_are_left_to_the_next_run() {
    let fixture = JobFixture::new(&[KLINES]).await;
    let hour = ms("2024-02-20T00:00:00Z");
    minutes_of(&fixture, "BTC-USDC", hour).await;
    hour_of(&fixture, "BTC-USDC", hour, None).await;
    let job = fixture.job_with(minutes(), |settings: &mut DisposalSettings| {
        settings.lock_timeout = std::time::Duration::from_millis(100);
    });
    let job = job.await;
    let mut writer = fixture.pool().begin().await.unwrap();
    sqlx::query("UPDATE eidos_market_klines SET volume = volume + 1 WHERE interval = '1h'")
        .execute(&mut *writer)
        .await
        .unwrap();
    let error = fixture.run(&job, SLOT).await.unwrap_err();
    assert!(message(&error).contains("lock candles"), "{error}");
    assert_eq!(left(&fixture, "1m", hour).await, 60);
    writer.commit().await.unwrap();
    // What the writer changed counts.
    let report = fixture.run(&job, SLOT).await.unwrap();
    assert_eq!(only(&report.candles).kept[0].why, Verdict::Disagrees);
}

#[tokio::test]
async fn a_table_that_is_none_of_candles_is_refused_by_column() {
    let fixture = JobFixture::new(&[
        KLINES,
        "ALTER TABLE eidos_market_klines ALTER COLUMN volume TYPE double precision",
    ])
    .await;
    let error = fixture
        .run(&fixture.job(minutes()).await, SLOT)
        .await
        .unwrap_err();
    assert!(
        message(&error).contains("eidos_market_klines.volume is double precision"),
        "{error}"
    );
    sql(
        fixture.pool(),
        "ALTER TABLE eidos_market_klines DROP COLUMN volume",
    )
    .await;
    let error = fixture
        .run(&fixture.job(minutes()).await, SLOT)
        .await
        .unwrap_err();
    assert!(message(&error).contains("has no column volume"), "{error}");
}

#[tokio::test]
async fn a_trigger_that_keeps_candles_from_being_deleted_is_noticed() {
    let fixture = JobFixture::new(&[
        KLINES,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RETURN CASE WHEN OLD.open_time % 3600000 = 0 THEN NULL ELSE OLD END; END $$",
        "CREATE TRIGGER keep BEFORE DELETE ON eidos_market_klines FOR EACH ROW EXECUTE FUNCTION keep()",
    ])
    .await;
    let hour = ms("2024-02-20T00:00:00Z");
    minutes_of(&fixture, "BTC-USDC", hour).await;
    hour_of(&fixture, "BTC-USDC", hour, None).await;
    let error = fixture
        .run(&fixture.job(minutes()).await, SLOT)
        .await
        .unwrap_err();
    assert!(
        message(&error).contains("60 candles were judged") && message(&error).contains("nothing was deleted"),
        "{error}"
    );
    assert_eq!(left(&fixture, "1m", hour).await, 60);
}
