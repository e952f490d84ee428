//! The start-up check of the profile against the live catalogue, and which indexes there are.

use eidos_core::CoreError;
use sqlx::PgPool;

use super::failed;
use crate::profile::{Kind, Schema};

pub(super) const COLUMNS: &str = "\
    SELECT attname::text, format_type(atttypid, NULL) FROM pg_catalog.pg_attribute \
    WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";

pub(super) const PRIVILEGES: &str = "\
    SELECT has_table_privilege(to_regclass($1), 'SELECT'), \
           has_table_privilege(to_regclass($1), 'INSERT') AND has_table_privilege(to_regclass($1), 'UPDATE')";

pub(super) const DATABASE: &str = "SELECT current_database()::text, pg_is_in_recovery()";

pub(super) const UNIQUE_KEY: &str = "\
    SELECT EXISTS (SELECT FROM pg_catalog.pg_index i \
        WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL \
          AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) = \
              (SELECT array_agg(name ORDER BY name) FROM unnest($2::text[]) AS name))";

pub(super) const BEGINS_WITH: &str = "\
    SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a \
          ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
        WHERE i.indrelid = to_regclass($1) AND i.indisvalid AND a.attname::text = $2)";

/// Checks every table of a database: it exists, this role may read it, and its columns exist and can hold what they must.
/// Returns everything that is wrong, each with table, column and fix.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn check(schema: &Schema, pool: &PgPool) -> Result<Vec<String>, CoreError> {
    let mut problems = Vec::new();
    for definition in schema.definitions() {
        let key = definition.key;
        let Some(table) = schema.name(key) else { continue };
        let columns = columns(pool, &table.to_string()).await?;
        if columns.is_empty() {
            let (database, _) = database(pool).await?;
            problems.push(format!(
                "table {} does not exist in database {database}; set aggregation_profile.{key}.name, or the database's url",
                table.as_str()
            ));
            continue;
        }
        if !privileges(pool, &table.to_string()).await?.0 {
            problems.push(format!(
                "table {} may not be read by this role; GRANT SELECT ON {table}",
                table.as_str()
            ));
        }
        for (column, kind) in definition.columns {
            let Some(name) = schema.name(&format!("{key}.{column}")) else {
                continue;
            };
            let setting = format!("aggregation_profile.{key}.columns.{column}");
            match columns.iter().find(|(found, _)| found == name.name()) {
                None => problems.push(format!(
                    "table {} has no column {}; set {setting}",
                    table.as_str(),
                    name.as_str()
                )),
                Some((_, declared)) if !allowed(*kind).contains(&declared.as_str()) => {
                    problems.push(format!(
                        "{}.{} is {declared}, not {}; set {setting}",
                        table.as_str(),
                        name.as_str(),
                        allowed(*kind).join(" or ")
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(problems)
}

/// Checks that candles can be written: a primary, the right to write, and a key for the upsert. Returns what is wrong.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn check_writable(schema: &Schema, pool: &PgPool) -> Result<Vec<String>, CoreError> {
    let Some(table) = schema.name("klines") else {
        return Ok(Vec::new());
    };
    let mut problems = Vec::new();
    let (database, is_standby) = database(pool).await?;
    if is_standby {
        problems.push(format!(
            "database {database} is a standby, which cannot be written to; point its url at the primary"
        ));
    }
    let quoted = table.to_string();
    if !privileges(pool, &quoted).await?.1 {
        problems.push(format!(
            "table {} may not be written by this role; GRANT INSERT, UPDATE ON {table}",
            table.as_str()
        ));
    }
    let key = ["market", "interval", "open_time"].map(|column| {
        let name = schema.name(&format!("klines.{column}"));
        name.map_or_else(String::new, |name| name.name().to_owned())
    });
    let has_key: bool = sqlx::query_scalar(UNIQUE_KEY)
        .bind(&quoted)
        .bind(&key[..])
        .fetch_one(pool)
        .await
        .map_err(failed("read the keys of a table"))?;
    if !has_key {
        problems.push(format!(
            "table {} has no unique key ({}): one candle could be stored twice",
            table.as_str(),
            key.join(", ")
        ));
    }
    Ok(problems)
}

/// Checks whether an index of a table begins with this column.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn has_index_on(
    schema: &Schema,
    pool: &PgPool,
    table: &str,
    column: &str,
) -> Result<bool, CoreError> {
    let (Some(name), Some(column)) = (schema.name(table), schema.name(&format!("{table}.{column}"))) else {
        return Ok(false);
    };
    sqlx::query_scalar(BEGINS_WITH)
        .bind(name.to_string())
        .bind(column.name())
        .fetch_one(pool)
        .await
        .map_err(failed("read the indexes of a table"))
}

/// Checks whether the trades of a market, and the oldest and newest of all, are found by an index.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn shows_reach(schema: &Schema, pool: &PgPool) -> Result<bool, CoreError> {
    for column in ["market", "timestamp"] {
        if !has_index_on(schema, pool, "market_trades", column).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The declarations that a column may have.
const fn allowed(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Text => &["character varying", "text", "character"],
        Kind::Number => &["smallint", "integer", "bigint"],
        Kind::Ms => &["bigint"],
        Kind::Money => &["numeric"],
    }
}

async fn columns(pool: &PgPool, table: &str) -> Result<Vec<(String, String)>, CoreError> {
    sqlx::query_as(COLUMNS)
        .bind(table)
        .fetch_all(pool)
        .await
        .map_err(failed("read the columns of a table"))
}

async fn privileges(pool: &PgPool, table: &str) -> Result<(bool, bool), CoreError> {
    sqlx::query_as(PRIVILEGES)
        .bind(table)
        .fetch_one(pool)
        .await
        .map_err(failed("read the rights on a table"))
}

async fn database(pool: &PgPool) -> Result<(String, bool), CoreError> {
    sqlx::query_as(DATABASE)
        .fetch_one(pool)
        .await
        .map_err(failed("ask which database this is"))
}
