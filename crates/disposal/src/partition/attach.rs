//! Back to the parent: the name and the schema a table had, its triggers away, attached, all in one transaction.

use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;
use sqlx::PgConnection;

use super::detach::BOUNDS_CHECK;
use super::freeze::thaw_sql;
use super::locks::{Attempts, Patience};
use super::{PartitionDisposal, checks};
use crate::DisposalError;
use crate::catalogue::{self, Relation, TableShape};
use crate::unit::Unit;

const BY_NAME: &str = "\
    SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2";

const SCHEMA_BEFORE: &str = "\
    SELECT evidence ->> 'schema' FROM eidos_jobs_disposals WHERE unit_id = $1 AND action = 'quarantine' \
    ORDER BY id DESC LIMIT 1";

impl PartitionDisposal<'_> {
    /// Attaches a table that left its parent, under the name it had, writable.
    pub(super) async fn attach(&self, unit: &Unit) -> Result<(), DisposalError> {
        let found = self.still_there(unit).await?;
        // Reads the table where nobody waits for it, so that ATTACH need not.
        self.validate_bounds(&found.relation).await?;
        let mut attempts = Attempts::new(
            self.ctx,
            self.settings,
            format!("attach {} again", unit.unit_name),
        );
        while let Err(failure) = self.try_attach(unit).await {
            attempts.again_after(failure).await?;
        }
        Ok(())
    }

    async fn try_attach(&self, unit: &Unit) -> Result<(), DisposalError> {
        let mut step = self.external.step().await?;
        let conn = step.conn();
        checks::server_is_ready(conn, self.ctx, self.settings).await?;
        let found = catalogue::find(conn, unit.table_oid).await?;
        let found = found.ok_or_else(|| checks::removed(unit))?;
        if found.parent.is_some() {
            return Ok(());
        }
        let (parent, target) = self.place_for(conn, unit).await?;
        let default = parent
            .partitioning
            .as_ref()
            .and_then(|layout| layout.default.as_ref());
        let patience = Patience::begin(self.settings);
        if let Some(default) = default {
            // Parent first, as every query does: see partition-manage.
            for table in [&parent.relation, &default.relation] {
                let lock = sql!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"; table);
                patience.run(conn, "lock a partitioned table", &lock).await?;
            }
        }
        patience
            .run(
                conn,
                "attach a partition again",
                &attach_sql(unit, &found.relation, &parent, &target),
            )
            .await
            .map_err(|error| not_attached(unit, error))?;
        step.commit().await?;
        Ok(())
    }

    /// The parent, and the name the table had; refused, by name, where something else is in its place.
    pub(super) async fn place_for(
        &self,
        conn: &mut PgConnection,
        unit: &Unit,
    ) -> Result<(TableShape, Relation), DisposalError> {
        let parent = match by_name(conn, &unit.table).await? {
            Some(oid) => catalogue::read_by_oid(conn, oid).await?,
            None => None,
        };
        let parent = parent.filter(|parent| parent.partitioning.is_some());
        let parent = parent.ok_or_else(|| {
            checks::refused(
                "changed",
                unit,
                "cannot be attached: its table is gone, or is not partitioned any more",
            )
        })?;
        let mut layout = parent.partitioning.iter().flat_map(|layout| &layout.partitions);
        let in_place = layout.find(|partition| {
            partition.bounds.lower.is_none_or(|lower| lower < unit.upper_ms)
                && partition.bounds.upper.is_none_or(|upper| upper > unit.lower_ms)
        });
        if let Some(other) = in_place {
            return Err(checks::refused(
                "open",
                unit,
                &format!(
                    "cannot be attached: {} covers {} now. Detach that one, move its rows, or drop it if it is empty; then \
                     undo again",
                    other.relation.plain(),
                    other.bounds
                ),
            ));
        }
        let own = catalogue::read_by_oid(conn, unit.table_oid).await?;
        let own = own.ok_or_else(|| checks::removed(unit))?;
        same_columns(unit, &parent, &own)?;
        let schema: Option<Option<String>> = sqlx::query_scalar(SCHEMA_BEFORE)
            .bind(unit.unit_id)
            .fetch_optional(self.ctx.jobs_db().read())
            .await
            .map_err(DisposalError::sql("read where a partition was"))?;
        let schema = schema.flatten().unwrap_or_else(|| unit.table.schema.clone());
        let target = Relation::new(schema, unit.unit_name.clone());
        match by_name(conn, &target).await? {
            Some(oid) if oid != unit.table_oid => Err(checks::refused(
                "open",
                unit,
                &format!(
                    "cannot be attached: there is another {} now; rename that one, then undo again",
                    target.plain()
                ),
            )),
            _ => Ok((parent, target)),
        }
    }
}

