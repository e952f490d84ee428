//! The command line every service has: `serve` (default), `run`, `check-config`, `jobs`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use eidos_types::{Instant, Slot};
use serde_json::{Map, Value};

use crate::JobCommand;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Schedule and serve until told to stop.
    Serve,
    /// One run in the foreground.
    Run(RunArgs),
    /// A question of the service.
    Ask(Question),
    /// Show the effective settings.
    CheckConfig,
    /// List the jobs.
    Jobs,
    /// Print what a shell needs to complete this command line.
    Completions(clap_complete::Shell),
}

/// Arguments of `run`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunArgs {
    pub(crate) job: String,
    pub(crate) slot: Option<Slot>,
    pub(crate) dry_run: bool,
    pub(crate) format: Format,
    pub(crate) params: Value,
    /// Those parameters whose text was read as JSON, as they were typed.
    pub(crate) typed: Vec<(String, String)>,
}

/// A question of the service, as it was typed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) argument: String,
    pub(crate) format: Format,
}

/// What the command line knows of a [`crate::Query`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Askable {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) argument: &'static str,
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
pub(crate) fn command(
    name: &'static str,
    about: &'static str,
    version: &'static str,
    commands: &'static [JobCommand],
    queries: &[Askable],
) -> Command {
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
        .subcommand(
            Command::new("completions")
                .about("Print the completion script of a shell, as for: source <(… completions bash)")
                .arg(
                    Arg::new("shell")
                        .required(true)
                        .value_parser(value_parser!(clap_complete::Shell)),
                ),
        )
        .subcommands(commands.iter().map(job_command))
        .subcommands(queries.iter().map(query_command))
}

fn query_command(query: &Askable) -> Command {
    let argument = Arg::new(VALUE).value_name(query.argument).required(true);
    Command::new(query.name)
        .about(query.about)
        .arg(argument)
        .args(format_options())
}

fn format_options() -> [Arg; 2] {
    [
        Arg::new("format")
            .long("format")
            .value_parser(value_parser!(Format))
            .default_value("table")
            .help("How to print the report"),
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("The same as: --format json"),
    ]
}

fn run_command() -> Command {
    let job = Arg::new("job")
        .required(true)
        .help("Name of the job; `jobs` lists them");
    run_options(
        Command::new("run")
            .about("Run one job in the foreground, under the same lease and fence as on schedule")
            .arg(job),
    )
    .arg(
        Arg::new("dry-run")
            .long("dry-run")
            .action(ArgAction::SetTrue)
            .help("Change nothing and report what would be done"),
    )
}

/// A command of the service: `run` with the job, and perhaps the dry run, filled in.
fn job_command(command: &JobCommand) -> Command {
    let job = Arg::new("job")
        .long("job")
        .value_name("JOB")
        .default_value(command.job)
        .help("Name of the job; `jobs` lists them");
    let needs: Vec<String> = command
        .required
        .iter()
        .map(|key| format!(" --{key} VALUE"))
        .collect();
    let needs = needs.concat();
    let written = if command.dry_run { " --dry-run" } else { "" };
    let mut parser = run_options(Command::new(command.name).about(command.about).arg(job))
        .before_help(format!("The same as: run {}{written}{needs}", command.job));
    for key in command.required {
        let flag = param(key).num_args(1);
        parser = if *key == command.name {
            // `undo 0192f0c1-…`: a command that is named after its parameter takes it as a bare word, too.
            parser
                .arg(flag)
                .arg(Arg::new(WORD).value_name("VALUE"))
                .group(ArgGroup::new(VALUE).args([*key, WORD]))
        } else {
            parser.arg(flag)
        };
    }
    parser
}

/// The bare word of a command that is named after its parameter, and the group of both.
const WORD: &str = "(word)";
const VALUE: &str = "(value)";

/// A parameter of a job: `--key`, `--key=value` or `--key value`, with `-` or `_`.
fn param(name: &str) -> Arg {
    let long = name.replace('_', "-");
    let alias = (long != name).then(|| name.to_owned());
    Arg::new(name.to_owned())
        .long(long)
        .aliases(alias)
        .num_args(0..=1)
        .allow_negative_numbers(true)
}

