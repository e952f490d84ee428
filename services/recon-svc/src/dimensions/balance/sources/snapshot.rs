//! One view of the books: `REPEATABLE READ READ ONLY`, exported so that every shard reads the same one.

use chrono::{DateTime, Utc};
use eidos_pg::{Sql, sql};
use eidos_types::Hash32;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Row};

use super::SourceError;
use crate::dimensions::balance::schema::{Schema, TableId};

/// The neighbours' databases. Several may be the same database; then they share one snapshot.
#[derive(Debug, Clone)]
pub struct Databases {
    /// The trading service's.
    pub trading: PgPool,
    /// The chain service's; `None` if it is the trading service's database.
    pub chain: Option<PgPool>,
    /// The admin service's.
    pub admin: PgPool,
}

/// What the indexer says it has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexerBlock {
    /// Its number.
    pub number: u64,
    /// Its hash, if the indexer stores one.
    pub hash: Option<Hash32>,
}

/// One consistent view of the books.
#[derive(Debug)]
pub struct BooksSnapshot {
    trading: PoolConnection<Postgres>,
    chain: Option<PoolConnection<Postgres>>,
    pool: PgPool,
    /// PostgreSQL's name of the snapshot of the trading database.
    pub id: String,
    /// When it was taken, by the database's clock.
    pub taken_at: DateTime<Utc>,
    /// The last block the books' indexer had applied, read inside the snapshot.
    pub indexer: IndexerBlock,
}

impl BooksSnapshot {
    /// Opens a view. With two databases the chain service's is opened first: the books are then never older than
    /// the indexer's block that they are compared at.
    pub async fn open(databases: &Databases, schema: &Schema, chain_id: u64) -> Result<Self, SourceError> {
        let mut chain = match &databases.chain {
            Some(pool) => Some(begin(pool).await?),
            None => None,
        };
        let mut trading = begin(&databases.trading).await?;
        let indexer = {
            let conn = chain.as_mut().unwrap_or(&mut trading);
            indexer_block(conn, schema, chain_id).await?
        };
        let row = sqlx::query("SELECT pg_export_snapshot() AS id, clock_timestamp() AS taken_at")
            .fetch_one(&mut *trading)
            .await
            .map_err(SourceError::reading("the snapshot's name"))?;
        let field = SourceError::reading("the snapshot's name");
        let (id, taken_at) = (|| Ok((row.try_get("id")?, row.try_get("taken_at")?)))().map_err(field)?;
        Ok(Self {
            trading,
            chain,
            pool: databases.trading.clone(),
            id,
            taken_at,
            indexer,
        })
    }

    /// The session on the trading service's tables.
    pub fn trading(&mut self) -> &mut PgConnection {
        &mut self.trading
    }

    /// The session on the chain service's tables.
    pub fn chain(&mut self) -> &mut PgConnection {
        self.chain.as_mut().unwrap_or(&mut self.trading)
    }

    /// How a shard joins this snapshot. Only valid while this value lives.
    #[must_use]
    pub fn ticket(&self) -> SnapshotTicket {
        SnapshotTicket {
            pool: self.pool.clone(),
            id: self.id.clone(),
        }
    }
}

/// Permission to read in somebody else's snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotTicket {
    pool: PgPool,
    id: String,
}

impl SnapshotTicket {
    /// A further session with the same view.
    pub async fn join(&self) -> Result<PoolConnection<Postgres>, SourceError> {
        let mut conn = begin(&self.pool).await?;
        // SET takes no parameters.
        let id = Sql::literal(&self.id).unwrap_or_default();
        sqlx::query(sql!("SET TRANSACTION SNAPSHOT {id}"; id))
            .execute(&mut *conn)
            .await
            .map_err(SourceError::reading("the exported snapshot"))?;
        Ok(conn)
    }
}

/// A session inside a read-only transaction without server-side time limits: a stream may rest while the chain
/// is read, and the run's own budget ends it. The session is closed when dropped, never returned half-read.
async fn begin(pool: &PgPool) -> Result<PoolConnection<Postgres>, SourceError> {
    let failed = || SourceError::reading("the books (opening a snapshot)");
    let mut conn = pool.acquire().await.map_err(failed())?;
    conn.close_on_drop();
    for statement in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
    ] {
        sqlx::query(statement)
            .execute(&mut *conn)
            .await
            .map_err(failed())?;
    }
    Ok(conn)
}

async fn indexer_block(
    conn: &mut PgConnection,
    schema: &Schema,
    chain_id: u64,
) -> Result<IndexerBlock, SourceError> {
    let what = "the indexer's last block";
    let sql = schema.sql(
        TableId::BlockCheckpoints,
        "SELECT {block_number}::bigint AS number, {block_hash}::text AS hash FROM {table} \
         WHERE {chain_id}::bigint = $1 ORDER BY {block_number} DESC LIMIT 1",
    );
    let row = sqlx::query(sql)
        .bind(i64::try_from(chain_id).unwrap_or(i64::MAX))
        .fetch_optional(conn)
        .await
        .map_err(SourceError::reading(what))?;
    let Some(row) = row else {
        return Err(SourceError::NoIndexer {
            table: schema.name(TableId::BlockCheckpoints).to_owned(),
            chain_id,
        });
    };
    let number: i64 = row.try_get("number").map_err(SourceError::reading(what))?;
    let hash: Option<String> = row.try_get("hash").map_err(SourceError::reading(what))?;
    Ok(IndexerBlock {
        number: u64::try_from(number).unwrap_or_default(),
        hash: hash.and_then(|text| text.parse().ok()),
    })
}
