//! Rows from the store into a table, and the digest of rows in a table: both as COPY BINARY.

use eidos_archive_store::{Column, ContentDigest, CopyDigester};
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{Relation, TableShape};
use eidos_disposal::export::lift_transaction_timeout;
use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::batch::set_lock_timeout;
use crate::jobs::restore_archive::work::Work;

pub(super) const LIMIT_STATEMENTS: &str = "SELECT set_config('statement_timeout', $1, true)";

/// The temporary table that an export is copied into.
const STAGE: &str = "eidos_restore_stage";

/// What a set of rows is, whatever their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) rows: u64,
    pub(crate) digest: ContentDigest,
}

impl Work<'_> {
    /// The limits of this unit's transaction.
    pub(crate) async fn set_limits(&self, conn: &mut PgConnection) -> Result<(), DisposalError> {
        set_lock_timeout(conn, self.disposal.lock_timeout).await?;
        sqlx::query(LIMIT_STATEMENTS)
            .bind(self.disposal.statement_timeout.as_millis().to_string())
            .execute(&mut *conn)
            .await
            .map_err(DisposalError::sql("set the statement timeout"))?;
        lift_transaction_timeout(conn, self.disposal).await
    }

    /// What the export holds.
    pub(crate) fn content(&self) -> Content {
        Content {
            rows: self.manifest.rows,
            digest: self.manifest.content_digest,
        }
    }

    /// The export's columns, quoted and separated by commas.
    pub(super) fn column_list(&self, alias: &'static str) -> Sql {
        let names = self
            .manifest
            .columns
            .iter()
            .map(|column| SqlIdent::quoting(&column.name));
        Sql::join(names.map(|name| sql!("{alias}{name}"; alias, name)), ", ")
    }

    /// Copies the whole export into `table`.
    pub(crate) async fn copy_into(&self, conn: &mut PgConnection, table: &Sql) -> Result<u64, DisposalError> {
        let statement = sql!("COPY {table} ({}) FROM STDIN (FORMAT binary)", self.column_list(""); table);
        let mut copy = conn
            .copy_in_raw(statement.as_str())
            .await
            .map_err(DisposalError::sql("begin copying an export back"))?;
        let mut rows = Box::pin(self.store.copy_stream(self.manifest, None));
        loop {
            let next = self.ctx.unless_cancelled(rows.try_next()).await?;
            match next {
                Ok(Some(bytes)) => {
                    copy.send(bytes)
                        .await
                        .map_err(DisposalError::sql("copy an export back"))?;
                }
                Ok(None) => break,
                Err(error) => {
                    // The transaction is given up with its copy; the reason is what the store said.
                    let _ = copy.abort(error.to_string()).await;
                    return Err(error.into());
                }
            }
        }
        copy.finish()
            .await
            .map_err(DisposalError::sql("finish copying an export back"))
    }

    /// The digest of what a query gives, whose columns are the export's.
    pub(crate) async fn digest(
        &self,
        conn: &mut PgConnection,
        query: &Sql,
    ) -> Result<Content, DisposalError> {
        let mut digester = CopyDigester::new(self.manifest.columns.len());
        let statement = sql!("COPY ({query}) TO STDOUT (FORMAT binary)"; query);
        let mut rows = conn
            .copy_out_raw(statement.as_str())
            .await
            .map_err(DisposalError::sql("begin reading rows again"))?;
        while let Some(bytes) = self
            .ctx
            .unless_cancelled(rows.try_next())
            .await?
            .map_err(DisposalError::sql("read rows again"))?
        {
            digester
                .feed(&bytes)
                .map_err(|error| DisposalError::refused("digest", error.to_string()))?;
        }
        let (rows, digest) = digester
            .finish()
            .map_err(|error| DisposalError::refused("digest", error.to_string()))?;
        Ok(Content { rows, digest })
    }

    /// Copies the export into a table of this transaction.
    pub(crate) async fn stage(&self, conn: &mut PgConnection) -> Result<(), DisposalError> {
        let declared = Sql::join(self.manifest.columns.iter().map(declared), ", ");
        let create = sql!("CREATE TEMPORARY TABLE {STAGE} ({declared}) ON COMMIT DROP"; STAGE, declared);
        execute(conn, "create a staging table", create).await?;
        self.copy_into(conn, &Sql::constant(STAGE)).await?;
        // The planner must know its size before the join.
        execute(conn, "count the staging table", sql!("ANALYZE {STAGE}"; STAGE)).await?;
        Ok(())
    }

    /// Inserts the staged rows that the table does not have. Returns their number.
    pub(crate) async fn insert_missing(
        &self,
        conn: &mut PgConnection,
        table: &Relation,
        shape: &TableShape,
    ) -> Result<u64, DisposalError> {
        // What the table computes itself cannot be written; the digest afterwards proves that it came out the same.
        let columns = self
            .manifest
            .columns
            .iter()
            .filter(|column| {
                !shape
                    .columns
                    .iter()
                    .any(|here| here.name == column.name && here.generated)
            })
            .map(|column| SqlIdent::quoting(&column.name));
        let columns = Sql::join(columns, ", ");
        let insert = sql!(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {STAGE} s \
             WHERE NOT EXISTS (SELECT 1 FROM {table} o WHERE {})",
            self.same_key();
            table, columns, STAGE
        );
        execute(conn, "insert what is missing", insert).await
    }

    /// Returns what the table holds of the staged keys.
    pub(crate) async fn digest_of_staged(
        &self,
        conn: &mut PgConnection,
        table: &Relation,
    ) -> Result<Content, DisposalError> {
        let here = sql!(
            "SELECT {} FROM {table} o JOIN {STAGE} s ON {}",
            self.column_list("o."), self.same_key();
            table, STAGE
        );
        self.digest(conn, &here).await
    }

    fn same_key(&self) -> Sql {
        let key = self.manifest.primary_key.iter().map(SqlIdent::quoting);
        Sql::join(key.map(|name| sql!("o.{name} = s.{name}"; name)), " AND ")
    }
}

/// Returns a column's name and type, as in a declaration.
pub(super) fn declared(column: &Column) -> Sql {
    let declared_type = Sql::from_server(column.pg_type.declaration());
    sql!("{} {declared_type}", SqlIdent::quoting(&column.name); declared_type)
}

/// Runs one statement.
pub(super) async fn execute(
    conn: &mut PgConnection,
    what: &'static str,
    statement: Sql,
) -> Result<u64, DisposalError> {
    let done = sqlx::query(statement)
        .execute(conn)
        .await
        .map_err(DisposalError::sql(what))?;
    Ok(done.rows_affected())
}
