//! [`Profiles`]: the environments that an operator works with, from a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Failure;

/// The file's content: `profiles.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    /// The profile of a command that names none.
    #[serde(default)]
    default: Option<String>,
    profiles: BTreeMap<String, Profile>,
}

/// One environment, such as `staging`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Base URL of each service's HTTP API, by the service's name.
    pub(crate) services: BTreeMap<String, String>,
    /// File that holds the API token of these services; a relative path starts at the folder of the profiles' file.
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
    /// Base URL of Alertmanager.
    #[serde(default)]
    pub(crate) alertmanager: Option<String>,
}

/// Where the profiles' file is looked for: `--profiles`, else `$XDG_CONFIG_HOME/eidosctl/profiles.yaml`, else
/// `~/.config/eidosctl/profiles.yaml`. `None`: neither variable is set.
pub(crate) fn path(named: Option<&Path>) -> Option<PathBuf> {
    let folder = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    named.map(Path::to_path_buf).or_else(|| {
        let configuration = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
        Some(configuration.join("eidosctl/profiles.yaml"))
    })
}

/// Returns the profile to work with. `None`: no profile is asked for, and no file says which one it would be.
pub(crate) fn select(
    file: Option<&Path>,
    profile: Option<&str>,
) -> Result<Option<(String, Profile)>, Failure> {
    let path = path(file);
    let is_asked_for = file.is_some() || profile.is_some();
    let Some(path) = path.filter(|path| is_asked_for || path.exists()) else {
        return match profile {
            None => Ok(None),
            Some(profile) => Err(Failure::Settings(format!(
                "--profile {profile}: name the profiles' file with --profiles, since neither XDG_CONFIG_HOME nor HOME is set"
            ))),
        };
    };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::Settings(format!(
            "the profiles' file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    let mut profiles = parse(&text)
        .map_err(|error| Failure::Settings(format!("the profiles' file {}: {error}", path.display())))?;
    let Some(name) = profile.map(ToOwned::to_owned).or(profiles.default) else {
        return Ok(None);
    };
    let known = profiles.profiles.keys().cloned().collect::<Vec<_>>().join(", ");
    let mut chosen = profiles.profiles.remove(&name).ok_or_else(|| {
        Failure::Settings(format!(
            "{} has no profile {name}; it has: {known}",
            path.display()
        ))
    })?;
    if chosen.services.is_empty() {
        return Err(Failure::Settings(format!(
            "{}: the profile {name} has no service; write them as services: {{ recon-svc: https://host:8080 }}",
            path.display()
        )));
    }
    chosen.token_file = chosen
        .token_file
        .map(|token| path.parent().unwrap_or(Path::new("")).join(token));
    Ok(Some((name, chosen)))
}

/// Reads a file's text; the error names the key, its line and its column.
fn parse(text: &str) -> Result<Profiles, serde_norway::Error> {
    serde_norway::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "default: staging\nprofiles:\n  staging:\n    token_file: staging.token\n    services:\n      \
                        recon-svc: http://recon:8080\n  production:\n    services: { recon-svc: https://p:8080 }\n";

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.yaml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_default_is_used_unless_another_is_named() {
        let (folder, path) = written(FILE);
        let (name, profile) = select(Some(&path), None).unwrap().unwrap();
        assert_eq!(name, "staging");
        assert_eq!(profile.token_file, Some(folder.path().join("staging.token")));
        let (name, profile) = select(Some(&path), Some("production")).unwrap().unwrap();
        assert_eq!((name.as_str(), profile.token_file), ("production", None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, profile, says) in [
            (FILE, "prod", "no profile prod; it has: production, staging"),
            ("profiles:\n  p:\n    servces: {}\n", "p", "servces"),
            (
                "profiles:\n  p:\n    services: {}\n",
                "p",
                "the profile p has no service",
            ),
            ("profiles: [", "p", "line 1"),
        ] {
            let (_folder, path) = written(text);
            let error = select(Some(&path), Some(profile)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("profiles.yaml"), "{error}");
            assert_eq!(error.exit_code(), 78);
        }
    }

    #[test]
    fn a_file_that_was_asked_for_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let error = select(Some(&folder.path().join("none.yaml")), None).unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}
