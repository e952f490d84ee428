//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use eidos_recon::audit::Anchor;
use eidos_types::{BreakId, ExecutionId, JobName};

/// The operator's tool of the Eidos back office.
///
/// The API token is read from `EIDOS_TOKEN` or from the file named by `--token-file`, never from an argument, which
/// every user of the machine could read.
#[derive(Debug, Parser)]
#[command(name = "eidosctl", version, max_term_width = 120)]
pub struct Cli {
    /// Where and how to show the answer.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Base URL of one service's HTTP API (default: the services of the profile, else `http://127.0.0.1:8080`).
    #[arg(long, global = true, env = "EIDOS_URL")]
    pub url: Option<String>,
    /// The environment to work with, one of the profiles' file (default: the one it calls `default`).
    #[arg(
        long,
        global = true,
        env = "EIDOS_PROFILE",
        value_name = "NAME",
        conflicts_with = "url"
    )]
    pub profile: Option<String>,
    /// The profiles' file (default: `eidosctl/profiles.yaml` in `XDG_CONFIG_HOME` or `~/.config`).
    #[arg(long, global = true, env = "EIDOS_PROFILES", value_name = "FILE")]
    pub profiles: Option<PathBuf>,
    /// Ask only this service of the profile (default: the one that has the job, or all).
    #[arg(long, global = true, env = "EIDOS_SERVICE", value_name = "NAME")]
    pub service: Option<String>,
    /// Base URL of Alertmanager (default: the profile's).
    #[arg(long, global = true, env = "EIDOS_ALERTMANAGER", value_name = "URL")]
    pub alertmanager: Option<String>,
    /// File that holds the API token (default: the profile's, else the environment variable `EIDOS_TOKEN`).
    #[arg(long, global = true, env = "EIDOS_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How to print: a table for people, JSON (the service's own answer) for scripts.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub format: Format,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the database's schema up to date, or say what is missing.
    Migrate(Migrate),
    /// Create in another service's database what jobs need that write there: the fence, and the quarantine of archived partitions.
    Prepare(Prepare),
    /// Check a settings file for all services, and refuse every key that none of them knows.
    CheckConfig(CheckConfig),
    /// List messages that a service could not handle, or write them back: `replay --topic TOPIC [--dry-run]`.
    #[command(disable_help_flag = true)]
    DeadLetters(DeadLetters),
    /// Every service in one table: whether it is ready, what runs, failed or is paused there. Exit 1 if anything is wrong.
    Status,
    /// Follow a run until it ends, or the state of every service until interrupted.
    Watch(Watch),
    /// What is alerting now, as Alertmanager tells it, the worst first.
    Alerts(Alerts),
    /// All jobs: schedule, last success, next slot, paused or not.
    Jobs,
    /// Request a run now.
    Trigger(Trigger),
    /// Past executions, newest first.
    Executions(Executions),
    /// One execution: status, progress, report, error.
    Execution {
        /// The execution's id.
        id: ExecutionId,
    },
    /// Ask a running execution to stop at its next step.
    Cancel {
        /// The execution's id.
        id: ExecutionId,
    },
    /// Stop scheduling a job until it is resumed. A run in progress goes on.
    Pause(Pause),
    /// Schedule a paused job again.
    Resume(Pause),
    /// The last report of a job, as the job itself would print it.
    Report {
        /// The job, such as `reconciliation`.
        job: JobName,
    },
    /// Breaks found by the reconciliation: list them, show one, or say what is done about it.
    Breaks(Box<Breaks>),
    /// The audit trail of breaks: verify it in the database itself.
    Audit(Audit),
    /// Pauses of money-moving operations: list them, set one, or lift one.
    Pauses(Pauses),
    /// Legal holds on rows that must not be removed: list them, place one, or lift one.
    Holds(Holds),
    /// What is being exported, detached, dropped or deleted, unit by unit, newest first.
    Units(Units),
    /// The audit of everything that was moved, exported or removed, newest first.
    Disposals(Disposals),
    /// Print the completion script of a shell, as for: `source <(eidosctl completions bash)`.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    /// The database (default: the environment variable `EIDOS_DATABASE_URL`, then `databases.jobs.url` of the settings).
    #[arg(long, env = "EIDOS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// The settings file to take `databases.jobs.url` from.
    #[arg(long, env = "EIDOS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change nothing: list what is applied and pending; exit 1 if anything is pending.
    #[arg(long)]
    pub check: bool,
    /// Then create the roles of services where they are missing, and grant them what they need (migrations/roles/roles.sql).
    #[arg(long, conflicts_with = "check")]
    pub roles: bool,
}

