//! What a service meets in old tables and must survive. Each is written into the manifest with what a correct service
//! does about it.
//!
//! The documents' partition function (`neighbours/documents_partition_function.sql`) truncates to a `timestamptz` for
//! the lower bound and adds an interval to a `date` for the upper one: only the lower bound moves with the session's
//! time zone. In Shanghai a month begins 8 hours early and overlaps the one before; in New York it begins 4 or 5 hours
//! late, and rows of the night have no partition.

use anyhow::{Context, ensure};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use eidos_types::{Month, TimeRange};

use super::months;

/// A trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryTrap {
    /// JSON of 1 to 5 MB in an expired month.
    HugeJson,
    /// A default partition with rows of two months that have no partition, and one of 2097.
    DefaultRows,
    /// NaN in a `NUMERIC(36,18)` of an expired month.
    NanNumeric,
    /// A month whose bounds were computed in Shanghai.
    ShanghaiBounds,
    /// Two months whose bounds were computed in New York, one of them kept.
    NewYorkBounds,
    /// An interrupted `DETACH CONCURRENTLY`.
    PendingDetach,
    /// A table that has the name of a partition that is still to be made.
    Namesake,
    /// A legal hold on an expired month.
    LegalHold,
}

impl HistoryTrap {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::HugeJson,
        Self::DefaultRows,
        Self::NanNumeric,
        Self::ShanghaiBounds,
        Self::NewYorkBounds,
        Self::PendingDetach,
        Self::Namesake,
        Self::LegalHold,
    ];

    /// Whether it changes the layout, which must be done before rows arrive.
    pub(super) const fn is_layout(self) -> bool {
        matches!(
            self,
            Self::DefaultRows | Self::ShanghaiBounds | Self::NewYorkBounds
        )
    }
}

/// One trap that was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryTrapped {
    /// Which.
    pub trap: HistoryTrap,
    /// `databases.<source>`.
    pub source: &'static str,
    /// The table.
    pub table: &'static str,
    /// The partition or other table it is about.
    pub object: String,
    /// Rows it is about.
    pub rows: u64,
    /// What a correct service does.
    pub expected: &'static str,
}

/// A legal hold that was placed: `[from, to)`, epoch ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The table.
    pub table: &'static str,
    /// From when.
    pub from_ms: i64,
    /// Until when.
    pub to_ms: i64,
}

pub(super) const HISTORY: &str = "eidos_market_trade_history";
const RISK_EVENTS: &str = "eidos_risk_events";
const RISK_AUDIT: &str = "eidos_risk_audit_logs";
const CHAIN_EVENTS: &str = "eidos_chain_events";
const DEPOSITS: &str = "eidos_chain_deposit_records";
const HOUR_MS: i64 = 3_600_000;

/// The month `back` months before the last one of `months`, which are in order.
fn back(months: &[Month], back: u32) -> anyhow::Result<Month> {
    let last = months.last().context("a history without months")?;
    Ok(last.minus(back))
}

fn first(months: &[Month]) -> anyhow::Result<Month> {
    months.first().copied().context("a history without months")
}

/// Sets a trap in the layout, before the rows arrive. Months it prepared have no further partition made for them.
pub(super) async fn prepare(
    conn: &mut PgConnection,
    trap: HistoryTrap,
    months: &[Month],
) -> anyhow::Result<Vec<(&'static str, Month)>> {
    match trap {
        HistoryTrap::DefaultRows => {
            let absent = [back(months, 8)?, back(months, 2)?];
            for month in absent {
                months::make_room(conn, RISK_AUDIT, month.range()).await?;
            }
            run(
                conn,
                &format!("CREATE TABLE {RISK_AUDIT}_default PARTITION OF {RISK_AUDIT} DEFAULT"),
            )
            .await?;
            Ok(absent.map(|month| (RISK_AUDIT, month)).to_vec())
        }
        HistoryTrap::ShanghaiBounds => {
            let month = first(months)?;
            let range = TimeRange {
                lower_ms: month.start_ms() - 8 * HOUR_MS,
                upper_ms: month.end_ms(),
            };
            months::make_room(conn, RISK_EVENTS, range).await?;
            documents_partition(conn, "Asia/Shanghai", RISK_EVENTS, month).await?;
            Ok(Vec::new())
        }
        HistoryTrap::NewYorkBounds => {
            for month in [back(months, 14)?, back(months, 4)?] {
                months::make_room(conn, HISTORY, month.range()).await?;
                documents_partition(conn, "America/New_York", HISTORY, month).await?;
            }
            Ok(Vec::new())
        }
        _ => Ok(Vec::new()),
    }
}

