//! Reading the catalogue.

use eidos_core::ident::SqlIdent;
use eidos_pg::bounds::{Bounds, PartitionBound};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::{
    ColumnShape, ForeignKey, OnDelete, Partition, Partitioning, Relation, RelationKind, TableShape, Trigger,
    sql,
};
use crate::DisposalError;

/// Where a table is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its name now.
    pub relation: Relation,
    /// The oid of the table it is attached to.
    pub parent: Option<u32>,
    /// Whether it is half detached.
    pub pending_detach: bool,
    /// Whether both freeze triggers stand on it.
    pub frozen: bool,
}

/// Reads a table. `table` without a schema is what the search path finds, or else what is in `public`; `None`: there is
/// none of that name.
///
/// # Errors
/// [`DisposalError::Refused`] names what about its partitioning is not supported (lists, hashes, several key columns,
/// an expression, a key that is no `BIGINT`); [`DisposalError::Sql`].
pub async fn read_table(
    conn: &mut PgConnection,
    table: &SqlIdent,
) -> Result<Option<TableShape>, DisposalError> {
    let oid: Option<i64> = sqlx::query_scalar(sql::RESOLVE)
        .bind(table.to_string())
        .bind(Relation::named(table).to_string())
        .fetch_one(&mut *conn)
        .await
        .map_err(DisposalError::sql("look for a table"))?;
    match oid.map(to_oid) {
        Some(oid) => read_by_oid(conn, oid).await,
        None => Ok(None),
    }
}

/// Reads the table with this identity, whatever it is called by now.
///
/// # Errors
/// As [`read_table`].
pub async fn read_by_oid(conn: &mut PgConnection, oid: u32) -> Result<Option<TableShape>, DisposalError> {
    let Some(row) = optional(conn, sql::TABLE, oid, "read a table").await? else {
        return Ok(None);
    };
    let relation = relation(&row)?;
    let partitioning = match column::<Option<String>>(&row, "strategy")? {
        Some(strategy) => Some(partitioning(conn, &row, oid, &relation, &strategy).await?),
        None => None,
    };
    let (rows_estimate, bytes) = sizes(&row, partitioning.as_ref())?;
    Ok(Some(TableShape {
        oid,
        kind: kind(&column::<String>(&row, "kind")?),
        columns: columns(conn, oid).await?,
        primary_key: scalars(conn, sql::PRIMARY_KEY, oid, "read a primary key").await?,
        is_partition: column(&row, "is_partition")?,
        referenced_by: referenced_by(conn, oid).await?,
        triggers: triggers(conn, oid).await?,
        row_security: column(&row, "row_security")?,
        rows_estimate,
        bytes,
        partitioning,
        relation,
    }))
}

/// [`TableShape::columns_fingerprint`] of a table as it is now. Asked in a transaction that has written to the table,
/// the answer holds until that transaction ends: its lock keeps every ALTER TABLE out.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn columns_fingerprint(conn: &mut PgConnection, oid: u32) -> Result<String, DisposalError> {
    Ok(super::fingerprint(&columns(conn, oid).await?))
}

/// All tables of people in this database: for the report of tables without a rule.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn list_tables(conn: &mut PgConnection) -> Result<Vec<Relation>, DisposalError> {
    let rows = sqlx::query(sql::LIST)
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql("list the tables"))?;
    rows.iter().map(relation).collect()
}

/// Where the ordinary table with this identity is now. `None`: it is gone.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn find(conn: &mut PgConnection, oid: u32) -> Result<Option<Whereabouts>, DisposalError> {
    let row = optional(conn, sql::FIND, oid, "look where a table is").await?;
    let row = row.filter(|row| row.try_get::<i64, _>("asked").ok() == Some(i64::from(oid)));
    let Some(row) = row else {
        // A connection that is an answer behind must not look like a table that is gone.
        return Err(DisposalError::sql("look where a table is")(
            sqlx::Error::Protocol("the server answered another question".to_owned()),
        ));
    };
    let (Some(schema), Some(name)) = (
        column::<Option<String>>(&row, "schema")?,
        column::<Option<String>>(&row, "name")?,
    ) else {
        return Ok(None);
    };
    Ok(Some(Whereabouts {
        relation: Relation { schema, name },
        parent: column::<Option<i64>>(&row, "parent")?.map(to_oid),
        pending_detach: column(&row, "pending")?,
        frozen: column(&row, "frozen")?,
    }))
}

