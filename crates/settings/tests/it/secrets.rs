use eidos_settings::{render, secret};
use proptest::prelude::*;

use crate::{load_sample, load_suite};

const SECRETS: [&str; 6] = [
    "hunter2hunter2",
    "r3d1spw",
    "t0kenvalue",
    "m3tricsvalue",
    "k3yvalue",
    "qu3ryvalue",
];

const TEXT: &str = "
databases:
  jobs: { url: 'postgres://eidos:hunter2hunter2@db:5432/jobs?password=qu3ryvalue&sslmode=require', replica_url: 'postgres://eidos:hunter2hunter2@r/jobs' }
redis: { url: 'redis://:r3d1spw@h:1/0', password: r3d1spw }
auth: { metrics_token: m3tricsvalue, tokens: [ { name: a, role: viewer, token: t0kenvalue } ] }
sample: { api_key: k3yvalue }
";

fn assert_hidden(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn no_secret_in_render_debug_or_serialization() {
    let effective = load_sample(TEXT, &[]).unwrap();
    let page = render(&effective);
    assert_hidden(&page);
    assert!(
        page.contains("postgres://eidos:********@db:5432/jobs?********&sslmode=require"),
        "{page}"
    );
    assert_hidden(&format!("{:?}", effective.suite));
    assert_hidden(&format!("{:?}", effective.service));
    assert_hidden(&format!("{effective:?}"));
}

#[test]
fn no_secret_in_errors_whatever_is_wrong_with_it() {
    for text in [
        "redis: { password: [hunter2hunter2] }",
        "redis: { url: { a: hunter2hunter2 } }",
        "redis: 'redis://:hunter2hunter2@h'",
        "redis: { url: 'hunter2hunter2' }",
        "databases: { jobs: { url: 'mysql://u:hunter2hunter2@h/d' } }",
        "databases: { jobs: 'postgres://u:hunter2hunter2@h/d' }",
        "auth: { tokens: hunter2hunter2 }",
        "auth: { tokens: '[\"hunter2hunter2' }",
        "auth: { tokens: [ { name: a, role: viewer, token: { x: hunter2hunter2 } } ] }",
        "auth: { tokens: [ { name: a, role: hunter2hunter2, token: x } ] }",
        "auth: 'token=hunter2hunter2'",
        "sample: { api_key: [hunter2hunter2] }",
        "sample: { webhook: hunter2hunter2 }",
        "service: { http_port: 'redis://:hunter2hunter2@h' }",
        "redis: { password: 'hunter2hunter2",
        "redis: { password: 'hunter2hunter2-${NOPE}' }",
        "redis: { password: 'a', password: 'hunter2hunter2' }",
    ] {
        let errors = load_sample(text, &[]).expect_err(text);
        assert_hidden(&errors.to_string());
        assert_hidden(&format!("{errors:?}"));
    }
    let strict = [("EIDOS__SERVICE__ENV", "prod")];
    assert_hidden(
        &load_suite(TEXT.split("sample:").next().unwrap(), &strict)
            .unwrap_err()
            .to_string(),
    );
}

#[test]
fn urls_keep_what_helps_and_lose_what_is_secret() {
    for (url, shown) in [
        (
            "postgres://u:pw@h:1/d?sslmode=require",
            "postgres://u:********@h:1/d?sslmode=require",
        ),
        ("postgres://u:p@w/x?y@h/d", "postgres://u:********@h/d"),
        ("redis://:pw@h:1/0", "redis://:********@h:1/0"),
        ("redis://token@h/0", "redis://********@h/0"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("https://node.example/v3/abcdef", "https://node.example/********"),
        ("postgres://u:forgot-the-host", "********"),
        ("plain-secret", "********"),
    ] {
        assert_eq!(secret::mask_url(url), shown, "{url}");
    }
}

proptest! {
    /// A password never shows, whatever unescaped characters it has.
    #[test]
    fn a_password_never_shows(password in "[a-zA-Z0-9:/?#@&=%]{1,20}Q7zX[a-zA-Z0-9:/?#@&=%]{0,20}") {
        for scheme in ["postgres", "redis", "https"] {
            let url = format!("{scheme}://user:{password}@host:1/db?sslmode=require");
            prop_assert!(!secret::mask_url(&url).contains("Q7zX"), "{}", secret::mask_url(&url));
        }
    }
}