/// A month made by the documents' own function, in a session of that time zone.
async fn documents_partition(
    conn: &mut PgConnection,
    zone: &str,
    table: &str,
    month: Month,
) -> anyhow::Result<()> {
    run(
        conn,
        include_str!("../../neighbours/documents_partition_function.sql"),
    )
    .await?;
    run(
        conn,
        &format!(
            "BEGIN; SET LOCAL TimeZone = '{zone}'; SELECT create_monthly_partition('{table}', {}, {}); COMMIT; \
             DROP FUNCTION create_monthly_partition(TEXT, INT, INT)",
            month.year(),
            month.number()
        ),
    )
    .await
    .with_context(|| format!("the documents' function for {table} in {zone}"))
}

/// Sets a trap, or adds the rows of one that [`prepare`] made room for.
pub(super) async fn set(
    pool: &PgPool,
    jobs: Option<&PgPool>,
    trap: HistoryTrap,
    months: &[Month],
    holds: &mut Vec<Held>,
) -> anyhow::Result<HistoryTrapped> {
    let trapped = |source, table, object: String, rows, expected| HistoryTrapped {
        trap,
        source,
        table,
        object,
        rows,
        expected,
    };
    Ok(match trap {
        HistoryTrap::HugeJson => {
            let month = back(months, 13)?;
            let rows = huge_json(pool, month).await?;
            let expected = "exported with every byte, and the partition leaves like the others";
            trapped("risk", RISK_EVENTS, month.partition(RISK_EVENTS), rows, expected)
        }
        HistoryTrap::DefaultRows => {
            default_rows(pool, back(months, 0)?).await?;
            let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM ONLY eidos_risk_audit_logs_default")
                .fetch_one(pool)
                .await?;
            let expected = "both months are created with their rows moved in; the row of 2097 stays";
            let object = format!("{RISK_AUDIT}_default");
            trapped("risk", RISK_AUDIT, object, u64::try_from(rows)?, expected)
        }
        HistoryTrap::NanNumeric => {
            let object = nan(pool, first(months)?.minus(24)).await?;
            let expected = "refused by name: no export, no detach, the row stays readable, the run fails";
            trapped("chain", DEPOSITS, object, 1, expected)
        }
        HistoryTrap::ShanghaiBounds => {
            let month = first(months)?;
            let rows = shanghai_rows(pool, month).await?;
            let expected = "leaves as what its bounds say, the eight hours before its name's month included";
            trapped("risk", RISK_EVENTS, month.partition(RISK_EVENTS), rows, expected)
        }
        HistoryTrap::NewYorkBounds => {
            let month = back(months, 4)?;
            let expected =
                "the hours of the kept month that have no partition get one, the expired month leaves";
            trapped("market", HISTORY, month.partition(HISTORY), 0, expected)
        }
        HistoryTrap::PendingDetach => {
            let month = back(months, 10)?;
            let object = month.partition(CHAIN_EVENTS);
            pending_detach(pool, CHAIN_EVENTS, &object).await?;
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM ONLY {object}")))
                .fetch_one(pool)
                .await?;
            let expected = "finalized before anything else; the detached table and its rows are left alone";
            trapped("chain", CHAIN_EVENTS, object, u64::try_from(rows)?, expected)
        }
        HistoryTrap::Namesake => {
            let object = namesake(pool, back(months, 0)?.plus(2)).await?;
            let expected = "refused by name: the namesake stays as it is, a person decides, the run fails";
            trapped("chain", DEPOSITS, object, 2, expected)
        }
        HistoryTrap::LegalHold => {
            let jobs = jobs.context("a legal hold needs the jobs database")?;
            let month = first(months)?;
            let held = hold(jobs, month).await?;
            holds.push(held);
            let expected = "its partition stays attached and writable, whatever its age";
            trapped("chain", DEPOSITS, month.partition(DEPOSITS), 0, expected)
        }
    })
}

/// One row of NaN in an expired month of its own. Returns the partition.
async fn nan(pool: &PgPool, month: Month) -> anyhow::Result<String> {
    let mut conn = pool.acquire().await?;
    months::attach(&mut conn, DEPOSITS, month).await?;
    sqlx::query(
        "INSERT INTO eidos_chain_deposit_records (id, deposit_id, wallet_address, token, token_address, amount, chain_id,
             tx_hash, block_number, block_hash, log_index, status, created_at, updated_at)
         SELECT nextval(pg_get_serial_sequence('eidos_chain_deposit_records', 'id')), 'h-nan', '0x0', 'USDC', '0x0', 'NaN', 31337,
                '0x0', 1, '0x0', 0, 2, $1, $1",
    )
    .bind(month.start_ms() + HOUR_MS)
    .execute(&mut *conn)
    .await?;
    Ok(month.partition(DEPOSITS))
}

