//! Long reads: a partition or a month of rows leaves as `COPY .. TO STDOUT (FORMAT binary)`, and is digested again to
//! be compared with what was exported.
//!
//! Equality is decided by a digest over the rows' own bytes as the server sent them, taken from the stream before any
//! codec touches it. So a codec that loses a digit is found by the first comparison, not by the reader of the archive.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eidos_archive_store::{
    ArchiveStore, ContentDigest, CopyDigester, ExportRequest, Exported, ManifestRef, StoreError,
};
use eidos_pg::{Sql, sql};
use eidos_runtime::JobContext;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use sqlx::{Connection, PgConnection, PgPool};

use crate::settings::DisposalSettings;
use crate::unit::Evidence;
use crate::{DisposalError, source_connection};

const WAL_POSITION: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                            ELSE pg_current_wal_lsn() END::text";

/// How long a read whose chunks are all there already keeps its thread.
const LONGEST_TURN: Duration = Duration::from_millis(20);

const LIFT_TRANSACTION_TIMEOUT: &str = "\
    SELECT set_config(name, $1, true) FROM pg_settings WHERE name = 'transaction_timeout'";

/// What a table holds: how many rows, and their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Rows.
    pub rows: u64,
    /// Their digest; does not depend on their order.
    pub digest: ContentDigest,
}

/// A session of its own for one long read. Never one of the pool: a `COPY` that fails early, or is given up half way,
/// leaves a connection of sqlx 0.9 one answer behind, and whoever gets it next reads the answers of somebody else. This
/// one is closed, whatever happens.
#[derive(Debug)]
pub struct LongRead {
    conn: PgConnection,
}

impl LongRead {
    /// One snapshot, read only. Rows that row security would hide are an error instead of being left out. The server
    /// may be kept waiting by a slow upload: its limits for statement and network are those of a long read.
    ///
    /// # Errors
    /// [`DisposalError::Sql`].
    pub async fn open(pool: &PgPool, settings: &DisposalSettings) -> Result<Self, DisposalError> {
        let mut conn = source_connection(pool).await?.detach();
        let begin = sql!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}",
            limits(settings)
        );
        sqlx::raw_sql(begin)
            .execute(&mut conn)
            .await
            .map_err(DisposalError::sql("begin a long read"))?;
        lift_transaction_timeout(&mut conn, settings).await?;
        Ok(Self { conn })
    }

    /// A position in the write-ahead log that all rows of this read were committed before. Asked before anything else
    /// it fixes the snapshot. `None`: this server does not tell, as some managed ones do not.
    ///
    /// # Errors
    /// [`DisposalError::Sql`].
    pub async fn wal_position(&mut self) -> Result<Option<String>, DisposalError> {
        let asking = || DisposalError::sql("ask for the position in the write-ahead log");
        // A refusal would otherwise end the transaction.
        self.execute("SAVEPOINT wal_position").await.map_err(asking())?;
        match sqlx::query_scalar(WAL_POSITION).fetch_one(&mut self.conn).await {
            Ok(position) => Ok(Some(position)),
            Err(sqlx::Error::Database(_)) => {
                let back = self.execute("ROLLBACK TO SAVEPOINT wal_position").await;
                back.map(|()| None).map_err(asking())
            }
            Err(error) => Err(asking()(error)),
        }
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement)
            .execute(&mut self.conn)
            .await
            .map(|_done| ())
    }

    /// The connection, for further reads in the same snapshot.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// Ends it.
    pub async fn close(self) {
        // It read only, and the server notices a closed socket as well.
        let _closed = self.conn.close().await;
    }
}

/// `SET LOCAL` of everything a long read needs.
fn limits(settings: &DisposalSettings) -> Sql {
    let limit = settings.statement_timeout.as_millis().max(1);
    sql!(
        "SET LOCAL statement_timeout = {limit}; SET LOCAL tcp_user_timeout = {limit}; SET LOCAL row_security = off";
        limit
    )
}

/// PostgreSQL 17 and newer can limit whole transactions, also by a role's or a database's settings: one of ours that is
/// long by its nature gets the limit of a long read instead. Servers that do not know the setting are left alone.
///
/// The running limit is taken away first: a server that is told a longer one in the middle of a transaction keeps the
/// clock that it has started.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn lift_transaction_timeout(
    conn: &mut PgConnection,
    settings: &DisposalSettings,
) -> Result<(), DisposalError> {
    for limit in [
        "0".to_owned(),
        settings.statement_timeout.as_millis().max(1).to_string(),
    ] {
        sqlx::query(LIFT_TRANSACTION_TIMEOUT)
            .bind(limit)
            .execute(&mut *conn)
            .await
            .map_err(DisposalError::sql("lift the limit of a transaction"))?;
    }
    Ok(())
}

/// Exports what `select` gives, reads it back, and compares both with the rows as the server sent them.
///
/// # Errors
/// [`DisposalError::Refused`] (`mismatch`) where any two differ; [`DisposalError::Store`] for what cannot be stored
/// exactly or does not come back; [`DisposalError::Sql`]; [`DisposalError::Job`] once the run must stop. The caller
/// discards the folder in all these cases.
pub async fn export_verified(
    ctx: &JobContext,
    read: &mut LongRead,
    store: &ArchiveStore,
    request: &ExportRequest,
    select: &str,
) -> Result<(Evidence, Exported), DisposalError> {
    let copy = copy_of(select);
    let rows = read
        .conn
        .copy_out_raw(&copy)
        .await
        .map_err(DisposalError::sql("begin to read a table"))?;
    let mut rows = Digested::new(rows, request.columns.len());
    let exported = store.export(request, &mut rows, &ctx.cancelled()).await;
    if let Some(failure) = rows.failure.take() {
        return Err(failure);
    }
    let exported = stored(ctx, exported)?;
    let sent = rows.finish()?;
    let manifest = ManifestRef {
        key: exported.manifest_key.clone(),
        sha256: exported.manifest_sha256.clone(),
    };
    let written = Content {
        rows: exported.manifest.rows,
        digest: exported.manifest.content_digest,
    };
    same("was written", &request.unit_name, sent, written)?;
    let evidence = verified(ctx, store, manifest, &request.unit_name, sent).await?;
    Ok((evidence, exported))
}

