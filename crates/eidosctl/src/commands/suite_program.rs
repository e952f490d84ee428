//! `check-config` and `dead-letters`: the check needs the declarations of all services, the letters need librdkafka. This
//! tool links neither (docs/adr/0014-settings-belong-to-services.md), so the program `eidos-suite` takes over.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::Failure;
use crate::cli::{CheckConfig, DeadLetters};

/// The program that links all services; its exit codes are 0, 2 and 78, as this tool's.
const PROGRAM: &str = "eidos-suite";

/// Checks a settings file. Returns only if the program cannot be started.
pub(super) fn check_config(options: &CheckConfig) -> Result<()> {
    let mut arguments = vec![OsString::from("check-config")];
    if let Some(config) = &options.config {
        arguments.extend(["--config".into(), config.into()]);
    }
    become_program(arguments, "ask each service: <service> check-config")
}

/// Works with dead letters. Returns only if the program cannot be started.
pub(super) fn dead_letters(options: DeadLetters) -> Result<()> {
    let arguments = [OsString::from("dead-letters")]
        .into_iter()
        .chain(options.arguments);
    become_program(arguments, "run it in the image that has it")
}

/// Replaces this process by the program.
fn become_program(arguments: impl IntoIterator<Item = OsString>, otherwise: &str) -> Result<()> {
    let program = std::env::current_exe()
        .ok()
        .and_then(|here| beside(&here))
        .unwrap_or_else(|| PathBuf::from(PROGRAM));
    let error = Command::new(&program).args(arguments).exec();
    let message = format!(
        "{} cannot be started: {error}; install {PROGRAM} beside eidosctl or on PATH, or {otherwise}",
        program.display()
    );
    Err(Failure::Settings(message).into())
}

/// Returns the program in the same folder. `None`: it is not there.
fn beside(here: &Path) -> Option<PathBuf> {
    let program = here.with_file_name(PROGRAM);
    program.is_file().then_some(program)
}
