//! What aggregator owns in the settings file.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_market::{Interval, WeekStart};
use eidos_settings::{Problems, ServiceSettings, SuiteSettings, duration_text, ranges, secret};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::{Level, levels};
use crate::profile::AggregationProfile;

/// The sections of aggregator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregatorSettings {
    /// Names and codes of the other services' tables.
    pub aggregation_profile: AggregationProfile,
    /// The statistics in Redis.
    pub statistics_keys: StatisticsKeysSection,
}

/// Section `statistics_keys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsKeysSection {
    /// Whether they are written.
    pub enabled: bool,
    /// The Redis that the administration reads. `None`: that of section `redis`.
    #[serde(default, serialize_with = "secret::masked_url_option")]
    pub redis_url: Option<SecretString>,
    /// First part of every key.
    pub prefix: String,
    /// The pause between two turns, 1s–30s.
    #[serde(with = "duration_text")]
    pub refresh: Duration,
}

/// The own keys of aggregator's jobs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AggregatorOptions {
    /// Those of `kline-agg`.
    pub kline_agg: KlineAggOptions,
    /// Those of `stats-agg`.
    pub stats_agg: StatsAggOptions,
}

/// What becomes of a window without trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyWindows {
    /// A candle that carries the last close, with volume 0.
    Emit,
    /// No candle.
    Skip,
}

/// Keys of `jobs.kline-agg`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlineAggOptions {
    /// Interval → the finer one that it is built from; `None`: it is not built, although the defaults have it.
    pub intervals: BTreeMap<Interval, Option<Interval>>,
    /// The day on which weeks begin.
    pub week_start: WeekStart,
    /// A window is over when it ended this long before the slot.
    #[serde(with = "duration_text")]
    pub grace: Duration,
    /// Windows that ended less than this before the newest are compared again in every run.
    #[serde(with = "duration_text")]
    pub look_back: Duration,
    /// Where the first run begins.
    #[serde(with = "duration_text")]
    pub first_run: Duration,
    /// How long candles of one minute are kept.
    #[serde(with = "duration_text")]
    pub source_retention: Duration,
    /// How long public trades are kept; unset: for ever.
    #[serde(default, with = "duration_text::option")]
    pub trades_retention: Option<Duration>,
    /// What becomes of a window without trades.
    pub empty_windows: EmptyWindows,
    /// When a partial window is published; unset: never.
    #[serde(default, with = "duration_text::option")]
    pub publish_partial_after: Option<Duration>,
    /// Source candles of one batch, 1000–10000000.
    pub batch_rows: u32,
    /// Windows of the ledger that one run looks at again, per interval, 1–1000000.
    pub reopen_limit: u32,
    /// The proof-read of candles of one minute.
    pub proof_read: ProofReadOptions,
}

/// Keys of `jobs.kline-agg.proof_read`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofReadOptions {
    /// Minutes that ended less than this before the slot are compared in every run.
    #[serde(with = "duration_text")]
    pub look_back: Duration,
    /// A minute is compared when it ended this long before the slot.
    #[serde(with = "duration_text")]
    pub settle: Duration,
    /// Candles and trades of one run, after which it compares no further part, 1000–1000000000.
    pub rows_per_run: u64,
    /// Whether a scheduled run repairs what differs.
    pub repair: bool,
    /// Minutes that one run may repair, 1–10000.
    pub repair_limit: u32,
}

/// Keys of `jobs.stats-agg`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsAggOptions {
    /// The currency of the total of all markets.
    pub quote_currency: String,
    /// An hour is over when it ended this long before the slot.
    #[serde(with = "duration_text")]
    pub grace: Duration,
    /// Hours that ended less than this before the slot are added up again in every run.
    #[serde(with = "duration_text")]
    pub look_back: Duration,
    /// Where the first run begins.
    #[serde(with = "duration_text")]
    pub first_run: Duration,
    /// How long the trading service keeps its rows.
    #[serde(with = "duration_text")]
    pub source_retention: Duration,
}

impl ServiceSettings for AggregatorSettings {
    const DEFAULTS: &'static str = include_str!("../settings.default.yaml");
    type Options = AggregatorOptions;

    fn validate(&self, options: &AggregatorOptions, suite: &SuiteSettings, problems: &mut Problems) {
        self.aggregation_profile.validate(problems);
        let source = self.aggregation_profile.market_source;
        problems.needs_source(suite, source, "aggregation_profile.market_source names it");
        let source = self.aggregation_profile.trading_source;
        problems.needs_source(suite, source, "aggregation_profile.trading_source names it");
        self.statistics_keys.validate(problems);
        options.kline_agg.validate(problems);
        if options.stats_agg.quote_currency.is_empty() {
            problems.add(
                "jobs.stats-agg.quote_currency",
                "is empty: the total of all markets needs a currency",
                "name a token, such as USDC",
            );
        }
    }
}

impl StatisticsKeysSection {
    fn validate(&self, problems: &mut Problems) {
        // The shortest time to live is a minute.
        ranges!(problems, "statistics_keys", self;
            duration refresh: Duration::from_secs(1)..=Duration::from_secs(30);
        );
        problems.not_blank("statistics_keys.prefix", &self.prefix);
        if let Some(url) = &self.redis_url
            && !["redis://", "rediss://"]
                .iter()
                .any(|scheme| url.expose_secret().starts_with(scheme))
        {
            problems.add(
                "statistics_keys.redis_url",
                "is not a Redis URL",
                "use redis://host:port/database or rediss://host:port/database",
            );
        }
    }
}

impl KlineAggOptions {
    /// Returns the intervals that are built, finest first.
    ///
    /// # Errors
    /// What is wrong, each with its key below `jobs.kline-agg`.
    pub fn levels(&self) -> Result<Vec<Level>, Vec<(String, String)>> {
        let built = self.intervals.iter();
        let built = built.filter_map(|(interval, source)| Some((*interval, (*source)?)));
        levels(&built.collect(), self.week_start)
    }

    fn validate(&self, problems: &mut Problems) {
        ranges!(problems, "jobs.kline-agg", self;
            number batch_rows: 1_000..=10_000_000;
            number reopen_limit: 1..=1_000_000;
        );
        ranges!(problems, "jobs.kline-agg.proof_read", self.proof_read;
            number rows_per_run: 1_000..=1_000_000_000;
            number repair_limit: 1..=10_000;
        );
        for (key, reason) in self.levels().err().unwrap_or_default() {
            problems.add(
                format!("jobs.kline-agg.{key}"),
                reason,
                "write interval: finer interval, such as 1h: 1m",
            );
        }
    }
}
