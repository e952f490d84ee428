use std::path::Path;

use eidos_settings::{Input, SuiteOnly, load};
use secrecy::ExposeSecret;

use crate::{Sample, at, file, load_sample, load_shared, load_suite, pem, variables};

const REQUIREMENT_6: &str = include_str!("../fixtures/requirement-6.yaml");

#[test]
fn the_requirements_file_takes_its_variables() {
    let certificate = pem("CERTIFICATE");
    let (key, path) = (pem("PRIVATE KEY"), certificate.path().display().to_string());
    let suite = load_shared::<SuiteOnly>(
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

    let errors = load_shared::<SuiteOnly>(
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
    let errors = load_shared::<SuiteOnly>(REQUIREMENT_6, &[("TLS_ENABLED", "maybe")]).unwrap_err();
    assert_eq!(
        at(&errors, "security.tls_enabled").value.as_deref(),
        Some("maybe")
    );
}

#[test]
fn one_file_serves_all_services_and_eidos_config_names_it() {
    let text = "chain: { rpc_url: whatever }\nreconciliation: {}\nredis:\nservice: { name: x }\n";
    load_shared::<SuiteOnly>(text, &[]).unwrap();
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
