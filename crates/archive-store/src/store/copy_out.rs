//! An export as a COPY BINARY stream. Parts are fetched one after the other, proved, decoded on a blocking thread
//! and handed on in blocks; a reader that is slow holds the decoder back.

use std::sync::Arc;

use bytes::Bytes;
use eidos_types::copy_binary::{COPY_HEADER, COPY_TRAILER};
use futures::{Stream, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::codec_error::CodecError;
use crate::digest::ContentDigest;
use crate::error::StoreError;
use crate::manifest::{Manifest, Part};
use crate::part_reader::{PartReader, RowBlock, TimeWindow};
use crate::store::access::Access;
use crate::store::verify;

/// Blocks that wait for the reader, of about 256 KiB each.
const BLOCKS_WAITING: usize = 4;

/// A part that is being decoded.
struct Decoding {
    blocks: mpsc::Receiver<Result<RowBlock, CodecError>>,
    thread: JoinHandle<()>,
    /// What has come so far.
    rows: u64,
    digest: ContentDigest,
}

pub(super) fn copy_stream(
    access: Arc<Access>,
    manifest: Manifest,
    window_ms: Option<(i64, i64)>,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    let window = window_ms.map(|(from_ms, to_ms)| TimeWindow {
        column: manifest.time_column.clone(),
        from_ms,
        to_ms,
    });
    let reader = Reader {
        access,
        manifest,
        window,
        at: At::Header,
    };
    stream::try_unfold(reader, |mut reader| async move {
        let bytes = reader.next().await?;
        Ok(bytes.map(|bytes| (bytes, reader)))
    })
}

struct Reader {
    access: Arc<Access>,
    manifest: Manifest,
    window: Option<TimeWindow>,
    at: At,
}

/// What comes next.
enum At {
    Header,
    /// The part with this index, or the trailer when there is none.
    Part(usize),
    /// More blocks of this part.
    Blocks(usize, Decoding),
    End,
}

impl Reader {
    /// Returns the next bytes. `None`: the trailer was the last.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            match std::mem::replace(&mut self.at, At::End) {
                At::Header => {
                    self.at = At::Part(0);
                    return Ok(Some(Bytes::from_static(&COPY_HEADER)));
                }
                At::Part(index) => match self.manifest.parts.get(index) {
                    None => return Ok(Some(Bytes::from_static(&COPY_TRAILER))),
                    Some(part) => self.at = At::Blocks(index, self.decode(part).await?),
                },
                At::Blocks(index, mut decoding) => {
                    if let Some(block) = decoding.blocks.recv().await {
                        let block = block.map_err(|error| self.undecodable(index, error))?;
                        decoding.rows += block.rows;
                        decoding.digest.merge(&block.digest);
                        self.at = At::Blocks(index, decoding);
                        return Ok(Some(block.bytes));
                    }
                    self.check(index, decoding).await?;
                    self.at = At::Part(index + 1);
                }
                At::End => return Ok(None),
            }
        }
    }

    /// Fetches a part and has it decoded, if its bytes are those of the manifest.
    async fn decode(&self, part: &Part) -> Result<Decoding, StoreError> {
        let bytes = verify::part_bytes(&self.access, part, &CancellationToken::new()).await?;
        let (format, columns) = (self.manifest.format, &self.manifest.columns);
        let reader = PartReader::open(format, columns, bytes, self.window.as_ref())
            .map_err(|error| verify::decoding(&self.access, part, error))?;
        let (blocks_out, blocks) = mpsc::channel(BLOCKS_WAITING);
        // Ends by itself when the stream is dropped: its blocks are not taken then.
        let thread = tokio::task::spawn_blocking(move || {
            for block in reader {
                if blocks_out.blocking_send(block).is_err() {
                    break;
                }
            }
        });
        Ok(Decoding {
            blocks,
            thread,
            rows: 0,
            digest: ContentDigest::ZERO,
        })
    }

    /// Checks that the decoder came to its end, and without a window that all rows of the part have come.
    async fn check(&self, index: usize, decoding: Decoding) -> Result<(), StoreError> {
        decoding.thread.await?;
        let Some(part) = self.manifest.parts.get(index).filter(|_| self.window.is_none()) else {
            return Ok(());
        };
        if (decoding.rows, decoding.digest) == (part.rows, part.digest) {
            return Ok(());
        }
        let (found, rows) = (decoding.rows, part.rows);
        let what = format!("it decodes to {found} rows instead of {rows}, or to others");
        Err(self.access.corrupt(&part.key, what))
    }

    fn undecodable(&self, index: usize, error: CodecError) -> StoreError {
        match self.manifest.parts.get(index) {
            Some(part) => verify::decoding(&self.access, part, error),
            None => error.into(),
        }
    }
}
