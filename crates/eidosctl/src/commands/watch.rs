//! `watch`: follows a run until it ends, or the state of every service.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use eidos_types::{Clock as _, JobName, SystemClock};
use serde_json::Value;
use tokio::time::Instant;

use super::poll::{self, Poll};
use super::status::Overview;
use super::{executions, jobs};
use crate::Failure;
use crate::cli::{Format, Watch, Watched};
use crate::client::Client;
use crate::environment::{Environment, Owner};
use crate::output::{self, Show};

/// Empties the terminal's screen and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// Goes to the beginning of the line and empties it.
const ERASE_LINE: &str = "\r\x1b[2K";
/// The speed is that of the last looks within this time.
const SPEED_WINDOW: Duration = Duration::from_secs(10);

pub(super) async fn run(
    environment: &Environment,
    options: &Watch,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    let (client, id) = match &options.what {
        None => return services(environment, options, format, out).await,
        Some(Watched::Execution(id)) => (environment.owner(Owner::Execution(*id)).await?, id.to_string()),
        Some(Watched::Job(job)) => {
            let client = environment.owner(Owner::Job(job)).await?;
            let id = run_of(&client, job, options).await?;
            (client, id)
        }
    };
    let mut follower = Follower {
        format,
        // A person sees one line that changes, a log one line a change.
        is_live: format == Format::Table && output::is_terminal(),
        last: None,
        speed: Speed::default(),
    };
    let poll = Poll::new(&client, options.interval, options.timeout);
    let ended = poll
        .until_the_end(&id, |execution| follower.show(execution, out))
        .await;
    if follower.is_live {
        write!(out, "{ERASE_LINE}")?;
        out.flush()?;
    }
    let execution = ended?;
    if format == Format::Table {
        executions::print(out, &execution)?;
    }
    poll::verdict(&execution)
}

/// Shows the state of every service until the time is over.
async fn services(
    environment: &Environment,
    options: &Watch,
    format: Format,
    out: &mut dyn Write,
) -> Result<()> {
    let until = Instant::now() + options.timeout;
    let is_live = format == Format::Table && output::is_terminal();
    loop {
        let overview = Overview::of(environment).await;
        match format {
            Format::Json => writeln!(out, "{}", overview.json(environment))?,
            Format::Table => {
                let now = output::instant_text(SystemClock::default().now());
                let clear = if is_live { CLEAR } else { "" };
                writeln!(out, "{clear}{}, {now}\n", environment.name())?;
                overview.print(out)?;
            }
        }
        out.flush()?;
        if Instant::now() + options.interval > until {
            return Ok(());
        }
        tokio::time::sleep(options.interval).await;
    }
}

/// Returns the run of the job that is at work or requested; if there is none, waits for the next one.
async fn run_of(client: &Client, job: &JobName, options: &Watch) -> Result<String> {
    let until = Instant::now() + options.timeout;
    let mut before: Option<Option<String>> = None;
    loop {
        let answer = jobs::fetch(client, job).await?;
        let last = answer
            .pointer("/last_execution/execution_id")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned);
        let status = answer.pointer("/last_execution/status").and_then(Value::as_str);
        let is_new = before.as_ref().is_some_and(|before| *before != last);
        if is_new || matches!(status, Some("pending" | "running")) {
            return last.context("the service says that a run has a status and not which one it is");
        }
        if before.is_none() {
            let next = output::field_text(&answer, "next_run_at", Show::Instant);
            // Standard output is for the run itself. Nothing is left to do if standard error is closed.
            let _ = writeln!(
                std::io::stderr(),
                "{job} does not run; waiting for the next run (next slot: {next})"
            );
        }
        before = Some(last);
        if Instant::now() + options.interval > until {
            return Err(Failure::NothingRan {
                job: job.to_string(),
                waited: options.timeout,
            }
            .into());
        }
        tokio::time::sleep(options.interval).await;
    }
}

/// Shows each look at a run that differs from the one before.
struct Follower {
    format: Format,
    is_live: bool,
    /// What was shown last.
    last: Option<String>,
    speed: Speed,
}

