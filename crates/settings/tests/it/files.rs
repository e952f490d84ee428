use std::path::Path;
use std::time::Duration;

use eidos_settings::{ArchiveFormat, Input, LockKind, SslMode, SuiteOnly, load};
use secrecy::ExposeSecret;

use crate::{Sample, at, file, load_sample, load_suite, pem, variables};

const REQUIREMENT_6: &str = include_str!("../fixtures/requirement-6.yaml");

fn job<'a>(suite: &'a eidos_settings::SuiteSettings, name: &str) -> &'a eidos_settings::JobSection {
    &suite.jobs[&name.parse().unwrap()]
}

/// Done-when 6: the requirement's §6 loads as it stands, with no variable set.
#[test]
fn ruling_1_the_requirements_file_loads_as_it_stands() {
    let suite = load_suite(REQUIREMENT_6, &[]).unwrap().suite;
    assert_eq!(
        (
            suite.service.name.as_str(),
            suite.service.grpc_port,
            suite.service.http_port
        ),
        ("eidos-jobs", 50056, 8080)
    );
    assert_eq!(suite.scheduler.default_timeout, Duration::from_secs(300));
    assert_eq!(suite.jobs.len(), 10);
    assert_eq!(job(&suite, "cleanup-orders").cron.as_str(), "*/2 * * * *");
    assert_eq!(job(&suite, "archive-data").options["retention_days"], 30);
    assert_eq!(
        job(&suite, "partition-manage").options["tables"]
            .as_array()
            .unwrap()
            .len(),
        6
    );
    assert_eq!(
        job(&suite, "data-cleanup").options["archive_before_cleanup"],
        true
    );
    assert_eq!(
        job(&suite, "data-cleanup").options["archive_storage"],
        "s3://eidos-archive/db/"
    );
    assert_eq!(suite.redis.lock_prefix, "eidos:job:lock");
    let retention = &suite.data_retention;
    assert_eq!(
        retention.partitioned_tables["eidos_market_trade_history"].archive_format,
        ArchiveFormat::Parquet
    );
    assert_eq!(retention.partitioned_tables.len(), 6);
    assert_eq!(
        retention.regular_tables["eidos_chain_settlement_batches"].batch_size,
        500
    );
    assert_eq!(
        retention.timescaledb["eidos_market_klines"].retention_by_interval["30m"],
        180
    );
    assert!(!suite.security.tls_enabled);
    assert_eq!(suite.security.grpc.cert, None);
    assert_eq!(suite.security.postgres.sslmode, SslMode::VerifyFull);
    assert_eq!(suite.security.archive_storage.s3_sse, "aws:kms");
}

#[test]
fn the_requirements_file_takes_its_variables() {
    let certificate = pem("CERTIFICATE");
    let (key, path) = (pem("PRIVATE KEY"), certificate.path().display().to_string());
    let suite = load_suite(
        REQUIREMENT_6,
        &[
            ("TLS_ENABLED", "true"),
            ("PG_TLS_ENABLED", "true"),
            ("PG_CA_CERT_PATH", &path),
            ("REDIS_TLS_ENABLED", "true"),
            ("REDIS_CA_CERT_PATH", &path),
            ("GRPC_TLS_ENABLED", "true"),
            ("GRPC_CERT_PATH", &path),
            ("GRPC_KEY_PATH", key.path().to_str().unwrap()),
        ],
    )
    .unwrap()
    .suite;
    assert!(suite.security.grpc_tls());
    assert_eq!(suite.security.grpc.cert.as_deref(), Some(path.as_str()));
    assert_eq!(suite.redis.ca_cert.as_deref(), Some(path.as_str()));
    let url = suite.databases[&eidos_settings::SourceName::Jobs]
        .url
        .expose_secret();
    assert!(
        url.ends_with(&format!("?sslmode=verify-full&sslrootcert={path}")),
        "{url}"
    );
    assert!(suite.redis.url.expose_secret().starts_with("rediss://"));

    let errors = load_suite(
        REQUIREMENT_6,
        &[("TLS_ENABLED", "true"), ("GRPC_TLS_ENABLED", "true")],
    )
    .unwrap_err();
    assert!(
        at(&errors, "security.grpc.cert")
            .origin
            .as_deref()
            .unwrap()
            .contains("GRPC_CERT_PATH is not set")
    );
    let errors = load_suite(REQUIREMENT_6, &[("TLS_ENABLED", "maybe")]).unwrap_err();
    assert_eq!(
        at(&errors, "security.tls_enabled").value.as_deref(),
        Some("maybe")
    );
}

