//! `docker-compose.yml` and `Dockerfile` agree with the settings and the services of the workspace.

use std::collections::BTreeSet;

use eidos_settings::{Declared, Input};
use eidos_suite::{check_config, services};
use serde_norway::Value;

use crate::repository::{none, read};

/// After the two waits of a shutdown, the time a process has to go: as in the chart.
const EXIT_SECONDS: u64 = 15;
const PROMETHEUS: &str = "prometheus";

/// The file with its merge keys resolved, as Compose resolves them.
fn compose() -> Value {
    let mut compose: Value =
        serde_norway::from_str(&read("docker-compose.yml")).expect("docker-compose.yml is YAML");
    compose.apply_merge().expect("every merge key names a mapping");
    compose
}

fn of_compose(compose: &Value) -> Vec<(String, Value)> {
    let mapping = compose["services"].as_mapping().expect("services is a mapping");
    let named = mapping
        .iter()
        .map(|(name, service)| (name.as_str().unwrap().to_owned(), service.clone()));
    named.collect()
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_sequence().cloned().unwrap_or_default();
    items
        .iter()
        .map(|item| item.as_str().expect("a list of text").to_owned())
        .collect()
}

fn scalar(value: &Value) -> String {
    let number = value.as_i64().map(|number| number.to_string());
    let text = value.as_str().map(ToOwned::to_owned);
    text.or(number).expect("a variable is text or a number")
}

/// The variables, with the defaults of those that the caller of Compose may set: `${VAULT:-0x0}`.
fn environment(service: &Value) -> Vec<(String, String)> {
    let mapping = service["environment"].as_mapping().cloned().unwrap_or_default();
    let pairs = mapping.iter().map(|(key, value)| {
        let text = scalar(value);
        let default = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let default = default
            .and_then(|rest| rest.split_once(":-"))
            .map(|(_, value)| value.to_owned());
        (key.as_str().unwrap().to_owned(), default.unwrap_or(text))
    });
    pairs.collect()
}

/// The hosts of the variables' URLs and brokers, each with its variable.
fn hosts(service: &Value) -> Vec<(String, String)> {
    let mut hosts = Vec::new();
    for (key, value) in environment(service) {
        let addresses: Vec<&str> = match key.as_str() {
            "EIDOS__KAFKA__BROKERS" => value.split(',').collect(),
            // A bucket is no host.
            "EIDOS__ARCHIVE_STORE__URL" => Vec::new(),
            _ if key.starts_with("EIDOS") => value.split("://").skip(1).collect(),
            _ => Vec::new(),
        };
        for address in addresses {
            let without_user = address
                .split(['/', '"'])
                .next()
                .unwrap_or_default()
                .rsplit('@')
                .next();
            let host = without_user
                .unwrap_or_default()
                .split(':')
                .next()
                .unwrap_or_default();
            hosts.push((key.clone(), host.to_owned()));
        }
    }
    hosts
}

/// The effective value of a key, as `check-config` shows it.
fn effective(shown: &str, key: &str) -> String {
    let line = shown
        .lines()
        .find(|line| line.split_whitespace().next() == Some(key));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value
        .unwrap_or_else(|| panic!("{key} is not among the effective settings"))
        .to_owned()
}

