//! One start shows all there is to repair, whatever else is missing or wrong.

use eidos_settings::render;

use crate::{at, keys, load_sample, load_suite, pem};

#[test]
fn a_key_that_is_written_twice_is_named_with_its_lines_beside_every_other_mistake() {
    let text = "\
service:
  http_port: 1.5
redis:
  url: redis://h/0
  lock_ttl: 1s
  url: redis://other/0
scheduler: { pools: { short: 2, short: 0 } }
jobs:
  # flow and block style, keys in quotes, lists in between
  archive-data: { retention_days: 1, \"retention_days\": 2 }
  partition-manage:
    tables: [a, { b: 1 }]
auth:
  tokens:
    - { name: a, role: viewer, token: t }
    - name: b
      role: viewer
      token: hunter2hunter2
      name: c
telemetry:
  log_level: inof
";
    let errors = load_suite(text, &[]).unwrap_err();
    for (key, says) in [
        ("redis.url", "more than once, on lines 4 and 6"),
        ("jobs.archive-data.retention_days", "more than once, on line 10"),
        ("auth.tokens.1.name", "more than once, on lines 16 and 19"),
        ("service.http_port", "whole number"),
        ("redis.lock_ttl", "out of range"),
        ("telemetry.log_level", "not a level"),
    ] {
        assert!(at(&errors, key).reason.contains(says), "{key}: {errors}");
    }
    let pool: Vec<&str> = errors
        .problems()
        .iter()
        .filter(|problem| problem.key == "scheduler.pools.short")
        .map(|problem| problem.reason.as_str())
        .collect();
    assert_eq!(pool, ["is written more than once, on line 7", "is out of range"]);
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
}

#[test]
fn a_key_that_two_variables_set_is_refused_with_both_names() {
    let env = [
        ("EIDOS__REDIS__URL", "redis://a/0"),
        ("eidos__redis__url", "redis://b/0"),
        (
            "EIDOS__AUTH__TOKENS",
            r#"[{"name":"a","name":"b","role":"viewer","token":"t"}]"#,
        ),
    ];
    let errors = load_suite("", &env).unwrap_err();
    let reason = &at(&errors, "redis.url").reason;
    assert!(
        reason.contains("EIDOS__REDIS__URL") && reason.contains("eidos__redis__url"),
        "{errors}"
    );
    assert!(
        at(&errors, "auth.tokens.0.name")
            .reason
            .contains("more than once"),
        "{errors}"
    );
}

/// What follows an entry that cannot be read was checked as if it were that entry, or not at all.
#[test]
fn entries_of_a_list_are_all_checked_under_the_number_they_are_written_at() {
    let text = "
service: { env: prod, version: 1.4.2 }
auth:
  tokens:
    - { name: a, role: king, token: changeme-changeme-changeme-changeme }
    - { name: b, role: viewer, token: '${UNSET_TOKEN}' }
    - { role: viewer, token: also-short }
    - 7
    - { name: d, role: viewer, token: short }
";
    let errors = load_suite(text, &[]).unwrap_err();
    for (key, says) in [
        ("auth.tokens.0.role", "one of viewer"),
        ("auth.tokens.0.token", "placeholder"),
        ("auth.tokens.1.token", "UNSET_TOKEN, which is not set"),
        ("auth.tokens.2.name", "missing"),
        ("auth.tokens.2.token", "too short"),
        ("auth.tokens.3", "table of keys"),
        ("auth.tokens.4.token", "too short"),
        // The rest of the file is judged too.
        ("redis.url", "plain text"),
        ("redis.password", "missing"),
        ("databases.jobs.url", "plain text"),
    ] {
        assert!(at(&errors, key).reason.contains(says), "{key}: {errors}");
    }
    assert_eq!(errors.problems().len(), 10, "{errors}");
}

#[test]
fn an_environment_that_cannot_be_read_is_judged_like_production() {
    for (env, word) in [("pord", "pord"), ("${DEPLOYMENT}", "DEPLOYMENT")] {
        let errors = load_suite(&format!("service: {{ env: '{env}' }}"), &[]).unwrap_err();
        assert!(errors.to_string().contains(word), "{errors}");
        assert_eq!(
            keys(&errors),
            [
                "databases.jobs.url",
                "redis.password",
                "redis.url",
                "service.env",
                "service.version"
            ],
            "{errors}"
        );
    }
}

#[test]
fn a_database_that_every_service_needs_is_missed_with_the_name_of_its_variable() {
    for (text, says) in [
        (
            "databases: { jobs: { url: '${JOBS_DSN}' } }",
            "JOBS_DSN is not set",
        ),
        ("databases: { jobs: { url: '' } }", "eidos.yaml"),
        ("databases: { jobs: null }", ""),
    ] {
        for env in ["dev", "prod"] {
            let found = load_suite(text, &[("EIDOS__SERVICE__ENV", env)]);
            if text.contains("jobs: null") && env == "dev" {
                found.unwrap();
                continue;
            }
            let errors = found.unwrap_err();
            let problem = at(&errors, "databases.jobs.url");
            assert!(problem.to_string().contains(says), "{env} {text}: {errors}");
        }
    }
}

#[test]
fn all_keys_of_a_job_are_checked_although_one_of_them_cannot_be_read() {
    let text = "jobs: { archive-data: { retention_days: 0, sample_rate: '${UNSET_RATE}' } }";
    let errors = load_sample(text, &[]).unwrap_err();
    assert_eq!(
        keys(&errors),
        [
            "jobs.archive-data.retention_days",
            "jobs.archive-data.sample_rate"
        ],
        "{errors}"
    );
    let problem = at(&errors, "jobs.archive-data.sample_rate").to_string();
    assert!(problem.contains("UNSET_RATE, which is not set"), "{problem}");
}

#[test]
fn certificates_and_keys_that_are_not_there_are_refused_by_name() {
    let (certificate, key) = (pem("CERTIFICATE"), pem("EC PRIVATE KEY"));
    let (certificate, key) = (
        certificate.path().display().to_string(),
        key.path().display().to_string(),
    );
    let text = format!(
        "
security:
  tls_enabled: true
  grpc: {{ enabled: true, cert: /nowhere/cert.pem, key: '{certificate}', ca_cert: /tmp, client_auth: true }}
  postgres: {{ enabled: true, ca_cert: /nowhere/postgres-ca.pem }}
  redis: {{ enabled: true, ca_cert: '{key}' }}
databases:
  trading: {{ url: 'postgres://h/d?sslmode=verify-full&sslrootcert=/nowhere/root.pem' }}
"
    );
    let errors = load_suite(&text, &[]).unwrap_err();
    for (key, says) in [
        ("security.grpc.cert", "'/nowhere/cert.pem' does not exist"),
        ("security.grpc.key", "holds no private key"),
        ("security.grpc.ca_cert", "'/tmp' is not a file"),
        (
            "security.postgres.ca_cert",
            "'/nowhere/postgres-ca.pem' does not exist",
        ),
        ("security.redis.ca_cert", "holds no certificate"),
        (
            "databases.trading.url",
            "'/nowhere/root.pem' (sslrootcert), which does not exist",
        ),
    ] {
        let problem = at(&errors, key).to_string();
        assert!(problem.contains(says), "{problem}");
    }
    assert_eq!(errors.problems().len(), 6, "{errors}");
    // What is not in force is not looked at.
    load_suite(
        &text
            .replace("tls_enabled: true", "tls_enabled: false")
            .replace("root.pem", "x")
            .replace("&sslrootcert=/nowhere/x", ""),
        &[],
    )
    .unwrap();
}

#[test]
fn the_authority_of_redis_counts_in_every_environment() {
    let authority = pem("CERTIFICATE");
    let path = authority.path().display().to_string();
    for env in ["dev", "prod"] {
        let text =
            format!("security: {{ tls_enabled: true, redis: {{ enabled: true, ca_cert: '{path}' }} }}");
        let problems = load_suite(&text, &[("EIDOS__SERVICE__ENV", env)]);
        match problems {
            Ok(effective) => assert_eq!(effective.suite.redis.ca_cert.as_deref(), Some(path.as_str())),
            Err(errors) => assert!(!errors.to_string().contains("security.redis"), "{errors}"),
        }
    }
    let own = format!("redis: {{ url: 'rediss://h/0' }}\nsecurity: {{ redis: {{ ca_cert: '{path}' }} }}");
    let suite = load_suite(&own, &[]).unwrap().suite;
    assert_eq!(
        suite.redis.ca_cert.as_deref(),
        Some(path.as_str()),
        "a URL that says rediss:// itself"
    );
}

#[test]
fn what_is_no_secret_is_shown() {
    let text = "
auth: { metrics_token: m3tricsvalue, tokens: [ { name: ops, role: operator, token: t0kenvalue } ] }
sample: { note: credentials are elsewhere }
";
    let page = render(&load_sample(text, &[]).unwrap());
    let line = |key: &str| {
        let found = page
            .lines()
            .find(|line| line.split_whitespace().next() == Some(key));
        found.unwrap_or_else(|| panic!("{key} in {page}")).to_owned()
    };
    assert!(line("auth.tokens.0.name").contains("ops"), "{page}");
    assert!(line("auth.tokens.0.role").contains("operator"), "{page}");
    assert!(line("auth.tokens.0.token").contains("********"), "{page}");
    assert!(line("auth.metrics_token").contains("********"), "{page}");
    for key in [
        "chain.tokens.0.symbol",
        "chain.tokens.0.decimals",
        "schema_profile.market_tokens.BTC",
        "reconciliation.webhook_timeout",
        "archive_store.access_key_id",
        "security.archive_storage.kms_key_id",
    ] {
        assert_eq!(eidos_settings::secret::shown(key, "shown"), "shown", "{key}");
    }
    for key in [
        "reconciliation.webhooks.0",
        "archive_store.secret_access_key",
        "sample.api_key",
        "x.private-key",
        "auth.tokens.0.token",
        "redis.password",
        "alerts.slack_webhook_url",
    ] {
        assert!(
            !eidos_settings::secret::shown(key, "hidden").contains("hidden"),
            "{key}"
        );
    }
}

#[test]
fn a_value_is_said_once() {
    for (text, key, value) in [
        (
            "jobs: { stats-agg: { cron: '0 0 30 2 *' } }",
            "jobs.stats-agg.cron",
            "0 0 30 2 *",
        ),
        (
            "jobs: { stats-agg: { catch_up: all:0 } }",
            "jobs.stats-agg.catch_up",
            "all:0",
        ),
        ("redis: { lock_ttl: 5 parsecs }", "redis.lock_ttl", "5 parsecs"),
        ("kafka: { brokers: [nowhere] }", "kafka.brokers.0", "nowhere"),
        ("service: { env: pord }", "service.env", "pord"),
        (
            "jobs: { reconciliation: { full_cron: '0 0 30 2 *' } }",
            "jobs.reconciliation.full_cron",
            "0 0 30 2 *",
        ),
    ] {
        let errors = load_suite(text, &[]).unwrap_err();
        let problem = at(&errors, key).to_string();
        assert_eq!(problem.matches(value).count(), 1, "{problem}");
    }
}
