//! The trading service's orders, read-only. Codes stand in the statements as numbers, so that partial indexes over them can
//! be used.

use eidos_pg::{Sql, sql};
use sqlx::PgPool;

use crate::profile::{OrdersTable, StatusCodes};

/// Where a page of expired orders begins: after this expiry and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// A time of the row, epoch ms.
    pub at_ms: i64,
    /// The primary key.
    pub id: i64,
}

/// An order that is open although it should not be.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are those of the profile")]
pub struct Candidate {
    pub id: i64,
    pub order_id: String,
    pub wallet: String,
    pub market: String,
    pub expire_at: i64,
}

/// What the row of an order says now.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are those of the profile")]
pub struct OrderRow {
    pub order_id: String,
    pub status: i64,
    pub expire_at: i64,
    pub empty: bool,
    pub updated_at: i64,
}

/// A cancelled order whose cache keys may go.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are those of the profile")]
pub struct Cancelled {
    pub id: i64,
    pub order_id: String,
    pub updated_at: i64,
}

/// A row of a sweep's page.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are those of the profile")]
pub struct Swept {
    pub id: i64,
    pub order_id: String,
    pub wallet: String,
    pub market: String,
    pub status: i64,
    pub expire_at: i64,
    pub empty: bool,
    pub updated_at: i64,
}

/// The statements on the orders table.
#[derive(Debug, Clone)]
pub struct OrdersStore {
    expired: Sql,
    by_ids: Sql,
    cancelled: Sql,
    page: Sql,
    last_of_page: Sql,
}

impl OrdersStore {
    /// Assembles the statements.
    #[must_use]
    pub fn new(orders: &OrdersTable, codes: &StatusCodes) -> Self {
        let live = Sql::join([codes.pending, codes.open, codes.partial], ", ");
        let ended = Sql::join(
            [codes.filled, codes.cancelled, codes.expired, codes.rejected],
            ", ",
        );
        let (cancelled, cancelling) = (codes.cancelled, codes.cancelling);
        let OrdersTable {
            table,
            id,
            order_id,
            wallet,
            market,
            status,
            expire_at,
            remaining,
            updated_at,
            ..
        } = orders;
        Self {
            expired: sql!(
                "SELECT {id}::bigint AS id, {order_id}::text AS order_id, {wallet}::text AS wallet, \
                    {market}::text AS market, {expire_at}::bigint AS expire_at FROM {table} \
                 WHERE {expire_at} > 0 AND {expire_at} < $1 AND {expire_at} >= $2 AND ({expire_at}, {id}) > ($2, $3) \
                    AND {status} IN ({live}) ORDER BY {expire_at}, {id} LIMIT $4";
                id, order_id, wallet, market, expire_at, table, status, live
            ),
            by_ids: sql!(
                "SELECT {order_id}::text AS order_id, {status}::bigint AS status, {expire_at}::bigint AS expire_at, \
                    ({remaining} = 0) AS empty, {updated_at}::bigint AS updated_at \
                 FROM {table} WHERE {order_id} = ANY ($1)";
                order_id, status, expire_at, remaining, updated_at, table
            ),
            cancelled: sql!(
                "SELECT {id}::bigint AS id, {order_id}::text AS order_id, {updated_at}::bigint AS updated_at FROM {table} \
                 WHERE {status} = {cancelled} AND {updated_at} < $1 AND ({updated_at}, {id}) > ($2, $3) \
                 ORDER BY {updated_at}, {id} LIMIT $4";
                id, order_id, updated_at, table, status, cancelled
            ),
            page: sql!(
                "SELECT id, order_id, wallet, market, status, expire_at, empty, updated_at FROM ( \
                    SELECT {id}::bigint AS id, {order_id}::text AS order_id, {wallet}::text AS wallet, \
                        {market}::text AS market, {status}::bigint AS status, {expire_at}::bigint AS expire_at, \
                        ({remaining} = 0) AS empty, {updated_at}::bigint AS updated_at \
                    FROM {table} WHERE {id} > $1 AND {id} <= $2 ORDER BY {id}) AS page \
                 WHERE status NOT IN ({ended}) AND (status NOT IN ({live}, {cancelling}) \
                    OR (status IN ({live}) AND expire_at > 0 AND expire_at < $3) \
                    OR (status IN ({live}) AND empty AND updated_at < $4) \
                    OR (status = {cancelling} AND updated_at < $5))";
                id, order_id, wallet, market, status, expire_at, remaining, updated_at, table, ended, live, cancelling
            ),
            last_of_page: sql!(
                "SELECT max(id) FROM (SELECT {id}::bigint AS id FROM {table} WHERE {id} > $1 ORDER BY {id} LIMIT $2) AS page";
                id, table
            ),
        }
    }

    /// Returns the text of the selection of expired orders, for a look at its plan.
    #[must_use]
    pub const fn expired_statement(&self) -> &Sql {
        &self.expired
    }

    /// Returns every statement with its name.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &Sql); 5] {
        [
            ("expired", &self.expired),
            ("by_ids", &self.by_ids),
            ("cancelled", &self.cancelled),
            ("page", &self.page),
            ("last_of_page", &self.last_of_page),
        ]
    }

    /// Returns the next open orders that expired before `cutoff_ms`, the longest expired first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn expired(
        &self,
        pool: &PgPool,
        cutoff_ms: i64,
        after: Position,
        limit: i64,
    ) -> Result<Vec<Candidate>, sqlx::Error> {
        sqlx::query_as(&self.expired)
            .bind(cutoff_ms)
            .bind(after.at_ms)
            .bind(after.id)
            .bind(limit)
            .fetch_all(pool)
            .await
    }

    /// Returns the rows of these orders; a missing one has none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn by_ids(&self, pool: &PgPool, order_ids: &[&str]) -> Result<Vec<OrderRow>, sqlx::Error> {
        sqlx::query_as(&self.by_ids).bind(order_ids).fetch_all(pool).await
    }

    /// Returns the next cancelled orders that changed before `cutoff_ms`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn cancelled(
        &self,
        pool: &PgPool,
        cutoff_ms: i64,
        after: Position,
        limit: i64,
    ) -> Result<Vec<Cancelled>, sqlx::Error> {
        sqlx::query_as(&self.cancelled)
            .bind(cutoff_ms)
            .bind(after.at_ms)
            .bind(after.id)
            .bind(limit)
            .fetch_all(pool)
            .await
    }

    /// Returns the last id of the page of at most `limit` rows after `after`. `None`: there is no further row.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn last_of_page(
        &self,
        pool: &PgPool,
        after: i64,
        limit: i64,
    ) -> Result<Option<i64>, sqlx::Error> {
        sqlx::query_scalar(&self.last_of_page)
            .bind(after)
            .bind(limit)
            .fetch_one(pool)
            .await
    }

    /// Returns what is odd among the rows after `after` up to `upto`: open and expired before `cutoffs[0]`, open without
    /// quantity since `cutoffs[1]`, in cancelling since `cutoffs[2]`, or of an unknown status.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn odd(
        &self,
        pool: &PgPool,
        (after, upto): (i64, i64),
        cutoffs: [i64; 3],
    ) -> Result<Vec<Swept>, sqlx::Error> {
        let mut query = sqlx::query_as(&self.page).bind(after).bind(upto);
        for cutoff in cutoffs {
            query = query.bind(cutoff);
        }
        query.fetch_all(pool).await
    }
}
