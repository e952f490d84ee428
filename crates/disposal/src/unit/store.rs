//! The statements on units.

use eidos_archive_store::{ArchiveFormat, ManifestRef};
use eidos_core::fence::Step;
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::{Change, NewUnit, Unit, UnitKind, UnitState, unknown};
use crate::DisposalError;
use crate::catalogue::Relation;

macro_rules! columns {
    () => {
        "unit_id, job_name, source, schema_name, table_name, unit_name, unit_kind, table_oid, lower_ms, upper_ms, state, \
         archived, format, manifest_key, manifest_sha256, content_digest, row_count, stored_bytes, \
         columns_fingerprint, plan_digest, approved_by, quarantine_table, drop_after_ms, reason, failed_as, \
         (extract(epoch FROM checked_at) * 1000)::bigint AS checked_at_ms, rot, \
         (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms"
    };
}

const CREATE: &str = concat!(
    "INSERT INTO eidos_jobs_disposal_units \
        (unit_id, job_name, source, schema_name, table_name, unit_name, unit_kind, table_oid, lower_ms, upper_ms, state, \
         archived, format, columns_fingerprint, plan_digest, approved_by, execution_id, epoch) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'planned', $11, $12, $13, $14, $15, $16, $17) \
     RETURNING ",
    columns!()
);

/// Only from the state that was seen: nobody else has moved it on meanwhile.
const MOVE_ON: &str = concat!(
    "UPDATE eidos_jobs_disposal_units SET state = $3, \
         manifest_key = coalesce($4, manifest_key), manifest_sha256 = coalesce($5, manifest_sha256), \
         content_digest = coalesce($6, content_digest), row_count = coalesce($7, row_count), \
         stored_bytes = coalesce($8, stored_bytes), quarantine_table = coalesce($9, quarantine_table), \
         drop_after_ms = coalesce($10, drop_after_ms), reason = coalesce($11, reason), \
         failed_as = coalesce($14, failed_as), \
         checked_at = CASE WHEN $4::text IS NULL THEN checked_at ELSE now() END, \
         execution_id = $12, epoch = $13, updated_at = now() \
     WHERE unit_id = $1 AND state = $2 RETURNING ",
    columns!()
);

const MARK_CHECKED: &str = "\
    UPDATE eidos_jobs_disposal_units SET checked_at = now(), rot = $2, execution_id = $3, epoch = $4 WHERE unit_id = $1";

const BY_ID: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM eidos_jobs_disposal_units WHERE unit_id = $1"
);

const OPEN_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM eidos_jobs_disposal_units \
     WHERE source = $1 AND schema_name = $2 AND table_name = $3 AND unit_name = $4 \
       AND state NOT IN ('dropped', 'deleted', 'abandoned')"
);

const NEWEST_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM eidos_jobs_disposal_units \
     WHERE source = $1 AND schema_name = $2 AND table_name = $3 AND unit_name = $4 \
     ORDER BY created_at DESC, unit_id DESC LIMIT 1"
);

const NEWEST_NAMED: &str = concat!(
    "SELECT DISTINCT ON (source, schema_name, table_name) ",
    columns!(),
    " FROM eidos_jobs_disposal_units WHERE unit_name = $1 \
     ORDER BY source, schema_name, table_name, created_at DESC, unit_id DESC LIMIT 100"
);

const LIST_OPEN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM eidos_jobs_disposal_units \
     WHERE source = $1 AND ($2::text IS NULL OR (schema_name = $2 AND table_name = $3)) \
       AND state NOT IN ('dropped', 'deleted', 'abandoned') ORDER BY table_name, lower_ms, unit_id"
);

const ABANDONED_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM eidos_jobs_disposal_units \
     WHERE source = $1 AND schema_name = $2 AND table_name = $3 AND archived AND state = 'abandoned' ORDER BY unit_id"
);

