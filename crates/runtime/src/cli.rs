//! The command line every service has: `serve` (default), `run`, `check-config`, `jobs`.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Map, Value};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Schedule and serve until told to stop.
    Serve,
    /// One run in the foreground.
    Run(RunArgs),
    /// Show the effective settings.
    CheckConfig,
    /// List the jobs.
    Jobs,
}

/// Arguments of `run`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunArgs {
    pub(crate) job: String,
    pub(crate) slot: Option<DateTime<Utc>>,
    pub(crate) dry_run: bool,
    pub(crate) format: Format,
    pub(crate) params: Value,
}

/// How `run` prints the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// The parsed command line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) config: Option<PathBuf>,
    pub(crate) action: Action,
}

/// The parser of the service `name`.
pub(crate) fn command(name: &'static str, about: &'static str, version: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .version(version)
        .arg(
            Arg::new("config")
                .long("config")
                .global(true)
                .value_name("FILE")
                .env(eidos_settings::CONFIG_FILE_VARIABLE)
                .value_parser(value_parser!(PathBuf))
                .help("Settings file (YAML); environment variables EIDOS__SECTION__KEY win over it"),
        )
        .subcommand(Command::new("serve").about("Run the jobs on schedule and serve HTTP and gRPC (default)"))
        .subcommand(run_command())
        .subcommand(
            Command::new("check-config").about("Show the effective settings and where each comes from"),
        )
        .subcommand(Command::new("jobs").about("List the jobs with their schedule and limits"))
}

fn run_command() -> Command {
    Command::new("run")
        .about("Run one job in the foreground, under the same lease and fence as on schedule")
        .after_help(
            "Any other --key or --key=value becomes a parameter of the job: --full is {\"full\": true}.\n\
             Exit codes: 0 success, 1 failed, 75 busy (another run holds the lease), 78 settings.",
        )
        .arg(
            Arg::new("job")
                .required(true)
                .help("Name of the job; `jobs` lists them"),
        )
        .arg(
            Arg::new("slot")
                .long("slot")
                .value_name("TIME")
                .value_parser(value_parser!(DateTime<Utc>))
                .help("The scheduled instant to work for (RFC 3339); now unless told"),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Change nothing and report what would be done"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(value_parser!(Format))
                .default_value("table")
                .help("How to print the report"),
        )
        .arg(
            Arg::new("params")
                .num_args(0..)
                .allow_hyphen_values(true)
                .trailing_var_arg(true)
                .value_name("--KEY[=VALUE]")
                .help("Parameters of the job"),
        )
}

/// Reads the command line.
///
/// # Errors
/// What clap prints, also for `--help` and `--version`.
pub(crate) fn parse(
    command: Command,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Arguments, clap::Error> {
    let mut for_errors = command.clone();
    let arguments = own_flags_first(arguments.into_iter().collect());
    let matches = command.try_get_matches_from(arguments)?;
    let config = matches.get_one::<PathBuf>("config").cloned();
    let action = match matches.subcommand() {
        Some(("run", matches)) => Action::Run(
            run_args(matches)
                .map_err(|problem| for_errors.error(clap::error::ErrorKind::InvalidValue, problem))?,
        ),
        Some(("check-config", _)) => Action::CheckConfig,
        Some(("jobs", _)) => Action::Jobs,
        _ => Action::Serve,
    };
    Ok(Arguments { config, action })
}

/// Our own flags may stand before or after the job's parameters: they are moved before them, since clap takes
/// everything after the first unknown flag as a parameter.
fn own_flags_first(arguments: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    const WITH_VALUE: [&str; 3] = ["--config", "--slot", "--format"];
    let Some(run) = arguments.iter().position(|argument| argument == "run") else {
        return arguments;
    };
    let (before, after) = arguments.split_at(run + 1);
    let (mut own, mut rest) = (Vec::new(), Vec::new());
    let mut after = after.iter();
    while let Some(argument) = after.next() {
        let text = argument.to_string_lossy();
        if WITH_VALUE.contains(&text.as_ref()) {
            own.push(argument.clone());
            own.extend(after.next().cloned());
        } else if text == "--dry-run"
            || text == "--help"
            || text == "-h"
            || WITH_VALUE
                .iter()
                .any(|flag| text.starts_with(&format!("{flag}=")))
        {
            own.push(argument.clone());
        } else {
            rest.push(argument.clone());
        }
    }
    [before.to_vec(), own, rest].concat()
}

fn run_args(matches: &ArgMatches) -> Result<RunArgs, String> {
    let flags: Vec<&String> = matches.get_many("params").into_iter().flatten().collect();
    Ok(RunArgs {
        job: matches.get_one::<String>("job").cloned().unwrap_or_default(),
        slot: matches.get_one("slot").copied(),
        dry_run: matches.get_flag("dry-run"),
        format: matches.get_one("format").copied().unwrap_or(Format::Table),
        params: params(&flags)?,
    })
}

/// `--full --batch-size=50 --token=USDC` as `{"full": true, "batch_size": 50, "token": "USDC"}`.
fn params(flags: &[&String]) -> Result<Value, String> {
    let mut object = Map::new();
    for flag in flags {
        let body = flag
            .strip_prefix("--")
            .filter(|body| !body.is_empty())
            .ok_or_else(|| format!("'{flag}' is not a parameter: write --key or --key=value"))?;
        let (key, value) = match body.split_once('=') {
            Some((key, text)) => (
                key,
                serde_json::from_str(text).unwrap_or_else(|_plain_text| Value::String(text.to_owned())),
            ),
            None => (body, Value::Bool(true)),
        };
        if object.insert(key.replace('-', "_"), value).is_some() {
            return Err(format!("--{key} is given twice"));
        }
    }
    Ok(if object.is_empty() {
        Value::Null
    } else {
        Value::Object(object)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        parse(command("test-svc", "test", "0"), line.split(' ').map(Into::into))
    }

    fn run(line: &str) -> RunArgs {
        match parsed(line).unwrap().action {
            Action::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_is_well_formed() {
        command("test-svc", "test", "0").debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        assert_eq!(parsed("svc").unwrap().action, Action::Serve);
        assert_eq!(
            parsed("svc --config a.yaml serve").unwrap().config,
            Some("a.yaml".into())
        );
    }

    #[test]
    fn unknown_flags_of_run_become_parameters_wherever_they_stand() {
        let args = run("svc run reconciliation --full --batch-size=50 --token=USDC --format json --dry-run");
        assert_eq!(
            args.params,
            json!({ "full": true, "batch_size": 50, "token": "USDC" })
        );
        assert_eq!((args.format, args.dry_run), (Format::Json, true));
        let args = run("svc run --format=json reconciliation");
        assert_eq!((args.job.as_str(), args.params), ("reconciliation", Value::Null));
        let args = run("svc run reconciliation --slot 2026-01-01T10:00:00Z --full");
        assert_eq!(args.slot.unwrap().to_rfc3339(), "2026-01-01T10:00:00+00:00");
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "svc run",
            "svc run a b",
            "svc run a --full --full",
            "svc run a --slot noon",
            "svc start",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