/// What a name stands for, among the tables whose rows can be kept or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A table of its own, partitioned or not.
    Table,
    /// A partition of this table.
    PartitionOf(Relation),
}

/// Looks a name up. `None`: there is no table of that name.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn named(pool: &PgPool, table: &Relation) -> Result<Option<Named>, DisposalError> {
    let row = sqlx::query(sql::NAMED)
        .bind(&table.schema)
        .bind(&table.name)
        .fetch_optional(pool)
        .await
        .map_err(DisposalError::sql("look a table's name up"))?;
    let Some(row) = row else { return Ok(None) };
    let parent =
        column::<Option<String>>(&row, "parent_schema")?.zip(column::<Option<String>>(&row, "parent")?);
    Ok(Some(parent.map_or(Named::Table, |(schema, name)| {
        Named::PartitionOf(Relation { schema, name })
    })))
}

async fn partitioning(
    conn: &mut PgConnection,
    row: &PgRow,
    oid: u32,
    table: &Relation,
    strategy: &str,
) -> Result<Partitioning, DisposalError> {
    let refuse = |what: String| {
        let what = format!(
            "{} is partitioned by {what}; partitions are kept by ranges of one BIGINT column",
            table.plain()
        );
        Err(DisposalError::refused("partitioning", what))
    };
    let key_columns: i32 = column(row, "key_columns")?;
    match strategy {
        "r" if key_columns == 1 => {}
        "r" => return refuse(format!("{key_columns} columns")),
        "l" => return refuse("a list".to_owned()),
        _ => return refuse("a hash".to_owned()),
    }
    // Column number 0 in the key means an expression: then there is no such column.
    let Some(key_column) = column::<Option<String>>(row, "key")? else {
        return refuse("an expression".to_owned());
    };
    if column::<Option<bool>>(row, "key_is_bigint")? != Some(true) {
        return refuse(format!("{key_column}, which is no BIGINT"));
    }
    let rows = sqlx::query(sql::PARTITIONS)
        .bind(i64::from(oid))
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql("read a table's partitions"))?;
    let mut layout = Partitioning {
        key_column,
        partitions: Vec::with_capacity(rows.len()),
        default: None,
    };
    for row in &rows {
        let (partition, is_default) = partition(row)?;
        if is_default {
            layout.default = Some(partition);
        } else {
            layout.partitions.push(partition);
        }
    }
    // `None` sorts first: MINVALUE below everything.
    layout.partitions.sort_by_key(|partition| partition.bounds.lower);
    Ok(layout)
}

fn partition(row: &PgRow) -> Result<(Partition, bool), DisposalError> {
    let relation = relation(row)?;
    let expression: Option<String> = column(row, "bound")?;
    let bound = PartitionBound::parse(expression.as_deref().unwrap_or_default())
        .map_err(|error| DisposalError::refused("bounds", format!("{}: {error}", relation.plain())))?;
    let everything = Bounds {
        lower: None,
        upper: None,
    };
    let (bounds, is_default) = match bound {
        PartitionBound::Range(bounds) => (bounds, false),
        PartitionBound::Default => (everything, true),
    };
    let partition = Partition {
        relation,
        oid: to_oid(column(row, "oid")?),
        kind: kind(&column::<String>(row, "kind")?),
        bounds,
        pending_detach: column(row, "pending")?,
        frozen: column(row, "frozen")?,
        rows_estimate: column(row, "rows_estimate")?,
        bytes: column(row, "bytes")?,
    };
    Ok((partition, is_default))
}