const LIST_WITH_EXPORT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM eidos_jobs_disposal_units \
     WHERE archived AND manifest_sha256 IS NOT NULL AND state <> 'abandoned' \
     ORDER BY checked_at NULLS FIRST, unit_id LIMIT $1"
);

const NEWEST_EXPORTS: &str = "\
    SELECT manifest_key FROM eidos_jobs_disposal_units \
     WHERE archived AND manifest_key IS NOT NULL AND state NOT IN ('planned', 'frozen', 'exporting', 'abandoned') \
     ORDER BY created_at DESC, unit_id DESC LIMIT $1";

/// The newest of each job: two may export to different stores.
const NEWEST_MANIFESTS: &str = "\
    SELECT manifest_key, manifest_sha256 FROM ( \
        SELECT manifest_key, manifest_sha256, created_at, unit_id, \
            row_number() OVER (PARTITION BY job_name ORDER BY created_at DESC, unit_id DESC) AS age \
        FROM eidos_jobs_disposal_units \
        WHERE archived AND manifest_key IS NOT NULL AND manifest_sha256 IS NOT NULL \
          AND state NOT IN ('planned', 'frozen', 'exporting', 'abandoned')) AS exports \
    WHERE age <= $1 ORDER BY created_at DESC, unit_id DESC";

/// Makes a unit's row, in state `planned`.
///
/// # Errors
/// [`DisposalError::Refused`] when the same unit is already on its way; [`DisposalError::Sql`].
pub async fn create(step: &mut Step<'_>, ctx: &JobContext, new: &NewUnit) -> Result<Unit, DisposalError> {
    let epoch = step.epoch().get();
    let row = sqlx::query(CREATE)
        .bind(new.unit_id)
        .bind(ctx.job().as_str())
        .bind(new.source.as_str())
        .bind(&new.table.schema)
        .bind(&new.table.name)
        .bind(&new.unit_name)
        .bind(new.kind.as_str())
        .bind(i64::from(new.table_oid))
        .bind(new.lower_ms)
        .bind(new.upper_ms)
        .bind(new.archive.is_some())
        .bind(new.archive.map(format_name))
        .bind(&new.columns_fingerprint)
        .bind(&new.approval.plan_digest)
        .bind(&new.approval.approved_by)
        .bind(ctx.execution_id().as_uuid())
        .bind(epoch)
        .fetch_one(step.conn())
        .await;
    match row {
        Ok(row) => unit(&row),
        Err(error) if crate::error::code_of(&error).as_deref() == Some("23505") => {
            Err(DisposalError::refused(
                "open",
                format!(
                    "{} of {} is already on its way in another unit; wait for it",
                    new.unit_name,
                    new.table.plain()
                ),
            ))
        }
        Err(error) => Err(DisposalError::sql("make a unit's row")(error)),
    }
}

/// Writes a unit's next state, if it is still in the one it was read in. Returns its row as it is then.
///
/// # Errors
/// [`DisposalError::Refused`] when somebody else has moved it on; [`DisposalError::Sql`].
pub async fn move_on(
    step: &mut Step<'_>,
    ctx: &JobContext,
    from: &Unit,
    to: UnitState,
    change: &Change,
) -> Result<Unit, DisposalError> {
    let epoch = step.epoch().get();
    let evidence = change.evidence.as_ref();
    let row = sqlx::query(MOVE_ON)
        .bind(from.unit_id)
        .bind(from.state.as_str())
        .bind(to.as_str())
        .bind(evidence.map(|evidence| evidence.manifest.key.as_str()))
        .bind(evidence.map(|evidence| evidence.manifest.sha256.as_str()))
        .bind(evidence.map(|evidence| evidence.digest.to_string()))
        .bind(change.row_count.or(evidence.map(|evidence| evidence.rows)))
        .bind(evidence.map(|evidence| evidence.stored_bytes))
        .bind(&change.quarantine_table)
        .bind(change.drop_after_ms)
        .bind(&change.reason)
        .bind(ctx.execution_id().as_uuid())
        .bind(epoch)
        .bind(&change.failed_as)
        .fetch_optional(step.conn())
        .await
        .map_err(DisposalError::sql("write a unit's state"))?;
    match row {
        Some(row) => unit(&row),
        None => Err(DisposalError::refused(
            "moved",
            format!(
                "unit {} is no longer {}: somebody else moved it on",
                from.unit_id, from.state
            ),
        )),
    }
}

