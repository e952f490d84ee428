//! A server that fails in every way: what passes is repeated, what does not is named, nothing false is verified.

use std::time::Duration;

use axum::http::Method;
use eidos_archive_store::Versions;

use super::*;
use crate::fake_s3::{FakeS3, Fault, Harm};

const TOO_SLOW: Duration = Duration::from_secs(2);

async fn fixture() -> (FakeS3, ArchiveStore) {
    let server = FakeS3::start().await;
    let store = open(&s3(server.endpoint())).await;
    (server, store)
}

/// Harm that two attempts get past.
fn passing() -> Vec<(Method, &'static str, Harm)> {
    vec![
        (Method::PUT, "part-00001", Harm::Status(500, "InternalError")),
        (Method::PUT, "part-00001", Harm::Status(503, "SlowDown")),
        (Method::PUT, "part-00001", Harm::Status(429, "TooManyRequests")),
        (
            Method::PUT,
            "part-00001",
            Harm::Status(409, "ConditionalRequestConflict"),
        ),
        (Method::PUT, "part-00001", Harm::CutRequest),
        (Method::PUT, "part-00001", Harm::LoseReply),
        (Method::PUT, "manifest.json", Harm::LoseReply),
        (Method::PUT, "part-00001", Harm::Slow(TOO_SLOW)),
        // A byte damaged in transit: the server sees that the checksum does not fit.
        (Method::PUT, "part-00001", Harm::FlipByte),
        (Method::GET, "part-00001", Harm::Status(500, "InternalError")),
        (Method::GET, "part-00001", Harm::Status(503, "SlowDown")),
        (Method::GET, "part-00001", Harm::CutReply),
        (Method::GET, "part-00001", Harm::ShortReply),
        (Method::GET, "part-00001", Harm::Slow(TOO_SLOW)),
        (Method::GET, "manifest.json", Harm::CutReply),
        (Method::GET, "", Harm::Status(503, "SlowDown")),
    ]
}

#[tokio::test]
async fn what_passes_is_repeated_and_ends_well() {
    for (method, key, harm) in passing() {
        let (server, store) = fixture().await;
        server.suffer(Fault::times(2, method, key, harm));
        let exported = exported(&store, 500).await;
        let verified = store.verify(&exported.reference(), &never()).await.unwrap();
        assert_eq!((verified.rows, verified.digest), (500, digest_of(0..500)));
        let back = drained(&store, &exported.manifest, None).await.unwrap();
        assert_eq!(back, (500, verified.digest));
    }
}

#[tokio::test]
async fn what_does_not_pass_ends_and_leaves_nothing() {
    let lasting = [
        (
            Harm::Status(500, "InternalError"),
            "failed 4 times, at last: 500 InternalError",
        ),
        (
            Harm::Status(503, "SlowDown"),
            "failed 4 times, at last: 503 SlowDown",
        ),
        (Harm::CutRequest, "failed 4 times"),
        (
            Harm::Slow(TOO_SLOW),
            "failed 4 times, at last: no answer within 700ms",
        ),
        (Harm::FlipByte, "400 BadDigest"),
        (
            Harm::Status(403, "AccessDenied"),
            "allow s3:PutObject on archive/db/*",
        ),
        (
            Harm::Status(403, "SignatureDoesNotMatch"),
            "correct archive_store.access_key_id",
        ),
        (
            Harm::Status(403, "RequestTimeTooSkewed"),
            "set this machine's clock",
        ),
        (Harm::Status(400, "KMS.DisabledException"), "kms:GenerateDataKey"),
        (Harm::Status(501, "NotImplemented"), "If-None-Match"),
        (Harm::Status(404, "NoSuchBucket"), "has no such bucket"),
        (
            Harm::Status(301, "PermanentRedirect"),
            "correct archive_store.region",
        ),
    ];
    for (harm, expected) in lasting {
        let (server, store) = fixture().await;
        let retryable = expected.starts_with("failed") || expected.contains("BadDigest");
        // The first attempts of a slow put store the object; a later one must not take that for success.
        server.suffer(Fault::always(Method::PUT, "part-00001", harm));
        let failed = store
            .export(&request(ArchiveFormat::Parquet), rows(2_000), &never())
            .await;
        let error = failed.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
        assert!(
            !error.is_rot() && !error.to_string().contains("hunter2"),
            "{error}"
        );
        assert_eq!(server.keys(), Vec::<String>::new(), "after {expected}");
    }
}