/// A partitioned table has no rows and files of its own: its partitions' are added up.
fn sizes(row: &PgRow, layout: Option<&Partitioning>) -> Result<(Option<i64>, i64), DisposalError> {
    let Some(layout) = layout else {
        return Ok((column(row, "rows_estimate")?, column(row, "bytes")?));
    };
    let parts = || layout.partitions.iter().chain(&layout.default);
    let rows = parts().filter_map(|partition| partition.rows_estimate);
    let known = parts().any(|partition| partition.rows_estimate.is_some());
    let rows = rows.fold(0_i64, i64::saturating_add);
    let bytes = parts().fold(0_i64, |sum, partition| sum.saturating_add(partition.bytes));
    Ok((known.then_some(rows), bytes))
}

async fn columns(conn: &mut PgConnection, oid: u32) -> Result<Vec<ColumnShape>, DisposalError> {
    let rows = many(conn, sql::COLUMNS, oid, "read a table's columns").await?;
    rows.iter()
        .map(|row| {
            Ok(ColumnShape {
                name: column(row, "name")?,
                number: column(row, "number")?,
                declaration: column(row, "declaration")?,
                nullable: column(row, "nullable")?,
                generated: column(row, "generated")?,
                identity: column(row, "identity")?,
                default: column(row, "default_expression")?,
            })
        })
        .collect()
}

async fn referenced_by(conn: &mut PgConnection, oid: u32) -> Result<Vec<ForeignKey>, DisposalError> {
    let rows = many(conn, sql::REFERENCED_BY, oid, "read the foreign keys to a table").await?;
    rows.iter()
        .map(|row| {
            Ok(ForeignKey {
                name: column(row, "name")?,
                table: Relation::new(
                    column::<String>(row, "schema")?,
                    column::<String>(row, "table_name")?,
                ),
                columns: column(row, "columns")?,
                referenced: column(row, "referenced")?,
                on_delete: match column::<String>(row, "on_delete")?.as_str() {
                    "c" => OnDelete::Cascade,
                    "n" => OnDelete::SetNull,
                    "d" => OnDelete::SetDefault,
                    _ => OnDelete::Refuse,
                },
            })
        })
        .collect()
}

async fn triggers(conn: &mut PgConnection, oid: u32) -> Result<Vec<Trigger>, DisposalError> {
    let rows = many(conn, sql::TRIGGERS, oid, "read a table's triggers").await?;
    rows.iter()
        .map(|row| {
            Ok(Trigger {
                name: column(row, "name")?,
                function: column(row, "function")?,
                on_delete: column(row, "on_delete")?,
            })
        })
        .collect()
}

async fn optional(
    conn: &mut PgConnection,
    statement: &'static str,
    oid: u32,
    doing: &'static str,
) -> Result<Option<PgRow>, DisposalError> {
    sqlx::query(statement)
        .bind(i64::from(oid))
        .fetch_optional(conn)
        .await
        .map_err(DisposalError::sql(doing))
}

async fn many(
    conn: &mut PgConnection,
    statement: &'static str,
    oid: u32,
    doing: &'static str,
) -> Result<Vec<PgRow>, DisposalError> {
    sqlx::query(statement)
        .bind(i64::from(oid))
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql(doing))
}

async fn scalars(
    conn: &mut PgConnection,
    statement: &'static str,
    oid: u32,
    doing: &'static str,
) -> Result<Vec<String>, DisposalError> {
    sqlx::query_scalar(statement)
        .bind(i64::from(oid))
        .fetch_all(conn)
        .await
        .map_err(DisposalError::sql(doing))
}

fn relation(row: &PgRow) -> Result<Relation, DisposalError> {
    Ok(Relation {
        schema: column(row, "schema")?,
        name: column(row, "name")?,
    })
}

fn kind(relkind: &str) -> RelationKind {
    match relkind {
        "r" => RelationKind::Table,
        "p" => RelationKind::Partitioned,
        _ => RelationKind::Other,
    }
}

/// Oids come as `bigint`, because a driver's integer is signed.
fn to_oid(value: i64) -> u32 {
    u32::try_from(value).unwrap_or_default()
}

fn column<'r, T>(row: &'r PgRow, name: &'static str) -> Result<T, DisposalError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(name)
        .map_err(DisposalError::sql("decode a row of the catalogue"))
}