/// Notes that a unit's export was read in full, and what was wrong with it.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn mark_checked(
    step: &mut Step<'_>,
    ctx: &JobContext,
    unit_id: Uuid,
    rot: Option<&str>,
) -> Result<(), DisposalError> {
    let epoch = step.epoch().get();
    sqlx::query(MARK_CHECKED)
        .bind(unit_id)
        .bind(rot)
        .bind(ctx.execution_id().as_uuid())
        .bind(epoch)
        .execute(step.conn())
        .await
        .map_err(DisposalError::sql("note that an export was checked"))?;
    Ok(())
}

/// A unit by its id.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn by_id(pool: &PgPool, unit_id: Uuid) -> Result<Option<Unit>, DisposalError> {
    let row = sqlx::query(BY_ID)
        .bind(unit_id)
        .fetch_optional(pool)
        .await
        .map_err(DisposalError::sql("read a unit"))?;
    row.as_ref().map(unit).transpose()
}

/// The unit of this name that is on its way. At most one exists.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn open_of(
    pool: &PgPool,
    source: SourceName,
    table: &Relation,
    unit_name: &str,
) -> Result<Option<Unit>, DisposalError> {
    one_of(pool, OPEN_OF, source, table, unit_name).await
}

/// The newest unit of this name, whatever became of it.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn newest_of(
    pool: &PgPool,
    source: SourceName,
    table: &Relation,
    unit_name: &str,
) -> Result<Option<Unit>, DisposalError> {
    one_of(pool, NEWEST_OF, source, table, unit_name).await
}

/// The newest unit of this name of each table.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn newest_named(pool: &PgPool, unit_name: &str) -> Result<Vec<Unit>, DisposalError> {
    let rows = sqlx::query(NEWEST_NAMED)
        .bind(unit_name)
        .fetch_all(pool)
        .await
        .map_err(DisposalError::sql("read units by their name"))?;
    rows.iter().map(unit).collect()
}

async fn one_of(
    pool: &PgPool,
    statement: &'static str,
    source: SourceName,
    table: &Relation,
    unit_name: &str,
) -> Result<Option<Unit>, DisposalError> {
    let row = sqlx::query(statement)
        .bind(source.as_str())
        .bind(&table.schema)
        .bind(&table.name)
        .bind(unit_name)
        .fetch_optional(pool)
        .await
        .map_err(DisposalError::sql("read a unit by its name"))?;
    row.as_ref().map(unit).transpose()
}

/// Every unit of a source that is on its way, or of one of its tables; oldest month first.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn list_open(
    pool: &PgPool,
    source: SourceName,
    table: Option<&Relation>,
) -> Result<Vec<Unit>, DisposalError> {
    let rows = sqlx::query(LIST_OPEN)
        .bind(source.as_str())
        .bind(table.map(|table| table.schema.as_str()))
        .bind(table.map(|table| table.name.as_str()))
        .fetch_all(pool)
        .await
        .map_err(DisposalError::sql("list the open units"))?;
    rows.iter().map(unit).collect()
}

/// The archived units of a table that were given up: their folders are swept, again and again, because the node that
/// filled one may still be uploading.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn abandoned_of(
    pool: &PgPool,
    source: SourceName,
    table: &Relation,
) -> Result<Vec<Unit>, DisposalError> {
    let rows = sqlx::query(ABANDONED_OF)
        .bind(source.as_str())
        .bind(&table.schema)
        .bind(&table.name)
        .fetch_all(pool)
        .await
        .map_err(DisposalError::sql("list the abandoned units"))?;
    rows.iter().map(unit).collect()
}

