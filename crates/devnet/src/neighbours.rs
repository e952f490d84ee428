//! The neighbours' tables: their DDL and a bulk insert for them.
//!
//! The DDL lives in `neighbours/*.sql`. It belongs to other services; here it exists so that a reconciler can be run
//! against tables of the real shape.

use anyhow::Context;
use eidos_core::migrations;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// The role a reconciler connects with: it may read what it compares and write nothing.
pub const READ_ONLY_ROLE: &str = "eidos_recon_ro";
/// Its password; the role exists in private servers on loopback only.
pub const READ_ONLY_PASSWORD: &str = "eidos-recon-read-only";

/// The role retention-manager connects with: a member of the tables' owner, no superuser.
pub const RETENTION_ROLE: &str = "eidos_retention";
/// Its password; the role exists in private servers on loopback only.
pub const RETENTION_PASSWORD: &str = "eidos-retention-local";
/// The role archiver connects with.
pub const ARCHIVER_ROLE: &str = "eidos_archiver";
/// Its password.
pub const ARCHIVER_PASSWORD: &str = "eidos-archiver-local";

/// The role order-expirer reads orders with: no other table, and no write.
pub const ORDERS_READER_ROLE: &str = "eidos_expirer_ro";
/// Its password; the role exists in private servers on loopback only.
pub const ORDERS_READER_PASSWORD: &str = "eidos-expirer-read-only";
/// The role order-expirer connects to the jobs database with.
pub const EXPIRER_ROLE: &str = "eidos_expirer";
/// Its password.
pub const EXPIRER_PASSWORD: &str = "eidos-expirer-local";
/// The role aggregator connects with.
pub const AGGREGATOR_ROLE: &str = "eidos_aggregator";
/// Its password.
pub const AGGREGATOR_PASSWORD: &str = "eidos-aggregator-local";

/// Rows in one INSERT.
const CHUNK: usize = 2_000;

/// Creates the neighbours' tables and the read-only role in an empty database.
///
/// # Errors
/// If the database refuses, for instance because the tables exist.
pub async fn install(pool: &PgPool) -> anyhow::Result<()> {
    for (name, ddl) in [
        ("trading", include_str!("../neighbours/trading.sql")),
        ("chain", include_str!("../neighbours/chain.sql")),
        ("admin", include_str!("../neighbours/admin.sql")),
        ("market", include_str!("../neighbours/market.sql")),
        ("risk", include_str!("../neighbours/risk.sql")),
        ("roles", include_str!("../neighbours/roles.sql")),
    ] {
        sqlx::raw_sql(ddl)
            .execute(pool)
            .await
            .with_context(|| format!("neighbours/{name}.sql does not apply; the database must be empty"))?;
    }
    Ok(())
}

/// Prepares the neighbours' database and the jobs database for retention-manager and archiver: fence, freeze, and roles
/// that own what they dispose of. Run it after the last table was made; it may be run again.
///
/// # Errors
/// If a database refuses: it needs a superuser.
pub async fn install_disposal(exchange: &PgPool, jobs: &PgPool) -> anyhow::Result<()> {
    migrations::install_external_fence(exchange).await?;
    migrations::install_external_freeze(exchange).await?;
    apply(&[
        (
            exchange,
            "neighbours/disposal_roles.sql",
            include_str!("../neighbours/disposal_roles.sql"),
        ),
        (jobs, ROLES.0, ROLES.1),
        (
            jobs,
            "neighbours/jobs_roles.sql",
            include_str!("../neighbours/jobs_roles.sql"),
        ),
    ])
    .await
}

/// The roles of the jobs database.
const ROLES: (&str, &str) = (
    "migrations/roles/roles.sql",
    include_str!("../../../migrations/roles/roles.sql"),
);

/// Prepares the databases of orders and of markets, and the jobs database, for order-expirer and aggregator: roles with the
/// rights that they need, the fence, and the indexes that aggregator asks for. It may be run again.
///
/// # Errors
/// If a database refuses: it needs a superuser.
pub async fn install_logins(orders: &PgPool, market: &PgPool, jobs: &PgPool) -> anyhow::Result<()> {
    migrations::install_external_fence(market).await?;
    apply(&[
        (
            orders,
            "neighbours/expirer_role.sql",
            include_str!("../neighbours/expirer_role.sql"),
        ),
        (
            market,
            "neighbours/aggregator_role.sql",
            include_str!("../neighbours/aggregator_role.sql"),
        ),
        (jobs, ROLES.0, ROLES.1),
        (
            jobs,
            "neighbours/jobs_logins.sql",
            include_str!("../neighbours/jobs_logins.sql"),
        ),
    ])
    .await
}

async fn apply(files: &[(&PgPool, &str, &'static str)]) -> anyhow::Result<()> {
    for (pool, name, ddl) in files {
        sqlx::raw_sql(*ddl)
            .execute(*pool)
            .await
            .with_context(|| format!("{name} does not apply"))?;
    }
    Ok(())
}

/// Inserts rows given as JSON objects that all have the same keys. `table` is one of our own constants.
///
/// JSON keeps this to one statement for eighteen tables; amounts are strings and stay exact.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    table: &'static str,
    rows: &[Value],
) -> anyhow::Result<()> {
    let Some(columns) = rows.first().and_then(Value::as_object) else {
        return Ok(());
    };
    let columns = columns.keys().cloned().collect::<Vec<_>>().join(", ");
    let statement = format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1)"
    );
    for chunk in rows.chunks(CHUNK) {
        sqlx::query(AssertSqlSafe(statement.as_str()))
            .bind(sqlx::types::Json(chunk))
            .execute(&mut *connection)
            .await
            .with_context(|| format!("rows for {table} were refused"))?;
    }
    Ok(())
}