/// Declares the parameters that were typed: which of them there are is known to the job only, which refuses the others by
/// their names.
fn with_params<'a>(command: Command, typed: impl Iterator<Item = &'a OsString>) -> Command {
    let taken: BTreeSet<String> = ["help", "config"]
        .into_iter()
        .chain(command.get_arguments().filter_map(Arg::get_long))
        .chain(command.get_arguments().map(|arg| arg.get_id().as_str()))
        .chain(command.get_groups().map(|group| group.get_id().as_str()))
        .map(|name| name.replace('-', "_"))
        .collect();
    let flags = typed.filter_map(|text| text.to_str()?.strip_prefix("--"));
    let names = flags.map(|flag| flag.split('=').next().unwrap_or_default().replace('-', "_"));
    let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
    command.args(names.difference(&taken).map(|name| param(name)))
}

fn run_options(command: Command) -> Command {
    command
        .after_help(
            "Any other --key, --key=value or --key value becomes a parameter of the job: --full is {\"full\": true}.\n\
             Exit codes: 0 success, 1 failed, 75 busy (another run holds the lease), 78 settings.",
        )
        .arg(
            Arg::new("slot")
                .long("slot")
                .value_name("TIME")
                .value_parser(value_parser!(Instant))
                .help("The scheduled instant to work for (RFC 3339 or epoch milliseconds); now unless told"),
        )
        .args(format_options())
}

/// Reads the command line.
///
/// # Errors
/// What clap prints, also for `--help` and `--version`.
pub(crate) fn parse(
    command: Command,
    commands: &'static [JobCommand],
    queries: &[Askable],
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Arguments, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_run =
        |argument: &OsString| argument == "run" || commands.iter().any(|command| argument == command.name);
    let mut rest = arguments.iter().skip(1);
    let command = match rest
        .find(|argument| is_run(argument))
        .and_then(|run| run.to_str())
    {
        Some(run) => command.mut_subcommand(run, |command| with_params(command, rest)),
        None => command,
    };
    let matches = command.try_get_matches_from(&arguments)?;
    let config = matches.get_one::<PathBuf>("config").cloned();
    let action = match matches.subcommand() {
        Some(("check-config", _)) => Action::CheckConfig,
        Some(("jobs", _)) => Action::Jobs,
        Some(("completions", matches)) => Action::Completions(
            matches
                .get_one("shell")
                .copied()
                .unwrap_or(clap_complete::Shell::Bash),
        ),
        Some((name, matches)) if queries.iter().any(|query| query.name == name) => Action::Ask(Question {
            name: name.to_owned(),
            argument: matches.get_one::<String>(VALUE).cloned().unwrap_or_default(),
            format: format_of(matches),
        }),
        Some((name, matches)) if name != "serve" => {
            let command = commands.iter().find(|command| command.name == name);
            let run = run_args(matches, command);
            refuse_missing(&run, command)?;
            Action::Run(run)
        }
        _ => Action::Serve,
    };
    Ok(Arguments { config, action })
}

/// What was asked for by `run`, or by a command of the service.
fn run_args(matches: &ArgMatches, command: Option<&JobCommand>) -> RunArgs {
    let (params, typed) = params(matches, command);
    RunArgs {
        job: matches.get_one::<String>("job").cloned().unwrap_or_default(),
        slot: matches.get_one("slot").copied().map(Instant::slot),
        dry_run: command.map_or_else(|| matches.get_flag("dry-run"), |command| command.dry_run),
        format: format_of(matches),
        params,
        typed,
    }
}

fn format_of(matches: &ArgMatches) -> Format {
    if matches.get_flag("json") {
        return Format::Json;
    }
    matches.get_one("format").copied().unwrap_or(Format::Table)
}

/// Names the parameter that a command cannot do without. Clap's own sentence would show how it takes a bare word.
fn refuse_missing(run: &RunArgs, command: Option<&JobCommand>) -> Result<(), clap::Error> {
    let mut required = command.map_or(&[][..], |command| command.required).iter();
    required
        .find(|key| run.params.get(**key).is_none())
        .map_or(Ok(()), |key| {
            Err(clap::Error::raw(
                ErrorKind::MissingRequiredArgument,
                format!("--{key} is missing: write --{key} VALUE\n"),
            ))
        })
}

