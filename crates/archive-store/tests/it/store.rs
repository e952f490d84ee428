//! The store against directories and S3.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails the test; clippy sees only the test functions themselves"
)]

mod disk_full;
mod encryption;
mod faults;
mod local;
mod moto;
mod rot;
mod tls_front;

use std::convert::Infallible;
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use eidos_archive_store::{
    ArchiveFormat, ArchiveStore, ArchiveStoreSettings, COPY_HEADER, COPY_TRAILER, Column, ContentDigest,
    CopyDigester, ExportRequest, Exported, Manifest, StoreChecksum, StoreError, TableFolder, UnitFolder,
};
use eidos_settings::{ArchiveEncryption, SecuritySection};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The first row's time; each row is a second later.
const START_MS: i64 = 1_700_000_000_000;

fn columns() -> Vec<Column> {
    vec![
        Column::new("created_at", "bigint", false).unwrap(),
        Column::new("id", "bigint", false).unwrap(),
        Column::new("note", "text", true).unwrap(),
    ]
}

/// Row `id`. Its note hardly compresses; every seventh has none.
fn row(id: i64) -> Vec<u8> {
    let field = |bytes: &[u8]| [&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let mut row = 3_i16.to_be_bytes().to_vec();
    row.extend(field(&(START_MS + id * 1000).to_be_bytes()));
    row.extend(field(&id.to_be_bytes()));
    if id % 7 == 0 {
        row.extend((-1_i32).to_be_bytes());
    } else {
        let mut digest = ContentDigest::ZERO;
        digest.add(&id.to_be_bytes());
        row.extend(field(digest.to_string().as_bytes()));
    }
    row
}

/// Rows `0..rows` as PostgreSQL sends them: a message per row.
fn rows(rows: i64) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Unpin {
    let header = stream::iter([Bytes::from_static(&COPY_HEADER)]);
    let tuples = stream::iter((0..rows).map(|id| Bytes::from(row(id))));
    let trailer = stream::iter([Bytes::from_static(&COPY_TRAILER)]);
    header.chain(tuples).chain(trailer).map(Ok)
}

fn digest_of(rows: impl Iterator<Item = i64>) -> ContentDigest {
    rows.fold(ContentDigest::ZERO, |mut digest, id| {
        digest.add(&row(id));
        digest
    })
}

fn request(format: ArchiveFormat) -> ExportRequest {
    ExportRequest {
        unit_id: Uuid::now_v7(),
        source: "risk".into(),
        schema: "public".into(),
        table: "eidos_risk_events".into(),
        unit_name: "eidos_risk_events@2023-11".into(),
        columns: columns(),
        column_numbers: vec![1, 2, 3],
        ordered_by: vec!["created_at".into(), "id".into()],
        snapshot_lsn: Some("0/1A2B3C4".into()),
        primary_key: vec!["id".into()],
        time_column: "created_at".into(),
        bounds_ms: (START_MS, START_MS + 1_000_000_000),
        create_table: "CREATE TABLE eidos_risk_events (created_at bigint, id bigint, note text)".into(),
        format,
        segment_rows: Some(100),
        created_at: chrono::DateTime::from_timestamp_millis(START_MS).unwrap(),
        exporter: "test".into(),
    }
}

/// Small parts, short patience.
fn quick(url: impl Into<String>) -> ArchiveStoreSettings {
    ArchiveStoreSettings {
        part_bytes: 8 << 10,
        row_group_rows: 128,
        zstd_level: 1,
        attempts: 4,
        request_timeout: Duration::from_millis(700),
        connect_timeout: Duration::from_millis(500),
        retry_base: Duration::from_millis(1),
        retry_max: Duration::from_millis(5),
        ..ArchiveStoreSettings::at(url)
    }
}

/// Long patience, for servers of which nothing hangs: a loaded machine is slow, too.
fn patient(settings: ArchiveStoreSettings) -> ArchiveStoreSettings {
    ArchiveStoreSettings {
        request_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        ..settings
    }
}

fn s3(endpoint: String) -> ArchiveStoreSettings {
    ArchiveStoreSettings {
        endpoint: Some(endpoint),
        region: Some("us-east-1".into()),
        access_key_id: Some("id".into()),
        secret_access_key: Some(SecretString::from("hunter2")),
        allow_http: true,
        ..quick(format!("s3://{}/db", crate::fake_s3::BUCKET))
    }
}

/// Encryption that is not in force unless `enabled`.
fn security(enabled: bool, s3_sse: &str, kms_key_id: Option<&str>) -> SecuritySection {
    SecuritySection {
        tls_enabled: enabled,
        archive_storage: ArchiveEncryption {
            enabled: true,
            s3_sse: s3_sse.to_owned(),
            kms_key_id: kms_key_id.map(str::to_owned),
        },
        ..SecuritySection::unencrypted()
    }
}

fn install_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _another_test_was_first = rustls::crypto::ring::default_provider().install_default();
    });
}

async fn open(settings: &ArchiveStoreSettings) -> ArchiveStore {
    install_provider();
    ArchiveStore::open(settings, &security(false, "AES256", None))
        .await
        .unwrap()
}

/// Exports `count` rows of a new unit.
async fn exported(store: &ArchiveStore, count: i64) -> Exported {
    store
        .export(&request(ArchiveFormat::Parquet), rows(count), &never())
        .await
        .unwrap()
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

fn table() -> TableFolder {
    TableFolder::new("risk", "public", "eidos_risk_events").unwrap()
}

fn folder(request: &ExportRequest) -> UnitFolder {
    UnitFolder::of(request).unwrap()
}

/// Rows and digest of a stream, which must be a whole one.
async fn drained(
    store: &ArchiveStore,
    manifest: &Manifest,
    window: Option<(i64, i64)>,
) -> Result<(u64, ContentDigest), StoreError> {
    let mut digester = CopyDigester::new(manifest.columns.len());
    let mut stream = Box::pin(store.copy_stream(manifest, window));
    while let Some(bytes) = stream.try_next().await? {
        digester.feed(&bytes).unwrap();
    }
    Ok(digester.finish().unwrap())
}
