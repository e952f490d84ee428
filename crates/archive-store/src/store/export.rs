//! An export: the stream feeds an encoder on a blocking thread, finished parts are uploaded meanwhile, the manifest
//! comes last.
//!
//! Two parts are held at most: one is built while another is under way, or both are under way. The encoder waits for a
//! free place before it begins another, and the stream waits for the encoder.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::codec_error::CodecError;
use crate::error::StoreError;
use crate::folder::UnitFolder;
use crate::manifest::{ExportRequest, Exported, Manifest, Part, sha256_hex};
use crate::part_writer::{EncodedPart, ExportTotals, PartEncoder, PartOptions};
use crate::settings::ArchiveStoreSettings;
use crate::store::ArchiveStore;
use crate::store::access::Access;
use crate::store::discard;

/// Parts that exist at once, being built or under way.
const PARTS_HELD: usize = 2;
/// PostgreSQL sends a message per row; the encoder's thread is woken once for this many bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait for the encoder.
const CHUNKS_WAITING: usize = 4;
/// How long a failed export tries to clean up behind itself. A later run sweeps what is left.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(10);

/// What the steps of one export share.
struct Course<'a> {
    access: &'a Access,
    folder: &'a UnitFolder,
    request: &'a ExportRequest,
    /// Parts whose upload has begun.
    begun: AtomicUsize,
    /// Ends all steps: the caller cancelled, or one of them failed.
    stop: CancellationToken,
}

/// A finished part, and its place among the parts held.
struct Ready {
    part: EncodedPart,
    place: OwnedSemaphorePermit,
}

pub(super) async fn export<S, E>(
    store: &ArchiveStore,
    request: &ExportRequest,
    rows: S,
    cancel: &CancellationToken,
) -> Result<Exported, StoreError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let folder = UnitFolder::of(request)?;
    let access = &*store.access;
    if let Some(key) = access.list(&folder.path(), cancel).await?.first() {
        return Err(StoreError::FolderInUse {
            folder: access.location(folder.path().as_ref()),
            object: key.filename().unwrap_or_default().to_owned(),
        });
    }
    let course = Course {
        access,
        folder: &folder,
        request,
        begun: AtomicUsize::new(0),
        stop: cancel.child_token(),
    };
    let result = course.run(&store.settings, rows, cancel).await;
    match &result {
        // A conflict means that another process writes here: what is there is not ours to delete.
        Ok(_) | Err(StoreError::Conflict { .. }) => {}
        Err(error) => course.clean_up(error).await,
    }
    result
}

