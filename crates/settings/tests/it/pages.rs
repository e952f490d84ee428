use eidos_settings::{Input, ServiceSettings, SuiteOnly, load, reference_page, render};

use crate::{Sample, load_sample};

#[test]
fn check_config_shows_key_value_and_source() {
    let page =
        render(&load_sample("redis: { lock_ttl: 600s }", &[("EIDOS__SAMPLE__BATCH_SIZE", "7")]).unwrap());
    let row = |key: &str| -> Vec<&str> {
        let mut found = page
            .lines()
            .filter(|line| line.split_whitespace().next() == Some(key));
        let line = found.next().unwrap_or_else(|| panic!("{key} in {page}"));
        assert!(found.next().is_none(), "{key} twice");
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    assert_eq!(
        row("sample.batch_size"),
        ["sample.batch_size", "7", "env EIDOS__SAMPLE__BATCH_SIZE"]
    );
    assert_eq!(row("redis.lock_ttl")[1], "10m");
    assert!(row("redis.lock_ttl")[2].starts_with("file /"));
    assert_eq!(row("jobs.archive-data.retention_days")[1..], ["30", "default"]);
    assert_eq!(row("jobs.cleanup-orders.cron")[1..], ["*/2 * * * *", "default"]);
    assert_eq!(
        row("databases.jobs.url")[1],
        "postgres://********@127.0.0.1:5432/eidos_jobs"
    );
    assert_eq!(row("service.name")[1..], ["sample-svc", "default"]);
    assert_eq!(row("auth.metrics_token")[1], "(unset)");
}

/// The page is made from the defaults: every effective key of the defaults is on it.
#[test]
fn the_reference_page_has_every_key_with_its_meaning() {
    let page = reference_page(&[]);
    let effective = load::<SuiteOnly>(&Input::default()).unwrap();
    for line in render(&effective).lines() {
        let key = line.split_whitespace().next().unwrap();
        let documented = page.contains(&format!("`{key}`"))
            || key.starts_with("data_retention.")
            // Described once in the section's own text.
            || ["catch_up", "overlap", "max_attempts", "base_ms", "max_ms"].iter().any(|last| key.ends_with(last))
            || key.starts_with("databases.jobs.");
        assert!(documented, "{key} is not on the page");
    }
    for line in page
        .lines()
        .filter(|line| line.starts_with("| `") && !line.contains("data_retention"))
    {
        let meaning = line.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        assert!(!meaning.is_empty(), "no meaning: {line}");
    }
    assert!(
        page.contains("| `jobs.cleanup-orders.cron` | `\"*/2 * * * *\"` | Every two minutes. |"),
        "{page}"
    );
    let with_sample = reference_page(&[Sample::DEFAULTS]);
    assert!(with_sample.contains("| `sample.batch_size` | `100` | Rows per batch. |"));
    assert_eq!(reference_page(&[Sample::DEFAULTS, Sample::DEFAULTS]), with_sample);
}

/// `UPDATE=1 cargo test -p eidos-settings the_page_in_docs` writes it anew.
#[test]
fn the_page_in_docs_is_the_one_the_defaults_make() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut services: Vec<_> = std::fs::read_dir(root.join("services"))
        .unwrap()
        .map(|service| service.unwrap().path().join("settings.default.yaml"))
        .collect();
    services.sort();
    // The fullest description of a shared section first.
    services.sort_by_key(|path| path.to_string_lossy().contains("/archiver/"));
    let defaults: Vec<String> = services
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let page = reference_page(&defaults.iter().map(String::as_str).collect::<Vec<_>>());
    let file = root.join("docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == page,
        "docs/configuration.md is out of date: run UPDATE=1 cargo test -p eidos-settings the_page_in_docs"
    );
}
