//! The requirement's settings file (its §6) and its table of jobs, as all services together read them.

#![expect(
    clippy::duration_suboptimal_units,
    reason = "seconds compare with the requirement's tables"
)]

use std::time::Duration;

use aggregator::AggregatorSettings;
use archiver::ArchiverSettings;
use eidos_archive_store::ArchiveFormat;
use eidos_settings::{
    Effective, Input, JobSection, LockKind, ServiceSettings, SettingsErrors, SslMode, SuiteSettings,
};
use health_probe::ProbeSettings;
use order_expirer::ExpirerSettings;
use recon_svc::ReconSettings;
use retention_manager::RetentionSettings;
use retention_manager::settings::DataRetention;

use crate::repository::file;

const REQUIREMENT_6: &str = include_str!("../../../settings/tests/fixtures/requirement-6.yaml");

/// The sections that every service has with the jobs of all services, and the retention rules.
fn load(text: &str) -> Result<(SuiteSettings, DataRetention), SettingsErrors> {
    fn one<S: ServiceSettings>(input: &Input<'_>) -> Result<Effective<S>, SettingsErrors> {
        eidos_settings::load(input)
    }
    let (_folder, path) = file(text);
    let input = Input {
        file: Some(&path),
        env: Vec::new(),
    };
    eidos_suite::check_config(&input)?;
    let mut suite = one::<ProbeSettings>(&input)?.suite;
    suite.jobs.extend(one::<ReconSettings>(&input)?.suite.jobs);
    suite.jobs.extend(one::<ArchiverSettings>(&input)?.suite.jobs);
    suite.jobs.extend(one::<AggregatorSettings>(&input)?.suite.jobs);
    suite.jobs.extend(one::<ExpirerSettings>(&input)?.suite.jobs);
    let retention = one::<RetentionSettings>(&input)?;
    suite.jobs.extend(retention.suite.jobs);
    Ok((suite, retention.service.data_retention))
}

fn job<'a>(suite: &'a SuiteSettings, name: &str) -> &'a JobSection {
    suite.job(name).unwrap()
}

/// Done-when 6: the requirement's §6 loads as it stands, with no variable set.
#[test]
fn ruling_1_the_requirements_file_loads_as_it_stands() {
    let (suite, retention) = load(REQUIREMENT_6).unwrap();
    assert_eq!(
        (
            suite.service.name.as_str(),
            suite.service.grpc_port,
            suite.service.http_port
        ),
        ("eidos-jobs", 50056, 8080)
    );
    assert_eq!(suite.scheduler.default_timeout, Duration::from_secs(300));
    for name in [
        "archive-data",
        "cleanup-orders",
        "data-cleanup",
        "health-monitor",
        "kline-agg",
        "partition-manage",
        "reconciliation",
        "restore-archive",
        "stats-agg",
        "verify-archive",
    ] {
        assert!(suite.job(name).is_some(), "{name}");
    }
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
fn defaults_follow_the_requirements_tables() {
    let suite = load("").unwrap().0;
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
    let suite = load("").unwrap().0;
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
    let errors = load("jobs: { cleanup-orders: { lock: { ttl: 6s } } }").unwrap_err();
    let ttl = errors
        .problems()
        .iter()
        .find(|problem| problem.key == "jobs.cleanup-orders.lock.ttl");
    assert!(ttl.unwrap().reason.contains("no time"), "{errors}");
    load("jobs: { cleanup-orders: { lock: { ttl: 7s } } }").unwrap();
}