/// `prepare`
#[derive(Debug, Args)]
pub struct Prepare {
    /// The database, with the role that owns the tables jobs write to. Not the jobs database: `migrate` looks after that one.
    #[arg(long, env = "EIDOS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: String,
    /// Also what retention-manager and archiver need: the quarantine, and the function that refuses writes to frozen partitions.
    #[arg(long)]
    pub disposal: bool,
    /// A role of a service that writes there, which is granted its rights on these objects (repeatable).
    #[arg(long = "writer", value_name = "ROLE")]
    pub writers: Vec<String>,
    /// Change nothing: list what is there and what is missing; exit 1 if anything is missing.
    #[arg(long)]
    pub check: bool,
}

/// `check-config`
#[derive(Debug, Args)]
pub struct CheckConfig {
    /// The settings file; environment variables `EIDOS__SECTION__KEY` win over it.
    #[arg(long, env = "EIDOS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `dead-letters`
#[derive(Debug, Args)]
pub struct DeadLetters {
    /// What `eidos-suite dead-letters` takes; `--help` lists it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<std::ffi::OsString>,
}

/// `trigger`
#[derive(Debug, Args)]
pub struct Trigger {
    /// The job, such as `reconciliation`.
    pub job: JobName,
    /// Repeating a request with the same key returns the same execution instead of starting another one
    /// (default: a fresh key).
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// A parameter of the job. The value is read as JSON where it is JSON (`full=true`, `limit=10`), as text otherwise.
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = parse_param)]
    pub params: Vec<(String, serde_json::Value)>,
    /// Change nothing; report what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Wait for the end, further attempts of a failed run included; exit 1 if the last one fails.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as `30m`.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = humantime::parse_duration)]
    pub wait_timeout: std::time::Duration,
}

/// `watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// An execution's id, or a job, such as `reconciliation`: its run, or the next one (default: every service's state).
    pub what: Option<Watched>,
    /// How often to look, such as `5s`.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    pub interval: std::time::Duration,
    /// How long to watch, such as `30m`; exit 75 if the run has not ended by then.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    pub timeout: std::time::Duration,
}

/// What `watch` follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// This execution.
    Execution(ExecutionId),
    /// The run of this job that is at work, or the next one.
    Job(JobName),
}

impl std::str::FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Execution(id));
        }
        let job = text.parse();
        job.map(Self::Job)
            .map_err(|error| format!("'{text}' is neither an execution's id nor a job's name: {error}"))
    }
}

/// `alerts`
#[derive(Debug, Args)]
pub struct Alerts {
    /// Only alerts with this label, such as `severity=critical`; Alertmanager's matchers (`=~`, `!=`) work too.
    #[arg(long = "match", value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// Also those that are silenced or inhibited.
    #[arg(long)]
    pub all: bool,
}

/// `executions`
#[derive(Debug, Args)]
pub struct Executions {
    /// The job, such as `reconciliation`.
    pub job: JobName,
    /// Only executions in this status.
    #[arg(long, value_enum)]
    pub status: Option<Status>,
    /// At most this many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
}

/// The five statuses of an execution (ruling 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Requested, not started.
    Pending,
    /// At work.
    Running,
    /// Ended with a report.
    Success,
    /// Ended without success; `failure_kind` says why.
    Failed,
    /// Not run; the message says why.
    Skipped,
}

/// `pause` and `resume`
#[derive(Debug, Args)]
pub struct Pause {
    /// The job, such as `reconciliation`.
    pub job: JobName,
    /// Why; kept with who and when.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,
}

/// `breaks`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Breaks {
    /// What to do (default: list, or show the one that is named).
    #[command(subcommand)]
    pub command: Option<BreakCommand>,
    /// One break, with its evidence and its history: the same as `show`.
    #[arg(conflicts_with_all = ["status", "severity", "dimension", "wallet", "token", "subject", "assignee", "age", "after"])]
    pub id: Option<BreakId>,
    /// Which ones.
    #[command(flatten)]
    pub list: BreakList,
}

