use std::time::Duration;

use eidos_settings::{Origin, Role, SourceName};
use proptest::prelude::*;
use secrecy::ExposeSecret;

use crate::{at, load_sample, load_suite};

#[test]
fn every_type_can_be_set_and_later_layers_win() {
    let text = "
service: { http_port: 9000, name: from-file }
kafka: { brokers: [a:1] }
";
    let effective = load_sample(
        text,
        &[
            ("EIDOS__SERVICE__HTTP_PORT", "9001"),
            ("eidos__service__version", "1.10"),
            ("EIDOS__SECURITY__TLS_ENABLED", "true"),
            ("EIDOS__TELEMETRY__TRACE_SAMPLE_RATIO", "0.25"),
            ("EIDOS__KAFKA__BROKERS", "b:2, c:3"),
            ("EIDOS__SAMPLE__HOSTS", r#"["x,y","z"]"#),
            ("EIDOS__SAMPLE__NOTE", ""),
            ("EIDOS__JOBS__CLEANUP_ORDERS__TIMEOUT", "45s"),
            ("EIDOS__JOBS__CLEANUP_ORDERS__LOCK__TTL", "2m"),
            ("EIDOS__JOBS__ARCHIVE_DATA__RETENTION_DAYS", "45"),
            ("EIDOS__DATABASES__TRADING__URL", "postgres://t@h/db"),
            ("EIDOS__REDIS__PASSWORD", "12345"),
            ("EIDOSX__IGNORED", "x"),
        ],
    )
    .unwrap();
    let suite = &effective.suite;
    assert_eq!(
        (suite.service.http_port, suite.service.name.as_str()),
        (9001, "from-file")
    );
    assert_eq!(suite.service.version, "1.10");
    assert!(suite.security.tls_enabled);
    assert!((suite.telemetry.trace_sample_ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(suite.kafka.brokers, ["b:2", "c:3"]);
    assert_eq!(effective.service.sample.hosts, ["x,y", "z"]);
    assert_eq!(effective.service.sample.note, None);
    let cleanup = &suite.jobs[&"cleanup-orders".parse().unwrap()];
    assert_eq!(
        (cleanup.timeout, cleanup.lock.ttl),
        (Duration::from_secs(45), Duration::from_secs(120))
    );
    assert_eq!(
        suite.jobs[&"archive-data".parse().unwrap()].options["retention_days"],
        45
    );
    assert!(suite.databases.contains_key(&SourceName::Trading));
    assert!(
        !suite.databases.contains_key(&SourceName::Market),
        "a source without URL is not configured"
    );
    assert_eq!(suite.redis.password.as_ref().unwrap().expose_secret(), "12345");

    let origin = |key: &str| effective.origin(key).to_string();
    assert_eq!(origin("service.http_port"), "env EIDOS__SERVICE__HTTP_PORT");
    assert!(origin("service.name").starts_with("file "));
    assert_eq!(effective.origin("service.grpc_port"), Origin::Default);
    assert_eq!(
        origin("jobs.cleanup-orders.timeout"),
        "env EIDOS__JOBS__CLEANUP_ORDERS__TIMEOUT"
    );
}

#[test]
fn lists_of_tables_by_index_and_as_json_and_tables_refined_by_key() {
    let text = "auth: { tokens: [ { name: a, role: viewer, token: t1 } ] }";
    let effective = load_suite(
        text,
        &[
            ("EIDOS__AUTH__TOKENS__0__ROLE", "admin"),
            ("EIDOS__AUTH__TOKENS__1__NAME", "b"),
            ("EIDOS__AUTH__TOKENS__1__ROLE", "operator"),
            ("EIDOS__AUTH__TOKENS__1__TOKEN", "t2"),
            ("EIDOS__SCHEDULER__POOLS", r#"{"short": 7}"#),
            ("EIDOS__SCHEDULER__POOLS__BULK", "9"),
        ],
    )
    .unwrap();
    let tokens = &effective.suite.auth.tokens;
    assert_eq!(tokens.len(), 2);
    assert_eq!((tokens[0].name.as_str(), tokens[0].role), ("a", Role::Admin));
    assert_eq!(
        (tokens[1].role, tokens[1].token.expose_secret()),
        (Role::Operator, "t2")
    );
    assert_eq!(effective.suite.scheduler.pool_size("short"), 7);
    assert_eq!(effective.suite.scheduler.pool_size("bulk"), 9);
    assert_eq!(effective.suite.scheduler.pool_size("no-such"), 3);

    let json = r#"[{"name":"c","role":"viewer","token":"t3"}]"#;
    let effective = load_suite(text, &[("EIDOS__AUTH__TOKENS", json)]).unwrap();
    assert_eq!(effective.suite.auth.tokens[0].name, "c");
}

#[test]
fn wrong_variables_are_named() {
    let errors = load_suite(
        "",
        &[
            ("EIDOS__SERVICE__HTTP_PROT", "1"),
            ("EIDOS__JOBS__CLEANUP_ORDER__TIMEOUT", "1s"),
            ("EIDOS__SERVICE__HTTP_PORT", "eighty"),
            ("EIDOS__SERVICE____NAME", "x"),
            ("EIDOS__AUTH__TOKENS", "[broken"),
            ("EIDOS__REDIS", "redis://u:hunter2@h"),
        ],
    )
    .unwrap_err();
    assert_eq!(
        at(&errors, "service.http_prot").fix.as_deref(),
        Some("did you mean http_port?")
    );
    assert_eq!(
        at(&errors, "jobs.cleanup-order").fix.as_deref(),
        Some("did you mean cleanup-orders?")
    );
    assert_eq!(
        at(&errors, "service.http_port").origin.as_deref(),
        Some("env EIDOS__SERVICE__HTTP_PORT")
    );
    assert!(at(&errors, "auth.tokens").reason.contains("JSON list"));
    at(&errors, "EIDOS__SERVICE____NAME");
    assert_eq!(at(&errors, "redis").origin.as_deref(), Some("env EIDOS__REDIS"));
    assert_eq!(errors.problems().len(), 6, "{errors}");
    assert!(!errors.to_string().contains("hunter2"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever an operator types: settings or a list of problems, never a panic; and text stays what it was.
    #[test]
    fn any_text_in_any_variable_is_a_value_or_a_problem(
        key in "(SERVICE|JOBS|REDIS|AUTH|DATABASES|SCHEDULER|SAMPLE|DATA_RETENTION)(__[A-Za-z0-9_-]{1,12}){0,3}",
        value in "\\PC{0,40}",
        name in "[ -~]{1,30}",
    ) {
        let variable = format!("EIDOS__{key}");
        let _ = load_sample("", &[(&variable, &value)]);
        prop_assume!(!name.trim().is_empty());
        let effective = load_sample("", &[("EIDOS__SERVICE__NAME", &name)]).unwrap();
        prop_assert_eq!(effective.suite.service.name, name);
    }
}