#[test]
fn defaults_follow_the_requirements_tables() {
    let suite = load::<SuiteOnly>(&Input::default()).unwrap().suite;
    for (name, cron, timeout, kind, ttl) in [
        ("reconciliation", "0 0 * * * *", 600, LockKind::Watchdog, 30),
        ("cleanup-orders", "*/2 * * * *", 60, LockKind::Basic, 60),
        ("archive-data", "0 0 3 * * *", 1800, LockKind::Watchdog, 30),
        ("stats-agg", "0 5 * * * *", 300, LockKind::Basic, 300),
        ("kline-agg", "0 1 * * * *", 300, LockKind::Basic, 300),
        ("health-monitor", "*/30 * * * * *", 10, LockKind::None, 30),
        ("partition-manage", "0 0 1 * *", 600, LockKind::Basic, 600),
        ("data-cleanup", "0 0 4 * * *", 1800, LockKind::Watchdog, 30),
    ] {
        let job = job(&suite, name);
        assert_eq!(
            (job.cron.as_str(), job.timeout.as_secs(), job.enabled),
            (cron, timeout, true),
            "{name}"
        );
        assert_eq!((job.lock.kind, job.lock.ttl.as_secs()), (kind, ttl), "{name}");
        assert_eq!(job.retry.max_attempts, 3, "{name}");
    }
    assert_eq!(
        job(&suite, "reconciliation").options["full_cron"],
        "0 0 2 * * *",
        "ruling 2"
    );
}

#[test]
fn ruling_4_a_basic_lock_bounds_the_run() {
    let suite = load::<SuiteOnly>(&Input::default()).unwrap().suite;
    let grace = suite.scheduler.cancel_grace;
    assert_eq!(
        job(&suite, "cleanup-orders").budget(grace),
        Duration::from_millis(60_000 - 1200 - 5000)
    );
    assert_eq!(
        job(&suite, "archive-data").budget(grace),
        Duration::from_secs(1800),
        "a watchdog renews"
    );
    assert_eq!(
        job(&suite, "health-monitor").budget(grace),
        Duration::from_secs(10)
    );
    let errors = load_suite("jobs: { cleanup-orders: { lock: { ttl: 6s } } }", &[]).unwrap_err();
    assert!(
        at(&errors, "jobs.cleanup-orders.lock.ttl")
            .reason
            .contains("no time")
    );
    load_suite("jobs: { cleanup-orders: { lock: { ttl: 7s } } }", &[]).unwrap();
}

#[test]
fn one_file_serves_all_services_and_eidos_config_names_it() {
    let text = "chain: { rpc_url: whatever }\nreconciliation: {}\nredis:\nservice: { name: x }\n";
    load_suite(text, &[]).unwrap();
    let (_folder, path) = file("service: { name: named-by-variable }");
    let env = variables(&[("EIDOS_CONFIG", path.to_str().unwrap())]);
    assert_eq!(
        load::<Sample>(&Input { file: None, env })
            .unwrap()
            .suite
            .service
            .name,
        "named-by-variable"
    );
    assert_eq!(
        load_sample("", &[]).unwrap().suite.service.name,
        "sample-svc",
        "the service's defaults"
    );
}

#[test]
fn unreadable_and_broken_files_are_problems_beside_the_others() {
    let missing = Path::new("/no/such/eidos.yaml");
    let env = variables(&[("EIDOS__SERVICE__HTTP_PORT", "-1")]);
    let errors = load::<SuiteOnly>(&Input {
        file: Some(missing),
        env,
    })
    .unwrap_err();
    assert!(
        at(&errors, "/no/such/eidos.yaml")
            .reason
            .contains("cannot be read")
    );
    at(&errors, "service.http_port");
    for (text, what) in [
        ("a: [1", "not valid YAML"),
        (
            "redis: {}\nredis: {}\n",
            "redis: is written more than once, on lines 1 and 2",
        ),
        ("- a\n- b\n", "table of sections"),
        ("just text", "table of sections"),
    ] {
        let errors = load_suite(text, &[]).unwrap_err();
        assert_eq!(errors.problems().len(), 1, "{errors}");
        assert!(errors.to_string().contains(what), "{errors}");
    }
}

#[test]
fn the_defaults_of_a_service_may_name_variables() {
    assert_eq!(load_sample("", &[]).unwrap().service.sample.note, None);
    let effective = load_sample("", &[("SAMPLE_NOTE", "from outside")]).unwrap();
    assert_eq!(effective.service.sample.note.as_deref(), Some("from outside"));
    assert_eq!(effective.origin("sample.note").to_string(), "env SAMPLE_NOTE");
    let effective = load_sample("sample: { note: file }", &[("SAMPLE_NOTE", "from outside")]).unwrap();
    assert_eq!(effective.service.sample.note.as_deref(), Some("file"));
}