/// `breaks list`
#[derive(Debug, Args)]
pub struct BreakList {
    /// Only breaks in these statuses: open, acknowledged, resolved, `written_off`, `auto_closed`, unresolved (the first two), ended
    /// (the others); several with commas between them.
    #[arg(long)]
    pub status: Option<String>,
    /// Only breaks of this severity: info, warning or critical.
    #[arg(long, value_parser = ["info", "warning", "critical"])]
    pub severity: Option<String>,
    /// Only breaks of this dimension, such as `balance`.
    #[arg(long)]
    pub dimension: Option<String>,
    /// Only breaks of this wallet.
    #[arg(long)]
    pub wallet: Option<String>,
    /// Only breaks of this token.
    #[arg(long)]
    pub token: Option<String>,
    /// Only breaks of this subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Only breaks that are assigned to this person.
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// Only unresolved breaks of this age: below an hour, below a day, below a week, older.
    #[arg(long, value_parser = ["lt_1h", "lt_24h", "lt_7d", "ge_7d"])]
    pub age: Option<String>,
    /// Only breaks after this one in the list: the next page.
    #[arg(long, value_name = "BREAK")]
    pub after: Option<BreakId>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

/// `breaks …`
#[derive(Debug, Subcommand)]
pub enum BreakCommand {
    /// List breaks, the most serious first.
    List(BreakList),
    /// One break, with its evidence and its history.
    Show {
        /// The break.
        id: BreakId,
    },
    /// Why it exists: the first event on which the two sides part, and what shows it. Read when it is asked for.
    Explain {
        /// The break.
        id: BreakId,
    },
    /// Say that somebody looks at it: needs the operator role.
    Ack {
        /// Which break.
        #[command(flatten)]
        edited: Edited,
        /// What you say to it.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        note: Option<String>,
    },
    /// Say who is to look at it: needs the operator role.
    Assign {
        /// Which break.
        #[command(flatten)]
        edited: Edited,
        /// Who.
        #[arg(long, value_name = "NAME", required_unless_present = "nobody", conflicts_with = "nobody",
              value_parser = clap::builder::NonEmptyStringValueParser::new())]
        to: Option<String>,
        /// Take the assignment away.
        #[arg(long)]
        nobody: bool,
        /// What you say to it.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        note: Option<String>,
    },
    /// Say something to it, whatever its status: needs the operator role.
    Comment {
        /// Which break.
        #[command(flatten)]
        edited: Edited,
        /// What.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        text: String,
    },
    /// Say that the cause is repaired: needs the operator role. A run that still sees the difference opens the break again.
    Resolve {
        /// Which break.
        #[command(flatten)]
        edited: Edited,
        /// How; kept with who and when.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
    /// Accept the difference as it is: needs the operator role. Of another size, it will be another break.
    WriteOff {
        /// Which break.
        #[command(flatten)]
        edited: Edited,
        /// Why; kept with who and when.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
}

/// A break and the version of it that was looked at.
#[derive(Debug, Args)]
pub struct Edited {
    /// The break.
    pub id: BreakId,
    /// The version that you saw (`breaks show`): if the break was changed since, nothing is done and the exit code is 75.
    /// Without it, the break is edited as it is now.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    pub seen: Option<i64>,
}

/// `audit`
#[derive(Debug, Args)]
pub struct Audit {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// `audit …`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Compute every hash of the chain of break events again. Exit 65 if anything was altered, deleted, inserted or reordered.
    Verify(AuditVerify),
}

/// `audit verify`
#[derive(Debug, Args)]
pub struct AuditVerify {
    /// The database (default: the environment variable `EIDOS_DATABASE_URL`, then `databases.jobs.url` of the settings).
    #[arg(long, env = "EIDOS_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// The settings file to take `databases.jobs.url` from.
    #[arg(long, env = "EIDOS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A link that an earlier verification printed: the chain must still have it.
    #[arg(long, value_name = "NUMBER:HASH")]
    pub anchor: Option<Anchor>,
}

/// `pauses`
#[derive(Debug, Args)]
pub struct Pauses {
    /// What to do with one of them (default: list).
    #[command(subcommand)]
    pub command: Option<PauseCommand>,
}

/// `pauses …`
#[derive(Debug, Subcommand)]
pub enum PauseCommand {
    /// List the pauses in force.
    List {
        /// Also those that were lifted, by whom and why.
        #[arg(long)]
        all: bool,
    },
    /// Stop an operation from moving money, before any break says so: needs the operator role.
    Set {
        /// The operation: withdrawal, deposit or settlement.
        operation: String,
        /// The token, such as `USDC`.
        token: String,
        /// Why; kept with who and when.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
        /// The break that it is for.
        #[arg(long = "break", value_name = "BREAK")]
        break_id: Option<BreakId>,
    },
    /// Let an operation move money again. Only a person may (ruling 26): needs the operator role.
    Lift {
        /// The operation: withdrawal, deposit or settlement.
        operation: String,
        /// The token, such as `USDC`.
        token: String,
        /// Why it is safe; kept with who and when.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
}

/// `holds`
#[derive(Debug, Args)]
pub struct Holds {
    /// What to do with one of them (default: list).
    #[command(subcommand)]
    pub command: Option<HoldCommand>,
}

/// `holds …`
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// List the holds in force.
    List {
        /// Also those that were lifted, by whom and why.
        #[arg(long)]
        all: bool,
    },
    /// Keep the rows of a table: neither retention-manager nor archiver removes them. Needs the operator role.
    Place(NewHold),
    /// Let the rules decide again about the rows: needs the operator role.
    Lift {
        /// The hold's id.
        id: uuid::Uuid,
        /// Why; kept with who and when.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
    },
}

/// `holds place`
#[derive(Debug, Args)]
pub struct NewHold {
    /// The logical database, such as `trading`.
    #[arg(long)]
    pub source: String,
    /// The table: `table`, or `schema.table`.
    #[arg(long)]
    pub table: String,
    /// The first instant it covers, RFC 3339 or epoch ms (default: since ever).
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    pub from: Option<serde_json::Value>,
    /// The first instant after it (default: for ever).
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    pub to: Option<serde_json::Value>,
    /// Why; kept with who and when.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,
}

/// `units`
#[derive(Debug, Args)]
pub struct Units {
    /// Only units of this logical database, such as `trading`.
    #[arg(long)]
    pub source: Option<String>,
    /// Only units of this table.
    #[arg(long)]
    pub table: Option<String>,
    /// Only units in this state, such as `quarantined`.
    #[arg(long)]
    pub state: Option<String>,
    /// Only units older than this one: the next page.
    #[arg(long, value_name = "UNIT")]
    pub before: Option<uuid::Uuid>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

/// `disposals`
#[derive(Debug, Args)]
pub struct Disposals {
    /// Only rows of this logical database, such as `trading`.
    #[arg(long)]
    pub source: Option<String>,
    /// Only rows of this table.
    #[arg(long)]
    pub table: Option<String>,
    /// Only what this job did.
    #[arg(long)]
    pub job: Option<JobName>,
    /// Only this action, such as `drop`.
    #[arg(long)]
    pub action: Option<String>,
    /// Only what was done with this unit.
    #[arg(long)]
    pub unit: Option<uuid::Uuid>,
    /// Only rows older than this one: the next page.
    #[arg(long, value_name = "ID")]
    pub before: Option<i64>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

impl Status {
    /// The word of the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Services are not to be asked without a pause.
fn parse_interval(text: &str) -> Result<std::time::Duration, String> {
    const SHORTEST: std::time::Duration = std::time::Duration::from_millis(200);
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < SHORTEST {
        return Err(format!("{text} is too short: at least {SHORTEST:?}"));
    }
    Ok(interval)
}

/// Epoch milliseconds are a number to the API; what any other text means is the service's to say.
#[expect(clippy::unnecessary_wraps, reason = "the shape of clap's parsers")]
fn parse_instant(text: &str) -> Result<serde_json::Value, std::convert::Infallible> {
    Ok(text
        .parse::<i64>()
        .map_or_else(|_not_a_number| text.into(), Into::into))
}

fn parse_param(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| format!("'{text}' is not KEY=VALUE"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_not_json| serde_json::Value::from(value));
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parameters_are_json_where_they_can_be() {
        let value = |text| parse_param(text).map(|(_, value)| value);
        assert_eq!(value("full=true"), Ok(json!(true)));
        assert_eq!(value("limit=10"), Ok(json!(10)));
        assert_eq!(value("token=USDC"), Ok(json!("USDC")));
        assert_eq!(value("token=\"10\""), Ok(json!("10")));
        assert_eq!(value("note=a=b"), Ok(json!("a=b")));
        assert!(value("full").is_err());
        assert!(value("=1").is_err());
    }

    #[test]
    fn what_is_watched_is_an_execution_or_a_job() {
        let watched = |text: &str| text.parse::<Watched>();
        assert!(matches!(
            watched("0199f5a0-0000-7000-8000-000000000001"),
            Ok(Watched::Execution(_))
        ));
        assert!(
            matches!(watched("reconciliation"), Ok(Watched::Job(job)) if job.as_str() == "reconciliation")
        );
        assert!(watched("no such/name").unwrap_err().contains("no such/name"));
        assert!(parse_interval("1ms").unwrap_err().contains("200ms"));
    }

    #[test]
    fn a_reason_is_required_and_not_empty() {
        for line in [
            &["eidosctl", "pause", "reconciliation"][..],
            &["eidosctl", "pause", "reconciliation", "--reason", ""],
            &["eidosctl", "pauses", "lift", "withdrawal", "USDC"],
            &["eidosctl", "pauses", "set", "withdrawal", "USDC"],
            &[
                "eidosctl",
                "breaks",
                "resolve",
                "0199f5a0-0000-7000-8000-000000000001",
            ],
            &[
                "eidosctl",
                "breaks",
                "write-off",
                "0199f5a0-0000-7000-8000-000000000001",
                "--reason",
                "",
            ],
            &[
                "eidosctl",
                "breaks",
                "assign",
                "0199f5a0-0000-7000-8000-000000000001",
            ],
            &[
                "eidosctl",
                "holds",
                "place",
                "--source",
                "risk",
                "--table",
                "eidos_risk_events",
            ],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
