//! The operator's tool.
//!
//! `migrate` and `audit` ask the database and `check-config` hands over to the program `eidos-suite`. Everything else asks a
//! service's HTTP API and shows what it answered, as a table for people or as JSON for scripts. Nothing here decides
//! anything: rights, states and rules are the service's, so that the tool, the API and a colleague's `curl` cannot
//! disagree.
//!
//! Exit codes, so that a script knows what to do next ([`Failure::exit_code`]):
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: the execution failed, the schema is behind (`migrate --check`), a service reported an error, is not ready, or its job failed (`status`) |
//! | 2 | the command line is wrong |
//! | 65 | the audit trail of breaks is not what was written (`audit verify`) |
//! | 69 | the service or the database cannot be reached |
//! | 75 | busy: try again later (the job is running, the wait was too short, nothing ran), or changed since it was seen (`breaks`) |
//! | 77 | not allowed: the token is missing, wrong, or its role is too low |
//! | 78 | the settings or the environment are wrong |

mod cli;
mod client;
mod commands;
mod environment;
mod failure;
mod output;
mod profiles;
mod session;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

pub use cli::Cli;
pub use failure::Failure;

/// Reads the arguments and the environment, runs one command, returns its exit code.
pub fn main() -> ExitCode {
    // A second provider in the process would be a panic at the first handshake; see deny.toml.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::new(error).context("cannot start")),
    };
    let mut out = std::io::stdout().lock();
    match runtime.block_on(commands::run(cli, &mut out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    // Nothing is left to do if standard error is closed, too.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    let code = error.downcast_ref::<Failure>().map_or(1, Failure::exit_code);
    ExitCode::from(code)
}

/// Checks whether the reader closed the pipe: `eidosctl executions | head` is not a failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