/// Reads an export in full and compares it with what it must hold.
///
/// # Errors
/// As [`export_verified`].
pub async fn verified(
    ctx: &JobContext,
    store: &ArchiveStore,
    manifest: ManifestRef,
    unit_name: &str,
    expected: Content,
) -> Result<Evidence, DisposalError> {
    let read = stored(ctx, store.verify(&manifest, &ctx.cancelled()).await)?;
    let came_back = Content {
        rows: read.rows,
        digest: read.digest,
    };
    same("came back", unit_name, expected, came_back)?;
    Ok(Evidence {
        manifest,
        digest: expected.digest,
        rows: signed(expected.rows),
        stored_bytes: signed(read.stored_bytes),
    })
}

/// What `select` with this many columns gives, digested.
///
/// # Errors
/// [`DisposalError::Sql`]; [`DisposalError::Job`] once the run must stop.
pub async fn content_of(
    ctx: &JobContext,
    read: &mut LongRead,
    select: &str,
    columns: usize,
) -> Result<Content, DisposalError> {
    let copy = copy_of(select);
    let reading = async {
        let rows = read
            .conn
            .copy_out_raw(&copy)
            .await
            .map_err(DisposalError::sql("begin to read a table again"))?;
        let mut rows = Digested::new(rows, columns);
        drain(&mut rows).await;
        rows.finish()
    };
    ctx.unless_cancelled(reading).await?
}

/// Reads to the end. A stream whose next chunk is always there already would keep its thread: whatever else lives on it,
/// such as a step that must show the server that it lives, gets its turn now and then.
async fn drain<S: Stream + Unpin>(rows: &mut S) {
    let mut began = Instant::now();
    while rows.next().await.is_some() {
        if began.elapsed() >= LONGEST_TURN {
            tokio::task::yield_now().await;
            began = Instant::now();
        }
    }
}

/// A store's answer; a run that was told to stop says so itself, with the reason.
///
/// # Errors
/// [`DisposalError::Job`], [`DisposalError::Store`].
pub fn stored<T>(ctx: &JobContext, answer: Result<T, StoreError>) -> Result<T, DisposalError> {
    answer.map_err(|error| match ctx.check_cancelled() {
        Err(stopped) => stopped.into(),
        Ok(()) => error.into(),
    })
}

fn copy_of(select: &str) -> String {
    format!("COPY ({select}) TO STDOUT (FORMAT binary)")
}

fn same(what: &str, unit_name: &str, expected: Content, found: Content) -> Result<(), DisposalError> {
    if expected == found {
        return Ok(());
    }
    Err(DisposalError::refused(
        "mismatch",
        format!(
            "the export of {unit_name} is not equal to its rows: {} rows with digest {} were read from the table, {} \
             rows with digest {} {what}; nothing was removed, look into the object store and the log of this run",
            expected.rows, expected.digest, found.rows, found.digest
        ),
    ))
}

pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A stream of rows that is digested as it passes.
struct Digested<'c> {
    rows: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    digester: CopyDigester,
    failure: Option<DisposalError>,
}

/// What the reader of the stream learns of a failure; the failure itself stays with us.
#[derive(Debug, thiserror::Error)]
#[error("the table could not be read to its end")]
struct ReadFailed;

impl<'c> Digested<'c> {
    fn new(rows: BoxStream<'c, Result<Bytes, sqlx::Error>>, columns: usize) -> Self {
        Self {
            rows,
            digester: CopyDigester::new(columns),
            failure: None,
        }
    }

    /// What passed. A stream that was not read to its end is an error.
    fn finish(self) -> Result<Content, DisposalError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let (rows, digest) = self.digester.finish().map_err(refused_copy)?;
        Ok(Content { rows, digest })
    }
}

impl Stream for Digested<'_> {
    type Item = Result<Bytes, ReadFailed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.failure.is_some() {
            return Poll::Ready(None);
        }
        let failure = match std::task::ready!(this.rows.poll_next_unpin(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => DisposalError::sql("read a table to its end")(error),
            Some(Ok(chunk)) => match this.digester.feed(&chunk) {
                Ok(()) => return Poll::Ready(Some(Ok(chunk))),
                Err(error) => refused_copy(error),
            },
        };
        this.failure = Some(failure);
        Poll::Ready(Some(Err(ReadFailed)))
    }
}

fn refused_copy(problem: impl std::fmt::Display) -> DisposalError {
    DisposalError::refused(
        "copy",
        format!("the server's COPY stream cannot be read: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_read_lets_others_on_its_thread_have_their_turn() {
        let chunk = |_number: u32| {
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(4) {
                std::hint::spin_loop();
            }
        };
        let mut rows = futures::stream::iter(0..50).map(chunk);
        let mut drained = std::pin::pin!(drain(&mut rows));
        let mut turns = 0;
        loop {
            tokio::select! {
                () = &mut drained => break,
                () = tokio::time::sleep(Duration::from_millis(1)) => turns += 1,
            }
        }
        assert!(turns >= 5, "{turns}");
    }
}
