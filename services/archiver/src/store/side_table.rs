//! The table beside the original that a restore makes from the manifest.

use eidos_archive_store::Column;
use eidos_disposal::DisposalError;
use eidos_pg::{Relation, Sql, sql};
use eidos_types::ident::SqlIdent;
use sqlx::PgConnection;

use super::stage::{Content, declared, execute};
use crate::jobs::restore_archive::work::Work;

/// Creates it. It has no constraint but the key: what was exported fits, whatever the table's rules are today.
pub(crate) async fn create(
    work: &Work<'_>,
    conn: &mut PgConnection,
    side: &Relation,
) -> Result<(), DisposalError> {
    let columns = Sql::join(work.manifest.columns.iter().map(declared), ", ");
    let key = work.manifest.primary_key.iter().map(SqlIdent::quoting);
    let key = if key.len() == 0 {
        Sql::default()
    } else {
        sql!(", PRIMARY KEY ({})", Sql::join(key, ", "))
    };
    let create = sql!("CREATE TABLE {side} ({columns}{key})"; side, columns, key);
    execute(conn, "create a side table", create).await?;
    Ok(())
}

/// Adds a column of a later export.
pub(crate) async fn add_column(
    conn: &mut PgConnection,
    side: &Relation,
    column: &Column,
) -> Result<(), DisposalError> {
    let add = sql!("ALTER TABLE {side} ADD COLUMN {}", declared(column); side);
    execute(conn, "add a column to a side table", add).await?;
    Ok(())
}

/// Copies the whole export into it. Returns the number of rows.
pub(crate) async fn fill(
    work: &Work<'_>,
    conn: &mut PgConnection,
    side: &Relation,
) -> Result<u64, DisposalError> {
    work.copy_into(conn, &sql!("{}", side)).await
}

/// Returns what it holds in the window of the unit.
pub(crate) async fn digest(
    work: &Work<'_>,
    conn: &mut PgConnection,
    side: &Relation,
) -> Result<Content, DisposalError> {
    let time = SqlIdent::quoting(&work.manifest.time_column);
    let here = sql!(
        "SELECT {} FROM {side} WHERE {time} >= {} AND {time} < {}",
        work.column_list(""), work.unit.lower_ms, work.unit.upper_ms;
        side, time
    );
    work.digest(conn, &here).await
}