/// Units with an export, those that were not read for longest first; at most `limit`.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn list_with_export(pool: &PgPool, limit: i64) -> Result<Vec<Unit>, DisposalError> {
    let rows = sqlx::query(LIST_WITH_EXPORT)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(DisposalError::sql("list the exports"))?;
    rows.iter().map(unit).collect()
}

/// The manifests of the exports that were begun last, newest first; at most `limit`.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn newest_exports(pool: &PgPool, limit: i64) -> Result<Vec<String>, DisposalError> {
    sqlx::query_scalar(NEWEST_EXPORTS)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(DisposalError::sql("list the newest exports"))
}

/// The manifests of each job's newest exports, newest first; at most `limit` of a job.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn newest_manifests(pool: &PgPool, limit: i64) -> Result<Vec<ManifestRef>, DisposalError> {
    let listing = || DisposalError::sql("list the newest exports of each job");
    let rows = sqlx::query(NEWEST_MANIFESTS)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(listing())?;
    let read = |row: &PgRow| {
        Ok(ManifestRef {
            key: row.try_get("manifest_key")?,
            sha256: row.try_get("manifest_sha256")?,
        })
    };
    rows.iter().map(read).collect::<Result<_, _>>().map_err(listing())
}

fn unit(row: &PgRow) -> Result<Unit, DisposalError> {
    let source: String = column(row, "source")?;
    let kind: String = column(row, "unit_kind")?;
    let format: Option<String> = column(row, "format")?;
    Ok(Unit {
        unit_id: column(row, "unit_id")?,
        job_name: column(row, "job_name")?,
        source: SourceName::ALL
            .into_iter()
            .find(|known| known.as_str() == source)
            .ok_or_else(|| unknown("source", &source))?,
        table: Relation::new(
            column::<String>(row, "schema_name")?,
            column::<String>(row, "table_name")?,
        ),
        unit_name: column(row, "unit_name")?,
        kind: match kind.as_str() {
            "partition" => UnitKind::Partition,
            "rows" => UnitKind::Rows,
            other => return Err(unknown("unit_kind", other)),
        },
        table_oid: u32::try_from(column::<i64>(row, "table_oid")?)
            .map_err(|_range| unknown("table_oid", "a number that is no oid"))?,
        lower_ms: column(row, "lower_ms")?,
        upper_ms: column(row, "upper_ms")?,
        state: UnitState::from_stored(&column::<String>(row, "state")?)?,
        archived: column(row, "archived")?,
        format: match format.as_deref() {
            None => None,
            Some("parquet") => Some(ArchiveFormat::Parquet),
            Some("csv") => Some(ArchiveFormat::Csv),
            Some(other) => return Err(unknown("format", other)),
        },
        manifest_key: column(row, "manifest_key")?,
        manifest_sha256: column(row, "manifest_sha256")?,
        content_digest: column(row, "content_digest")?,
        row_count: column(row, "row_count")?,
        stored_bytes: column(row, "stored_bytes")?,
        columns_fingerprint: column(row, "columns_fingerprint")?,
        plan_digest: column(row, "plan_digest")?,
        approved_by: column(row, "approved_by")?,
        quarantine_table: column(row, "quarantine_table")?,
        drop_after_ms: column(row, "drop_after_ms")?,
        reason: column(row, "reason")?,
        failed_as: column(row, "failed_as")?,
        checked_at_ms: column(row, "checked_at_ms")?,
        rot: column(row, "rot")?,
        created_at_ms: column(row, "created_at_ms")?,
    })
}

const fn format_name(format: ArchiveFormat) -> &'static str {
    match format {
        ArchiveFormat::Parquet => "parquet",
        ArchiveFormat::Csv => "csv",
    }
}

fn column<'r, T>(row: &'r PgRow, name: &'static str) -> Result<T, DisposalError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(name)
        .map_err(DisposalError::sql("decode a unit's row"))
}