async fn by_name(conn: &mut PgConnection, table: &Relation) -> Result<Option<u32>, DisposalError> {
    let oid: Option<i64> = sqlx::query_scalar(BY_NAME)
        .bind(&table.schema)
        .bind(&table.name)
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql("look for a table"))?;
    Ok(oid.and_then(|oid| u32::try_from(oid).ok()))
}

/// The name and schema it had, the triggers away, attached, and the check that the bound replaces away: all or nothing.
fn attach_sql(unit: &Unit, now: &Relation, parent: &TableShape, target: &Relation) -> Sql {
    let mut statements = Vec::new();
    if now.schema != target.schema {
        statements.push(sql!("ALTER TABLE {now} SET SCHEMA {}", SqlIdent::quoting(&target.schema); now));
    }
    if now.name != target.name {
        let moved = Relation::new(&target.schema, &now.name);
        statements.push(sql!("ALTER TABLE {moved} RENAME TO {}", SqlIdent::quoting(&target.name); moved));
    }
    statements.push(thaw_sql(target));
    statements.push(sql!(
        "ALTER TABLE {} ATTACH PARTITION {target} FOR VALUES FROM ({}) TO ({})",
        parent.relation, unit.lower_ms, unit.upper_ms;
        target
    ));
    statements.push(sql!(
        "ALTER TABLE {target} DROP CONSTRAINT IF EXISTS {BOUNDS_CHECK}";
        target, BOUNDS_CHECK
    ));
    Sql::join(statements, "; ")
}

fn same_columns(unit: &Unit, parent: &TableShape, own: &TableShape) -> Result<(), DisposalError> {
    let mut fixes = Vec::new();
    for column in &parent.columns {
        match own.column(&column.name) {
            None => fixes.push(format!(
                "ALTER TABLE {} ADD COLUMN {}",
                own.relation,
                column.declared()
            )),
            Some(here) if here.declaration != column.declaration => fixes.push(format!(
                "ALTER TABLE {} ALTER COLUMN {} TYPE {}",
                own.relation,
                SqlIdent::quoting(&column.name),
                column.declaration
            )),
            Some(_same) => {}
        }
    }
    let extra = own
        .columns
        .iter()
        .filter(|column| parent.column(&column.name).is_none());
    fixes.extend(extra.map(|column| {
        format!(
            "{} has column {}, which its table has no more",
            own.relation,
            SqlIdent::quoting(&column.name)
        )
    }));
    if fixes.is_empty() {
        return Ok(());
    }
    Err(checks::refused(
        "columns",
        unit,
        &format!(
            "cannot be attached, its columns are not those of its table: {}; then undo again",
            fixes.join("; ")
        ),
    ))
}

fn not_attached(unit: &Unit, error: DisposalError) -> DisposalError {
    if !error.cannot_heal() {
        return error;
    }
    let hint = match error.sqlstate().as_deref() {
        Some("23514") => "; rows of that month came to the default partition meanwhile: move them away first",
        _ => "",
    };
    checks::refused(
        "changed",
        unit,
        &format!("cannot be attached: {error}{hint}. Nothing was changed"),
    )
}