fn seconds(text: &str) -> u64 {
    humantime::parse_duration(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .as_secs()
}

/// Each service of the workspace with its entry in the file.
fn ours(compose: &Value) -> Vec<(Declared, Value)> {
    let entries = of_compose(compose);
    let entry = |name: &str| {
        let found = entries.iter().find(|(entry, _)| entry == name);
        found
            .unwrap_or_else(|| panic!("docker-compose.yml has no service {name}"))
            .1
            .clone()
    };
    services()
        .into_iter()
        .map(|service| {
            let entry = entry(service.name);
            (service, entry)
        })
        .collect()
}

#[test]
fn every_service_starts_with_the_variables_of_its_entry() {
    let mut findings = Vec::new();
    for (service, entry) in ours(&compose()) {
        let env = environment(&entry);
        let input = Input {
            file: None,
            env: env.clone(),
        };
        // What the service itself refuses, and keys that no service knows.
        if let Err(errors) = service.render(&input) {
            findings.push(format!("{}: {errors}", service.name));
        }
        let unknown = check_config(&input).err();
        let problems = unknown
            .iter()
            .flat_map(eidos_settings::SettingsErrors::problems)
            .filter(|problem| {
                let variable = format!("EIDOS__{}", problem.key.to_uppercase().replace('.', "__"));
                env.iter().any(|(name, _)| *name == variable)
            });
        findings.extend(problems.map(|problem| format!("{}: {problem}", service.name)));
    }
    none(&findings, "a service refuses the settings of docker-compose.yml");
}

#[test]
fn ports_waits_and_programs_are_those_of_the_settings() {
    let mut findings = Vec::new();
    let mut on_the_host = BTreeSet::new();
    for (service, entry) in ours(&compose()) {
        let name = service.name;
        let shown = service
            .render(&Input {
                file: None,
                env: environment(&entry),
            })
            .unwrap_or_default();
        let http_port = effective(&shown, "service.http_port");
        let ports = strings(&entry["ports"]);
        if !ports.iter().any(|port| port.ends_with(&format!(":{http_port}"))) {
            findings.push(format!(
                "{name}: {ports:?} publishes no {http_port}, service.http_port"
            ));
        }
        for port in ports {
            if !port.starts_with("127.0.0.1:")
                || !on_the_host.insert(port.rsplit_once(':').unwrap().0.to_owned())
            {
                findings.push(format!(
                    "{name}: {port} is not on the loopback interface only, or taken"
                ));
            }
        }
        let waits = seconds(&effective(&shown, "service.shutdown_soft"))
            + seconds(&effective(&shown, "service.shutdown_grace"));
        let stop = entry["stop_grace_period"].as_str().map(seconds);
        if stop != Some(waits + EXIT_SECONDS) {
            findings.push(format!(
                "{name}: stop_grace_period is {stop:?}, and its waits need {}",
                waits + EXIT_SECONDS
            ));
        }
        if entry["build"]["args"]["SERVICE"].as_str() != Some(name) {
            findings.push(format!("{name}: its image is built of another program"));
        }
        for (key, value) in [
            ("read_only", "true"),
            ("cap_drop", "ALL"),
            ("security_opt", "no-new-privileges:true"),
        ] {
            if !format!("{:?}", entry[key]).contains(value) {
                findings.push(format!("{name}: {key} is not {value}"));
            }
        }
    }
    none(&findings, "docker-compose.yml and the settings disagree");
}

#[test]
fn one_profile_has_everything_and_none_has_the_infrastructure_only() {
    let compose = compose();
    let ours: BTreeSet<&str> = services().iter().map(|service| service.name).collect();
    let mut findings = Vec::new();
    for (name, entry) in of_compose(&compose) {
        let profiles = strings(&entry["profiles"]);
        if ours.contains(name.as_str()) != profiles.contains(&"everything".to_owned()) {
            findings.push(format!("{name}: profiles {profiles:?}"));
        }
        // What has a profile is not there when something without one needs it.
        for needed in entry["depends_on"]
            .as_mapping()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str().unwrap())
        {
            if ours.contains(needed) {
                findings.push(format!("{name} needs {needed}, which may not be started"));
            }
        }
    }
    none(
        &findings,
        "the profile `everything` is the services, and what has no profile is the infrastructure",
    );
}

#[test]
fn images_are_pinned_and_logs_are_bounded() {
    let compose = compose();
    let mut findings = Vec::new();
    for (name, entry) in of_compose(&compose) {
        if let Some(image) = entry["image"].as_str() {
            let tag = image
                .rsplit_once(':')
                .map(|(_, tag)| tag)
                .filter(|tag| !tag.contains('/'));
            if tag.is_none_or(|tag| tag == "latest" || !tag.contains(|c: char| c.is_ascii_digit())) {
                findings.push(format!("{name}: {image} names no version"));
            }
        } else if entry["build"].is_null() {
            findings.push(format!("{name}: neither an image nor a build"));
        }
        if entry["logging"]["options"]["max-size"].is_null()
            || entry["logging"]["options"]["max-file"].is_null()
        {
            findings.push(format!("{name}: its log grows without a bound"));
        }
    }
    none(&findings, "docker-compose.yml");
}

