//! `check-config`: the check of a whole settings file. It needs the declarations of all services, which this tool does not
//! link (docs/adr/0014-settings-belong-to-services.md), so the program `eidos-suite` takes over.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::Failure;
use crate::cli::CheckConfig;

/// The program that links all services; its exit codes are 0, 2 and 78, as this tool's.
const PROGRAM: &str = "eidos-suite";

/// Replaces this process by the program that checks the file. Returns only if it cannot be started.
pub(crate) fn run(options: &CheckConfig) -> Result<()> {
    let program = std::env::current_exe()
        .ok()
        .and_then(|here| beside(&here))
        .unwrap_or_else(|| PathBuf::from(PROGRAM));
    let mut command = Command::new(&program);
    command.arg("check-config");
    if let Some(config) = &options.config {
        command.arg("--config").arg(config);
    }
    let error = command.exec();
    let message = format!(
        "{} cannot be started: {error}; install {PROGRAM} beside eidosctl or on PATH, or ask each service: \
         <service> check-config",
        program.display()
    );
    Err(Failure::Settings(message).into())
}

/// Returns the program in the same folder. `None`: it is not there.
fn beside(here: &Path) -> Option<PathBuf> {
    let program = here.with_file_name(PROGRAM);
    program.is_file().then_some(program)
}
