//! `statistics-keys`: keeps the statistics in Redis fresh, from what `stats-agg` has written.
//!
//! | key | type, time to live | holds |
//! |---|---|---|
//! | `realtime` | hash, 60 s | volume (in the quote currency), trades and active users of the 24 hours up to the watermark; open orders |
//! | `today:{market}` | hash, 300 s | the figures of the market since 00:00 UTC |
//! | `overview` | JSON, 300 s | the figures of all markets, of today and yesterday |
//!
//! The keys live shorter than the time between two runs of the job, so a loop writes them and not the run. Every replica
//! does; all write the same. A figure that is not known has no field. Redis that is away is a warning and a metric.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, TimeDelta};
use eidos_core::checkpoint;
use eidos_core::db::JobsDb;
use eidos_runtime::{Job, Worker, WorkerContext};
use eidos_telemetry::metric;
use eidos_types::{JobName, SharedClock};
use serde_json::json;
use sqlx::PgPool;

use crate::jobs::stats_agg::{StatsAgg, Watermark};
use crate::profile::Codes;
use crate::sources::keys::{Keys, Session};
use crate::store::activity::Activity;
use crate::store::statistics::{self, Figure};

const DAY_MS: i64 = 86_400_000;
const REALTIME_TTL: Duration = Duration::from_mins(1);
const TODAY_TTL: Duration = Duration::from_mins(5);
/// How long databases and Redis may take for one turn.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// Longer than a turn and the pause after it.
const DEADLINE: Duration = Duration::from_mins(2);

/// The worker.
#[derive(Debug)]
pub struct StatisticsKeys {
    /// The pause between two turns.
    pub refresh: Duration,
    /// The currency of the total of all markets.
    pub quote_currency: String,
    /// Codes of the trading service.
    pub codes: Codes,
    /// Where the statistics are.
    pub jobs_db: JobsDb,
    /// The trading service's database, to be read.
    pub trading: PgPool,
    /// The statements on its tables.
    pub activity: Activity,
    /// Redis.
    pub keys: Keys,
    /// The clock.
    pub clock: SharedClock,
    /// End of the 24 hours for which active users were counted last, epoch ms, and their number.
    pub active: Mutex<Option<(i64, i64)>>,
}

impl Worker for StatisticsKeys {
    fn name(&self) -> &'static str {
        "statistics-keys"
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        for outcome in ["ok", "failed"] {
            metric::statistics_keys_refreshed(outcome, 0);
        }
        while !ctx.is_cancelled() {
            ctx.beat();
            let _cut_short = tokio::time::timeout(TURN_WITHIN, ctx.beating(self.turn())).await;
            let _pause = tokio::time::timeout(self.refresh, ctx.cancelled()).await;
        }
        Ok(())
    }
}

impl StatisticsKeys {
    /// Writes all keys; a failure is a warning and a metric. Returns whether it succeeded.
    pub async fn turn(&self) -> bool {
        match self.write().await {
            Ok(()) => {
                metric::statistics_keys_refreshed("ok", 1);
                true
            }
            Err(error) => {
                metric::statistics_keys_refreshed("failed", 1);
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the statistics in Redis were not refreshed"
                );
                false
            }
        }
    }

    async fn write(&self) -> anyhow::Result<()> {
        let mut redis = self.keys.connect().await?;
        let name: JobName = StatsAgg::NAME.parse()?;
        let watermark: Option<Watermark> =
            checkpoint::load(self.jobs_db.read(), &name, Watermark::KEY).await?;
        let now_ms = self.clock.now_ms();
        self.realtime(&mut redis, watermark, now_ms).await?;
        let today = DateTime::from_timestamp_millis(now_ms)
            .context("the clock shows no date")?
            .date_naive();
        let hours = statistics::sums_of_hours(self.jobs_db.read(), today, &self.total()).await?;
        self.today(&mut redis, today, &hours, now_ms).await?;
        self.overview(&mut redis, today, &hours, now_ms).await
    }

    async fn realtime(
        &self,
        redis: &mut Session<'_>,
        watermark: Option<Watermark>,
        now_ms: i64,
    ) -> anyhow::Result<()> {
        let open = self.activity.open_orders(&self.trading, &self.codes).await?;
        let mut fields = vec![("open_orders".to_owned(), open.to_string())];
        if let Some(watermark) = watermark {
            let until_ms = watermark.until_ms;
            let day = statistics::last_day(self.jobs_db.read(), until_ms, &self.total()).await?;
            let known = [
                ("total_volume_24h", day.volume.map(|volume| volume.to_string())),
                ("total_trades_24h", day.trades.map(|trades| trades.to_string())),
                (
                    "active_users_24h",
                    Some(self.active_users(until_ms).await?.to_string()),
                ),
                ("until", Some(until_ms.to_string())),
            ];
            fields.extend(
                known
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?))),
            );
        }
        fields.push(("updated_at".to_owned(), now_ms.to_string()));
        Ok(redis.hash("realtime", &fields, REALTIME_TTL).await?)
    }

    /// Counted once for each hour, because it reads a day of trades and orders.
    async fn active_users(&self, until_ms: i64) -> anyhow::Result<i64> {
        let counted = *self
            .active
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, users)) = counted.filter(|(of_ms, _)| *of_ms == until_ms) {
            return Ok(users);
        }
        let day = (until_ms - DAY_MS, until_ms);
        let (users, _) = self.activity.users(&self.trading, &self.codes, day).await?;
        *self
            .active
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some((until_ms, users));
        Ok(users)
    }

    async fn today(
        &self,
        redis: &mut Session<'_>,
        today: NaiveDate,
        hours: &[Figure],
        now_ms: i64,
    ) -> anyhow::Result<()> {
        let mut markets: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
        for figure in hours {
            if let Some(market) = &figure.market {
                let field = (figure.metric.clone(), figure.value.to_string());
                markets.entry(market).or_default().push(field);
            }
        }
        for (market, mut fields) in markets {
            fields.push(("date".to_owned(), today.to_string()));
            fields.push(("updated_at".to_owned(), now_ms.to_string()));
            redis.hash(&format!("today:{market}"), &fields, TODAY_TTL).await?;
        }
        Ok(())
    }

    async fn overview(
        &self,
        redis: &mut Session<'_>,
        today: NaiveDate,
        hours: &[Figure],
        now_ms: i64,
    ) -> anyhow::Result<()> {
        let of_all = |figures: &[Figure]| -> BTreeMap<String, String> {
            let of_all = figures.iter().filter(|figure| figure.market.is_none());
            of_all
                .map(|figure| (figure.metric.clone(), figure.value.to_string()))
                .collect()
        };
        let yesterday = today - TimeDelta::days(1);
        let before = statistics::figures_of_day(self.jobs_db.read(), yesterday).await?;
        let overview = json!({
            "date": today.to_string(), "today": of_all(hours), "yesterday": of_all(&before), "updated_at": now_ms,
        });
        Ok(redis.text("overview", &overview.to_string(), TODAY_TTL).await?)
    }

    fn total(&self) -> String {
        format!("trade_volume:{}", self.quote_currency)
    }
}
