//! Tries an S3 server: whether the probe takes it, and if so an export, its verification and its removal. Prints one row
//! of the table of docs/archive-stores.md; used by `scripts/test-stores`.
//!
//! `try_store NAME VERSION ENDPOINT BUCKET` with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. The exit code is 0 where
//! every answer is clear: a store that does all of it, or one that the probe refuses by name.
#![expect(clippy::print_stdout, reason = "a program for people, which prints a row")]

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use eidos_archive_store::{
    ArchiveFormat, ArchiveStore, ArchiveStoreSettings, COPY_HEADER, COPY_TRAILER, Column, ExportRequest,
    StoreError, TableFolder, UnitFolder,
};
use eidos_settings::SecuritySection;
use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error>;

const ROWS: i64 = 20_000;

/// What became of each thing that was tried; `-`: it was not.
struct Row {
    probe: String,
    export: String,
    verify: String,
    removal: String,
    clear: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, version, endpoint, bucket] = args.as_slice() else {
        return Err("usage: try_store NAME VERSION ENDPOINT BUCKET".into());
    };
    // Fails only when a provider is installed already, which is what is wanted.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let store = open(endpoint, bucket).await?;
    let row = tried(&store).await?;
    println!(
        "| {name} {version} | {} | {} | {} | {} |",
        row.probe, row.export, row.verify, row.removal
    );
    Ok(if row.clear {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn open(endpoint: &str, bucket: &str) -> Result<ArchiveStore, Failure> {
    let settings = ArchiveStoreSettings {
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        allow_http: true,
        part_bytes: 64 << 10,
        attempts: 3,
        request_timeout: Duration::from_secs(20),
        ..ArchiveStoreSettings::at(format!("s3://{bucket}/db"))
    };
    Ok(ArchiveStore::open(&settings, &SecuritySection::unencrypted()).await?)
}

async fn tried(store: &ArchiveStore) -> Result<Row, Failure> {
    let none = || "-".to_owned();
    let probe = match store.probe("test-stores").await {
        Ok(probed) => probed,
        Err(error) => {
            return Ok(Row {
                clear: matches!(error, StoreError::Incapable { .. }),
                probe: verdict(&error),
                export: none(),
                verify: none(),
                removal: none(),
            });
        }
    };
    let never = CancellationToken::new();
    let request = request()?;
    let exported = store.export(&request, rows(), &never).await?;
    let verified = store.verify(&exported.reference(), &never).await?;
    let objects = store.discard(&UnitFolder::of(&request)?).await?;
    let left = store
        .folders(&TableFolder::new("risk", "public", "events")?)
        .await?;
    let clear = verified.rows == ROWS.unsigned_abs() && left.is_empty();
    Ok(Row {
        probe: "accepted".to_owned(),
        export: format!("{} parts", exported.manifest.parts.len()),
        verify: format!("{} rows equal", verified.rows),
        removal: format!("{objects} objects; {probe}"),
        clear,
    })
}

/// The refusal by its name, without the object's.
fn verdict(error: &StoreError) -> String {
    match error {
        StoreError::Incapable { what, .. } => format!("refused: the store {what}"),
        other => format!("FAILED: {other}"),
    }
}

fn request() -> Result<ExportRequest, Failure> {
    Ok(ExportRequest {
        unit_id: Uuid::now_v7(),
        source: "risk".into(),
        schema: "public".into(),
        table: "events".into(),
        unit_name: "events@2023-11".into(),
        columns: vec![
            Column::new("created_at", "bigint", false)?,
            Column::new("id", "bigint", false)?,
        ],
        column_numbers: vec![1, 2],
        ordered_by: vec!["created_at".into(), "id".into()],
        snapshot_lsn: None,
        primary_key: vec!["id".into()],
        time_column: "created_at".into(),
        bounds_ms: (0, 1_000_000),
        create_table: "CREATE TABLE events (created_at bigint, id bigint)".into(),
        format: ArchiveFormat::Parquet,
        segment_rows: None,
        created_at: chrono::DateTime::UNIX_EPOCH,
        exporter: "test-stores".into(),
    })
}

/// Rows as PostgreSQL sends them: a message per row.
fn rows() -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Unpin {
    let header = stream::iter([Bytes::from_static(&COPY_HEADER)]);
    let trailer = stream::iter([Bytes::from_static(&COPY_TRAILER)]);
    let tuples = stream::iter((1..=ROWS).map(|id| {
        // Hardly compressible, so that there are several parts.
        let mixed = id.wrapping_mul(0x5851_F42D_4C95_7F2D) & i64::MAX;
        let mut row = vec![0, 2];
        for value in [id, mixed] {
            row.extend(8_i32.to_be_bytes());
            row.extend(value.to_be_bytes());
        }
        Bytes::from(row)
    }));
    header.chain(tuples).chain(trailer).map(Ok)
}
