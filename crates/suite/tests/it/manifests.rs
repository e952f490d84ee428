//! Versions and features stand in one place (docs/adr/0002-one-place-for-features.md), and every member inherits the
//! workspace's lints.

use crate::repository::{entries, none, root};

/// Every member's manifest, with its path for messages.
fn manifests() -> Vec<(String, String)> {
    let members = entries("crates").into_iter().chain(entries("services"));
    members
        .map(|member| member.join("Cargo.toml"))
        .filter(|manifest| manifest.exists())
        .map(|manifest| {
            let shown = manifest.strip_prefix(root()).unwrap().display().to_string();
            (shown, std::fs::read_to_string(&manifest).unwrap())
        })
        .collect()
}

#[test]
fn members_take_every_dependency_from_the_workspace() {
    let manifests = manifests();
    assert!(
        manifests.len() > 10,
        "only {} manifests were found",
        manifests.len()
    );
    let mut findings = Vec::new();
    for (path, text) in &manifests {
        findings.extend(
            private_versions(text)
                .into_iter()
                .map(|line| format!("{path}: {line}")),
        );
    }
    none(
        &findings,
        "members write `name.workspace = true` only; versions and features belong into the root",
    );
}

#[test]
fn members_inherit_the_lints() {
    let without: Vec<String> = manifests()
        .into_iter()
        .filter(|(_, text)| !text.contains("[lints]\nworkspace = true"))
        .map(|(path, _)| path)
        .collect();
    none(&without, "every member says [lints] workspace = true");
}

/// The dependency lines that say more than `.workspace = true`.
fn private_versions(manifest: &str) -> Vec<String> {
    let mut in_dependencies = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_matches(['[', ']']);
            in_dependencies = section.ends_with("dependencies");
            if section.contains("dependencies.") {
                found.push(line.to_owned());
            }
        } else if in_dependencies
            && !line.is_empty()
            && !line.starts_with('#')
            && !line.ends_with(".workspace = true")
        {
            found.push(line.to_owned());
        }
    }
    found
}

#[test]
fn the_check_sees_what_it_looks_for() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nserde.workspace = true\nanyhow = \"1\"\n\
                    [dev-dependencies.tokio]\nworkspace = true\nfeatures = [\"full\"]\n[features]\na = []\n";
    assert_eq!(
        private_versions(manifest),
        ["anyhow = \"1\"", "[dev-dependencies.tokio]"]
    );
}
