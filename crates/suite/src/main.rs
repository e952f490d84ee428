//! Checks a whole settings file, or prints the reference page. `eidosctl check-config` starts this program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use eidos_settings::Input;

/// Checks the settings file of all services. Exit codes: 0 it can be used, 78 it cannot.
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
    /// Print the reference page of all settings (docs/configuration.md).
    Reference,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::CheckConfig { config } => check_config(config.as_deref()),
        Command::Reference => say(&eidos_suite::reference_page()),
    }
}

fn check_config(config: Option<&Path>) -> ExitCode {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let input = Input { file: config, env };
    match eidos_suite::check_config(&input) {
        Ok(()) => {
            let services: Vec<&str> = eidos_suite::services()
                .iter()
                .map(|service| service.name)
                .collect();
            say(&format!("the settings can be used by {}\n", services.join(", ")))
        }
        Err(errors) => {
            // Nothing is left to do if standard error is gone.
            let _closed_pipe = write!(std::io::stderr(), "{errors}");
            ExitCode::from(eidos_settings::EXIT_CODE)
        }
    }
}

/// To standard output; a reader that went away is not an error worth reporting.
fn say(text: &str) -> ExitCode {
    let _closed_pipe = write!(std::io::stdout(), "{text}");
    ExitCode::SUCCESS
}
