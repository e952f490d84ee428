use crate::{at, keys, load_sample, load_suite};

/// Done-when 6: six different mistakes, all six with key paths.
const SIX: &str = r#"
service: { env: prod, version: "1.4.2" }
auth:
  metrics_token: changeme
redis: { url: "rediss://r:1", password: "7f3c9a1be2d84650937fc1aa55e0d2b8" }
databases: { jobs: { url: "postgres://e@h/db" } }
scheduler: { max_concurent_jobs: 4 }
jobs:
  cleanup-orders: { timeout: 5 parsecs }
  stats-agg: { cron: "0 0 30 2 *" }
  kline-agg: { enabled: perhaps }
telemetry: { trace_sample_ratio: 1.5 }
"#;

#[test]
fn six_different_mistakes_are_reported_at_once_with_their_keys() {
    let errors = load_suite(SIX, &[]).unwrap_err();
    assert_eq!(
        keys(&errors),
        [
            "auth.metrics_token",
            "databases.jobs.url",
            "jobs.cleanup-orders.timeout",
            "jobs.kline-agg.enabled",
            "jobs.stats-agg.cron",
            "scheduler.max_concurent_jobs",
            "telemetry.trace_sample_ratio",
        ],
        "{errors}"
    );
    assert_eq!(
        at(&errors, "scheduler.max_concurent_jobs").fix.as_deref(),
        Some("did you mean max_concurrent_jobs?")
    );
    assert!(
        at(&errors, "jobs.cleanup-orders.timeout")
            .reason
            .contains("not a duration")
    );
    assert!(at(&errors, "jobs.stats-agg.cron").reason.contains("never fires"));
    assert_eq!(
        at(&errors, "jobs.kline-agg.enabled").reason,
        "should be true or false, not text"
    );
    assert!(
        at(&errors, "telemetry.trace_sample_ratio")
            .reason
            .contains("out of range")
    );
    assert!(at(&errors, "auth.metrics_token").reason.contains("placeholder"));
    assert!(at(&errors, "databases.jobs.url").reason.contains("plain text"));
    for problem in errors.problems() {
        assert!(
            problem.origin.as_deref().unwrap().contains("eidos.yaml"),
            "{problem}"
        );
    }
    assert_eq!(eidos_settings::EXIT_CODE, 78);
}

