//! The invariants, each a question to the databases and to the object store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use archiver::ArchiverSettings;
use chrono::{DateTime, TimeDelta, Utc};
use eidos_archive_store::{ArchiveStore, ArchiveStoreSettings};
use eidos_settings::Input;
use eidos_testkit::Verdict;
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use crate::arena::Arena;
use crate::life;
use crate::places::{columns, everywhere, gone};

/// Of the exchange's database: (checked, violations, an example).
const EXCHANGE_QUESTIONS: [(&str, &str); 3] = [
    (
        "no detach is pending",
        "SELECT count(*), count(*) FILTER (WHERE inhdetachpending), min(inhrelid::regclass::text) FILTER (WHERE inhdetachpending)
         FROM pg_inherits",
    ),
    (
        "no attached partition is left frozen",
        "WITH frozen AS (
             SELECT DISTINCT tgrelid FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid WHERE p.proname = 'eidos_jobs_refuse_write')
         SELECT (SELECT count(*) FROM pg_inherits), count(i.inhrelid), min(tgrelid::regclass::text) FILTER (WHERE i.inhrelid IS NOT NULL)
         FROM frozen LEFT JOIN pg_inherits i ON i.inhrelid = tgrelid",
    ),
    (
        "no order is in the archive while a trade of it is hot",
        "SELECT count(*), count(*) FILTER (WHERE hot), min(order_id) FILTER (WHERE hot)
         FROM (SELECT order_id, EXISTS (SELECT FROM eidos_trading_trades t
                   WHERE t.maker_order_id = a.order_id OR t.taker_order_id = a.order_id) AS hot
               FROM eidos_trading_orders_archive a) AS archived",
    ),
];

/// Of the jobs database.
const JOBS_QUESTIONS: [(&str, &str); 4] = [
    (
        "no unit is left between two states",
        "SELECT count(*), count(*) FILTER (WHERE between_two), min(unit_name || ' ' || state) FILTER (WHERE between_two)
         FROM (SELECT *, state IN ('planned', 'frozen', 'exporting', 'verified', 'dropping', 'deleting') AS between_two
               FROM eidos_jobs_disposal_units) AS units",
    ),
    (
        "nothing was destroyed without a verified copy",
        "SELECT count(*), count(*) FILTER (WHERE bare), min(unit_name) FILTER (WHERE bare)
         FROM (SELECT u.*, NOT EXISTS (SELECT FROM eidos_jobs_disposals d WHERE d.unit_id = u.unit_id AND d.action = 'verify') AS bare
               FROM eidos_jobs_disposal_units u WHERE state IN ('dropped', 'deleted')) AS destroyed",
    ),
    (
        "the end of every destroyed unit is in the audit, once",
        "SELECT count(*), count(*) FILTER (WHERE times <> 1), min(unit_name || ' ' || times) FILTER (WHERE times <> 1)
         FROM (SELECT u.unit_name, (SELECT count(*) FROM eidos_jobs_disposals d
                   WHERE d.unit_id = u.unit_id AND d.action IN ('drop', 'delete')
                     AND d.evidence ? 'content_digest') AS times
               FROM eidos_jobs_disposal_units u WHERE state IN ('dropped', 'deleted')) AS destroyed",
    ),
    (
        "no execution is left running",
        "SELECT count(*), count(*) FILTER (WHERE status IN ('running', 'pending')), min(execution_id::text) FILTER (WHERE status IN ('running', 'pending'))
         FROM eidos_jobs_executions",
    ),
];

/// Of all rows that were due before $1 (epoch ms): those that are still hot although no trade keeps them. Rows of months
/// that have left the archive already wait for those to be gone.
const DUE: &str = "
    SELECT (SELECT count(*) FROM eidos_trading_orders_archive) + (SELECT count(*) FROM eidos_trading_trades_archive),
           count(*), min(id)
    FROM (SELECT 'order ' || o.id AS id FROM eidos_trading_orders o
          WHERE o.status IN (3, 4, 5, 6) AND o.updated_at < $1 AND o.updated_at >= $2
            AND NOT EXISTS (SELECT FROM eidos_trading_trades t WHERE o.order_id IN (t.maker_order_id, t.taker_order_id))
          UNION ALL
          SELECT 'trade ' || t.id FROM eidos_trading_trades t
          WHERE t.settlement_status IN (3, 5) AND coalesce(t.settled_at, t.updated_at) < $1
            AND coalesce(t.settled_at, t.updated_at) >= $2) AS left_behind";

