//! The check of the profile against the live catalogue.

use sqlx::PgPool;

use crate::profile::OrdersTable;

const COLUMNS: &str = "\
    SELECT a.attname::text, t.typcategory::text \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

const PLACE: &str = "\
    SELECT current_database()::text, coalesce(has_table_privilege(to_regclass($1), 'SELECT'), false)";

pub(super) const ALL: &[(&str, &str)] = &[("catalogue::COLUMNS", COLUMNS), ("catalogue::PLACE", PLACE)];

/// Returns everything that is wrong with the profile in this database, each with table, column and fix.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn problems(pool: &PgPool, table: &OrdersTable) -> Result<Vec<String>, sqlx::Error> {
    let name = table.table.to_string();
    let found: Vec<(String, String)> = sqlx::query_as(COLUMNS).bind(&name).fetch_all(pool).await?;
    let (database, may_read): (String, bool) = sqlx::query_as(PLACE).bind(&name).fetch_one(pool).await?;
    let shown = table.table.as_str();
    if found.is_empty() {
        return Ok(vec![format!(
            "expiry_profile.table: table {shown} does not exist in database {database}; set the name, or \
             databases.{}.url",
            table.source
        )]);
    }
    if !may_read {
        return Ok(vec![format!(
            "expiry_profile.table: table {shown} may not be read by this role; GRANT SELECT ON {name}"
        )]);
    }
    let mut problems = Vec::new();
    for (key, column, category) in table.columns() {
        match found.iter().find(|(name, _)| name == column.name()) {
            None => problems.push(format!(
                "expiry_profile.{key}: table {shown} has no column {}",
                column.as_str()
            )),
            Some((_, is)) if is != category => problems.push(format!(
                "expiry_profile.{key}: column {} of table {shown} is not {}",
                column.as_str(),
                if category == "N" { "a number" } else { "a text" }
            )),
            Some(_) => {}
        }
    }
    Ok(problems)
}
