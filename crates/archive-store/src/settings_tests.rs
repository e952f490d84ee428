use eidos_settings::ArchiveEncryption;

use super::*;

fn keys(problems: &[StoreProblem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.key.as_str()).collect()
}

#[test]
fn defaults_have_no_problem_and_the_secret_is_not_shown() {
    assert_eq!(ArchiveStoreSettings::default().problems(), []);
    let settings = ArchiveStoreSettings {
        access_key_id: Some("id".into()),
        secret_access_key: Some(SecretString::from("hunter2")),
        ..ArchiveStoreSettings::at("s3://bucket/db")
    };
    assert_eq!(settings.problems(), []);
    let text = serde_json::to_string(&settings).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn an_empty_url_takes_the_requirements_place() {
    assert_eq!(
        ArchiveStoreSettings::default().or_at("s3://a/db/").url,
        "s3://a/db/"
    );
    assert_eq!(
        ArchiveStoreSettings::at("file:///x").or_at("s3://a/db/").url,
        "file:///x"
    );
}

#[test]
fn unknown_keys_and_bare_numbers_are_refused() {
    assert!(serde_json::from_str::<ArchiveStoreSettings>(r#"{"urll":"file:///x"}"#).is_err());
    assert!(serde_json::from_str::<ArchiveStoreSettings>(r#"{"request_timeout":5}"#).is_err());
    let read: ArchiveStoreSettings = serde_json::from_str(r#"{"request_timeout":"90s"}"#).unwrap();
    assert_eq!(read.request_timeout, Duration::from_secs(90));
}

#[test]
fn every_problem_is_reported_at_once() {
    let broken = ArchiveStoreSettings {
        url: "s3://".into(),
        endpoint: Some("http://minio:9000".into()),
        access_key_id: Some("id".into()),
        part_bytes: 1,
        row_group_rows: 0,
        zstd_level: 30,
        request_timeout: Duration::ZERO,
        connect_timeout: Duration::ZERO,
        attempts: 0,
        retry_base: Duration::from_secs(2),
        retry_max: Duration::from_secs(1),
        ..ArchiveStoreSettings::default()
    };
    assert_eq!(
        keys(&broken.problems()),
        [
            "url",
            "endpoint",
            "access_key_id",
            "part_bytes",
            "row_group_rows",
            "attempts",
            "zstd_level",
            "request_timeout",
            "connect_timeout",
            "retry_max"
        ]
    );
}

fn security(enabled: bool, s3_sse: &str) -> SecuritySection {
    SecuritySection {
        tls_enabled: enabled,
        archive_storage: ArchiveEncryption {
            enabled: true,
            s3_sse: s3_sse.to_owned(),
            kms_key_id: Some("key".to_owned()),
        },
        ..SecuritySection::unencrypted()
    }
}

#[test]
fn encryption_in_force_refuses_what_cannot_encrypt() {
    let plain = ArchiveStoreSettings {
        endpoint: Some("http://minio:9000".into()),
        allow_http: true,
        ..ArchiveStoreSettings::at("s3://bucket")
    };
    let problems = |settings: &ArchiveStoreSettings, security| {
        let problems = settings.encryption_problems(&security);
        keys(&problems).join(" ")
    };
    assert_eq!(problems(&plain, security(false, "AES256")), "");
    assert_eq!(problems(&plain, security(true, "AES256")), "endpoint");
    assert_eq!(
        problems(&ArchiveStoreSettings::at("s3://b"), security(true, "aws:kms")),
        ""
    );
    assert_eq!(
        problems(&ArchiveStoreSettings::at("file:///x"), security(true, "AES256")),
        "url"
    );
    assert_eq!(
        problems(&ArchiveStoreSettings::at("gs://b"), security(true, "aws:kms")),
        "url"
    );
    assert_eq!(
        problems(&ArchiveStoreSettings::at("az://b"), security(true, "AES256")),
        ""
    );
}