#[test]
fn unknown_keys_are_refused_at_every_depth_with_the_nearest() {
    let errors = load_sample(
        "
rediss: {}
service: { http_prot: 1 }
jobs:
  cleanup-orders: { tiemout: 1m, lock: { tll: 1m } }
  archive-data: { retention_day: 3 }
  arkive-data: {}
databases: { tradng: { url: postgres://h/d } }
security: { grpc: { certt: x } }
sample: { batchsize: 3 }
auth: { tokens: [ { name: a, rolle: viewer, role: viewer, token: t } ] }
",
        &[],
    )
    .unwrap_err();
    for (key, near) in [
        ("rediss", "redis"),
        ("service.http_prot", "http_port"),
        ("jobs.cleanup-orders.tiemout", "timeout"),
        ("jobs.cleanup-orders.lock.tll", "ttl"),
        ("jobs.archive-data.retention_day", "retention_days"),
        ("jobs.arkive-data", "archive-data"),
        ("databases.tradng", "trading"),
        ("security.grpc.certt", "cert"),
        ("sample.batchsize", "batch_size"),
        ("auth.tokens.0.rolle", "role"),
    ] {
        assert_eq!(
            at(&errors, key).fix.as_deref(),
            Some(format!("did you mean {near}?").as_str()),
            "{errors}"
        );
    }
    assert_eq!(errors.problems().len(), 10, "{errors}");
}

#[test]
fn one_mistake_is_one_problem() {
    for (text, key) in [
        ("redis: { lock_ttl: 5 }", "redis.lock_ttl"),
        ("redis: { lock_ttl: 1s }", "redis.lock_ttl"),
        ("redis: [1]", "redis"),
        ("service: { version: 1.10 }", "service.version"),
        ("service: { http_port: 70000 }", "service.http_port"),
        ("service: { http_port: 1.5 }", "service.http_port"),
        ("service: { name: null }", "service.name"),
        ("service: { name: '${NOPE}' }", "service.name"),
        ("service: { name: 'a-${NOPE}' }", "service.name"),
        (
            "databases: { trading: { max_connections: 3 } }",
            "databases.trading.url",
        ),
        ("databases: { jobs: { url: [] } }", "databases.jobs.url"),
        ("databases: { jobs: { url: mysql://h/d } }", "databases.jobs.url"),
        (
            "auth: { tokens: [ { role: viewer, token: t } ] }",
            "auth.tokens.0.name",
        ),
        (
            "auth: { tokens: [ { name: a, role: king, token: t } ] }",
            "auth.tokens.0.role",
        ),
        ("auth: { tokens: 5 }", "auth.tokens"),
        ("jobs: { stats-agg: { pool: shortt } }", "jobs.stats-agg.pool"),
        (
            "jobs: { stats-agg: { catch_up: all:0 } }",
            "jobs.stats-agg.catch_up",
        ),
        (
            "jobs: { stats-agg: { retry: { max_attempts: 99 } } }",
            "jobs.stats-agg.retry.max_attempts",
        ),
        ("jobs: { stats-agg: 5 }", "jobs.stats-agg"),
        (
            "jobs: { reconciliation: { full_cron: '0 0 2 * *  * * *' } }",
            "jobs.reconciliation.full_cron",
        ),
        (
            "jobs: { archive-data: { retention_days: soon } }",
            "jobs.archive-data.retention_days",
        ),
        (
            "jobs: { archive-data: { retention_days: 0 } }",
            "jobs.archive-data.retention_days",
        ),
        (
            "jobs: { archive-data: { retention_days: 70000 } }",
            "jobs.archive-data.retention_days",
        ),
        (
            "jobs: { partition-manage: { tables: 7 } }",
            "jobs.partition-manage.tables",
        ),
        ("sample: { batch_size: 0 }", "sample.batch_size"),
        ("kafka: { brokers: [a] }", "kafka.brokers.0"),
        ("telemetry: { log_level: inof }", "telemetry.log_level"),
    ] {
        let errors = load_sample(text, &[]).expect_err(text);
        assert_eq!(keys(&errors), [key], "{text}: {errors}");
        let problem = at(&errors, key);
        assert!(!problem.reason.is_empty(), "{problem}");
    }
    let errors = load_sample("service: { name: '${NOPE}' }", &[]).unwrap_err();
    assert!(errors.to_string().contains("NOPE, which is not set"), "{errors}");
}

#[test]
fn a_mistake_is_said_with_the_line_it_is_written_on() {
    let text = "\
service:
  # a comment
  http_port: 70000
kafka:
  brokers:
    - a:1
    - b
jobs: { stats-agg: { pool: shortt } }
redis:
  lock_ttl:
    - 5
telemetry: { log_level: '${UNSET_LEVEL}' }
rediss:
  url: x
";
    let errors = load_suite(text, &[("EIDOS__SERVICE__GRPC_PORT", "70000")]).unwrap_err();
    for (key, line) in [
        ("service.http_port", 3),
        ("kafka.brokers.1", 5),
        ("jobs.stats-agg.pool", 8),
        ("redis.lock_ttl", 10),
        ("telemetry.log_level", 12),
        ("rediss", 14),
    ] {
        let origin = at(&errors, key).origin.as_deref().unwrap();
        let place = format!("eidos.yaml:{line}");
        assert!(
            origin.ends_with(&place) || origin.contains(&format!("{place}, ")),
            "{key}: {origin}"
        );
    }
    let variable = at(&errors, "service.grpc_port").origin.as_deref();
    assert_eq!(variable, Some("env EIDOS__SERVICE__GRPC_PORT"));
}
