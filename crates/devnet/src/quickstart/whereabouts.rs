//! Where the rows of a table are after the services ran, and the verdict: counted in the databases and in the objects
//! themselves, not taken from reports.

use anyhow::Context;
use eidos_archive_store::{ArchiveStore, ManifestRef};
use futures::TryStreamExt;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::history::content::{self, Content};
use crate::history::expect::{Keeps, Kept, TABLES};
use crate::history::{HistoryManifest, HistoryTrap};

/// Tables made from exports, for as long as they are counted.
const SCRATCH: &str = "devnet_scratch";

/// What one table held before.
#[derive(Debug, Clone)]
pub(super) struct Before {
    kept: Kept,
    /// All of its rows.
    all: Content,
    /// Those that must still be there.
    stays: Content,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    /// The table, or the trap.
    pub(super) about: String,
    /// What must hold.
    pub(super) what: String,
    /// Figures.
    pub(super) found: String,
    /// Whether it does.
    pub(super) holds: bool,
}

/// The databases and the store.
pub(super) struct Storage<'a> {
    pub(super) exchange: &'a PgPool,
    pub(super) jobs: &'a PgPool,
    pub(super) store: &'a ArchiveStore,
}

#[derive(Debug, sqlx::FromRow)]
struct UnitRow {
    unit_id: Uuid,
    unit_name: String,
    state: String,
    archived: bool,
    quarantine_table: Option<String>,
    manifest_key: Option<String>,
    manifest_sha256: Option<String>,
}

