//! What a service does with the keys of other services.

use eidos_settings::SuiteOnly;

use crate::{JobsOnly, Sample, at, keys, load_sample, load_shared};

/// Whatever another service's part of the file holds, and whatever is wrong with it.
const OTHERS: &str = r#"
alerting: { sinks: [ { url: "https://chat/${NOT_SET_HERE}" } ], sinks: [] }
venues:
jobs:
  purge-sessions: { cron: "never", batch: 7, lock: 5 }
  data-cleanup: { archive_storage: "s3://bucket/prefix" }
sample: { batch_size: 7 }
"#;

#[test]
fn sections_and_jobs_of_other_services_stop_nobody() {
    let env = [
        ("EIDOS__ALERTING__LEVEL", "high"),
        ("EIDOS__Alerting__Level", "low"),
        ("EIDOS__JOBS__PURGE_SESSIONS__BATCH", "x"),
    ];
    let effective = load_shared::<Sample>(OTHERS, &env).unwrap();
    assert_eq!(effective.service.sample.batch_size, 7);
    assert_eq!(effective.suite.jobs.len(), 6, "the jobs of this service");
    assert!(effective.warnings().is_empty(), "{:?}", effective.warnings());
    load_shared::<SuiteOnly>(OTHERS, &env).unwrap();
}

#[test]
fn a_whole_file_is_refused_for_every_key_that_no_service_knows() {
    let errors = load_sample(OTHERS, &[]).unwrap_err();
    assert_eq!(
        keys(&errors),
        ["alerting", "jobs.data-cleanup", "jobs.purge-sessions", "venues"],
        "{errors}"
    );
    let section = at(&errors, "venues").to_string();
    assert!(section.contains("is not a known section"), "{section}");
    assert!(section.contains("redis, sample, scheduler"), "{section}");
    assert!(section.contains("eidos.yaml"), "{section}");
    let job = at(&errors, "jobs.purge-sessions").to_string();
    assert!(
        job.contains("is not a known job") && job.contains("kline-agg"),
        "{job}"
    );
}

#[test]
fn a_key_that_looks_like_a_misspelt_own_one_is_warned_about() {
    let text = "
rediss: { url: x }
sampel: { batch_size: 3 }
alerting: {}
jobs: { arkive-data: {}, purge-sessions: {} }
";
    let effective = load_shared::<Sample>(text, &[("EIDOS__JOBS__STATS_AG__TIMEOUT", "1m")]).unwrap();
    let warned: Vec<(&str, Option<&str>)> = effective
        .warnings()
        .iter()
        .map(|warning| (warning.key.as_str(), warning.fix.as_deref()))
        .collect();
    assert_eq!(
        warned,
        [
            ("rediss", Some("did you mean redis?")),
            ("sampel", Some("did you mean sample?")),
            ("jobs.arkive-data", Some("did you mean archive-data?")),
            ("jobs.stats-ag", Some("did you mean stats-agg?")),
        ]
    );
    let shown = effective.warnings()[0].to_string();
    assert!(
        shown.contains("is not a key of this service") && shown.contains("eidos.yaml"),
        "{shown}"
    );
    // Beside errors they are said, too.
    let errors = load_shared::<Sample>(&format!("{text}kafka: {{ brokers: [a] }}\n"), &[]).unwrap_err();
    assert_eq!(keys(&errors), ["kafka.brokers.0"]);
    assert!(errors.to_string().contains("warning: rediss: "), "{errors}");
}

#[test]
fn a_key_of_another_service_is_read_where_that_is_declared() {
    let key = "jobs.data-cleanup.archive_storage";
    let effective = load_shared::<Sample>(OTHERS, &[]).unwrap();
    assert_eq!(effective.suite.borrowed(key), Some("s3://bucket/prefix"));
    assert!(effective.origin(key).to_string().starts_with("file "));
    let page = eidos_settings::render(&effective);
    let row = page.lines().find(|line| line.starts_with(key)).unwrap();
    assert_eq!(
        row.split_whitespace().nth(1),
        Some("s3://bucket/prefix"),
        "{page}"
    );
    let env = [("EIDOS__JOBS__DATA_CLEANUP__ARCHIVE_STORAGE", "file:///archive")];
    let effective = load_shared::<Sample>("", &env).unwrap();
    assert_eq!(effective.suite.borrowed(key), Some("file:///archive"));
    assert_eq!(load_sample("", &[]).unwrap().suite.borrowed(key), None);
    let effective = load_shared::<JobsOnly>(OTHERS, &[]).unwrap();
    assert_eq!(effective.suite.borrowed(key), None, "not declared");
}