/// `--full --batch-size=50 --token USDC` as `{"full": true, "batch_size": 50, "token": "USDC"}`.
fn params(matches: &ArgMatches, command: Option<&JobCommand>) -> (Value, Vec<(String, String)>) {
    let (mut object, mut typed) = (Map::new(), Vec::new());
    for id in matches.ids().map(clap::Id::as_str) {
        let name = match command {
            _ if ["job", "slot", "dry-run", "format", "json", "config", VALUE].contains(&id) => continue,
            Some(command) if id == WORD => command.name,
            _ => id,
        };
        let value = match matches.get_one::<String>(id) {
            None => Value::Bool(true),
            Some(text) => match serde_json::from_str(text) {
                Ok(value) => {
                    typed.push((name.to_owned(), text.clone()));
                    value
                }
                Err(_plain_text) => Value::from(text.as_str()),
            },
        };
        object.insert(name.to_owned(), value);
    }
    let params = if object.is_empty() {
        Value::Null
    } else {
        Value::Object(object)
    };
    (params, typed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COMMANDS: &[JobCommand] = &[
        JobCommand {
            name: "plan",
            about: "Show what would be done",
            job: "data-cleanup",
            dry_run: true,
            required: &[],
        },
        JobCommand {
            name: "apply",
            about: "Do what was planned",
            job: "data-cleanup",
            dry_run: false,
            required: &["plan"],
        },
        JobCommand {
            name: "undo",
            about: "Take a unit back",
            job: "data-cleanup",
            dry_run: false,
            required: &["undo"],
        },
    ];

    const QUERIES: &[Askable] = &[Askable {
        name: "explain",
        about: "Say why",
        argument: "THING",
    }];

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        let command = command("test-svc", "test", "0", COMMANDS, QUERIES);
        parse(command, COMMANDS, QUERIES, line.split(' ').map(Into::into))
    }

    fn run(line: &str) -> RunArgs {
        match parsed(line).unwrap().action {
            Action::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_is_well_formed() {
        command("test-svc", "test", "0", COMMANDS, QUERIES).debug_assert();
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
        assert_eq!(args.slot.unwrap().to_string(), "2026-01-01T10:00:00Z");
    }

    #[test]
    fn commands_of_the_service_are_runs_of_its_jobs() {
        let plan = run("svc plan --slot 2026-01-01T10:00:00Z --tables eidos_risk_events");
        assert_eq!((plan.job.as_str(), plan.dry_run), ("data-cleanup", true));
        assert_eq!(plan.params, json!({ "tables": "eidos_risk_events" }));
        assert_eq!(run("svc plan --job partition-manage").job, "partition-manage");
        let apply = run("svc apply --format json --plan 3f2a");
        assert_eq!(
            (apply.dry_run, apply.format, apply.params),
            (false, Format::Json, json!({ "plan": "3f2a" }))
        );
    }

    #[test]
    fn a_question_has_one_argument_and_a_format() {
        let asked = |line: &str| match parsed(line).map(|parsed| parsed.action) {
            Ok(Action::Ask(question)) => Some((question.argument, question.format)),
            _ => None,
        };
        assert_eq!(asked("svc explain 0192"), Some(("0192".into(), Format::Table)));
        assert_eq!(
            asked("svc explain --json 0192"),
            Some(("0192".into(), Format::Json))
        );
        assert_eq!(
            asked("svc explain 0192 --format json"),
            Some(("0192".into(), Format::Json))
        );
        for line in ["svc explain", "svc explain a b", "svc explain a --dry-run"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let Action::Completions(shell) = parsed(&format!("svc completions {shell}")).unwrap().action
            else {
                panic!("{shell}");
            };
            let mut script = Vec::new();
            let mut command = command("test-svc", "test", "0", COMMANDS, QUERIES);
            clap_complete::generate(shell, &mut command, "test-svc", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(
                script.contains("check-config") && script.contains("apply"),
                "{shell}: {script}"
            );
        }
        assert!(parsed("svc completions").is_err());
    }

    #[test]
    fn a_command_that_is_named_after_its_parameter_takes_it_as_a_bare_word() {
        for line in [
            "svc undo 0192f0c1-2345 --reason T-17",
            "svc undo --reason T-17 --undo 0192f0c1-2345",
            "svc undo --format json --undo=0192f0c1-2345 --reason=T-17",
        ] {
            let undo = run(line);
            assert_eq!(
                undo.params,
                json!({ "undo": "0192f0c1-2345", "reason": "T-17" }),
                "{line}"
            );
            assert!(!undo.dry_run);
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "svc undo",
            "svc undo --reason T-17",
            "svc undo a b",
            "svc undo a --undo b",
            "svc run",
            "svc apply",
            "svc apply 3f2a",
            "svc run a b",
            "svc run a --full --full",
            "svc run a --slot noon",
            "svc run a --slot 1767261600",
            "svc start",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
