//! PostgreSQL's binaries: where they are and how the small ones are run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;

use crate::error::SandboxError;
use crate::process::RunAs;
use crate::programs::{find_program, is_executable, on_path};

/// Where Debian puts the server's binaries, one directory for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

const PACKAGE: &str = "the Debian package postgresql";

/// Names the directory of another version's binaries (`scripts/test-postgres`).
const CHOSEN: &str = "EIDOS_POSTGRES_BIN";

const NEEDED: [&str; 5] = ["postgres", "initdb", "pg_isready", "createdb", "dropdb"];

/// Longest run of a helper program; `initdb` on a slow disk is the slowest of them.
const TOOL_TIMEOUT: Duration = Duration::from_mins(2);

/// The directory of one PostgreSQL version's binaries.
#[derive(Debug, Clone)]
pub(super) struct Programs(PathBuf);

impl Programs {
    /// The directory that `EIDOS_POSTGRES_BIN` names and no other; else `PATH` first, then the newest version Debian
    /// installed.
    pub(super) fn find() -> Result<Self, SandboxError> {
        let complete = |dir: &PathBuf| NEEDED.iter().all(|name| is_executable(&dir.join(name)));
        let missing = |looked_in: String| SandboxError::MissingProgram {
            program: "postgres",
            package: PACKAGE,
            looked_in,
        };
        if let Some(chosen) = std::env::var_os(CHOSEN) {
            let chosen = PathBuf::from(chosen);
            return if complete(&chosen) {
                Ok(Self(chosen))
            } else {
                let needed = NEEDED.join(", ");
                Err(missing(format!("{CHOSEN}={}, for {needed}", chosen.display())))
            };
        }
        let on_path = on_path("postgres").and_then(|postgres| postgres.parent().map(Path::to_owned));
        on_path
            .into_iter()
            .chain(debian_versions())
            .find(complete)
            .map(Self)
            .ok_or_else(|| missing(format!("PATH, {DEBIAN}/*/bin")))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }

    /// The major version, as `PG_VERSION` in a data directory has it.
    pub(super) async fn major_version(&self) -> Result<String, SandboxError> {
        // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
        let text = Tool::new(self.path("postgres"))
            .args(["--version"])
            .output()
            .await?;
        let number = text.split(") ").nth(1).unwrap_or_default();
        Ok(number.chars().take_while(char::is_ascii_digit).collect())
    }
}

/// Newest first.
fn debian_versions() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(DEBIAN) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    versions.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    versions.into_iter().map(|(_, dir)| dir).collect()
}

/// One run of a helper program.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    program: PathBuf,
    args: Vec<String>,
    secret: Option<(&'static str, SecretString)>,
    run_as: Option<RunAs>,
}

impl Tool {
    pub(super) fn new(program: PathBuf) -> Self {
        Self {
            program,
            args: Vec::new(),
            secret: None,
            run_as: None,
        }
    }

    pub(super) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(str::to_owned));
        self
    }

    /// A variable that is not shown in errors.
    pub(super) fn secret_env(mut self, key: &'static str, value: &SecretString) -> Self {
        self.secret = Some((key, value.clone()));
        self
    }

    pub(super) fn run_as(mut self, user: Option<RunAs>) -> Self {
        self.run_as = user;
        self
    }

    pub(super) async fn run(&self) -> Result<(), SandboxError> {
        self.output().await.map(drop)
    }

    pub(super) async fn output(&self) -> Result<String, SandboxError> {
        let mut command = self.command()?;
        let failed = |status: String, output: String| SandboxError::Command {
            command: format!("{} {}", self.program.display(), self.args.join(" ")),
            status,
            output,
        };
        match tokio::time::timeout(TOOL_TIMEOUT, command.output()).await {
            Err(_elapsed) => Err(failed(format!("no end within {TOOL_TIMEOUT:?}"), String::new())),
            Ok(Err(error)) => Err(failed("not started".to_owned(), error.to_string())),
            Ok(Ok(done)) if done.status.success() => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            Ok(Ok(done)) => {
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                Err(failed(done.status.to_string(), said))
            }
        }
    }

    fn command(&self) -> Result<Command, SandboxError> {
        let mut command = if let Some(RunAs { uid, gid }) = self.run_as {
            let mut command = Command::new(find_program("setpriv", "the Debian package util-linux")?);
            command.args([
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
            ]);
            command.arg("--").arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(&self.args).stdin(Stdio::null()).kill_on_drop(true);
        // Messages in English, and none of the caller's PG* variables.
        command
            .env_clear()
            .env("LC_ALL", "C")
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(
            self.secret
                .iter()
                .map(|(key, value)| (key, value.expose_secret())),
        );
        command.current_dir("/");
        Ok(command)
    }
}
