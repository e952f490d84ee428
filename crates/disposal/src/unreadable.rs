//! Which row it is that the server cannot send: bytes that are not valid in the database's encoding, a damaged page.
//!
//! The error of a COPY names no row. So the table is read again in halves, by pages and then by rows, and the half that
//! fails is divided further: no more than twice the table is read, and only after a failure.

use eidos_pg::{Sql, sql};
use eidos_runtime::JobContext;
use eidos_types::ident::SqlIdent;
use sqlx::PgPool;

use crate::catalogue::TableShape;
use crate::export::{LongRead, content_of};
use crate::settings::DisposalSettings;
use crate::unit::Unit;
use crate::{DisposalError, source_connection};

/// SQLSTATE classes of failures that a row can be at fault for: data exceptions, damaged files, and what a function
/// of a generated column raises.
const OF_A_ROW: [&str; 3] = ["22", "XX", "P0"];

const PAGES: &str = "SELECT pg_relation_size($1::bigint::oid) / current_setting('block_size')::bigint";

/// Looks for the row at fault.
#[derive(Debug)]
pub(crate) struct Unreadable<'a> {
    /// The run, which may be cancelled meanwhile.
    pub(crate) ctx: &'a JobContext,
    /// The table's database.
    pub(crate) pool: &'a PgPool,
    /// How long a statement may take.
    pub(crate) settings: &'a DisposalSettings,
    /// A condition on the table, called `r`: other rows are no concern of the unit.
    pub(crate) rows: &'a Sql,
}

impl Unreadable<'_> {
    /// The first row whose values the server cannot send, and the column; `None`: none was found.
    pub(crate) async fn first(&self, unit: &Unit, code: &str) -> Option<String> {
        if !OF_A_ROW.iter().any(|class| code.starts_with(class)) {
            return None;
        }
        match self.search(unit).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(unit = %unit.unit_id, %error, "could not look for the row that cannot be read");
                None
            }
        }
    }

    async fn search(&self, unit: &Unit) -> Result<Option<String>, DisposalError> {
        let mut conn = source_connection(self.pool).await?;
        let Some(own) = crate::catalogue::read_by_oid(&mut conn, unit.table_oid).await? else {
            return Ok(None);
        };
        let pages: i64 = sqlx::query_scalar(PAGES)
            .bind(i64::from(own.oid))
            .fetch_one(&mut *conn)
            .await
            .map_err(DisposalError::sql("measure a table"))?;
        drop(conn);
        let Some(page) = self.page_of(&own, pages).await? else {
            return Ok(None);
        };
        let Some(row) = self.row_of(&own, page).await? else {
            return Ok(Some(format!("a row in page {page}")));
        };
        let column = self.column_of(&own, &row).await?;
        let key = self.key_of(&own, &row).await;
        Ok(Some(format!(
            "the row {key}(ctid {row}){}",
            column.map_or_else(String::new, |column| format!(", column {column},"))
        )))
    }

    async fn page_of(&self, own: &TableShape, pages: i64) -> Result<Option<i64>, DisposalError> {
        let within = |from: i64, to: i64| sql!("r.ctid >= '({from},0)'::tid AND r.ctid < '({to},0)'::tid AND {}", self.rows; from, to);
        let (mut from, mut to) = (0, pages);
        if !self.fails(own, &own.column_list(), &within(from, to)).await? {
            return Ok(None);
        }
        while to - from > 1 {
            self.ctx.check_cancelled()?;
            let middle = from + (to - from) / 2;
            if self.fails(own, &own.column_list(), &within(from, middle)).await? {
                to = middle;
            } else {
                from = middle;
            }
        }
        Ok(Some(from))
    }

    async fn row_of(&self, own: &TableShape, page: i64) -> Result<Option<String>, DisposalError> {
        let list = sql!(
            "SELECT r.ctid::text FROM ONLY {} r WHERE r.ctid >= '({page},0)'::tid AND r.ctid < '({},0)'::tid AND {} \
             ORDER BY r.ctid",
            own.relation, page + 1, self.rows;
            page
        );
        let rows: Vec<String> = sqlx::query_scalar(list)
            .fetch_all(&mut *source_connection(self.pool).await?)
            .await
            .map_err(DisposalError::sql("list the rows of a page"))?;
        for row in rows {
            let this = this_row(&row);
            if self.fails(own, &own.column_list(), &this).await? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    async fn column_of(&self, own: &TableShape, row: &str) -> Result<Option<String>, DisposalError> {
        let this = this_row(row);
        for column in &own.columns {
            if self
                .fails(own, &sql!("{}", SqlIdent::quoting(&column.name)), &this)
                .await?
            {
                return Ok(Some(column.name.clone()));
            }
        }
        Ok(None)
    }

    /// `(id=7, created_at=…) `, or nothing where the key itself cannot be read.
    async fn key_of(&self, own: &TableShape, row: &str) -> String {
        if own.primary_key.is_empty() {
            return String::new();
        }
        let parts = own.primary_key.iter().map(|column| {
            let name = Sql::literal(column).unwrap_or_default();
            sql!("{name} || '=' || {}::text", SqlIdent::quoting(column); name)
        });
        let select = sql!(
            "SELECT {} FROM ONLY {} r WHERE {}",
            Sql::join(parts, " || ', ' || "),
            own.relation,
            this_row(row)
        );
        let Ok(mut conn) = source_connection(self.pool).await else {
            return String::new();
        };
        let key: Result<String, _> = sqlx::query_scalar(select).fetch_one(&mut *conn).await;
        key.map_or_else(|_unreadable| String::new(), |key| format!("({key}) "))
    }

    /// Whether reading these columns of these rows fails as such; a lost connection is an error.
    async fn fails(&self, own: &TableShape, columns: &Sql, rows: &Sql) -> Result<bool, DisposalError> {
        let select = sql!("SELECT {columns} FROM ONLY {} r WHERE {rows}", own.relation; columns, rows);
        let count = if *columns == own.column_list() {
            own.columns.len()
        } else {
            1
        };
        let mut read = LongRead::open(self.pool, self.settings).await?;
        let outcome = content_of(self.ctx, &mut read, select.as_str(), count).await;
        read.close().await;
        match outcome {
            Ok(_content) => Ok(false),
            Err(error) if error.sqlstate().is_some() && error.cannot_heal() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// The condition of one row, by its `ctid` as the server printed it.
fn this_row(ctid: &str) -> Sql {
    sql!("r.ctid = {}::tid", Sql::literal(ctid).unwrap_or_default())
}
