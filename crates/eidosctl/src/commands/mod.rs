//! One file per noun; each command is a request and the way its answer is shown.

mod alerts;
mod audit;
mod breaks;
mod database;
mod disposals;
mod executions;
mod holds;
mod jobs;
mod migrate;
mod pauses;
mod poll;
mod prepare;
mod status;
mod suite_program;
mod trigger;
mod units;
mod watch;

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory as _;

use crate::cli::{AuditCommand, Cli, Command, Format};
use crate::environment::{Environment, Owner};
use crate::session::Session;

/// Runs the command and prints its answer to `out`.
pub(crate) async fn run(cli: Cli, out: &mut dyn Write) -> Result<()> {
    let format = cli.common.format;
    if let Command::Migrate(options) = cli.command {
        return migrate::run(&options, format, out).await;
    }
    if let Command::Prepare(options) = cli.command {
        return prepare::run(&options, format, out).await;
    }
    if let Command::Audit(options) = &cli.command {
        let AuditCommand::Verify(options) = &options.command;
        return audit::verify(options, format, out).await;
    }
    if let Command::CheckConfig(options) = &cli.command {
        return suite_program::check_config(options);
    }
    if let Command::DeadLetters(options) = cli.command {
        return suite_program::dead_letters(options);
    }
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "eidosctl", out);
        return Ok(());
    }
    let environment = Environment::new(&cli.common)?;
    let client = match owner(&cli.command) {
        None => return ask_all(&environment, &cli.command, format, out).await,
        Some(owner) => environment.owner(owner).await?,
    };
    let mut session = Session { client, format, out };
    ask_one(&mut session, cli.command).await
}

/// Returns the service that the command is for. `None`: it is for all, or for none.
const fn owner(command: &Command) -> Option<Owner<'_>> {
    Some(match command {
        Command::Migrate(_)
        | Command::Prepare(_)
        | Command::Audit(_)
        | Command::CheckConfig(_)
        | Command::DeadLetters(_)
        | Command::Completions { .. }
        | Command::Status
        | Command::Watch(_)
        | Command::Alerts(_)
        | Command::Jobs => return None,
        Command::Pause(options) | Command::Resume(options) => Owner::Job(&options.job),
        Command::Report { job } => Owner::Job(job),
        Command::Trigger(options) => Owner::Job(&options.job),
        Command::Executions(options) => Owner::Job(&options.job),
        Command::Execution { id } | Command::Cancel { id } => Owner::Execution(*id),
        Command::Breaks(_) | Command::Pauses(_) => Owner::Named("recon-svc"),
        Command::Holds(_) | Command::Units(_) | Command::Disposals(_) => Owner::Named("retention-manager"),
    })
}

async fn ask_all(
    environment: &Environment,
    command: &Command,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    match command {
        Command::Status => status::run(environment, format, out).await,
        Command::Watch(options) => watch::run(environment, options, format, out).await,
        Command::Alerts(options) => alerts::run(environment, options, format, out).await,
        _ => jobs::list(environment, format, out).await,
    }
}

async fn ask_one(session: &mut Session<'_>, command: Command) -> Result<()> {
    match command {
        Command::Pause(options) => jobs::set_paused(session, &options, true).await,
        Command::Resume(options) => jobs::set_paused(session, &options, false).await,
        Command::Report { job } => jobs::report(session, &job).await,
        Command::Trigger(options) => trigger::run(session, &options).await,
        Command::Executions(options) => executions::list(session, &options).await,
        Command::Execution { id } => executions::show(session, id).await,
        Command::Cancel { id } => executions::cancel(session, id).await,
        Command::Breaks(options) => breaks::run(session, &options).await,
        Command::Pauses(options) => pauses::run(session, &options).await,
        Command::Holds(options) => holds::run(session, &options).await,
        Command::Units(options) => units::list(session, &options).await,
        Command::Disposals(options) => disposals::list(session, &options).await,
        // Answered before: they ask all services, or none.
        Command::Migrate(_)
        | Command::Prepare(_)
        | Command::Audit(_)
        | Command::CheckConfig(_)
        | Command::DeadLetters(_)
        | Command::Completions { .. }
        | Command::Status
        | Command::Watch(_)
        | Command::Alerts(_)
        | Command::Jobs => Ok(()),
    }
}
