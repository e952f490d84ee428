//! Checks a whole settings file, prints the reference page, or replays dead letters. `eidosctl check-config` and
//! `eidosctl dead-letters` start this program.

mod dead_letters;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use eidos_settings::Input;

/// Works with what all services share. Exit codes: 0 done, 69 the brokers did not do it, 78 the settings cannot be used.
#[derive(Debug, Parser)]
#[command(name = "eidos-suite", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a settings file for all services and refuse every key that none of them knows.
    CheckConfig {
        /// The settings file (YAML); environment variables `EIDOS__SECTION__KEY` win over it.
        #[arg(long, env = eidos_settings::CONFIG_FILE_VARIABLE, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// List messages that a service could not handle, and write them back to their topic.
    DeadLetters(dead_letters::DeadLetters),
    /// Print the reference page of all settings (docs/configuration.md).
    Reference,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::CheckConfig { config } => check_config(config.as_deref()),
        Command::DeadLetters(options) => dead_letters::run(&options),
        Command::Reference => say(&eidos_suite::reference_page()),
    }
}

fn check_config(config: Option<&Path>) -> ExitCode {
    let input = input(config);
    match eidos_suite::check_config(&input) {
        Ok(()) => {
            let services: Vec<&str> = eidos_suite::services()
                .iter()
                .map(|service| service.name)
                .collect();
            say(&format!("the settings can be used by {}\n", services.join(", ")))
        }
        Err(errors) => refuse(eidos_settings::EXIT_CODE, &errors.to_string()),
    }
}

/// The settings file and the environment; variables that are not text cannot be ours.
fn input(config: Option<&Path>) -> Input<'_> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Input { file: config, env }
}

fn refuse(code: u8, why: &str) -> ExitCode {
    // Nothing is left to do if standard error is gone.
    let _closed_pipe = write!(std::io::stderr(), "{why}");
    ExitCode::from(code)
}

/// To standard output; a reader that went away is not an error worth reporting.
fn say(text: &str) -> ExitCode {
    let _closed_pipe = write!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}