impl Course<'_> {
    async fn run<S, E>(
        &self,
        settings: &ArchiveStoreSettings,
        rows: S,
        cancel: &CancellationToken,
    ) -> Result<Exported, StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        let request = self.request;
        let options = PartOptions {
            format: request.format,
            part_bytes: settings.part_bytes,
            row_group_rows: settings.row_group_rows,
            zstd_level: settings.zstd_level,
            segment_rows: request.segment_rows,
        };
        let encoder = PartEncoder::new(
            request.columns.clone(),
            request.key_columns(),
            options,
            request.part_facts(),
        )?;
        let (chunks, chunks_in) = mpsc::channel(CHUNKS_WAITING);
        let (ready, ready_in) = mpsc::channel(1);
        let thread = tokio::task::spawn_blocking(move || encode(encoder, chunks_in, &ready));
        let (fed, uploaded) = tokio::join!(self.feed(rows, chunks), self.upload(ready_in));
        let ended = thread.await?;
        // Whatever else went wrong: it decides that the folder is another process's.
        if let Err(conflict @ StoreError::Conflict { .. }) = uploaded {
            return Err(conflict);
        }
        if cancel.is_cancelled() {
            return Err(StoreError::Cancelled);
        }
        // What failed first stopped the others: an upload stops the feed, a broken stream ends the encoder early.
        let parts = uploaded?;
        fed?;
        let Some(totals) = ended? else {
            return Err(StoreError::Task(
                "the encoder stopped without a reason".to_owned(),
            ));
        };
        self.conclude(parts, totals).await
    }

    /// Hands the stream over in chunks. Ends without an error when the encoder takes no more: it says why itself.
    async fn feed<S, E>(&self, mut rows: S, chunks: mpsc::Sender<Bytes>) -> Result<(), StoreError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut stopped = std::pin::pin!(self.stop.cancelled());
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        loop {
            let next = tokio::select! {
                biased;
                next = rows.next() => next,
                () = &mut stopped => return Err(StoreError::Cancelled),
            };
            let ended = match next {
                Some(Ok(bytes)) => {
                    chunk.extend_from_slice(&bytes);
                    false
                }
                Some(Err(error)) => return Err(StoreError::Rows(Box::new(error))),
                None => true,
            };
            if chunk.len() >= CHUNK_BYTES || ended {
                let full = std::mem::replace(&mut chunk, BytesMut::with_capacity(CHUNK_BYTES));
                let sent = tokio::select! {
                    sent = chunks.send(full.freeze()) => sent,
                    () = &mut stopped => return Err(StoreError::Cancelled),
                };
                if ended || sent.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Uploads parts as they are finished. After a failure no more are begun, and those under way are waited for:
    /// an upload that ends after the folder was discarded would leave an object there.
    async fn upload(&self, mut ready: mpsc::Receiver<Ready>) -> Result<Vec<Part>, StoreError> {
        let mut under_way = FuturesUnordered::new();
        let mut parts = Vec::new();
        let mut failed = None;
        let mut open = true;
        while open || !under_way.is_empty() {
            tokio::select! {
                Some(done) = under_way.next(), if !under_way.is_empty() => match done {
                    Ok(part) => parts.push(part),
                    Err(error) => {
                        match &failed {
                            Some(_) if !matches!(error, StoreError::Conflict { .. }) => {}
                            _ => failed = Some(error),
                        }
                        self.stop.cancel();
                        ready.close();
                    }
                },
                next = ready.recv(), if open => match next {
                    Some(next) if failed.is_none() => under_way.push(self.put(next)),
                    Some(_) => {}
                    None => open = false,
                },
            }
        }
        parts.sort_by_key(|(index, _)| *index);
        failed.map_or_else(|| Ok(parts.into_iter().map(|(_, part)| part).collect()), Err)
    }

    async fn put(&self, ready: Ready) -> Result<(usize, Part), StoreError> {
        let Ready { part, place } = ready;
        let index = self.begun.fetch_add(1, Ordering::Relaxed);
        let key = self.folder.part_key(index, self.request.format);
        let sha256 = hex::encode(part.sha256);
        let bytes = part.bytes.len() as u64;
        self.access.create(&key, &part.bytes, &sha256, &self.stop).await?;
        drop(place);
        let part = Part {
            key,
            bytes,
            sha256,
            rows: part.rows,
            digest: part.digest,
        };
        Ok((index, part))
    }

    /// Writes the manifest: from now on there is an export.
    async fn conclude(&self, parts: Vec<Part>, totals: ExportTotals) -> Result<Exported, StoreError> {
        let manifest = Manifest::of(self.request, parts, totals);
        let bytes = manifest
            .to_bytes()
            .map_err(|error| StoreError::Task(error.to_string()))?;
        if let Some(contradiction) = manifest.contradiction() {
            return Err(StoreError::Task(format!(
                "the export contradicts itself: {contradiction}"
            )));
        }
        let (manifest_key, manifest_sha256) = (self.folder.manifest_key(), sha256_hex(&bytes));
        self.access
            .create(&manifest_key, &Bytes::from(bytes), &manifest_sha256, &self.stop)
            .await?;
        Ok(Exported {
            manifest,
            manifest_key,
            manifest_sha256,
        })
    }

    /// Deletes what was written, whether or not a listing shows it already.
    async fn clean_up(&self, reason: &StoreError) {
        let begun = self.begun.load(Ordering::Relaxed);
        let mut tried = vec![self.folder.manifest_key()];
        tried.extend((0..begun).map(|index| self.folder.part_key(index, self.request.format)));
        let discarding = discard::discard_tried(self.access, self.folder, &tried);
        let left = match tokio::time::timeout(CLEAN_UP_LIMIT, discarding).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("not done within {CLEAN_UP_LIMIT:?}"),
        };
        let folder = self.folder;
        tracing::warn!(%folder, %reason, %left, "a failed export could not be discarded, a later run will do so");
    }
}

/// Runs on the blocking thread: chunks in, parts out. `None`: no parts are taken any more.
fn encode(
    mut encoder: PartEncoder,
    mut chunks: mpsc::Receiver<Bytes>,
    ready: &mpsc::Sender<Ready>,
) -> Result<Option<ExportTotals>, CodecError> {
    let places = Arc::new(Semaphore::new(PARTS_HELD));
    let mut place = take_place(&places);
    let mut hand_over = |parts: Vec<EncodedPart>| {
        parts.into_iter().all(|part| {
            let Some(taken) = place.take() else {
                return false;
            };
            let sent = ready.blocking_send(Ready { part, place: taken }).is_ok();
            place = if sent { take_place(&places) } else { None };
            sent
        })
    };
    while let Some(chunk) = chunks.blocking_recv() {
        if !hand_over(encoder.push(&chunk)?) {
            return Ok(None);
        }
    }
    let (rest, totals) = encoder.finish()?;
    Ok(hand_over(rest).then_some(totals))
}

/// Waits until fewer than [`PARTS_HELD`] parts exist.
fn take_place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let taken = Handle::current().block_on(Arc::clone(places).acquire_owned());
    // The semaphore is never closed.
    taken.ok()
}
