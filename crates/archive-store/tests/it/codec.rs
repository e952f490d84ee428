//! The codec: COPY BINARY into parts and back, byte for byte.

mod corrupt;
mod digest;
mod footer;
mod postgres;
mod refused;
mod round_trip;
mod rows;
mod types;

use bytes::Bytes;
use eidos_archive_store::{
    ArchiveFormat, COPY_HEADER, COPY_TRAILER, CodecError, Column, ContentDigest, CopyDigester, EncodedPart,
    ExportTotals, KeyColumns, PartEncoder, PartFacts, PartOptions, PartReader, TimeWindow,
};

/// Both formats.
const FORMATS: [ArchiveFormat; 2] = [ArchiveFormat::Parquet, ArchiveFormat::Csv];

/// A column that may be NULL.
fn column(name: &str, declaration: &str) -> Column {
    Column::new(name, declaration, true).unwrap()
}

/// The first column is the time, the second one the primary key, as far as they exist.
fn key_of(columns: &[Column]) -> KeyColumns {
    let name = |index: usize| columns[index.min(columns.len() - 1)].name.clone();
    KeyColumns {
        time_column: name(0),
        primary_key: vec![name(1)],
    }
}

fn options(format: ArchiveFormat) -> PartOptions {
    PartOptions {
        format,
        part_bytes: 1 << 20,
        row_group_rows: 1000,
        zstd_level: 1,
        segment_rows: None,
    }
}

/// A stream of these tuples.
fn stream_of(tuples: &[Vec<u8>]) -> Vec<u8> {
    [&COPY_HEADER[..], &tuples.concat(), &COPY_TRAILER].concat()
}

/// The digest of these tuples, row by row.
fn digest_of(tuples: &[Vec<u8>]) -> ContentDigest {
    tuples.iter().fold(ContentDigest::ZERO, |mut digest, tuple| {
        digest.add(tuple);
        digest
    })
}

/// Exports a stream that is fed in pieces of `piece` bytes.
fn export(
    columns: &[Column],
    options: PartOptions,
    stream: &[u8],
    piece: usize,
) -> Result<(Vec<EncodedPart>, ExportTotals), CodecError> {
    let mut encoder = PartEncoder::new(columns.to_vec(), key_of(columns), options, PartFacts::default())?;
    let mut parts = Vec::new();
    for chunk in stream.chunks(piece) {
        parts.extend(encoder.push(chunk)?);
    }
    let (rest, totals) = encoder.finish()?;
    parts.extend(rest);
    Ok((parts, totals))
}

/// All tuples of a part, after comparing rows and digests of its blocks with them.
fn tuples_of(
    format: ArchiveFormat,
    columns: &[Column],
    part: &Bytes,
    window: Option<&TimeWindow>,
) -> Result<(Vec<u8>, u64, ContentDigest), CodecError> {
    let (mut bytes, mut rows, mut digest) = (Vec::new(), 0, ContentDigest::ZERO);
    for block in PartReader::open(format, columns, part.clone(), window)? {
        let block = block?;
        assert!(block.rows > 0, "a block without rows");
        let mut digester = CopyDigester::new(columns.len());
        digester.feed(&[&COPY_HEADER[..], &block.bytes, &COPY_TRAILER].concat())?;
        assert_eq!(digester.finish()?, (block.rows, block.digest));
        bytes.extend_from_slice(&block.bytes);
        rows += block.rows;
        digest.merge(&block.digest);
    }
    Ok((bytes, rows, digest))
}

/// Reads parts back and compares them with the tuples they were made of.
fn assert_restores(
    format: ArchiveFormat,
    columns: &[Column],
    parts: &[EncodedPart],
    totals: &ExportTotals,
    tuples: &[Vec<u8>],
) {
    let mut restored = Vec::new();
    for part in parts {
        let (bytes, rows, digest) = tuples_of(format, columns, &part.bytes, None).unwrap();
        assert_eq!(
            (rows, digest),
            (part.rows, part.digest),
            "what a part holds is what it is said to hold"
        );
        restored.extend(bytes);
    }
    assert!(restored == tuples.concat(), "the rows that come back differ");
    assert_eq!(totals.rows, tuples.len() as u64);
    assert_eq!(totals.digest, digest_of(tuples));
    assert_eq!(parts.iter().map(|part| part.rows).sum::<u64>(), totals.rows);
}
