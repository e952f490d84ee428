//! What a run, or the runs of a period, found: by token, by age, how much was proved lately, and how that went before.
//!
//! The same [`Report`] is printed as JSON, as CSV ([`csv`]) and as a page for people and printers ([`page`]). Money is exact
//! text in all of them; tokens are never added together.

pub mod coverage;
pub mod csv;
pub mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

pub use coverage::{Coverage, Share};

use crate::life::Age;
use crate::store::listing;
use crate::store::reports::{self, RunRow, Scope};

/// Runs that a report lists.
pub const MAX_RUNS: usize = 500;
/// Runs of its trend.
const TREND_RUNS: i64 = 24;

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum Subject {
    /// One run.
    Run {
        /// Which.
        run_id: Uuid,
    },
    /// The runs that ended in a period.
    Period {
        /// At or after.
        from: DateTime<Utc>,
        /// Before.
        until: DateTime<Utc>,
    },
}

/// One token of one dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenLine {
    /// The dimension.
    pub dimension: String,
    /// The token.
    pub token: String,
    /// Comparisons; in a period an account counts once for each run that compared it.
    pub checked: i64,
    /// Those that agreed at the first reading.
    pub matched: i64,
    /// Distinct breaks that were seen.
    pub breaks: i64,
    /// What the chain lacks in them, exactly; empty: one of them is not an amount.
    pub shortfall: String,
    /// What the chain has more in them, exactly; empty: one of them is not an amount.
    pub surplus: String,
    /// Differences below the threshold, in the newest run.
    pub dust_entries: i64,
    /// Their magnitude, exactly.
    pub dust: String,
}

/// Unresolved breaks of a dimension and severity by age, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgeLine {
    /// The dimension.
    pub dimension: String,
    /// Their severity.
    pub severity: String,
    /// How many in each bucket of [`Age::ALL`].
    pub counts: [u64; 4],
    /// When the oldest one was first seen.
    pub oldest: DateTime<Utc>,
}

/// Breaks that began and ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeLine {
    /// The dimension.
    pub dimension: String,
    /// Their severity.
    pub severity: String,
    /// Seen for the first time.
    pub opened: i64,
    /// Ended: closed by a run or by a person.
    pub ended: i64,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it is about.
    pub subject: Subject,
    /// Only this dimension; `None`: all.
    pub dimension: Option<String>,
    /// When it was made: ages and coverage are as of then.
    pub made_at: DateTime<Utc>,
    /// The runs, a line for each dimension of each, the newest first, at most [`MAX_RUNS`].
    pub runs: Vec<RunRow>,
    /// True if there are more of them; the sums below are of all.
    pub has_more_runs: bool,
    /// By dimension and token.
    pub tokens: Vec<TokenLine>,
    /// What is unresolved now.
    pub ages: Vec<AgeLine>,
    /// What began and ended in the period; empty for a run.
    pub changes: Vec<ChangeLine>,
    /// How much was proved lately.
    pub coverage: Vec<Coverage>,
    /// The newest runs at the time of the report, the newest first.
    pub trend: Vec<RunRow>,
}

/// Makes the report of a run; `None`: there is no such run.
pub async fn of_run(pool: &PgPool, id: Uuid, now: DateTime<Utc>) -> Result<Option<Report>, sqlx::Error> {
    let runs = reports::run(pool, id).await?;
    if runs.is_empty() {
        return Ok(None);
    }
    let scope = Scope {
        run: Some(id),
        ..Scope::default()
    };
    make(pool, Subject::Run { run_id: id }, scope, runs, now)
        .await
        .map(Some)
}

/// Makes the report of the runs that ended in a period.
pub async fn of_period(
    pool: &PgPool,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    dimension: Option<String>,
    now: DateTime<Utc>,
) -> Result<Report, sqlx::Error> {
    let scope = Scope {
        run: None,
        dimension,
        from_ms: Some(from.timestamp_millis()),
        until_ms: Some(until.timestamp_millis()),
    };
    let limit = i64::try_from(MAX_RUNS).unwrap_or(i64::MAX).saturating_add(1);
    let runs = reports::runs(pool, &scope, None, None, limit).await?;
    make(pool, Subject::Period { from, until }, scope, runs, now).await
}

