//! A crate depends on lower floors only (docs/adr/0001-floors.md), and heavy libraries stay in their leaf.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::repository::{none, root};

/// The table of the architecture's §2. A new crate gets its floor here; services are on the highest.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["eidos-types"]),
    (
        1,
        &[
            "eidos-telemetry",
            "eidos-settings",
            "eidos-sandbox",
            "eidos-market",
        ],
    ),
    (
        2,
        &[
            "eidos-pg",
            "eidos-alerting",
            "eidos-bus",
            "eidos-chain",
            "eidos-archive-store",
            "eidos-proto",
        ],
    ),
    (3, &["eidos-core"]),
    (4, &["eidos-runtime", "eidos-testkit"]),
    (5, &["eidos-server", "eidos-plan"]),
    (6, &["eidos-disposal", "eidos-recon"]),
    (7, &["eidosctl", "eidos-devnet"]),
    (8, &["eidos-suite"]),
];
const SERVICES: u8 = 7;

/// What a crate must not link, however indirectly. A `*` stands for any ending.
const NEVER: &[(&str, &[&str])] = &[
    ("eidos-types", &["tokio", "sqlx", "reqwest", "axum", "redis"]),
    (
        "eidos-telemetry",
        &["sqlx", "redis", "rdkafka", "alloy-*", "parquet"],
    ),
    (
        "eidos-settings",
        &["sqlx", "redis", "reqwest", "axum", "rdkafka", "alloy-*"],
    ),
    ("eidos-market", &["tokio", "sqlx", "redis", "reqwest", "axum"]),
    ("eidos-pg", &["redis", "rdkafka", "alloy-*", "parquet", "axum"]),
    (
        "eidos-alerting",
        &["sqlx", "redis", "rdkafka", "alloy-*", "parquet", "axum"],
    ),
    ("eidos-core", &["rdkafka", "alloy-*", "parquet", "reqwest"]),
    ("eidos-bus", &["sqlx", "redis", "alloy-*", "parquet"]),
    ("eidos-chain", &["sqlx", "redis", "rdkafka", "parquet"]),
    (
        "eidos-archive-store",
        &["sqlx", "redis", "rdkafka", "alloy-*", "aws-lc-*"],
    ),
    ("eidos-proto", &["sqlx", "redis", "rdkafka", "alloy-*", "parquet"]),
    ("eidos-runtime", &["rdkafka", "alloy-*", "parquet", "clap"]),
    ("eidos-server", &["rdkafka", "alloy-*", "parquet"]),
    (
        "eidos-plan",
        &["rdkafka", "alloy-*", "parquet", "object_store", "clap"],
    ),
    (
        "eidos-recon",
        &["rdkafka", "alloy-*", "parquet", "reqwest", "eidos-chain"],
    ),
    ("eidosctl", &["rdkafka", "alloy-*", "parquet"]),
];

/// What a crate must not name in its own manifest.
const NEVER_DIRECTLY: &[(&str, &[&str])] = &[
    ("eidos-telemetry", &["axum"]),
    ("eidos-core", &["axum", "tonic"]),
    ("eidos-bus", &["axum", "tonic"]),
    ("eidos-chain", &["axum", "tonic"]),
    // OTLP export brings tonic, and tonic brings axum.
    ("eidos-runtime", &["axum", "tonic"]),
    ("eidos-recon", &["axum", "tonic"]),
    ("eidosctl", &["axum", "tonic"]),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

struct Member {
    name: String,
    floor: Option<u8>,
    is_service: bool,
    /// Name and kind (`normal`, `dev`, `build`).
    dependencies: Vec<(String, String)>,
}

fn members(metadata: &Value) -> Vec<Member> {
    let workspace: BTreeSet<&str> = strings(&metadata["workspace_members"]);
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .filter(|package| workspace.contains(text(&package["id"])))
        .map(|package| {
            let name = text(&package["name"]).to_owned();
            let is_service = text(&package["manifest_path"]).contains("/services/");
            let listed = FLOORS
                .iter()
                .find(|(_, names)| names.contains(&name.as_str()))
                .map(|(floor, _)| *floor);
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .map(|dependency| {
                    let kind = dependency["kind"].as_str().unwrap_or("normal");
                    (text(&dependency["name"]).to_owned(), kind.to_owned())
                });
            Member {
                floor: if is_service { Some(SERVICES) } else { listed },
                is_service,
                dependencies: dependencies.collect(),
                name,
            }
        })
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().expect("a list").iter().map(text).collect()
}

#[test]
fn a_crate_depends_on_lower_floors_only() {
    let metadata = metadata();
    let members = members(&metadata);
    let by_name: BTreeMap<&str, &Member> = members
        .iter()
        .map(|member| (member.name.as_str(), member))
        .collect();
    let mut findings = Vec::new();
    for member in &members {
        let Some(floor) = member.floor else {
            findings.push(format!(
                "{} has no floor: add it to FLOORS and to docs/ARCHITECTURE.md",
                member.name
            ));
            continue;
        };
        for (name, kind) in &member.dependencies {
            let Some(dependency) = by_name.get(name.as_str()) else {
                continue;
            };
            let allowed = if kind == "dev" {
                // Tests may stand on anything of ours except another service.
                !dependency.is_service
            } else {
                dependency.floor.is_some_and(|below| below < floor) && name != "eidos-testkit"
            };
            if !allowed {
                findings.push(format!(
                    "{} (floor {floor}) has {name} as a {kind} dependency",
                    member.name
                ));
            }
        }
    }
    none(
        &findings,
        "a crate depends on lower floors, never on a sibling; testkit is for tests only",
    );
    assert!(
        members.iter().any(|member| member.is_service),
        "no service was seen: this guard would pass on nothing"
    );
}

#[test]
fn heavy_libraries_stay_in_their_leaf() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = nodes
        .iter()
        .map(|node| (text(&node["id"]), linked(node)))
        .collect();
    let mut findings = Vec::new();
    for (name, banned) in NEVER {
        let id = names.iter().find(|(_, known)| *known == name).map(|(id, _)| *id);
        let id = id.unwrap_or_else(|| panic!("{name} is not in the workspace"));
        for (found, via) in reachable(id, &edges) {
            if banned.iter().any(|pattern| matches(pattern, names[found])) {
                findings.push(format!("{name} links {} (through {})", names[found], names[via]));
            }
        }
    }
    let members = members(&metadata);
    for (name, banned) in NEVER_DIRECTLY {
        let member = members
            .iter()
            .find(|member| member.name == *name)
            .expect("a member");
        for (dependency, kind) in &member.dependencies {
            if kind != "dev" && banned.iter().any(|pattern| matches(pattern, dependency)) {
                findings.push(format!("{name} names {dependency} in its manifest"));
            }
        }
    }
    none(
        &findings,
        "a heavy library belongs into one leaf, behind our own types",
    );
}

/// What a package links: normal and build dependencies, not those of its tests.
fn linked(node: &Value) -> Vec<&str> {
    let dependencies = node["deps"].as_array().expect("deps");
    dependencies
        .iter()
        .filter(|dependency| {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            kinds.iter().any(|kind| kind["kind"] != "dev")
        })
        .map(|dependency| text(&dependency["pkg"]))
        .collect()
}

/// Everything below `start`, each with the package that brought it in.
fn reachable<'a>(start: &'a str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeMap<&'a str, &'a str> {
    let mut found = BTreeMap::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        for &next in &edges[id] {
            if !found.contains_key(next) {
                found.insert(next, id);
                open.push(next);
            }
        }
    }
    found
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}
