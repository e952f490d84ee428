//! Where a table's rows are: the hot table, its archive table, quarantine, verified objects.

use anyhow::Context;
use eidos_archive_store::{ArchiveStore, ManifestRef};
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::life::MOVED;

/// One export whose rows are no longer in a table.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Gone {
    unit_id: Uuid,
    table_name: String,
    manifest_key: String,
    manifest_sha256: String,
}

/// Exports that alone hold their rows.
pub(crate) async fn gone(jobs: &PgPool) -> anyhow::Result<Vec<Gone>> {
    Ok(sqlx::query_as(
        "SELECT unit_id, table_name, manifest_key, manifest_sha256 FROM eidos_jobs_disposal_units
         WHERE state IN ('dropped', 'deleted') AND archived ORDER BY created_at",
    )
    .fetch_all(jobs)
    .await?)
}

impl Gone {
    /// What its manifest must be.
    pub(crate) fn manifest(&self) -> ManifestRef {
        ManifestRef {
            key: self.manifest_key.clone(),
            sha256: self.manifest_sha256.clone(),
        }
    }

    /// Brings its rows into a scratch table of the exchange's database; returns the table.
    async fn unpack(&self, store: &ArchiveStore, exchange: &PgPool) -> anyhow::Result<String> {
        let manifest = store.manifest(&self.manifest()).await?;
        let table = format!("scratch.u_{}", self.unit_id.simple());
        let columns: Vec<String> = manifest
            .columns
            .iter()
            .map(|column| format!("\"{}\" {}", column.name, column.pg_type.declaration()))
            .collect();
        let names: Vec<String> = manifest
            .columns
            .iter()
            .map(|column| format!("\"{}\"", column.name))
            .collect();
        sqlx::query(AssertSqlSafe(format!(
            "CREATE TABLE {table} ({})",
            columns.join(", ")
        )))
        .execute(exchange)
        .await?;
        let mut connection = exchange.acquire().await?;
        let copy = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", names.join(", "));
        let mut sink = connection.copy_in_raw(&copy).await?;
        let mut rows = std::pin::pin!(store.copy_stream(&manifest, None));
        while let Some(chunk) = rows.try_next().await? {
            sink.send(chunk.as_ref()).await?;
        }
        sink.finish().await?;
        Ok(table)
    }
}

/// A query over every place that holds rows of `table`, each once, as the text of the row.
pub(crate) async fn everywhere(
    table: &str,
    store: &ArchiveStore,
    exchange: &PgPool,
    jobs: &PgPool,
) -> anyhow::Result<String> {
    let columns = columns(exchange, table).await?;
    let mut places = vec![format!("public.{table}")];
    let archive = format!("{table}_archive");
    if MOVED.contains(&table) {
        places.push(format!("public.{archive}"));
    }
    let resting: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name, quarantine_table FROM eidos_jobs_disposal_units
         WHERE quarantine_table IS NOT NULL AND state <> 'dropped'",
    )
    .fetch_all(jobs)
    .await?;
    for (parent, quarantined) in resting {
        if parent == table || parent == archive {
            places.push(quarantined);
        }
    }
    for unit in gone(jobs).await? {
        if unit.table_name == table || unit.table_name == archive {
            let unpacked = unit.unpack(store, exchange).await;
            places.push(
                unpacked.with_context(|| format!("the export of {} {}", unit.table_name, unit.unit_id))?,
            );
        }
    }
    Ok(places
        .iter()
        .map(|place| format!("SELECT ROW({columns})::text AS row FROM {place}"))
        .collect::<Vec<_>>()
        .join(" UNION ALL "))
}

/// The columns of the truth, in its order.
pub(crate) async fn columns(exchange: &PgPool, table: &str) -> anyhow::Result<String> {
    Ok(sqlx::query_scalar(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = ('truth.' || $1)::regclass AND attnum > 0 AND NOT attisdropped",
    )
    .bind(table)
    .fetch_one(exchange)
    .await?)
}