/// Asks everything.
pub(crate) async fn judge(arena: &Arena, last_slot: DateTime<Utc>) -> anyhow::Result<Vec<Verdict>> {
    let store = open_store(&arena.store_dir()).await?;
    sqlx::raw_sql("CREATE SCHEMA scratch")
        .execute(&arena.exchange)
        .await?;
    let mut verdicts = Vec::new();
    for table in life::watched() {
        verdicts.push(every_row_once(arena, &store, table).await?);
    }
    for (invariant, question) in EXCHANGE_QUESTIONS {
        verdicts.push(ask(&arena.exchange, invariant, question).await?);
    }
    for (invariant, question) in JOBS_QUESTIONS {
        verdicts.push(ask(&arena.jobs, invariant, question).await?);
    }
    verdicts.push(nothing_due_is_hot(arena, last_slot).await?);
    verdicts.push(exports_are_sound(arena, &store).await?);
    verdicts.push(no_leftovers(arena).await?);
    Ok(verdicts)
}

async fn open_store(dir: &Path) -> anyhow::Result<ArchiveStore> {
    let settings = ArchiveStoreSettings::at(format!("file://{}", dir.display()));
    let defaults = eidos_settings::load::<ArchiverSettings>(&Input {
        file: None,
        env: Vec::new(),
    })?;
    Ok(ArchiveStore::open(&settings, &defaults.suite.security).await?)
}

async fn ask(pool: &PgPool, invariant: &str, question: &'static str) -> anyhow::Result<Verdict> {
    let (checked, violations, example) = sqlx::query_as(question).fetch_one(pool).await?;
    Ok(Verdict {
        invariant: invariant.to_owned(),
        checked,
        violations,
        example,
    })
}

/// The rows of all places together are those of the truth, as bags: none is missing, none is there twice, none differs.
async fn every_row_once(arena: &Arena, store: &ArchiveStore, table: &str) -> anyhow::Result<Verdict> {
    let places = everywhere(table, store, &arena.exchange, &arena.jobs).await?;
    let columns = columns(&arena.exchange, table).await?;
    let question = format!(
        "WITH found AS ({places}), truth AS (SELECT ROW({columns})::text AS row FROM truth.{table}),
              lost AS (TABLE truth EXCEPT ALL TABLE found), extra AS (TABLE found EXCEPT ALL TABLE truth)
         SELECT (SELECT count(*) FROM truth), (SELECT count(*) FROM lost) + (SELECT count(*) FROM extra),
                coalesce((SELECT 'lost ' || row FROM lost LIMIT 1), (SELECT 'extra ' || row FROM extra LIMIT 1))"
    );
    let (checked, violations, example) = sqlx::query_as(AssertSqlSafe(question))
        .fetch_one(&arena.exchange)
        .await?;
    Ok(Verdict {
        invariant: format!("each row of {table} is in one place"),
        checked,
        violations,
        example,
    })
}

/// A cursor that goes by ids leaves what finished late behind; this one must not.
async fn nothing_due_is_hot(arena: &Arena, last_slot: DateTime<Utc>) -> anyhow::Result<Verdict> {
    let (checked, violations, example) = sqlx::query_as(DUE)
        .bind((last_slot - TimeDelta::days(31)).timestamp_millis())
        .bind((last_slot - TimeDelta::days(200)).timestamp_millis())
        .fetch_one(&arena.exchange)
        .await?;
    Ok(Verdict {
        invariant: "what finished more than 31 days ago, early or late, is archived".to_owned(),
        checked,
        violations,
        example,
    })
}

async fn exports_are_sound(arena: &Arena, store: &ArchiveStore) -> anyhow::Result<Verdict> {
    let (mut checked, mut violations, mut example) = (0, 0, None);
    for unit in gone(&arena.jobs).await? {
        checked += 1;
        if let Err(error) = store.verify(&unit.manifest(), &CancellationToken::new()).await {
            violations += 1;
            example.get_or_insert(error.to_string());
        }
    }
    Ok(Verdict {
        invariant: "every export that is all there is can be read back".to_owned(),
        checked,
        violations,
        example,
    })
}

/// Every file in the store belongs to a unit that stands by it.
async fn no_leftovers(arena: &Arena) -> anyhow::Result<Verdict> {
    let known: Vec<(String,)> = sqlx::query_as(
        "SELECT unit_id::text FROM eidos_jobs_disposal_units
         WHERE state IN ('verified', 'quarantined', 'dropping', 'dropped', 'deleting', 'deleted')",
    )
    .fetch_all(&arena.jobs)
    .await?;
    let known: BTreeSet<String> = known.into_iter().map(|(id,)| id).collect();
    let files = files(&arena.store_dir())?;
    let strays: Vec<&PathBuf> = files
        .iter()
        .filter(|file| {
            let of_a_unit = file
                .parent()
                .and_then(Path::file_name)
                .is_some_and(|folder| known.contains(&*folder.to_string_lossy()));
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            !(of_a_unit && (name == "manifest.json" || name.starts_with("part-") && !name.contains('#')))
        })
        .collect();
    Ok(Verdict {
        invariant: "no file of an unfinished upload is left in the store".to_owned(),
        checked: i64::try_from(files.len())?,
        violations: i64::try_from(strays.len())?,
        example: strays.first().map(|file| file.display().to_string()),
    })
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    Ok(found)
}