async fn make(
    pool: &PgPool,
    subject: Subject,
    scope: Scope,
    mut runs: Vec<RunRow>,
    now: DateTime<Utc>,
) -> Result<Report, sqlx::Error> {
    let has_more_runs = runs.len() > MAX_RUNS;
    runs.truncate(MAX_RUNS);
    let dimension = scope.dimension.clone();
    let of_dimension = Scope {
        dimension: dimension.clone(),
        ..Scope::default()
    };
    let changes = match &subject {
        Subject::Run { .. } => Vec::new(),
        Subject::Period { from, until } => changes(pool, dimension.as_deref(), (*from, *until)).await?,
    };
    Ok(Report {
        tokens: tokens(pool, &scope, &runs).await?,
        ages: ages(pool, dimension.as_deref(), now).await?,
        coverage: coverage::read(pool, dimension.as_deref(), now).await?,
        trend: reports::runs(pool, &of_dimension, None, None, TREND_RUNS).await?,
        changes,
        subject,
        dimension,
        made_at: now,
        runs,
        has_more_runs,
    })
}

async fn tokens(pool: &PgPool, scope: &Scope, runs: &[RunRow]) -> Result<Vec<TokenLine>, sqlx::Error> {
    let mut lines: BTreeMap<(String, String), TokenLine> = BTreeMap::new();
    let mut of = |dimension: String, token: String, change: &dyn Fn(&mut TokenLine)| {
        let line = lines
            .entry((dimension.clone(), token.clone()))
            .or_insert_with(|| TokenLine {
                dimension,
                token,
                checked: 0,
                matched: 0,
                breaks: 0,
                shortfall: "0".to_owned(),
                surplus: "0".to_owned(),
                dust_entries: 0,
                dust: "0".to_owned(),
            });
        change(line);
    };
    for (dimension, token, checked, matched) in reports::totals(pool, scope).await? {
        of(dimension, token, &|line| {
            (line.checked, line.matched) = (checked.unwrap_or_default(), matched.unwrap_or_default());
        });
    }
    for (dimension, token, breaks, shortfall, surplus) in reports::differences(pool, scope).await? {
        of(dimension, token, &|line| {
            line.breaks = breaks;
            line.shortfall = shortfall.clone().unwrap_or_default();
            line.surplus = surplus.clone().unwrap_or_default();
        });
    }
    let mut newest: BTreeMap<&str, Uuid> = BTreeMap::new();
    for run in runs {
        newest.entry(&run.dimension).or_insert(run.run_id);
    }
    for (dimension, run) in newest {
        for (token, entries, gross) in reports::dust(pool, run, dimension).await? {
            of(dimension.to_owned(), token, &|line| {
                (line.dust_entries, line.dust) = (entries, gross.clone());
            });
        }
    }
    Ok(lines.into_values().collect())
}

async fn ages(
    pool: &PgPool,
    dimension: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<AgeLine>, sqlx::Error> {
    let mut lines: BTreeMap<(String, String), AgeLine> = BTreeMap::new();
    let unresolved = listing::unresolved(pool, now).await?;
    for row in unresolved
        .into_iter()
        .filter(|row| dimension.is_none_or(|dimension| row.dimension == dimension))
    {
        let key = (row.dimension.clone(), row.severity.clone());
        let line = lines.entry(key).or_insert_with(|| AgeLine {
            dimension: row.dimension,
            severity: row.severity,
            counts: [0; 4],
            oldest: row.oldest,
        });
        for (age, count) in Age::ALL.into_iter().zip(&mut line.counts) {
            if age == row.age {
                *count += row.count;
            }
        }
        line.oldest = line.oldest.min(row.oldest);
    }
    Ok(lines.into_values().collect())
}

async fn changes(
    pool: &PgPool,
    dimension: Option<&str>,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<ChangeLine>, sqlx::Error> {
    let rows = reports::changes(pool, dimension, from, until).await?;
    let line = |(dimension, severity, opened, ended)| ChangeLine {
        dimension,
        severity,
        opened,
        ended,
    };
    Ok(rows.into_iter().map(line).collect())
}

/// An instant of a report.
#[must_use]
pub fn at(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(|| ms.to_string(), shown)
}

/// An instant as reports show it.
#[must_use]
pub fn shown(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
