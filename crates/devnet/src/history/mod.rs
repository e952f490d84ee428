//! Years of data in the neighbours' tables, and what a correct retention does about them.
//!
//! [`fill`] writes months of rows, the same for the same seed: orders and trades in every state, some finished long
//! after younger ones; partitioned tables with a partition for every month; plain tables with business that is years
//! old and unfinished; candles of all intervals. [`HistoryTrap`]s are set on request. The [`HistoryManifest`] says what
//! is there, and [`expect`] what must still be there after the services ran.

mod candles;
pub mod content;
pub mod expect;
mod months;
mod rows;
mod traps;

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use eidos_types::Month;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool};

pub use candles::BrokenWindow;
pub use content::Content;
pub use traps::{Held, HistoryTrap, HistoryTrapped};

use expect::TABLES;
use rows::RECIPES;

/// What to fill in.
#[derive(Debug, Clone)]
pub struct HistoryPlan {
    /// The same seed, and the same other fields, give the same rows.
    pub seed: u64,
    /// The present of this history, epoch ms: no row of it is younger (but for one trap's).
    pub until_ms: i64,
    /// How many months, that of `until_ms` included. At least 26 if traps are set.
    pub months: u32,
    /// Rows of each table and month.
    pub rows_per_month: u64,
    /// Which traps.
    pub traps: BTreeSet<HistoryTrap>,
    /// Only these tables, and no candles unless `eidos_market_klines` is among them; empty: all.
    pub tables: BTreeSet<&'static str>,
    /// Whether the manifest has the content of each table, which takes some seconds per million rows.
    pub with_facts: bool,
}

impl HistoryPlan {
    /// 28 months, so that even 24 months of retention have expired, with every trap but the two that make every later
    /// run fail, as it should: NaN and the namesake.
    pub fn complete(seed: u64, until_ms: i64, rows_per_month: u64) -> Self {
        let traps = HistoryTrap::ALL
            .into_iter()
            .filter(|trap| !matches!(trap, HistoryTrap::NanNumeric | HistoryTrap::Namesake));
        Self {
            seed,
            until_ms,
            months: 28,
            rows_per_month,
            traps: traps.collect(),
            tables: BTreeSet::new(),
            with_facts: true,
        }
    }

    fn wants(&self, table: &str) -> bool {
        self.tables.is_empty() || self.tables.contains(table)
    }
}

/// What one table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableFacts {
    /// The table.
    pub table: &'static str,
    /// All of its rows, also those of an interrupted detach.
    pub content: Content,
}

/// What was filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryManifest {
    /// The seed.
    pub seed: u64,
    /// First instant of the first month, epoch ms.
    pub first_ms: i64,
    /// Its present, epoch ms.
    pub until_ms: i64,
    /// Rows added, per table.
    pub added: Vec<(&'static str, u64)>,
    /// What the tables hold now; empty unless asked for.
    pub facts: Vec<TableFacts>,
    /// Traps that were set.
    pub traps: Vec<HistoryTrapped>,
    /// Legal holds among them.
    pub holds: Vec<Held>,
    /// Candles that nothing proves.
    pub broken_windows: Vec<BrokenWindow>,
}