#[tokio::test]
async fn reading_that_does_not_pass_proves_nothing_either_way() {
    let lasting = [
        (Harm::Status(500, "InternalError"), true),
        (Harm::CutReply, true),
        (Harm::ShortReply, true),
        (Harm::Slow(TOO_SLOW), true),
        (Harm::Status(403, "AccessDenied"), false),
        (Harm::Status(404, "NoSuchBucket"), false),
        // A gateway's 404, and not the store's word that an object is gone.
        (Harm::Status(404, "NotFound"), false),
    ];
    for (harm, retryable) in lasting {
        let (server, store) = fixture().await;
        let exported = exported(&store, 500).await;
        server.suffer(Fault::always(Method::GET, "part-00001", harm));
        let error = store.verify(&exported.reference(), &never()).await.unwrap_err();
        assert!(!error.is_rot(), "{error:?}");
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
        assert!(drained(&store, &exported.manifest, None).await.is_err());
    }
}

/// Each part is there before the manifest is, and the manifest's keys are the only ones.
#[tokio::test]
async fn the_manifest_is_the_last_object() {
    let (server, store) = fixture().await;
    let exported = exported(&store, 1_000).await;
    let puts = server.seen(&Method::PUT);
    assert_eq!(puts.last().unwrap().key, format!("db/{}", exported.manifest_key));
    assert_eq!(puts.len(), exported.manifest.parts.len() + 1);
    assert!(puts.iter().all(|put| put.headers["if-none-match"] == "*"));
    assert_eq!(
        server.seen(&Method::POST).len(),
        0,
        "multipart uploads and bulk deletes are posts"
    );
}

#[tokio::test]
async fn an_object_of_somebody_else_is_a_conflict_and_stays() {
    let (server, store) = fixture().await;
    let request = request(ArchiveFormat::Parquet);
    let theirs = format!("db/{}/part-00001.parquet", folder(&request));
    // Put after our look into the folder, or into a bucket whose listing lags.
    server.suffer(Fault::once(Method::GET, "", Harm::ListNothing));
    server.place(&theirs, Bytes::from_static(b"theirs"));
    let error = store.export(&request, rows(1_000), &never()).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Conflict { .. }) && !error.is_retryable(),
        "{error:?}"
    );
    assert_eq!(server.object(&theirs), Bytes::from_static(b"theirs"));
}

