//! How much was proved lately. Single accounts are not followed: the share is what the best single run of a window decided
//! about, of what the newest full run compared. It never says more than was proved; several partial runs together may have
//! proved more.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, Serializer};
use sqlx::PgPool;

use crate::store::reports::{self, RunRow, Scope};

/// How far back runs are looked for: a week and a day, since the gauges read it every minute.
pub const LOOK_BACK_DAYS: i64 = 8;
/// Lines of runs that are looked at, at most: an hourly run of six dimensions over the look-back, and a third more.
const MAX_RUNS: i64 = 1_500;

/// A part of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// The part.
    pub part: u64,
    /// The whole.
    pub whole: u64,
}

impl Share {
    /// In hundredths of a percent, rounded down: only all of it is 100 %. `None`: there is nothing to have a part of.
    #[must_use]
    pub fn basis_points(self) -> Option<u64> {
        let whole = u128::from(self.whole);
        let points = (u128::from(self.part.min(self.whole)) * 10_000).checked_div(whole)?;
        u64::try_from(points).ok()
    }

    /// As text, such as `99.99 %`.
    #[must_use]
    pub fn percent(self) -> String {
        self.basis_points().map_or_else(
            || "-".to_owned(),
            |points| format!("{}.{:02} %", points / 100, points % 100),
        )
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Share", 3)?;
        fields.serialize_field("part", &self.part)?;
        fields.serialize_field("whole", &self.whole)?;
        fields.serialize_field("percent", &self.percent())?;
        fields.end()
    }
}

/// How much of a dimension was proved lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The dimension.
    pub dimension: String,
    /// In the last 24 hours.
    pub day: Share,
    /// In the last 7 days.
    pub week: Share,
    /// When the newest full run ended; `None`: none in the look-back.
    pub last_full: Option<DateTime<Utc>>,
    /// When the newest run ended that found no break and left nothing undecided; `None`: none in the look-back.
    pub last_clean: Option<DateTime<Utc>>,
}

/// Reads it, for one dimension or all.
pub async fn read(
    pool: &PgPool,
    dimension: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<Coverage>, sqlx::Error> {
    let from = now.checked_sub_signed(TimeDelta::days(LOOK_BACK_DAYS));
    let scope = Scope {
        dimension: dimension.map(ToOwned::to_owned),
        from_ms: from.map(|from| from.timestamp_millis()),
        ..Scope::default()
    };
    let runs = reports::runs(pool, &scope, None, None, MAX_RUNS).await?;
    Ok(of_runs(&runs, now))
}

/// From the runs, the newest first.
#[must_use]
pub fn of_runs(runs: &[RunRow], now: DateTime<Utc>) -> Vec<Coverage> {
    let mut by_dimension: BTreeMap<&str, Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        by_dimension.entry(&run.dimension).or_default().push(run);
    }
    let at = |run: &&&RunRow| DateTime::from_timestamp_millis(run.at_ms);
    by_dimension
        .into_iter()
        .map(|(dimension, runs)| {
            let full = runs.iter().find(|run| run.mode == "full");
            let whole = full.map_or(0, |run| run.checked.unsigned_abs());
            let within = |window: TimeDelta| {
                let since = now
                    .checked_sub_signed(window)
                    .map_or(i64::MIN, |since| since.timestamp_millis());
                let recent = runs.iter().filter(|run| run.at_ms >= since);
                let part = recent
                    .map(|run| run.checked.saturating_sub(run.undecided).max(0).unsigned_abs())
                    .max();
                Share {
                    part: part.unwrap_or_default().min(whole),
                    whole,
                }
            };
            Coverage {
                dimension: dimension.to_owned(),
                day: within(TimeDelta::hours(24)),
                week: within(TimeDelta::days(7)),
                last_full: full
                    .as_ref()
                    .and_then(|run| DateTime::from_timestamp_millis(run.at_ms)),
                last_clean: runs
                    .iter()
                    .find(|run| run.breaks == 0 && run.undecided == 0)
                    .as_ref()
                    .and_then(at),
            }
        })
        .collect()
}