impl Follower {
    fn show(&mut self, execution: &Value, out: &mut dyn Write) -> Result<()> {
        let line = match self.format {
            Format::Json => execution.to_string(),
            Format::Table => {
                let done = execution.pointer("/progress/done").and_then(Value::as_u64);
                let per_second = done.and_then(|done| self.speed.of(Instant::now(), done));
                progress_line(execution, per_second)
            }
        };
        if self.is_live {
            let width = output::terminal_width().unwrap_or(80).saturating_sub(1);
            let shown: String = line.chars().take(width).collect();
            write!(out, "{ERASE_LINE}{shown}")?;
        } else if self.last.as_ref() != Some(&line) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        self.last = Some(line);
        Ok(())
    }
}

/// How fast a run gets on.
#[derive(Debug, Default)]
struct Speed {
    looks: VecDeque<(Instant, u64)>,
}

impl Speed {
    /// Adds a look and returns the whole units a second. `None`: there is nothing to compare with, or it is less than one.
    fn of(&mut self, now: Instant, done: u64) -> Option<u64> {
        // A run that begins anew, after a restart, is a new measurement.
        if self.looks.back().is_some_and(|(_, before)| *before > done) {
            self.looks.clear();
        }
        self.looks.push_back((now, done));
        while self.looks.len() > 2 && now.duration_since(self.looks[0].0) > SPEED_WINDOW {
            self.looks.pop_front();
        }
        let (then, before) = *self.looks.front()?;
        let elapsed_ms = now.duration_since(then).as_millis();
        let thousandths = u128::from(done.saturating_sub(before)) * 1000;
        let per_second = thousandths.checked_div(elapsed_ms)?;
        u64::try_from(per_second)
            .ok()
            .filter(|per_second| *per_second > 0)
    }
}

/// `reconciliation 0199…  running  1,200 of 10,000 (12 %)  350/s  25s left`
fn progress_line(execution: &Value, per_second: Option<u64>) -> String {
    let text = |field| output::field_text(execution, field, Show::Text);
    let mut parts = vec![
        format!("{} {}", text("job"), text("execution_id")),
        text("status"),
    ];
    let number = |pointer| execution.pointer(pointer).and_then(Value::as_u64);
    if let Some(done) = number("/progress/done") {
        let total = number("/progress/total").filter(|total| *total > 0);
        parts.push(match total {
            Some(total) => {
                let percent = u128::from(done) * 100 / u128::from(total);
                format!("{} of {} ({percent} %)", grouped(done), grouped(total))
            }
            None => format!("{} done", grouped(done)),
        });
        if let Some(per_second) = per_second {
            parts.push(format!("{}/s", grouped(per_second)));
            parts.extend(total.and_then(|total| time_left(total.saturating_sub(done), per_second)));
        }
    }
    parts.join("  ")
}

/// `1m 15s left`
fn time_left(units: u64, per_second: u64) -> Option<String> {
    let seconds = units.div_ceil(per_second.max(1));
    (seconds > 0).then(|| {
        format!(
            "{} left",
            humantime::format_duration(Duration::from_secs(seconds))
        )
    })
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let run = |progress: Value| json!({ "job": "archive-data", "execution_id": "e1", "status": "running", "progress": progress });
        for (progress, per_second, says) in [
            (Value::Null, None, "archive-data e1  running"),
            (
                json!({ "done": 1200, "total": null }),
                Some(3),
                "archive-data e1  running  1,200 done  3/s",
            ),
            (
                json!({ "done": 250, "total": 1000 }),
                Some(10),
                "archive-data e1  running  250 of 1,000 (25 %)  10/s  1m 15s left",
            ),
            (
                json!({ "done": 7, "total": 0 }),
                None,
                "archive-data e1  running  7 done",
            ),
        ] {
            assert_eq!(progress_line(&run(progress), per_second), says);
        }
    }

    #[test]
    fn the_speed_is_of_the_last_looks_and_of_this_run() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut speed = Speed::default();
        assert_eq!(speed.of(at(0), 0), None);
        assert_eq!(speed.of(at(1), 100), Some(100));
        assert_eq!(speed.of(at(2), 100), Some(50));
        assert_eq!(speed.of(at(30), 100), None);
        assert_eq!(speed.of(at(31), 5), None);
        assert_eq!(speed.of(at(32), 15), Some(10));
    }

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