impl Storage<'_> {
    fn pool(&self, kept: &Kept) -> &PgPool {
        if kept.is_ours() { self.jobs } else { self.exchange }
    }

    /// Before the first job: what there is, and what must stay in a run for `slot_ms`.
    pub(super) async fn before(
        &self,
        manifest: &HistoryManifest,
        slot_ms: i64,
    ) -> anyhow::Result<Vec<Before>> {
        let mut before = Vec::new();
        for kept in TABLES {
            let stays = format!("{} AND {}", kept.rows, kept.stays(manifest, slot_ms)?);
            let pool = self.pool(&kept);
            before.push(Before {
                all: content::of_table(pool, kept.table, kept.rows).await?,
                stays: content::of_table(pool, kept.table, &stays).await?,
                kept,
            });
        }
        Ok(before)
    }

    /// Each table: what had to stay is in place and nothing else, and every row is somewhere, once.
    pub(super) async fn tables(
        &self,
        before: &[Before],
        manifest: &HistoryManifest,
    ) -> anyhow::Result<Vec<Check>> {
        for pool in [self.exchange, self.jobs] {
            scratch(
                pool,
                &format!("DROP SCHEMA IF EXISTS {SCRATCH} CASCADE; CREATE SCHEMA {SCRATCH}"),
            )
            .await?;
        }
        let mut checks = Vec::new();
        for before in before {
            checks.extend(self.table(before, manifest).await?);
        }
        for pool in [self.exchange, self.jobs] {
            scratch(pool, &format!("DROP SCHEMA {SCRATCH} CASCADE")).await?;
        }
        Ok(checks)
    }

    async fn table(&self, before: &Before, manifest: &HistoryManifest) -> anyhow::Result<Vec<Check>> {
        let (kept, pool) = (&before.kept, self.pool(&before.kept));
        let hot = content::of_table(pool, kept.table, kept.rows).await?;
        let mut checks = vec![Check {
            about: kept.table.to_owned(),
            what: "what must stay is in place, and nothing else".to_owned(),
            found: format!("{} of {} rows in place", hot.rows, before.all.rows),
            holds: hot == before.stays,
        }];
        if kept.keeps == Keeps::Candles {
            return Ok(checks);
        }
        let columns = content::columns(pool, kept.table).await?;
        let units = self.units(kept).await?;
        let mut places = Places::of(kept, pool, manifest).await?;
        for unit in &units {
            self.add(kept, unit, &mut places).await?;
        }
        let found = content::content(pool, &places.all(), &columns, kept.rows).await?;
        checks.push(Check {
            about: kept.table.to_owned(),
            what: "every row is somewhere, exactly once and unchanged".to_owned(),
            found: format!(
                "{} accounted for: {} units, {} resting, {} only in exports",
                found.rows,
                units.len(),
                places.resting.len(),
                places.exported.len()
            ),
            holds: found == before.all,
        });
        if kept.archived {
            let unproved = units
                .iter()
                .filter(|unit| !unit.archived && unit.state != "abandoned");
            let unproved: Vec<&str> = unproved.map(|unit| unit.unit_name.as_str()).collect();
            checks.push(Check {
                about: kept.table.to_owned(),
                what: "nothing left without an export".to_owned(),
                found: format!("{} without an export", unproved.len()),
                holds: unproved.is_empty(),
            });
        }
        Ok(checks)
    }

    async fn units(&self, kept: &Kept) -> anyhow::Result<Vec<UnitRow>> {
        Ok(sqlx::query_as(
            "SELECT unit_id, unit_name, state, archived, quarantine_table, manifest_key, manifest_sha256
             FROM eidos_jobs_disposal_units WHERE source = $1 AND table_name IN ($2, $2 || '_archive') ORDER BY unit_id",
        )
        .bind(kept.source)
        .bind(kept.table)
        .fetch_all(self.jobs)
        .await?)
    }

    async fn add(&self, kept: &Kept, unit: &UnitRow, places: &mut Places) -> anyhow::Result<()> {
        match (unit.state.as_str(), &unit.quarantine_table) {
            ("quarantined" | "dropping", Some(resting)) => places.resting.push(resting.clone()),
            ("dropped" | "deleted" | "deleting", _) if unit.archived => {
                let unpacked = self.unpack(kept, unit).await;
                places
                    .exported
                    .push(unpacked.with_context(|| format!("the export of {}", unit.unit_name))?);
            }
            _ => {}
        }
        Ok(())
    }

    /// An export as a table. Returns its name.
    async fn unpack(&self, kept: &Kept, unit: &UnitRow) -> anyhow::Result<String> {
        let manifest = self
            .store
            .manifest(&ManifestRef {
                key: unit.manifest_key.clone().context("it has no manifest")?,
                sha256: unit.manifest_sha256.clone().context("its manifest has no hash")?,
            })
            .await?;
        let name = format!("{SCRATCH}.u_{}", unit.unit_id.simple());
        let declared: Vec<String> = manifest
            .columns
            .iter()
            .map(|column| format!("\"{}\" {}", column.name, column.pg_type.declaration()))
            .collect();
        let pool = self.pool(kept);
        scratch(pool, &format!("CREATE TABLE {name} ({})", declared.join(", "))).await?;
        let mut conn = pool.acquire().await?;
        let mut sink = conn
            .copy_in_raw(&format!("COPY {name} FROM STDIN (FORMAT binary)"))
            .await?;
        let mut rows = std::pin::pin!(self.store.copy_stream(&manifest, None));
        while let Some(chunk) = rows.try_next().await? {
            sink.send(chunk.as_ref()).await?;
        }
        sink.finish().await?;
        Ok(name)
    }

    /// Each trap: handled as the manifest says.
    pub(super) async fn traps(&self, manifest: &HistoryManifest) -> anyhow::Result<Vec<Check>> {
        let mut checks = Vec::new();
        for trapped in &manifest.traps {
            let (table, object, rows) = (trapped.table, &trapped.object, trapped.rows);
            let attached = format!(
                "(SELECT count(*) = 1 FROM pg_inherits WHERE inhparent = '{table}'::regclass AND inhrelid = to_regclass('{object}'))"
            );
            let question = match trapped.trap {
                HistoryTrap::HugeJson => format!(
                    "SELECT count(*) = {rows} AND max(octet_length(details::text)) > 5 << 20 FROM {table}_restored WHERE event_id LIKE 'h-huge-%'"
                ),
                HistoryTrap::DefaultRows => format!(
                    "SELECT (SELECT count(*) FROM ONLY {object}) = 1 AND (SELECT count(*) FROM ONLY {object} WHERE created_at < {}) = 0",
                    manifest.until_ms
                ),
                HistoryTrap::NanNumeric => {
                    format!("SELECT {attached} AND (SELECT count(*) = 1 FROM {object} WHERE amount = 'NaN')")
                }
                HistoryTrap::ShanghaiBounds => format!("SELECT NOT {attached}"),
                HistoryTrap::NewYorkBounds => format!(
                    "SELECT {attached} AND EXISTS (
                         SELECT FROM pg_class mine
                         JOIN pg_inherits i ON i.inhparent = '{table}'::regclass
                         JOIN pg_class other ON other.oid = i.inhrelid
                         WHERE mine.oid = to_regclass('{object}')
                           AND (regexp_match(pg_get_expr(other.relpartbound, other.oid), 'TO \\(''?(\\d+)'))[1]
                             = (regexp_match(pg_get_expr(mine.relpartbound, mine.oid), 'FROM \\(''?(\\d+)'))[1])"
                ),
                HistoryTrap::PendingDetach => format!(
                    "SELECT NOT EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending) AND NOT {attached}
                         AND (SELECT count(*) FROM {object}) = {rows}"
                ),
                HistoryTrap::Namesake => format!(
                    "SELECT NOT {attached} AND (SELECT count(*) FROM {object}) = {rows}"
                ),
                // Not frozen either: a frozen partition has a trigger of ours.
                HistoryTrap::LegalHold => format!(
                    "SELECT {attached} AND NOT EXISTS (
                         SELECT FROM pg_trigger WHERE tgrelid = to_regclass('{object}') AND NOT tgisinternal)"
                ),
            };
            let holds: bool = sqlx::query_scalar(AssertSqlSafe(question))
                .fetch_one(self.exchange)
                .await
                .with_context(|| format!("{:?}", trapped.trap))?;
            checks.push(Check {
                about: format!("trap {:?}", trapped.trap),
                what: trapped.expected.to_owned(),
                found: format!("{object}: {}", trapped.expected),
                holds,
            });
        }
        Ok(checks)
    }
}

