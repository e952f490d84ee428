//! The start-up check of the profile against the live catalogue.

use anyhow::Context as _;
use sqlx::{PgPool, Row};

use super::{Home, Schema, Table};

/// Checks every table of `home` through `pool`: it exists (unless it is optional), its columns exist, this role may read it. Returns everything
/// that is wrong, each with table, column and fix.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn check(schema: &Schema, home: Home, pool: &PgPool) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for (id, table) in schema.tables().filter(|(_, table)| table.home == home) {
        let found = check_table(table, id.is_optional(), pool).await;
        problems
            .extend(found.with_context(|| format!("{}: the catalogue cannot be read", table.name.as_str()))?);
    }
    Ok(problems)
}

/// True if the server is a hot standby.
///
/// # Errors
/// Those of the database.
pub async fn is_standby(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(pool)
        .await
}

async fn check_table(table: &Table, is_optional: bool, pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    let name = table.name.to_string();
    let rows = sqlx::query(
        "SELECT attname::text AS column_name FROM pg_catalog.pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(&name)
    .fetch_all(pool)
    .await?;
    let shown = table.name.as_str();
    if rows.is_empty() && is_optional {
        return Ok(Vec::new());
    }
    if rows.is_empty() {
        let database: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(pool)
            .await?;
        return Ok(vec![format!(
            "table {shown} does not exist in database {database}; set schema_profile.profile, or \
             schema_profile.tables.{}.name, or the database's url",
            table.key
        )]);
    }
    let may_read: bool = sqlx::query_scalar("SELECT has_table_privilege(to_regclass($1), 'SELECT')")
        .bind(&name)
        .fetch_one(pool)
        .await?;
    if !may_read {
        return Ok(vec![format!(
            "table {shown} may not be read by this role; GRANT SELECT ON {name}"
        )]);
    }
    let found: Vec<String> = rows
        .iter()
        .map(|row| row.try_get("column_name"))
        .collect::<Result<_, _>>()?;
    Ok(table
        .columns
        .iter()
        .filter(|(_, column)| !found.iter().any(|name| name == column.name()))
        .map(|(logical, column)| {
            format!(
                "table {shown} has no column {}; set schema_profile.tables.{}.columns.{logical}",
                column.as_str(),
                table.key
            )
        })
        .collect())
}
