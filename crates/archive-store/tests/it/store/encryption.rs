//! What `security.archive_storage` demands arrives at the server, or is refused before anything is sent.

use axum::http::Method;

use super::tls_front::TlsFront;
use super::*;
use crate::fake_s3::{FakeS3, Fault, Harm, Seen};

const SSE: &str = "x-amz-server-side-encryption";
const SSE_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

fn header<'a>(request: &'a Seen, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

/// An export and its verification under demanded encryption; the puts that arrived.
async fn puts_under(s3_sse: &str, kms_key_id: Option<&str>) -> Vec<Seen> {
    install_provider();
    let server = FakeS3::start().await;
    let front = TlsFront::start(server.port()).await;
    let settings = ArchiveStoreSettings {
        ca_cert: Some(front.authority()),
        ..patient(s3(front.endpoint()))
    };
    let security = security(true, s3_sse, kms_key_id);
    let store = ArchiveStore::open(&settings, &security).await.unwrap();
    let exported = exported(&store, 500).await;
    store.verify(&exported.reference(), &never()).await.unwrap();
    server.seen(&Method::PUT)
}

#[tokio::test]
async fn sse_s3_is_asked_for_with_every_object() {
    let puts = puts_under("AES256", None).await;
    assert!(puts.len() > 2);
    for put in &puts {
        assert_eq!(
            (header(put, SSE), header(put, SSE_KEY)),
            (Some("AES256"), None),
            "{}",
            put.key
        );
    }
}

#[tokio::test]
async fn sse_kms_is_asked_for_with_its_key() {
    let key = "arn:aws:kms:eu-central-1:1:key/abc";
    for put in &puts_under("aws:kms", Some(key)).await {
        assert_eq!(
            (header(put, SSE), header(put, SSE_KEY)),
            (Some("aws:kms"), Some(key)),
            "{}",
            put.key
        );
    }
    for put in &puts_under("aws:kms", None).await {
        assert_eq!(
            (header(put, SSE), header(put, SSE_KEY)),
            (Some("aws:kms"), None),
            "{}",
            put.key
        );
    }
}

/// A store may answer 200 to a header that it does not know, and store in the clear.
#[tokio::test]
async fn a_store_that_does_not_say_that_it_encrypts_is_refused_by_the_probe() {
    install_provider();
    let server = FakeS3::start().await;
    let front = TlsFront::start(server.port()).await;
    let settings = ArchiveStoreSettings {
        ca_cert: Some(front.authority()),
        ..patient(s3(front.endpoint()))
    };
    let key = "arn:aws:kms:eu-central-1:1:key/abc";
    for (sse, key_id) in [("AES256", None), ("aws:kms", Some("abc")), ("aws:kms", Some(key))] {
        let store = ArchiveStore::open(&settings, &security(true, sse, key_id))
            .await
            .unwrap();
        store.probe("tests").await.unwrap();
        server.suffer(Fault::always(Method::PUT, "", Harm::StoreInTheClear));
        let error = store.probe("tests").await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("was asked for {sse}")) && error.contains("in the clear"),
            "{error}"
        );
        server.recover();
    }
}

#[tokio::test]
async fn a_file_of_authorities_without_a_certificate_is_refused() {
    install_provider();
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = ArchiveStoreSettings {
        ca_cert: Some(file.path().display().to_string()),
        ..s3("https://127.0.0.1:1".into())
    };
    let error = ArchiveStore::open(&settings, &security(false, "AES256", None))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it holds no certificate"), "{error}");
}

#[tokio::test]
async fn nothing_is_asked_for_when_not_in_force() {
    let server = FakeS3::start().await;
    let store = open(&s3(server.endpoint())).await;
    exported(&store, 100).await;
    assert!(
        server
            .seen(&Method::PUT)
            .iter()
            .all(|put| header(put, SSE).is_none())
    );
}

#[tokio::test]
async fn plain_http_and_local_folders_are_refused_when_in_force() {
    install_provider();
    let server = FakeS3::start().await;
    let folder = tempfile::tempdir().unwrap();
    let local = format!("file://{}", folder.path().display());
    for (settings, expected) in [
        (s3(server.endpoint()), "use an https:// endpoint"),
        (quick(local), "cannot be told to encrypt"),
    ] {
        let failed = ArchiveStore::open(&settings, &security(true, "AES256", None)).await;
        let error = failed.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(server.seen(&Method::PUT).len(), 0);
}

/// The other clouds are built from settings alone; nothing is asked of them here.
#[tokio::test]
async fn azure_and_google_open_from_settings() {
    install_provider();
    let azure = ArchiveStoreSettings {
        access_key_id: Some("account".into()),
        secret_access_key: Some(SecretString::from("aHVudGVyMg==")),
        ..quick("az://container/db")
    };
    let mut google = quick("gs://bucket/db");
    google
        .options
        .insert("google_skip_signature".into(), SecretString::from("true"));
    let force = security(true, "AES256", None);
    for (settings, location) in [
        (&azure, "az://container/db?account=account"),
        (&google, "gs://bucket/db"),
    ] {
        let store = ArchiveStore::open(settings, &force).await.unwrap();
        assert_eq!(store.location(), location);
    }
    google
        .options
        .insert("no_such_option".into(), SecretString::from("hunter2"));
    let error = ArchiveStore::open(&google, &force).await.unwrap_err().to_string();
    assert!(
        error.contains("no_such_option") && !error.contains("hunter2"),
        "{error}"
    );
}

/// Also where the endpoint is not in our settings but in the environment or the provider's default: no plain HTTP.
#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    install_provider();
    let server = FakeS3::start().await;
    let front = TlsFront::start(server.port()).await;
    let failed = open(&s3(front.endpoint())).await.probe("tests").await;
    assert!(matches!(&failed, Err(StoreError::Transport { .. })), "{failed:?}");
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("archive_store.ca_cert"), "{error}");
    assert_eq!(server.seen(&Method::PUT).len(), 0);
}
