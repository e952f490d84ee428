//! `dead-letters`: lists what could not be handled, and writes it back to its topic.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use eidos_bus::{BusError, DeadLetter, ReplayOptions, Topic, replay};
use eidos_settings::SuiteOnly;

use crate::{input, refuse, say};

/// The brokers did not answer, or refused.
const UNAVAILABLE: u8 = 69;

/// `dead-letters`
#[derive(Debug, Args)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the dead letters of a topic back to it, oldest first. Each is replayed once.
    Replay(Replay),
}

#[derive(Debug, Args)]
struct Replay {
    /// The topic that the messages were read from, such as order-cancelled.
    #[arg(long, value_parser = |name: &str| Topic::new(name))]
    topic: Topic,
    /// Write nothing: list the letters that would be replayed.
    #[arg(long)]
    dry_run: bool,
    /// At most this many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The settings file with the section kafka; environment variables `EIDOS__KAFKA__KEY` win over it.
    #[arg(long, env = eidos_settings::CONFIG_FILE_VARIABLE, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(options: &DeadLetters) -> ExitCode {
    let Action::Replay(options) = &options.action;
    let kafka = match eidos_settings::load::<SuiteOnly>(&input(options.config.as_deref())) {
        Ok(effective) => effective.suite.kafka,
        Err(errors) => return refuse(eidos_settings::EXIT_CODE, &errors.to_string()),
    };
    if !kafka.is_enabled() {
        let why =
            "kafka.brokers is empty: name the brokers in the settings file or in EIDOS__KAFKA__BROKERS\n";
        return refuse(eidos_settings::EXIT_CODE, why);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(1, &format!("no threads: {error}\n")),
    };
    let mut count = 0_u64;
    let each = |letter: &DeadLetter| {
        count += 1;
        say(&line(letter));
    };
    let how = ReplayOptions {
        dry_run: options.dry_run,
        limit: options.limit,
    };
    let outcome = runtime.block_on(replay(&kafka, &options.topic, how, each));
    let verb = if options.dry_run { "would be" } else { "were" };
    let summary = format!("{count} dead letters {verb} written back to {}\n", options.topic);
    match outcome {
        Ok(_) => say(&summary),
        Err(error) => {
            say(&summary);
            refuse(exit_code(&error), &format!("{error}\n"))
        }
    }
}

const fn exit_code(error: &BusError) -> u8 {
    match error {
        BusError::Settings { .. } => eidos_settings::EXIT_CODE,
        _ => UNAVAILABLE,
    }
}

/// Returns what an operator wants to know about a letter, on one line. Texts of others are quoted, so that they can hold
/// no control character.
fn line(letter: &DeadLetter) -> String {
    let mut line = format!("dead letter {}@{}", letter.partition, letter.offset);
    if let (Some(partition), Some(offset)) = (letter.original_partition, letter.original_offset) {
        let _infallible = write!(line, " from {partition}@{offset}");
    }
    let key = letter.key.as_deref().unwrap_or_default();
    let _infallible = writeln!(
        line,
        " key={key:?} group={:?} attempts={} replays={} reason={:?}",
        letter.group, letter.attempts, letter.replays, letter.reason
    );
    line
}