/// A month that is still empty loses its partition, and another table takes its name. Returns the name.
async fn namesake(pool: &PgPool, month: Month) -> anyhow::Result<String> {
    let mut conn = pool.acquire().await?;
    months::make_room(&mut conn, DEPOSITS, month.range()).await?;
    let name = month.partition(DEPOSITS);
    run(
        &mut conn,
        &format!("CREATE TABLE {name} (note TEXT); INSERT INTO {name} VALUES ('I was here first'), ('no partition')"),
    )
    .await?;
    Ok(name)
}

async fn huge_json(pool: &PgPool, month: Month) -> anyhow::Result<u64> {
    // Random text does not compress, so it is stored out of line as it is.
    let done = sqlx::query(
        "INSERT INTO eidos_risk_events (event_id, event_type, risk_level, wallet_address, details, created_at)
         SELECT 'h-huge-' || mb, 'dump', 'high', '0x0',
                jsonb_build_object('dump', (SELECT string_agg(md5(mb || ':' || i), '') FROM generate_series(1, mb * 32768) AS i)),
                $1 + mb * 1000
         FROM unnest(ARRAY[1, 3, 5]) AS mb",
    )
    .bind(month.start_ms() + 12 * HOUR_MS)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

async fn default_rows(pool: &PgPool, last: Month) -> anyhow::Result<()> {
    // 2097-05-05: no month ahead reaches it.
    sqlx::query(
        "INSERT INTO eidos_risk_audit_logs (action, wallet_address, result, created_at) VALUES ('clock', '0x0', 'ALLOWED', $1)",
    )
    .bind(4_018_032_000_000_i64.max(last.end_ms()))
    .execute(pool)
    .await?;
    Ok(())
}

async fn shanghai_rows(pool: &PgPool, month: Month) -> anyhow::Result<u64> {
    let done = sqlx::query(
        "INSERT INTO eidos_risk_events (event_id, event_type, risk_level, wallet_address, created_at)
         SELECT 'h-shanghai-' || n, 'velocity', 'low', '0x0', $1 - n * 3600000 FROM generate_series(1, 8) AS n",
    )
    .bind(month.start_ms())
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Begins a concurrent detach beside an open reader and gives up waiting: its first half is committed by then.
async fn pending_detach(pool: &PgPool, table: &str, partition: &str) -> anyhow::Result<()> {
    let mut reader = pool.acquire().await?.detach();
    let mut detacher = pool.acquire().await?.detach();
    run(
        &mut reader,
        &format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM {table}"),
    )
    .await?;
    run(&mut detacher, "SET lock_timeout = '200ms'").await?;
    let detach = format!("ALTER TABLE {table} DETACH PARTITION {partition} CONCURRENTLY");
    let outcome = run(&mut detacher, &detach).await;
    run(&mut reader, "ROLLBACK").await?;
    ensure!(outcome.is_err(), "the detach of {partition} was not interrupted");
    let pending: bool =
        sqlx::query_scalar("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1)")
            .bind(partition)
            .fetch_one(&mut reader)
            .await
            .with_context(|| format!("{partition} is gone: {outcome:?}"))?;
    ensure!(pending, "the detach of {partition} is not pending: {outcome:?}");
    reader.close().await?;
    detacher.close().await?;
    Ok(())
}

async fn hold(jobs: &PgPool, month: Month) -> anyhow::Result<Held> {
    sqlx::query(
        "INSERT INTO eidos_jobs_legal_holds (hold_id, source, schema_name, table_name, from_ms, to_ms, reason, placed_by)
         VALUES ($1, 'chain', 'public', $2, $3, $4, 'case 17', 'devnet')",
    )
    .bind(uuid::Uuid::from_u128(17))
    .bind(DEPOSITS)
    .bind(month.start_ms())
    .bind(month.end_ms())
    .execute(jobs)
    .await?;
    Ok(Held {
        table: DEPOSITS,
        from_ms: month.start_ms(),
        to_ms: month.end_ms(),
    })
}

async fn run(conn: &mut PgConnection, statements: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(conn)
        .await?;
    Ok(())
}
