use crate::{at, keys, load_suite};

/// As it should be outside `dev`.
const STRONG: [(&str, &str); 7] = [
    ("EIDOS__SERVICE__ENV", "prod"),
    ("EIDOS__SERVICE__VERSION", "1.4.2"),
    ("EIDOS__REDIS__URL", "rediss://redis:6379/0"),
    ("EIDOS__REDIS__PASSWORD", "7f3c9a1be2d84650937fc1aa55e0d2b8"),
    (
        "EIDOS__DATABASES__JOBS__URL",
        "postgres://eidos:Zt9qLm2vXwKp@db/jobs?sslmode=verify-full",
    ),
    ("EIDOS__AUTH__METRICS_TOKEN", "c0ffee5a1be2d84650937fc1aa55e0d2b8"),
    (
        "EIDOS__AUTH__TOKENS",
        r#"[{"name":"ops","role":"operator","token":"5be2d84650937fc1aa55e0d2b8c0ffee"}]"#,
    ),
];

#[test]
fn strong_settings_pass_in_every_environment() {
    for env in ["dev", "test", "staging", "prod", "production"] {
        load_suite("", &[STRONG.as_slice(), &[("EIDOS__SERVICE__ENV", env)]].concat()).unwrap();
    }
}

/// Each weakness alone is refused outside `dev` with its key, and tolerated in `dev`.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_weak_setting_is_refused_outside_dev_and_only_there() {
    let short = r#"[{"name":"ops","role":"operator","token":"5be2d84650937fc1aa55e0d2b8c0ffe"}]"#;
    for (name, value, key) in [
        ("EIDOS__SERVICE__VERSION", "latest", "service.version"),
        ("EIDOS__SERVICE__VERSION", "Latest", "service.version"),
        ("EIDOS__SERVICE__VERSION", "dev", "service.version"),
        ("EIDOS__REDIS__URL", "redis://redis:6379/0", "redis.url"),
        (
            "EIDOS__REDIS__URL",
            "rediss://redis:6379/0#insecure",
            "security.redis.skip_verify",
        ),
        ("EIDOS__REDIS__PASSWORD", "", "redis.password"),
        ("EIDOS__REDIS__PASSWORD", "short", "redis.password"),
        (
            "EIDOS__DATABASES__JOBS__URL",
            "postgres://e@db/jobs",
            "databases.jobs.url",
        ),
        (
            "EIDOS__DATABASES__JOBS__URL",
            "postgres://e@db/jobs?sslmode=disable",
            "databases.jobs.url",
        ),
        (
            "EIDOS__DATABASES__JOBS__URL",
            "postgres://e@db/jobs?sslmode=prefer",
            "databases.jobs.url",
        ),
        (
            "EIDOS__DATABASES__JOBS__URL",
            "postgres://e@db/jobs?sslmode=require&sslmode=disable",
            "databases.jobs.url",
        ),
        (
            "EIDOS__DATABASES__JOBS__URL",
            "postgres://e:exchange123@db/jobs?sslmode=require",
            "databases.jobs.url",
        ),
        (
            "EIDOS__DATABASES__JOBS__REPLICA_URL",
            "postgres://e@db/jobs",
            "databases.jobs.replica_url",
        ),
        (
            "EIDOS__DATABASES__CHAIN__URL",
            "postgres://e@db/chain",
            "databases.chain.url",
        ),
        (
            "EIDOS__AUTH__METRICS_TOKEN",
            "changeme-changeme-changeme-changeme",
            "auth.metrics_token",
        ),
        (
            "EIDOS__AUTH__METRICS_TOKEN",
            "5be2d84650937fc1aa55e0d2b8c0ffe",
            "auth.metrics_token",
        ),
        (
            "EIDOS__AUTH__METRICS_TOKEN",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "auth.metrics_token",
        ),
        ("EIDOS__AUTH__TOKENS", short, "auth.tokens.0.token"),
    ] {
        let mut env = STRONG.to_vec();
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
        let errors = load_suite("", &env).expect_err(value);
        assert_eq!(keys(&errors), [key], "{name}={value}: {errors}");
        assert!(at(&errors, key).fix.is_some(), "{errors}");
        env.retain(|(known, _)| *known != "EIDOS__SERVICE__ENV");
        load_suite("", &env).unwrap();
    }
}

#[test]
fn the_defaults_alone_are_refused_outside_dev_each_on_its_own() {
    for env in ["test", "staging", "prod"] {
        let errors = load_suite("", &[("EIDOS__SERVICE__ENV", env)]).unwrap_err();
        assert_eq!(
            keys(&errors),
            [
                "databases.jobs.url",
                "redis.password",
                "redis.url",
                "service.version"
            ],
            "{errors}"
        );
    }
}

#[test]
fn section_security_makes_plain_urls_strong() {
    let mut env = STRONG.to_vec();
    env.retain(|(name, _)| !name.ends_with("__URL"));
    env.push(("EIDOS__REDIS__URL", "redis://redis:6379/0"));
    env.push(("EIDOS__DATABASES__JOBS__URL", "postgres://e@db/jobs"));
    let text = "security: { tls_enabled: true, postgres: { enabled: true }, redis: { enabled: true } }";
    load_suite(text, &env).unwrap();
    let weak = "security: { tls_enabled: true, postgres: { enabled: true, sslmode: prefer }, redis: { enabled: true } }";
    assert_eq!(keys(&load_suite(weak, &env).unwrap_err()), ["databases.jobs.url"]);
    let off = "security: { tls_enabled: false, postgres: { enabled: true }, redis: { enabled: true } }";
    assert_eq!(
        keys(&load_suite(off, &env).unwrap_err()),
        ["databases.jobs.url", "redis.url"]
    );
}
