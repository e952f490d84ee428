//! One file per noun; each command is a request and the way its answer is shown.

mod breaks;
mod executions;
mod jobs;
mod migrate;
mod pauses;
mod suite_program;
mod trigger;

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::session::Session;

/// Runs the command and prints its answer to `out`.
pub(crate) async fn run(cli: Cli, out: &mut dyn Write) -> Result<()> {
    let format = cli.common.format;
    if let Command::Migrate(options) = cli.command {
        return migrate::run(&options, format, out).await;
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
    let client = Client::new(&cli.common)?;
    let mut session = Session { client, format, out };
    let session = &mut session;
    match cli.command {
        // Answered above: they need no API.
        Command::Migrate(_)
        | Command::CheckConfig(_)
        | Command::DeadLetters(_)
        | Command::Completions { .. } => Ok(()),
        Command::Jobs => jobs::list(session).await,
        Command::Pause(options) => jobs::set_paused(session, &options, true).await,
        Command::Resume(options) => jobs::set_paused(session, &options, false).await,
        Command::Report { job } => jobs::report(session, &job).await,
        Command::Trigger(options) => trigger::run(session, &options).await,
        Command::Executions(options) => executions::list(session, &options).await,
        Command::Execution { id } => executions::show(session, id).await,
        Command::Cancel { id } => executions::cancel(session, id).await,
        Command::Breaks(options) => breaks::run(session, &options).await,
        Command::Pauses(options) => pauses::run(session, &options).await,
    }
}
