//! A directory: the whole course, formats, windows, leftovers.

use std::fs;
use std::path::Path;

use eidos_archive_store::CodecError;

use super::*;

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}

fn url(folder: &tempfile::TempDir) -> String {
    format!("file://{}", folder.path().display())
}

#[tokio::test]
async fn an_export_comes_back_row_by_row_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    for format in [ArchiveFormat::Parquet, ArchiveFormat::Csv] {
        let request = request(format);
        let exported = store.export(&request, rows(2_000), &never()).await.unwrap();
        let manifest = &exported.manifest;
        assert!(manifest.parts.len() > 5, "{} parts", manifest.parts.len());
        assert_eq!((manifest.rows, manifest.segments.len()), (2_000, 20));
        assert_eq!(manifest.content_digest, digest_of(0..2_000));

        let verified = store.verify(&exported.reference(), &never()).await.unwrap();
        assert_eq!((verified.rows, verified.digest), (2_000, manifest.content_digest));
        let stored: u64 = files_below(&folder.path().join(super::folder(&request).to_string()))
            .iter()
            .map(|file| fs::metadata(file).unwrap().len())
            .sum();
        assert_eq!(verified.stored_bytes, stored);

        let read = store.manifest(&exported.reference()).await.unwrap();
        assert_eq!(read, *manifest);
        let back = drained(&store, &read, None).await.unwrap();
        assert_eq!(back, (2_000, manifest.content_digest));
    }
    assert_eq!(store.folders(&table()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_window_gives_its_rows_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    let manifest = exported(&store, 1_000).await.manifest;
    let window = Some((START_MS + 100_000, START_MS + 700_000));
    let back = drained(&store, &manifest, window).await.unwrap();
    assert_eq!(back, (600, digest_of(100..700)));
    let nothing = drained(&store, &manifest, Some((0, 1))).await.unwrap();
    assert_eq!(nothing, (0, ContentDigest::ZERO));
}

#[tokio::test]
async fn a_table_without_rows_is_a_manifest_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    let exported = exported(&store, 0).await;
    assert_eq!(files_below(folder.path()).len(), 1);
    let verified = store.verify(&exported.reference(), &never()).await.unwrap();
    assert_eq!((verified.rows, verified.digest), (0, ContentDigest::ZERO));
    let back = drained(&store, &exported.manifest, None).await.unwrap();
    assert_eq!(back, (0, ContentDigest::ZERO));
}

#[tokio::test]
async fn discarding_leaves_nothing_and_may_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    let other = exported(&store, 100).await;
    let request = request(ArchiveFormat::Parquet);
    let exported = store.export(&request, rows(1_000), &never()).await.unwrap();
    let unit = super::folder(&request);
    // What a crash in the middle of a write leaves: object_store hides such files from listings.
    let staging = folder.path().join(unit.to_string()).join("part-00099.parquet#1");
    fs::write(&staging, b"half a part").unwrap();

    let objects = u64::try_from(exported.manifest.parts.len()).unwrap() + 1;
    assert_eq!(store.discard(&unit).await.unwrap(), objects + 1);
    assert!(!folder.path().join(unit.to_string()).exists());
    assert_eq!(store.discard(&unit).await.unwrap(), 0);
    assert!(store.verify(&other.reference(), &never()).await.is_ok());
    assert_eq!(store.folders(&table()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_unit_with_a_staging_file_alone_is_found_and_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    let unit = super::folder(&request(ArchiveFormat::Parquet));
    let at = folder.path().join(unit.to_string());
    fs::create_dir_all(&at).unwrap();
    fs::write(at.join("part-00000.parquet#1"), b"half").unwrap();
    assert_eq!(
        store.folders(&table()).await.unwrap(),
        std::slice::from_ref(&unit)
    );
    assert_eq!(store.discard(&unit).await.unwrap(), 1);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "empty folders stay behind"
    );
}

#[tokio::test]
async fn a_folder_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    let request = request(ArchiveFormat::Parquet);
    let first = store.export(&request, rows(500), &never()).await.unwrap();
    let second = store.export(&request, rows(400), &never()).await;
    assert!(
        matches!(second, Err(StoreError::FolderInUse { .. })),
        "{second:?}"
    );
    assert_eq!(
        store.verify(&first.reference(), &never()).await.unwrap().rows,
        500
    );
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    let broken = rows(5_000)
        .take(3_000)
        .map(|row| row.map_err(|never| match never {}))
        .chain(stream::iter([Err(std::io::Error::other("the connection broke"))]));
    let failed = store
        .export(&request(ArchiveFormat::Parquet), broken, &never())
        .await;
    assert!(
        matches!(&failed, Err(error @ StoreError::Rows(_)) if error.is_retryable()),
        "{failed:?}"
    );
    assert_eq!(files_below(folder.path()), Vec::<String>::new());

    let cut = rows(5_000).take(3_000);
    let failed = store
        .export(&request(ArchiveFormat::Parquet), cut, &never())
        .await;
    assert!(
        matches!(failed, Err(StoreError::Codec(CodecError::Stream { .. }))),
        "{failed:?}"
    );
    assert_eq!(files_below(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_export_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    let cancel = CancellationToken::new();
    let endless = {
        let cancel = cancel.clone();
        let tuples = stream::iter(0..).map(move |id| {
            if id == 20_000 {
                cancel.cancel();
            }
            Ok::<_, Infallible>(Bytes::from(row(id)))
        });
        stream::iter([Ok(Bytes::from_static(&COPY_HEADER))]).chain(tuples)
    };
    let failed = store
        .export(&request(ArchiveFormat::Parquet), endless, &cancel)
        .await;
    assert!(matches!(failed, Err(StoreError::Cancelled)), "{failed:?}");
    assert_eq!(files_below(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn the_probe_passes_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&quick(url(&folder))).await;
    store.probe("tests").await.unwrap();
    assert_eq!(files_below(folder.path()), Vec::<String>::new());
}
