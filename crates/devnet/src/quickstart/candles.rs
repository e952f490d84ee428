//! `quickstart --all`: aggregator over two weeks of markets with missing minutes and late trades, and what must come out.

use chrono::{DateTime, SecondsFormat};
use eidos_market::Interval;
use sqlx::PgPool;

use super::all::{Stage, slot};
use super::beside::Beside;
use super::say;
use super::whereabouts::Check;
use crate::market::{Market, verdict};
use crate::orders::Finding;

const DAY_MS: i64 = 86_400_000;
/// Before the slot: where the first run of `kline-agg` begins; older candles are a backfill's.
const FIRST_RUN_DAYS: i64 = 7;
/// Before the slot: where the first run of `stats-agg` begins, rounded down to a day.
const STATISTICS_DAYS: i64 = 2;

impl Beside {
    /// Builds candles and statistics, lets what is late arrive, builds again, and compares with the generated trades.
    pub(super) async fn aggregate(
        &self,
        stage: &mut Stage,
        mut market: Market,
    ) -> anyhow::Result<Vec<Check>> {
        let closed_ms = verdict::closed_ms(self.slot_ms);
        say(&format!(
            "\nFilled {} markets from {}: {} gaps of minutes are planted",
            market.names().len(),
            day(self.from_ms),
            market.gaps().len()
        ));
        self.run_aggregator(stage).await?;
        let first = "before what is late";
        let mut checks = vec![
            Check::of(first, verdict::gaps(&market, &stage.jobs, closed_ms).await?),
            Check::of(first, verdict::candles(&market, closed_ms).await?),
        ];
        checks.extend(self.statistics(stage, &market, first).await?);
        let arrived = market.arrive_late(self.slot_ms).await?;
        say(&format!(
            "\n{} gaps are closed, {} trades of days ago and {} deposit arrive late",
            arrived.gaps, arrived.trades, arrived.deposits
        ));
        let unseen = verdict::candles(&market, closed_ms).await?;
        checks.push(differs(&unseen));
        self.run_aggregator_jobs(stage).await?;
        let late = "after what was late";
        checks.push(noted_nothing(
            verdict::gaps(&market, &stage.jobs, closed_ms).await?,
        ));
        checks.push(Check::of(late, verdict::candles(&market, closed_ms).await?));
        checks.extend(self.statistics(stage, &market, late).await?);
        let before = self.versions(&stage.jobs).await?;
        self.run_aggregator_jobs(stage).await?;
        let after = self.versions(&stage.jobs).await?;
        checks.push(Check {
            about: "again: a further run of both jobs writes no row".to_owned(),
            what: "rows have other versions".to_owned(),
            found: format!("{} candles, {} statistics", after[0].0, after[1].0),
            holds: before == after && after.iter().all(|(rows, _)| *rows > 0),
        });
        Ok(checks)
    }

    /// The older weeks by a backfill, then both jobs.
    pub(super) async fn run_aggregator(&self, stage: &mut Stage) -> anyhow::Result<()> {
        let from = day(self.from_ms);
        // Up to the day in which the first run begins, and that day.
        let to = day(Interval::D1.floor_ms(self.slot_ms) - (FIRST_RUN_DAYS - 1) * DAY_MS);
        let backfill = ["backfill", "--from", &from, "--to", &to];
        stage.run(&self.aggregator, "kline-agg", &backfill, true).await?;
        self.run_aggregator_jobs(stage).await
    }

    async fn run_aggregator_jobs(&self, stage: &mut Stage) -> anyhow::Result<()> {
        let slot = slot(self.slot_ms)?;
        for job in ["kline-agg", "stats-agg"] {
            let args = ["run", job, "--slot", &slot];
            stage.run(&self.aggregator, job, &args, true).await?;
        }
        Ok(())
    }

    async fn statistics(&self, stage: &Stage, market: &Market, when: &str) -> anyhow::Result<[Check; 2]> {
        // A run adds up hours that ended a minute before its slot.
        let closed_ms = Interval::H1.floor_ms(self.slot_ms - 60_000);
        let from_ms = Interval::D1.floor_ms(closed_ms - STATISTICS_DAYS * DAY_MS);
        let findings = verdict::statistics(market, &stage.jobs, (from_ms, closed_ms)).await?;
        Ok(findings.map(|finding| Check::of(when, finding)))
    }

    /// How many candles and statistics there are, and a digest of the versions of their rows.
    async fn versions(&self, jobs: &PgPool) -> anyhow::Result<[(i64, String); 2]> {
        const VERSIONS: &str = "count(*), md5(string_agg(ctid::text || xmin::text, '|' ORDER BY ctid))";
        let of = async |pool: &PgPool, from: &str| -> anyhow::Result<(i64, String)> {
            let question = sqlx::AssertSqlSafe(format!("SELECT {VERSIONS} FROM {from}"));
            Ok(sqlx::query_as(question).fetch_one(pool).await?)
        };
        Ok([
            of(&self.market_db, "eidos_market_klines WHERE interval <> '1m'").await?,
            of(jobs, "eidos_jobs_statistics").await?,
        ])
    }
}

/// Without a further run the candles must differ, or nothing late would be proved.
fn differs(finding: &Finding) -> Check {
    Check {
        about: "what is late changes candles, so the next run has work".to_owned(),
        what: "the candles are as they must be without any run".to_owned(),
        found: format!("{} of {} windows differ", finding.violations, finding.checked),
        holds: finding.violations > 0,
    }
}

/// No window may be noted once every minute is there.
fn noted_nothing(finding: Finding) -> Check {
    Check {
        about: "after what was late: no window is noted as not whole".to_owned(),
        what: finding.example.unwrap_or_default(),
        found: format!("{} noted", finding.checked),
        holds: finding.checked == 0,
    }
}

fn day(epoch_ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(epoch_ms).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
