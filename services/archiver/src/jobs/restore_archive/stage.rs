//! Rows from the store into a table, and the digest of rows in a table: both as COPY BINARY.

use eidos_archive_store::{ContentDigest, CopyDigester};
use eidos_disposal::DisposalError;
use eidos_disposal::export::lift_transaction_timeout;
use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::work::Work;
use crate::store::batch::set_lock_timeout;

/// What a set of rows is, whatever their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) rows: u64,
    pub(super) digest: ContentDigest,
}

impl Work<'_> {
    /// The limits of this unit's transaction.
    pub(super) async fn set_limits(&self, conn: &mut PgConnection) -> Result<(), DisposalError> {
        set_lock_timeout(conn, self.disposal.lock_timeout).await?;
        sqlx::query("SELECT set_config('statement_timeout', $1, true)")
            .bind(self.disposal.statement_timeout.as_millis().to_string())
            .execute(&mut *conn)
            .await
            .map_err(DisposalError::sql("set the statement timeout"))?;
        lift_transaction_timeout(conn, self.disposal).await
    }

    /// What the export holds.
    pub(super) fn content(&self) -> Content {
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
    pub(super) async fn copy_into(&self, conn: &mut PgConnection, table: &Sql) -> Result<u64, DisposalError> {
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
    pub(super) async fn digest(
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