#[test]
fn what_is_named_in_the_file_is_there() {
    let compose = compose();
    let names: BTreeSet<String> = of_compose(&compose).into_iter().map(|(name, _)| name).collect();
    let mut findings = Vec::new();
    for (name, entry) in of_compose(&compose) {
        for volume in strings(&entry["volumes"]) {
            let source = volume.split(':').next().unwrap().to_owned();
            let there = match source.strip_prefix("./") {
                Some(path) => crate::repository::root().join(path).exists(),
                None => !compose["volumes"][source.as_str()].is_null(),
            };
            if !there {
                findings.push(format!("{name}: there is no {source}"));
            }
        }
        for config in entry["configs"].as_sequence().into_iter().flatten() {
            let source = config["source"].as_str().unwrap_or_default();
            if compose["configs"][source].is_null() {
                findings.push(format!("{name}: there is no config {source}"));
            }
        }
        for (key, host) in hosts(&entry) {
            let is_outside = ["host.docker.internal", "0.0.0.0", "127.0.0.1"].contains(&host.as_str());
            if !names.contains(&host) && !is_outside {
                findings.push(format!(
                    "{name}: {key} names the host {host}, which is not in the file"
                ));
            }
        }
    }
    none(&findings, "docker-compose.yml names what does not exist");
}

#[test]
fn prometheus_scrapes_every_service_and_loads_the_rules_of_each() {
    let compose = compose();
    let text = compose["configs"][PROMETHEUS]["content"].as_str().unwrap();
    let config: Value = serde_norway::from_str(text).unwrap();
    let targets: Vec<String> = config["scrape_configs"][0]["static_configs"]
        .as_sequence()
        .unwrap()
        .iter()
        .flat_map(|target| strings(&target["targets"]))
        .collect();
    let rules = strings(&config["rule_files"]);
    let mut findings = Vec::new();
    for service in services() {
        if !targets.contains(&format!("{}:8080", service.name)) {
            findings.push(format!("{} is not scraped", service.name));
        }
        if !rules.contains(&format!("/etc/prometheus/rules/{}/*.yaml", service.name)) {
            findings.push(format!("the rules of {} are not loaded", service.name));
        }
    }
    let token = config["scrape_configs"][0]["authorization"]["credentials"].as_str();
    for (service, entry) in ours(&compose) {
        let theirs = environment(&entry)
            .into_iter()
            .find(|(key, _)| key == "EIDOS__AUTH__METRICS_TOKEN");
        if theirs.map(|(_, value)| value).as_deref() != token {
            findings.push(format!("{} has another token for metrics", service.name));
        }
    }
    none(&findings, "the Prometheus of docker-compose.yml");
}

#[test]
fn the_image_is_made_of_every_program_and_runs_without_rights() {
    let dockerfile = read("Dockerfile");
    let programs = dockerfile
        .lines()
        .find(|line| line.starts_with("# SERVICE is"))
        .unwrap();
    for service in services() {
        assert!(
            programs.contains(service.name),
            "{programs} lacks {}",
            service.name
        );
    }
    let last = dockerfile.rsplit("\nFROM ").next().unwrap();
    assert!(last.contains("USER 65532:65532"), "{last}");
    for line in dockerfile.lines().filter(|line| line.starts_with("FROM ")) {
        let image = line.split_whitespace().nth(1).unwrap();
        assert!(
            ["toolchain"].contains(&image) || (image.contains(':') && !image.ends_with(":latest")),
            "{line}"
        );
    }
    // The compiler of the image is the one that everything else is built with.
    let toolchain = read("rust-toolchain.toml");
    let version = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    assert!(
        dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={version}")),
        "{version}"
    );
}
