//! What is stored is not what was written: each way has a name, and none of them passes.

use axum::http::Method;
use eidos_archive_store::ManifestRef;

use super::*;
use crate::fake_s3::{FakeS3, Fault, Harm};

/// A server with an export of a thousand rows and a second one of five hundred.
async fn fixture() -> (FakeS3, ArchiveStore, Exported, Exported) {
    let server = FakeS3::start().await;
    let store = open(&s3(server.endpoint())).await;
    let first = exported(&store, 1_000).await;
    let second = exported(&store, 500).await;
    (server, store, first, second)
}

/// The verification's error, which must be rot, and which the restore's stream must find too, before any row of the
/// part it is about.
async fn finding(store: &ArchiveStore, exported: &Exported, whole_parts: usize) -> String {
    let verified = store.verify(&exported.reference(), &never()).await;
    let error = verified.unwrap_err();
    assert!(error.is_rot() && !error.is_retryable(), "{error:?}");

    let rows_before: u64 = exported
        .manifest
        .parts
        .iter()
        .take(whole_parts)
        .map(|part| part.rows)
        .sum();
    let mut stream = Box::pin(store.copy_stream(&exported.manifest, None));
    let mut bytes = Vec::new();
    let failed = loop {
        match stream.next().await {
            Some(Ok(chunk)) => bytes.extend_from_slice(&chunk),
            Some(Err(error)) => break error,
            None => panic!("a stream of a rotten export came to its end"),
        }
    };
    assert_eq!(failed.to_string(), error.to_string());
    assert!(stream.next().await.is_none(), "nothing follows an error");
    bytes.extend_from_slice(&COPY_TRAILER);
    let mut digester = CopyDigester::new(3);
    digester.feed(&bytes).unwrap();
    assert_eq!(
        digester.finish().unwrap().0,
        rows_before,
        "rows of a part that was not proved"
    );
    error.to_string()
}

fn full(key: &str) -> String {
    format!("db/{key}")
}

#[tokio::test]
async fn a_flipped_byte_is_corrupt() {
    let (server, store, exported, _) = fixture().await;
    let key = full(&exported.manifest.parts[2].key);
    let mut bytes = server.object(&key).to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    server.place(&key, bytes.into());
    let found = finding(&store, &exported, 2).await;
    assert!(
        found.contains("part-00002.parquet is corrupt: its SHA-256 is"),
        "{found}"
    );
}

#[tokio::test]
async fn a_truncated_part_is_corrupt() {
    let (server, store, exported, _) = fixture().await;
    let part = &exported.manifest.parts[1];
    let bytes = server.object(&full(&part.key));
    server.place(&full(&part.key), bytes.slice(..bytes.len() - 1));
    let found = finding(&store, &exported, 1).await;
    assert!(
        found.contains(&format!(
            "it has {} bytes instead of {}",
            part.bytes - 1,
            part.bytes
        )),
        "{found}"
    );
}

#[tokio::test]
async fn a_missing_part_is_missing() {
    let (server, store, exported, _) = fixture().await;
    let part = &exported.manifest.parts[0];
    server.remove(&full(&part.key));
    let found = finding(&store, &exported, 0).await;
    assert!(found.contains("part-00000.parquet is missing"), "{found}");
}

#[tokio::test]
async fn swapped_parts_are_corrupt() {
    let (server, store, exported, other) = fixture().await;
    let ours = full(&exported.manifest.parts[0].key);
    let original = server.object(&ours);
    // A sibling, and a part of another unit: as they are, and of the very size so that only content differs.
    let strangers = [&exported.manifest.parts[1], &other.manifest.parts[2]];
    for stranger in strangers.map(|part| server.object(&full(&part.key))) {
        let sized = stranger.iter().copied().chain(std::iter::repeat(0));
        let sized: Bytes = sized.take(original.len()).collect();
        for swapped in [stranger, sized] {
            server.place(&ours, swapped);
            let found = finding(&store, &exported, 0).await;
            assert!(found.contains("part-00000.parquet is corrupt"), "{found}");
        }
    }
}

#[tokio::test]
async fn a_manifest_edited_by_hand_is_changed() {
    let (server, store, exported, other) = fixture().await;
    let key = full(&exported.manifest_key);
    let original = server.object(&key);
    let text = String::from_utf8(original.to_vec()).unwrap();

    server.place(&key, text.replace("\"rows\": 1000", "\"rows\": 999").into());
    let failed = store.verify(&exported.reference(), &never()).await.unwrap_err();
    assert!(
        matches!(&failed, StoreError::ManifestChanged { .. }) && failed.is_rot(),
        "{failed:?}"
    );
    // White space proves as much as a number: it is not the recorded one.
    server.place(&key, format!("{text} ").into());
    let failed = store.manifest(&exported.reference()).await.unwrap_err();
    assert!(matches!(failed, StoreError::ManifestChanged { .. }), "{failed:?}");
    // Another unit's whole manifest.
    server.place(&key, server.object(&full(&other.manifest_key)));
    let failed = store.verify(&exported.reference(), &never()).await.unwrap_err();
    assert!(matches!(failed, StoreError::ManifestChanged { .. }), "{failed:?}");
    let claimed = ManifestRef {
        sha256: other.manifest_sha256.clone(),
        ..exported.reference()
    };
    let failed = store.verify(&claimed, &never()).await.unwrap_err();
    assert!(failed.to_string().contains("not where it lies"), "{failed}");

    server.place(&key, original);
    assert!(store.verify(&exported.reference(), &never()).await.is_ok());
}

/// Changes a manifest.
type Lie = Box<dyn Fn(&mut Manifest)>;

/// A recorded manifest that lies is found out by the rows: digests, segments and statistics are computed anew.
#[tokio::test]
async fn a_recorded_manifest_that_lies_is_found_out() {
    let (server, store, exported, _) = fixture().await;
    let key = full(&exported.manifest_key);
    let honest = exported.manifest.clone();
    let lies: [(&str, Lie); 5] = [
        ("segments", Box::new(|lie| lie.segments.swap(0, 1))),
        ("segments", Box::new(|lie| lie.segments[3].last[1] = "7".into())),
        (
            "statistics of column note",
            Box::new(|lie| lie.column_stats[2].nulls += 1),
        ),
        (
            "statistics of column id",
            Box::new(|lie| lie.column_stats[1].sum = Some("1".into())),
        ),
        (
            "decodes to",
            Box::new(|lie| {
                let (one, two) = (lie.parts[0].digest, lie.parts[1].digest);
                lie.parts[0].digest = two;
                lie.parts[1].digest = one;
            }),
        ),
    ];
    for (expected, change) in lies {
        let mut lie = honest.clone();
        change(&mut lie);
        let bytes = serde_json::to_vec(&lie).unwrap();
        let reference = ManifestRef {
            key: exported.manifest_key.clone(),
            sha256: sha256_hex(&bytes),
        };
        server.place(&key, bytes.into());
        let failed = store.verify(&reference, &never()).await.unwrap_err();
        assert!(
            failed.is_rot() && failed.to_string().contains(expected),
            "{expected}: {failed}"
        );
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn a_byte_damaged_on_its_way_once_is_read_again() {
    let (server, store, exported, _) = fixture().await;
    server.suffer(Fault::once(Method::GET, "part-00001", Harm::FlipByte));
    assert!(store.verify(&exported.reference(), &never()).await.is_ok());
    server.suffer(Fault::always(Method::GET, "part-00001", Harm::FlipByte));
    finding(&store, &exported, 1).await;
}
