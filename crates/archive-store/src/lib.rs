//! Tables as verified Parquet or CSV in object storage, and back.
//!
//! Two halves. The **codec** is pure, synchronous and bounded in memory: a `COPY … TO STDOUT (FORMAT binary)` stream
//! becomes parts ([`PartEncoder`]), a part becomes exactly the same bytes again ([`PartReader`]). What PostgreSQL
//! would not get back byte for byte is refused with the column, the row and what to do, never approximated. The
//! **store** puts parts and manifests into a bucket or a directory and proves what is there.
//!
//! Equality of rows is decided by one number, the [`ContentDigest`] over their binary tuples: of the table, of the
//! stream that was exported and of what the parts decode to. It does not depend on the order of rows.
//!
//! | stored as | types |
//! |---|---|
//! | Arrow/Parquet scalar of the same width | boolean, smallint, integer, bigint, real, double precision |
//! | decimal128 | numeric(p,s), p ≤ 38 |
//! | UTF-8 | text, varchar, char(n) with its padding, json, jsonb (text as PostgreSQL prints it) |
//! | binary, fixed 16 bytes | bytea, uuid |
//! | days, microseconds | date, timestamp, timestamptz (UTC) |

mod batch;
mod codec_error;
mod column;
mod csv;
mod digest;
mod error;
mod folder;
mod format;
mod manifest;
mod parquet_file;
mod part_reader;
mod part_writer;
mod pg_type;
mod pgcopy;
mod place;
mod recount;
mod segment;
mod settings;
mod stats;
mod store;
mod text;
mod versions;

pub use codec_error::CodecError;
pub use column::{Column, KeyColumns};
pub use digest::{ContentDigest, DigestTextError};
pub use eidos_types::copy_binary::{COPY_HEADER, COPY_TRAILER};
pub use error::{BoxError, StoreError};
pub use folder::{TableFolder, UnitFolder};
pub use format::ArchiveFormat;
pub use manifest::{ExportRequest, Exported, MANIFEST_VERSION, Manifest, ManifestRef, Part, Verified};
pub use part_reader::{PartReader, RowBlock, TimeWindow};
pub use part_writer::{EncodedPart, ExportTotals, PartEncoder, PartFacts, PartOptions};
pub use pg_type::{PgType, UnsupportedType};
pub use pgcopy::CopyDigester;
pub use segment::Segment;
pub use settings::{ArchiveStoreSettings, StoreChecksum, StoreProblem};
pub use stats::ColumnStats;
pub use store::{ArchiveStore, Probed};
pub use versions::Versions;
