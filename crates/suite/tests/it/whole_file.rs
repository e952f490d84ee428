//! One file for all services: who is stopped by what, and what the check of the whole file refuses.

use std::process::Command;

use eidos_settings::{Input, SettingsErrors};
use eidos_suite::{check_config, services};

use crate::repository::{entries, file, none};

/// What a service that is not built yet adds to the shared file: a section and a job.
const NEW_BLOCKS: &str = r#"
alerting:
  sinks: [ { url: "https://chat.example/${NOT_SET_HERE}" } ]
jobs:
  route-alerts: { cron: "*/10 * * * * *", timeout: 5s, batch: 7, lock: { kind: basic, ttl: 10s } }
"#;

fn checked(text: &str) -> Result<(), SettingsErrors> {
    let (_folder, path) = file(text);
    let input = Input {
        file: Some(&path),
        env: Vec::new(),
    };
    check_config(&input)
}

#[test]
fn services_that_are_running_start_again_with_the_new_blocks_of_another_one() {
    let (_folder, path) = file(NEW_BLOCKS);
    let input = Input {
        file: Some(&path),
        env: Vec::new(),
    };
    for service in services() {
        let shown = service.render(&input);
        assert!(shown.is_ok(), "{}: {}", service.name, shown.unwrap_err());
    }
    let errors = check_config(&input).unwrap_err();
    let keys: Vec<&str> = errors
        .problems()
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["alerting", "jobs.route-alerts"], "{errors}");
}

#[test]
fn a_misspelt_key_is_refused_wherever_it_is() {
    for (text, key, near) in [
        ("rediss: {}", "rediss", "redis"),
        ("reconcilation: {}", "reconcilation", "reconciliation"),
        ("jobs: { data-cleenup: {} }", "jobs.data-cleenup", "data-cleanup"),
        ("jobs: { kline-aggr: {} }", "jobs.kline-aggr", "kline-agg"),
        (
            "jobs: { archive-data: { retention_day: 3 } }",
            "jobs.archive-data.retention_day",
            "retention_days",
        ),
        (
            "jobs: { stats-agg: { tiemout: 3m } }",
            "jobs.stats-agg.tiemout",
            "timeout",
        ),
        (
            "chain: { rpc: { batch_call: 3 } }",
            "chain.rpc.batch_call",
            "batch_calls",
        ),
        (
            "disposal: { quarantine_day: 3 }",
            "disposal.quarantine_day",
            "quarantine_days",
        ),
        (
            "archive_profile: { orders: { statuss: s } }",
            "archive_profile.orders.statuss",
            "status",
        ),
    ] {
        let errors = checked(text).expect_err(text);
        let problems = errors.problems();
        assert_eq!(problems.len(), 1, "{text}: {errors}");
        assert_eq!(problems[0].key, key, "{errors}");
        assert_eq!(
            problems[0].fix.as_deref(),
            Some(format!("did you mean {near}?").as_str()),
            "{errors}"
        );
    }
}

/// A name of one service must not look like a misspelt one of another: the other would warn at every start.
#[test]
fn no_service_warns_about_a_file_that_has_every_section_and_job() {
    let all: String = services()
        .into_iter()
        .map(|service| names(service.defaults))
        .collect();
    assert!(all.contains("chain: ") && all.contains("jobs: "), "{all}");
    let (_folder, path) = file("");
    let mut findings = Vec::new();
    for line in all.lines() {
        std::fs::write(&path, line).unwrap();
        let input = Input {
            file: Some(&path),
            env: vec![("EIDOS__KAFKA__BROKERS".to_owned(), "refused".to_owned())],
        };
        for service in services() {
            let errors = service.render(&input).unwrap_err().to_string();
            findings.extend(
                errors
                    .lines()
                    .filter(|line| line.contains("warning"))
                    .map(str::to_owned),
            );
        }
    }
    none(
        &findings,
        "a service warns about the name of another one's section or job",
    );
}

/// Each section and job of these defaults as a file of its own, one a line.
fn names(defaults: &str) -> String {
    let defaults: serde_json::Value = serde_norway::from_str(defaults).unwrap();
    let sections = defaults.as_object().unwrap().iter();
    sections
        .flat_map(|(section, value)| match section.as_str() {
            "jobs" => value
                .as_object()
                .unwrap()
                .keys()
                .map(|job| format!("jobs: {{ {job}: {{}} }}\n"))
                .collect(),
            _ => vec![format!("{section}: {{}}\n")],
        })
        .collect()
}

#[test]
fn the_program_refuses_with_the_code_of_settings() {
    let run = |text: &str| {
        let (_folder, path) = file(text);
        let output = Command::new(env!("CARGO_BIN_EXE_eidos-suite"))
            .args(["check-config", "--config"])
            .arg(&path)
            .env_clear()
            .output()
            .unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(printed).unwrap())
    };
    let (code, said) = run("jobs: { data-cleenup: {} }");
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("jobs.data-cleenup: is not a known job") && said.contains("did you mean data-cleanup?"),
        "{said}"
    );
    let (code, said) = run("");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("recon-svc, retention-manager, archiver, order-expirer, aggregator, health-probe"),
        "{said}"
    );
}

#[test]
fn every_service_is_linked_and_owns_its_jobs_alone() {
    let mut folders: Vec<String> = entries("services")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut linked: Vec<&str> = services().iter().map(|service| service.name).collect();
    linked.sort_unstable();
    folders.sort_unstable();
    assert_eq!(linked, folders, "crates/suite/src/lib.rs names every service");
    let mut owners = std::collections::BTreeMap::new();
    let mut findings = Vec::new();
    for service in services() {
        let defaults: serde_json::Value = serde_norway::from_str(service.defaults).unwrap();
        for job in defaults["jobs"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(job, _)| job.clone())
        {
            if let Some(other) = owners.insert(job.clone(), service.name) {
                findings.push(format!("{job}: {other} and {}", service.name));
            }
        }
        for key in service.reads {
            let owner = services().into_iter().find(|owner| {
                let defaults: serde_json::Value = serde_norway::from_str(owner.defaults).unwrap();
                defaults.pointer(&format!("/{}", key.replace('.', "/"))).is_some()
            });
            if owner.is_none() {
                findings.push(format!("{} reads {key}, which no service has", service.name));
            }
        }
    }
    none(
        &findings,
        "a job belongs to one service, and what a service reads of another exists",
    );
}