/// Cleaning up behind a failed export does not need a listing that is up to date.
#[tokio::test]
async fn a_listing_that_lags_hides_nothing_from_the_clean_up() {
    let (server, store) = fixture().await;
    server.suffer(Fault::always(Method::GET, "", Harm::ListNothing));
    server.suffer(Fault::always(
        Method::PUT,
        "manifest.json",
        Harm::Status(403, "AccessDenied"),
    ));
    let failed = store
        .export(&request(ArchiveFormat::Parquet), rows(1_000), &never())
        .await;
    assert!(matches!(failed, Err(StoreError::Denied { .. })), "{failed:?}");
    assert_eq!(server.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_manifest_is_not_left_behind_by_a_failed_export() {
    let (server, store) = fixture().await;
    // Every reply about the manifest is lost, also of the look at what is there.
    server.suffer(Fault::once(Method::PUT, "manifest.json", Harm::LoseReply));
    server.suffer(Fault::always(
        Method::PUT,
        "manifest.json",
        Harm::Status(500, "InternalError"),
    ));
    let failed = store
        .export(&request(ArchiveFormat::Parquet), rows(500), &never())
        .await;
    assert!(matches!(failed, Err(StoreError::Transport { .. })), "{failed:?}");
    assert_eq!(server.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancellation_ends_waiting_and_leaves_nothing() {
    let server = FakeS3::start().await;
    let patient = ArchiveStoreSettings {
        retry_base: Duration::from_secs(50),
        retry_max: Duration::from_secs(50),
        ..s3(server.endpoint())
    };
    let store = open(&patient).await;
    server.suffer(Fault::always(
        Method::PUT,
        "part-00003",
        Harm::Status(503, "SlowDown"),
    ));
    let cancel = CancellationToken::new();
    let request = request(ArchiveFormat::Parquet);
    let cancelling = async {
        while !server
            .seen(&Method::PUT)
            .iter()
            .any(|put| put.key.contains("part-00003"))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let began = std::time::Instant::now();
    let (failed, ()) = tokio::join!(store.export(&request, rows(5_000), &cancel), cancelling);
    assert!(matches!(failed, Err(StoreError::Cancelled)), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(server.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_discard_is_repeated_and_says_what_it_may_not() {
    let (server, store) = fixture().await;
    let request = request(ArchiveFormat::Parquet);
    let manifest = store
        .export(&request, rows(500), &never())
        .await
        .unwrap()
        .manifest;
    server.suffer(Fault::always(
        Method::DELETE,
        "part-00001",
        Harm::Status(403, "AccessDenied"),
    ));
    let error = store.discard(&folder(&request)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("allow s3:DeleteObject on archive/db/*"),
        "{error}"
    );
    // What is half deleted has no manifest any more, and is still found.
    assert!(!server.keys().iter().any(|key| key.ends_with("manifest.json")));
    assert_eq!(store.folders(&table()).await.unwrap(), [folder(&request)]);

    server.recover();
    server.suffer(Fault::times(
        2,
        Method::DELETE,
        "part-00001",
        Harm::Status(503, "SlowDown"),
    ));
    assert!(store.discard(&folder(&request)).await.unwrap() <= manifest.parts.len() as u64);
    assert_eq!(server.keys(), Vec::<String>::new());
}

#[tokio::test]
async fn the_probe_names_what_is_missing() {
    let cases = [
        (
            Method::PUT,
            "",
            Harm::Status(403, "AccessDenied"),
            "allow s3:PutObject",
        ),
        (
            Method::GET,
            "probe",
            Harm::Status(403, "AccessDenied"),
            "allow s3:GetObject",
        ),
        (Method::GET, "", Harm::Status(403, "AccessDenied"), "allow s3:"),
        (
            Method::DELETE,
            "",
            Harm::Status(403, "AccessDenied"),
            "allow s3:DeleteObject",
        ),
        (Method::PUT, "", Harm::Overwrite, "overwrote an object"),
        (
            Method::PUT,
            "",
            Harm::LoseRaces,
            "creators of one object succeed at once",
        ),
        (
            Method::GET,
            "",
            Harm::ListNothing,
            "does not list an object right after",
        ),
    ];
    let (server, store) = fixture().await;
    store.probe("tests").await.unwrap();
    assert_eq!(server.keys(), Vec::<String>::new());
    for (method, key, harm, expected) in cases {
        server.suffer(Fault::always(method, key, harm));
        let error = store.probe("tests").await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        server.recover();
    }
}

/// Some stores make a bucket on the first put: a misspelt one would take the first export.
#[tokio::test]
async fn a_bucket_that_does_not_exist_is_refused_before_anything_is_put() {
    let (server, store) = fixture().await;
    server.suffer(Fault::always(Method::GET, "", Harm::Status(404, "NoSuchBucket")));
    let error = store.probe("tests").await.unwrap_err();
    assert!(error.to_string().contains("has no such bucket"), "{error}");
    assert_eq!(server.seen(&Method::PUT).len(), 0);
}

#[tokio::test]
async fn a_store_that_does_not_know_checksums_is_asked_without_them() {
    let server = FakeS3::start().await;
    server.suffer(Fault::once(Method::PUT, "", Harm::Status(501, "NotImplemented")));
    let error = open(&s3(server.endpoint()))
        .await
        .probe("tests")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("archive_store.checksum: none"),
        "{error}"
    );
    let settings = ArchiveStoreSettings {
        checksum: StoreChecksum::None,
        ..s3(server.endpoint())
    };
    open(&settings).await.probe("tests").await.unwrap_err(); // the fake wants one
    let puts = server.seen(&Method::PUT);
    let last = puts.last().unwrap();
    assert!(
        last.headers.get("x-amz-checksum-sha256").is_none(),
        "{:?}",
        last.headers
    );
}

/// Who may put an object may often not ask about versions: the answers to puts then are all there is.
#[tokio::test]
async fn a_version_id_in_an_answer_is_believed_where_the_store_does_not_tell_about_versions() {
    let (server, store) = fixture().await;
    let untold = store.versions().await;
    assert!(matches!(untold, Versions::Unknown(_)), "{untold:?}");

    server.suffer(Fault::always(Method::PUT, "", Harm::NameVersion));
    store
        .export(&request(ArchiveFormat::Parquet), rows(100), &never())
        .await
        .unwrap();
    assert_eq!(store.versions().await, Versions::Kept);
    let probed = store.probe("tests").await.unwrap();
    assert_eq!(probed.versions, Versions::Kept);

    // A process that put before it asked.
    let later = open(&s3(server.endpoint())).await;
    later
        .export(&request(ArchiveFormat::Csv), rows(100), &never())
        .await
        .unwrap();
    assert_eq!(later.versions().await, Versions::Kept);
}

#[tokio::test]
async fn a_store_is_probed_once_and_what_a_killed_probe_left_is_removed() {
    let (server, store) = fixture().await;
    // Killed between put and delete: the deletion never came.
    server.suffer(Fault::always(
        Method::DELETE,
        "",
        Harm::Status(403, "AccessDenied"),
    ));
    store.ready("job-a").await.unwrap_err();
    store.ready("job-b").await.unwrap_err();
    assert_eq!(server.keys().len(), 2);
    server.recover();
    store.ready("job-a").await.unwrap();
    let left = server.keys();
    assert!(left.len() == 1 && left[0].contains("job-b"), "{left:?}");
    // Found good, it is not asked again: these puts would be refused.
    server.suffer(Fault::always(Method::PUT, "", Harm::Status(403, "AccessDenied")));
    store.ready("job-a").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_asked_a_few_times() {
    let store = open(&s3("http://127.0.0.1:1".into())).await;
    let failed = store
        .export(&request(ArchiveFormat::Parquet), rows(10), &never())
        .await;
    let error = failed.unwrap_err();
    assert!(
        error.to_string().contains("failed 4 times") && error.is_retryable(),
        "{error}"
    );
}

/// Memory is bounded: while two parts are under way no third one is begun, and the table is not read on.
#[tokio::test]
async fn a_slow_server_holds_the_export_back() {
    let (server, store) = fixture().await;
    server.suffer(Fault::always(
        Method::PUT,
        "part-",
        Harm::Slow(Duration::from_millis(30)),
    ));
    let exported = exported(&store, 3_000).await;
    assert!(exported.manifest.parts.len() > 10);
    assert_eq!(server.most_puts(), 2);

    server.recover();
    server.suffer(Fault::always(
        Method::PUT,
        "part-",
        Harm::Slow(Duration::from_millis(450)),
    ));
    let given = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = {
        let given = std::sync::Arc::clone(&given);
        rows(100_000).inspect(move |_| {
            given.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
    };
    let cancel = CancellationToken::new();
    let request = request(ArchiveFormat::Parquet);
    let watching = async {
        while server.seen(&Method::PUT).len() < exported.manifest.parts.len() + 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
        given.load(std::sync::atomic::Ordering::Relaxed)
    };
    let (failed, given) = tokio::join!(store.export(&request, counted, &cancel), watching);
    assert!(matches!(failed, Err(StoreError::Cancelled)), "{failed:?}");
    // Chunks of 256 KiB wait for the encoder: four in its queue, one in hand, one being filled.
    assert!(
        given < 40_000,
        "{given} of 100000 rows were read ahead of four small parts"
    );
}
