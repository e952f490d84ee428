//! A real S3-compatible server.

use eidos_archive_store::Versions;
use eidos_sandbox::Moto;

use super::*;

fn http() -> reqwest::Client {
    let patience = Duration::from_secs(20);
    reqwest::Client::builder().timeout(patience).build().unwrap()
}

async fn fixture() -> (Moto, ArchiveStore) {
    let moto = Moto::start().await.unwrap();
    let settings = ArchiveStoreSettings {
        request_timeout: Duration::from_secs(20),
        ..patient(s3(moto.url()))
    };
    let store = open(&settings).await;
    let bucket = format!("{}/{}", moto.url(), crate::fake_s3::BUCKET);
    let made = http().put(bucket).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    (moto, store)
}

#[tokio::test]
async fn the_whole_course() {
    let (moto, store) = fixture().await;
    store.probe("tests").await.unwrap();
    for format in [ArchiveFormat::Parquet, ArchiveFormat::Csv] {
        let request = request(format);
        let exported = store.export(&request, rows(2_000), &never()).await.unwrap();
        assert!(exported.manifest.parts.len() > 3);
        let verified = store.verify(&exported.reference(), &never()).await.unwrap();
        assert_eq!((verified.rows, verified.digest), (2_000, digest_of(0..2_000)));
        assert!(store.has_manifest(&exported.manifest_key).await.unwrap());
        let window = Some((START_MS + 500_000, START_MS + 1_500_000));
        let back = drained(&store, &exported.manifest, window).await.unwrap();
        assert_eq!(back, (1_000, digest_of(500..1_500)));

        let again = store.export(&request, rows(10), &never()).await;
        assert!(matches!(again, Err(StoreError::FolderInUse { .. })), "{again:?}");
        assert_eq!(store.folders(&table()).await.unwrap(), [folder(&request)]);
        let objects = u64::try_from(exported.manifest.parts.len()).unwrap() + 1;
        assert_eq!(store.discard(&folder(&request)).await.unwrap(), objects);
        assert_eq!(store.discard(&folder(&request)).await.unwrap(), 0);
        assert!(!store.has_manifest(&exported.manifest_key).await.unwrap());
        let gone = store.verify(&exported.reference(), &never()).await;
        assert!(matches!(gone, Err(StoreError::Missing { .. })), "{gone:?}");
    }
    drop(moto);
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_named() {
    let (moto, _) = fixture().await;
    let settings = ArchiveStoreSettings {
        url: "s3://nowhere/db".into(),
        ..patient(s3(moto.url()))
    };
    let error = open(&settings).await.probe("tests").await.unwrap_err();
    assert!(error.to_string().contains("s3://nowhere/db"), "{error}");
    assert!(error.to_string().contains("has no such bucket"), "{error}");
}

/// What the bucket has below a prefix: versions and marks of removal.
async fn versions_below(moto: &Moto, prefix: &str) -> usize {
    let url = format!(
        "{}/{}?versions&prefix={prefix}",
        moto.url(),
        crate::fake_s3::BUCKET
    );
    let text = http().get(url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("<ListVersionsResult"), "{text}");
    text.matches("<VersionId>").count()
}

#[tokio::test]
async fn a_bucket_that_keeps_versions_is_told_and_the_probe_leaves_none_of_its_own() {
    let (moto, store) = fixture().await;
    let probed = store.probe("tests").await.unwrap();
    assert_eq!((&probed.versions, probed.left), (&Versions::NotKept, Some(0)));
    assert_eq!(store.versions().await.after_removal(), None);

    let bucket = format!("{}/{}?versioning", moto.url(), crate::fake_s3::BUCKET);
    let enabled = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                   <Status>Enabled</Status></VersioningConfiguration>";
    let put = http().put(bucket).body(enabled).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    let fresh = open(&patient(s3(moto.url()))).await;
    let other = fresh.probe("another").await.unwrap();
    assert_eq!(
        (&other.versions, other.left),
        (&Versions::Kept, Some(0)),
        "{other}"
    );
    assert_eq!(versions_below(&moto, "db/probe/").await, 0);

    let request = request(ArchiveFormat::Parquet);
    store.export(&request, rows(500), &never()).await.unwrap();
    assert!(store.discard(&folder(&request)).await.unwrap() > 1);
    // Switched on after this process had asked: the answers to its own requests say so.
    let remains = store.versions().await.after_removal().unwrap();
    assert!(remains.contains("remains there as an older version"), "{remains}");
    assert!(versions_below(&moto, "db/risk/").await > 1);
}

#[tokio::test]
async fn the_location_names_the_endpoint_and_no_credential() {
    let (moto, store) = fixture().await;
    let location = store.location();
    assert_eq!(
        location,
        format!("s3://{}/db?endpoint={}", crate::fake_s3::BUCKET, moto.url())
    );
    assert!(!location.contains("hunter2"));
}
