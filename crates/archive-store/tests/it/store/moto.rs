//! A real S3-compatible server.

use eidos_sandbox::Moto;

use super::*;

async fn world() -> (Moto, ArchiveStore) {
    let moto = Moto::start().await.unwrap();
    let settings = ArchiveStoreSettings {
        request_timeout: Duration::from_secs(20),
        ..s3(moto.url())
    };
    let store = open(&settings).await;
    let bucket = format!("{}/{}", moto.url(), crate::fake_s3::BUCKET);
    let patience = Duration::from_secs(20);
    let client = reqwest::Client::builder().timeout(patience).build().unwrap();
    let made = client.put(bucket).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    (moto, store)
}

#[tokio::test]
async fn the_whole_course() {
    let (moto, store) = world().await;
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
    let (moto, _) = world().await;
    let settings = ArchiveStoreSettings {
        url: "s3://nowhere/db".into(),
        ..s3(moto.url())
    };
    let error = open(&settings).await.probe("tests").await.unwrap_err();
    assert!(error.to_string().contains("s3://nowhere/db"), "{error}");
    assert!(error.to_string().contains("has no such bucket"), "{error}");
}