/// Where rows are.
struct Places {
    attached: Vec<String>,
    resting: Vec<String>,
    exported: Vec<String>,
}

impl Places {
    /// The table itself, its archive, and what an interrupted detach left standing alone.
    async fn of(kept: &Kept, pool: &PgPool, manifest: &HistoryManifest) -> anyhow::Result<Self> {
        let mut attached = vec![kept.table.to_owned()];
        let archive: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
            .bind(format!("{}_archive", kept.table))
            .fetch_one(pool)
            .await?;
        attached.extend(archive);
        let detached = manifest
            .traps
            .iter()
            .filter(|trapped| trapped.trap == HistoryTrap::PendingDetach && trapped.table == kept.table);
        for trapped in detached {
            let alone: bool = sqlx::query_scalar(
                "SELECT to_regclass($1) IS NOT NULL AND NOT EXISTS (SELECT FROM pg_inherits
                     WHERE inhrelid = to_regclass($1) AND NOT inhdetachpending)",
            )
            .bind(&trapped.object)
            .fetch_one(pool)
            .await?;
            if alone {
                attached.push(format!("ONLY {}", trapped.object));
            }
        }
        Ok(Self {
            attached,
            resting: Vec::new(),
            exported: Vec::new(),
        })
    }

    fn all(&self) -> Vec<String> {
        [&self.attached[..], &self.resting, &self.exported].concat()
    }
}

async fn scratch(pool: &PgPool, statements: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(pool)
        .await?;
    Ok(())
}