/// Fills the neighbours' tables behind `exchange` and, if given, ours behind `jobs` (a migrated database). The tables
/// may hold younger rows; their partitions of that time must be empty.
///
/// # Errors
/// If the plan asks for less than its traps need, or a database refuses.
pub async fn fill(
    exchange: &PgPool,
    jobs: Option<&PgPool>,
    plan: &HistoryPlan,
) -> anyhow::Result<HistoryManifest> {
    ensure!(plan.months > 0, "a history has at least one month");
    ensure!(
        plan.traps.is_empty() || plan.months >= 26 && plan.tables.is_empty(),
        "traps are set in histories of all tables and at least 26 months"
    );
    let last = month_of(plan.until_ms)?;
    let months: Vec<Month> = last.minus(plan.months - 1).and_next(plan.months - 1).collect();
    let first_ms = months.first().context("no month")?.start_ms();
    prepare(exchange, jobs, plan, &months).await?;
    let mut manifest = HistoryManifest {
        seed: plan.seed,
        first_ms,
        until_ms: plan.until_ms,
        added: Vec::new(),
        facts: Vec::new(),
        traps: Vec::new(),
        holds: Vec::new(),
        broken_windows: Vec::new(),
    };
    for recipe in RECIPES.iter().filter(|recipe| plan.wants(recipe.table)) {
        let Some(pool) = (if recipe.ours { jobs } else { Some(exchange) }) else {
            continue;
        };
        let mut conn = pool.acquire().await?;
        let rows = rows::fill(
            &mut conn,
            recipe,
            plan.seed,
            plan.rows_per_month,
            &months,
            plan.until_ms,
        )
        .await?;
        manifest.added.push((recipe.table, rows));
    }
    if plan.wants("eidos_market_klines") {
        let mut conn = exchange.acquire().await?;
        manifest.broken_windows = candles::fill(&mut conn, plan.seed, plan.until_ms).await?;
    }
    for trap in &plan.traps {
        let trapped = traps::set(exchange, jobs, *trap, &months, &mut manifest.holds).await?;
        manifest.traps.push(trapped);
    }
    analyze(exchange, jobs, plan).await?;
    if plan.with_facts {
        manifest.facts = facts(exchange, jobs).await?;
    }
    Ok(manifest)
}

fn month_of(ms: i64) -> anyhow::Result<Month> {
    Month::of_ms(ms).with_context(|| format!("{ms} is beyond the calendar"))
}

/// Sets one more trap in a history that is there.
///
/// # Errors
/// If a database refuses, for instance because the trap is set already.
pub async fn set_trap(
    exchange: &PgPool,
    jobs: Option<&PgPool>,
    manifest: &mut HistoryManifest,
    trap: HistoryTrap,
) -> anyhow::Result<HistoryTrapped> {
    ensure!(
        !trap.is_layout(),
        "{trap:?} changes the layout: ask for it in the plan"
    );
    let (first, last) = (month_of(manifest.first_ms)?, month_of(manifest.until_ms)?);
    let months = [first, last];
    let trapped = traps::set(exchange, jobs, trap, &months, &mut manifest.holds).await?;
    manifest.traps.push(trapped.clone());
    Ok(trapped)
}

/// Partitions for every month, and the layouts of traps.
async fn prepare(
    exchange: &PgPool,
    jobs: Option<&PgPool>,
    plan: &HistoryPlan,
    months: &[Month],
) -> anyhow::Result<()> {
    let mut conn = exchange.acquire().await?;
    let mut absent = Vec::new();
    for trap in plan.traps.iter().filter(|trap| trap.is_layout()) {
        absent.extend(traps::prepare(&mut conn, *trap, months).await?);
    }
    for recipe in RECIPES
        .iter()
        .filter(|recipe| recipe.partitioned && plan.wants(recipe.table))
    {
        let Some(pool) = (if recipe.ours { jobs } else { Some(exchange) }) else {
            continue;
        };
        let mut conn = pool.acquire().await?;
        for month in months {
            if !absent.contains(&(recipe.table, *month)) {
                months::ensure(&mut conn, recipe.table, *month).await?;
            }
        }
    }
    Ok(())
}

async fn analyze(exchange: &PgPool, jobs: Option<&PgPool>, plan: &HistoryPlan) -> anyhow::Result<()> {
    for kept in TABLES.iter().filter(|kept| plan.wants(kept.table)) {
        if let Some(pool) = if kept.is_ours() { jobs } else { Some(exchange) } {
            sqlx::query(AssertSqlSafe(format!("ANALYZE {}", kept.table)))
                .execute(pool)
                .await?;
        }
    }
    Ok(())
}

async fn facts(exchange: &PgPool, jobs: Option<&PgPool>) -> anyhow::Result<Vec<TableFacts>> {
    let mut facts = Vec::new();
    for kept in &TABLES {
        let Some(pool) = (if kept.is_ours() { jobs } else { Some(exchange) }) else {
            continue;
        };
        facts.push(TableFacts {
            table: kept.table,
            content: content::of_table(pool, kept.table, kept.rows).await?,
        });
    }
    Ok(facts)
}
