use eidos_settings::render;

use crate::load_sample;

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
