//! The statistics in Redis, and the backfill that they may be read from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aggregator::jobs::stats_agg::{Report, StatsAgg, StatsAggParams};
use aggregator::sources::keys::Keys;
use aggregator::store::activity::Activity;
use aggregator::workers::statistics_keys::StatisticsKeys;
use eidos_runtime::{Job, JobError};
use eidos_types::SystemClock;
use redis::AsyncCommands as _;
use serde_json::json;

use crate::fixture::{Fixture, at, ms};
use crate::stats::trading;

const SLOT: &str = "2026-03-04T00:05:00Z";

fn worker(fixture: &Fixture, prefix: &str, redis_url: Option<&str>) -> StatisticsKeys {
    let profile = &fixture.settings.service.aggregation_profile;
    let mut section = fixture.settings.service.statistics_keys.clone();
    prefix.clone_into(&mut section.prefix);
    section.redis_url = redis_url.map(Into::into);
    StatisticsKeys {
        refresh: section.refresh,
        quote_currency: "USDC".to_owned(),
        codes: profile.codes.clone(),
        jobs_db: fixture.jobs_db.clone(),
        trading: fixture.external.clone(),
        activity: Activity::new(&profile.trading().unwrap()),
        keys: Keys::new(&section, &fixture.settings.suite.redis).unwrap(),
        clock: Arc::new(SystemClock::default()),
        active: Mutex::default(),
    }
}

async fn backfill(fixture: &Fixture, params: serde_json::Value, dry_run: bool) -> Result<Report, JobError> {
    let job: StatsAgg = fixture.stats_agg();
    let ctx = fixture
        .context("stats-agg", at(SLOT), dry_run, Duration::from_mins(30))
        .await;
    let params: StatsAggParams = serde_json::from_value(params).unwrap();
    Box::pin(job.run(&ctx, params)).await
}

#[tokio::test]
async fn the_keys_hold_what_the_statistics_say_and_none_lives_for_ever() {
    let fixture = Fixture::new().await;
    trading(&fixture, 1).await;
    fixture.stats_at(at(SLOT)).await;
    let prefix = format!("{}:stats", fixture.redis.prefix());
    // An older version of the key had no time to live, and another field.
    let client = redis::Client::open(fixture.redis.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let key = format!("{prefix}:realtime");
    let () = redis.hset(&key, "stale", "1").await.unwrap();
    assert!(worker(&fixture, &prefix, None).turn().await);
    let fields: BTreeMap<String, String> = redis.hgetall(&key).await.unwrap();
    let day = fixture.figures("2026-03-03", None).await;
    assert_eq!(
        fields["total_volume_24h"],
        day[&(None, "trade_volume:USDC".to_owned())].to_string()
    );
    assert_eq!(
        fields["total_trades_24h"],
        day[&(None, "trade_count".to_owned())].to_string()
    );
    assert_eq!(fields["active_users_24h"], "13");
    assert_eq!(fields["until"], ms("2026-03-04T00:00:00Z").to_string());
    assert!(fields.contains_key("open_orders") && fields.contains_key("updated_at"));
    assert!(!fields.contains_key("stale"), "{fields:?}");
    let ttl: i64 = redis.pttl(&key).await.unwrap();
    assert!((1..=60_000).contains(&ttl), "{ttl}");
    let overview = format!("{prefix}:overview");
    let text: String = redis.get(&overview).await.unwrap();
    assert!(text.contains("\"yesterday\""), "{text}");
    let ttl: i64 = redis.pttl(&overview).await.unwrap();
    assert!((1..=300_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn redis_that_is_away_is_no_error_of_the_worker() {
    let fixture = Fixture::new().await;
    let away = worker(&fixture, "x", Some("redis://127.0.0.1:1"));
    assert!(!away.turn().await);
    assert!(
        worker(&fixture, fixture.redis.prefix(), None).turn().await,
        "also before the first run"
    );
}

#[tokio::test]
async fn a_backfill_equals_scheduled_runs_moves_no_watermark_and_refuses_what_may_be_archived() {
    let (steady, filled) = (Fixture::new().await, Fixture::new().await);
    trading(&steady, 2).await;
    trading(&filled, 2).await;
    steady.stats_at(at(SLOT)).await;
    let range = json!({ "from": "2026-03-02T00:00:00Z", "to": "2026-03-04T00:00:00Z" });
    let dry = backfill(&filled, range.clone(), true).await.unwrap();
    assert_eq!((dry.hours, dry.written), (48, 0));
    let report = backfill(&filled, range.clone(), false).await.unwrap();
    assert_eq!((report.hours, report.days), (48, 2), "{report:#?}");
    assert_eq!(filled.statistics_digest().await, steady.statistics_digest().await);
    let checkpoints = "SELECT count(*) FROM eidos_jobs_checkpoints";
    assert_eq!(filled.jobs_number(checkpoints).await, 0);
    let versions = filled.statistics_versions().await;
    let again = backfill(&filled, range, false).await.unwrap();
    assert_eq!((again.written, filled.statistics_versions().await), (0, versions));

    let gone = "DELETE FROM eidos_jobs_statistics WHERE market = 'ETH-USDC'";
    filled.jobs.sql(gone).await;
    let one = json!({ "from": "2026-03-02T00:00:00Z", "to": "2026-03-04T00:00:00Z", "market": "ETH-USDC" });
    backfill(&filled, one, false).await.unwrap();
    assert_eq!(filled.statistics_digest().await, steady.statistics_digest().await);

    let old = json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" });
    let refused = backfill(&filled, old, false).await.unwrap_err().to_string();
    assert!(refused.contains("source_retention"), "{refused}");
}
