//! The second thread: record batches in, finished parts out.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::ArchiveFormat;
use arrow_array::RecordBatch;
use sha2::{Digest as _, Sha256};

use crate::codec_error::CodecError;
use crate::csv::CsvPart;
use crate::digest::ContentDigest;
use crate::parquet_file::{FileShape, ParquetPart};
use crate::part_writer::EncodedPart;

/// Batches that wait for the encoder; with the one being filled and the one being encoded that makes three.
const WAITING_BATCHES: usize = 1;

/// Rows for the encoder.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) rows: RecordBatch,
    pub(super) digest: ContentDigest,
    /// Of their tuples.
    pub(super) copy_bytes: usize,
}

#[derive(Debug)]
enum Message {
    Batch(Batch),
    /// Without it, the export is given up and the open part is thrown away.
    End,
}

/// The encoder's thread as its user sees it. Finished parts wait without limit, but since the user takes them with
/// every batch there is never more than one, unless parts are smaller than batches.
#[derive(Debug)]
pub(super) struct Worker {
    batches: SyncSender<Message>,
    parts: Receiver<EncodedPart>,
    thread: Option<JoinHandle<Result<(), CodecError>>>,
}

impl Worker {
    pub(super) fn start(shape: FileShape) -> Result<Self, CodecError> {
        let (batches, incoming) = sync_channel(WAITING_BATCHES);
        let (finished, parts) = channel();
        let encoder = Encoder {
            shape,
            open: None,
            finished,
        };
        let thread = std::thread::Builder::new()
            .name("archive-encode".to_owned())
            .spawn(move || encoder.run(&incoming))
            .map_err(|error| CodecError::Thread(format!("it cannot be started: {error}")))?;
        Ok(Self {
            batches,
            parts,
            thread: Some(thread),
        })
    }

    /// Hands a batch over; blocks while one is waiting already.
    pub(super) fn send(&mut self, batch: Batch) -> Result<(), CodecError> {
        self.batches.send(Message::Batch(batch)).or_else(|_| self.join())
    }

    /// The parts that have been finished.
    pub(super) fn finished(&self) -> Vec<EncodedPart> {
        self.parts.try_iter().collect()
    }

    /// Waits for the last parts.
    pub(super) fn finish(mut self) -> Result<Vec<EncodedPart>, CodecError> {
        // A thread that has ended says why when it is joined.
        let _ = self.batches.send(Message::End);
        if let Some(thread) = self.thread.take() {
            outcome(thread)?;
        }
        Ok(self.finished())
    }

    /// Returns the error of a thread that has ended before it was asked to.
    fn join(&mut self) -> Result<(), CodecError> {
        self.thread.take().map_or(Ok(()), outcome)?;
        Err(CodecError::Thread("it has ended before".to_owned()))
    }
}

fn outcome(thread: JoinHandle<Result<(), CodecError>>) -> Result<(), CodecError> {
    thread
        .join()
        .unwrap_or_else(|_| Err(CodecError::Thread("it panicked".to_owned())))
}

#[derive(Debug)]
struct Encoder {
    shape: FileShape,
    open: Option<OpenPart>,
    finished: Sender<EncodedPart>,
}

#[derive(Debug)]
struct OpenPart {
    file: PartFile,
    rows: u64,
    digest: ContentDigest,
}

#[derive(Debug)]
enum PartFile {
    Parquet(Box<ParquetPart>),
    Csv(CsvPart),
}

impl Encoder {
    fn run(mut self, incoming: &Receiver<Message>) -> Result<(), CodecError> {
        loop {
            match incoming.recv() {
                Ok(Message::Batch(batch)) => self.write(&batch)?,
                Ok(Message::End) => return self.close(),
                Err(_) => return Ok(()),
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), CodecError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => OpenPart {
                file: self.new_file(batch)?,
                rows: 0,
                digest: ContentDigest::ZERO,
            },
        };
        let open = self.open.insert(open);
        match &mut open.file {
            PartFile::Parquet(file) => file.write(&batch.rows, batch.copy_bytes)?,
            PartFile::Csv(file) => file.write(&batch.rows)?,
        }
        open.rows += batch.rows.num_rows() as u64;
        open.digest.merge(&batch.digest);
        let size = match &open.file {
            PartFile::Parquet(file) => file.size(),
            PartFile::Csv(file) => file.size(),
        };
        if size >= self.shape.options.part_bytes {
            self.close()
        } else {
            Ok(())
        }
    }

    fn new_file(&self, first: &Batch) -> Result<PartFile, CodecError> {
        let shape = &self.shape;
        Ok(match shape.options.format {
            ArchiveFormat::Parquet => {
                let file = ParquetPart::new(shape, &first.rows, first.copy_bytes)?;
                PartFile::Parquet(Box::new(file))
            }
            ArchiveFormat::Csv => PartFile::Csv(CsvPart::new(&shape.columns, &shape.options)),
        })
    }

    fn close(&mut self) -> Result<(), CodecError> {
        let Some(OpenPart { file, rows, digest }) = self.open.take() else {
            return Ok(());
        };
        let bytes = match file {
            PartFile::Parquet(file) => file.finish(&digest)?,
            PartFile::Csv(file) => file.finish(),
        };
        let sha256 = Sha256::digest(&bytes).into();
        // It is not waited for when the export was given up.
        let _ = self.finished.send(EncodedPart {
            bytes: bytes.into(),
            sha256,
            rows,
            digest,
        });
        Ok(())
    }
}
