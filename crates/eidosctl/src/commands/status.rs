//! `status`: every service in one table.

use std::io::{self, Write};

use anyhow::Result;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::Failure;
use crate::cli::Format;
use crate::environment::{Environment, Service};
use crate::output::{self, Column, Show};

const COLUMNS: &[Column] = &[
    ("SERVICE", "service", Show::Text),
    ("STATE", "state", Show::Text),
    ("RUNNING", "running", Show::Text),
    ("FAILED", "failed", Show::Text),
    ("PAUSED", "paused", Show::Text),
    ("JOBS", "jobs", Show::Text),
    ("URL", "url", Show::Text),
    ("WHY", "why", Show::Brief),
];

/// What is known of every service at one time.
pub(super) struct Overview {
    rows: Vec<Row>,
}

/// One service: whether it may be sent work, and its jobs.
struct Row {
    service: String,
    url: String,
    state: State,
    /// Why it is not ready, or why that or its jobs are not known. `None`: nothing is wrong.
    error: Option<anyhow::Error>,
    /// As the service lists them; empty where it did not.
    jobs: Vec<Value>,
}

/// Whether a service may be sent work, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Unreachable,
    /// It is ready, and did not tell about its jobs.
    JobsUnknown,
    NotReady,
    Ready,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Unreachable => "unreachable",
            Self::JobsUnknown => "jobs unknown",
        }
    }
}

/// Prints the table, and fails if anything is wrong in it.
pub(super) async fn run(environment: &Environment, format: Format, out: &mut dyn Write) -> Result<()> {
    let overview = Overview::of(environment).await;
    output::print(out, format, &overview.json(environment), |out, _| {
        overview.print(out)
    })?;
    overview.verdict()
}

impl Overview {
    /// Asks every service at once.
    pub(super) async fn of(environment: &Environment) -> Self {
        let rows = join_all(environment.services.iter().map(Row::of)).await;
        Self { rows }
    }

    /// Prints one line a service and a summary.
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<Value> = self.rows.iter().map(Row::cells).collect();
        output::list(out, &rows.into(), COLUMNS, "there is no service")?;
        writeln!(out, "\n{}", self.summary())
    }

    fn summary(&self) -> String {
        let ready = self.rows.iter().filter(|row| row.state == State::Ready).count();
        let jobs = |is: fn(&Value) -> bool| {
            self.rows
                .iter()
                .flat_map(|row| &row.jobs)
                .filter(|job| is(job))
                .count()
        };
        format!(
            "{ready} of {} services ready; jobs: {} running, {} whose last run failed, {} paused",
            self.rows.len(),
            jobs(is_running),
            jobs(has_failed),
            jobs(is_paused)
        )
    }

    /// Returns everything that is known, for scripts.
    pub(super) fn json(&self, environment: &Environment) -> Value {
        let services = self.rows.iter().map(|row| {
            let (state, why) = (row.state.as_str(), row.why());
            json!({ "service": row.service, "url": row.url, "state": state, "why": why, "jobs": row.jobs })
        });
        json!({ "profile": environment.profile, "services": services.collect::<Vec<_>>() })
    }

    /// Fails with everything that is wrong. The exit code is that of the worst: a service that is away weighs more than one
    /// that does not tell, that more than one that is not ready or a job that failed.
    fn verdict(&self) -> Result<()> {
        let wrong: Vec<String> = self.rows.iter().filter_map(Row::complaint).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let worst = self.rows.iter().min_by_key(|row| row.state);
        let failure = worst
            .filter(|row| row.state < State::NotReady)
            .and_then(|row| row.error.as_ref()?.downcast_ref());
        Err(Failure::Unwell {
            complaints: wrong.join("; "),
            code: failure.map_or(1, Failure::exit_code),
        }
        .into())
    }
}

impl Row {
    async fn of(service: &Service) -> Self {
        let client = &service.client;
        let (ready, jobs) = tokio::join!(
            client.get_outside(&["ready"]).send(),
            client.get(&["jobs"]).send()
        );
        let (listed, unlisted) = match jobs {
            Ok(jobs) => (output::items(&jobs).to_vec(), None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let (state, error) = match (ready, unlisted) {
            (Err(error), _) => (state_of(&error), Some(error)),
            (Ok(_), Some(error)) => (State::JobsUnknown, Some(error)),
            (Ok(_), None) => (State::Ready, None),
        };
        Self {
            service: service.name.clone(),
            url: client.base().to_string(),
            state,
            error,
            jobs: listed,
        }
    }

    /// The reason without the URL, which has a column of its own.
    fn why(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(match error.downcast_ref::<Failure>() {
            Some(Failure::Unreachable { reason, .. }) => reason.clone(),
            Some(Failure::Refused(problem)) => {
                problem.detail.clone().unwrap_or_else(|| problem.title.clone())
            }
            _ => format!("{error:#}"),
        })
    }

    fn names(&self, is: fn(&Value) -> bool) -> Vec<&str> {
        let chosen = self.jobs.iter().filter(|job| is(job));
        chosen.filter_map(|job| job["job"].as_str()).collect()
    }

    /// `None`: the service did not list them.
    fn jobs_listed(&self) -> Option<usize> {
        (!self.jobs.is_empty() || self.state == State::Ready).then_some(self.jobs.len())
    }

    fn cells(&self) -> Value {
        let names = |is| match self.names(is) {
            none if none.is_empty() => Value::Null,
            some => some.into(),
        };
        json!({
            "service": self.service, "url": self.url, "state": self.state.as_str(), "jobs": self.jobs_listed(),
            "running": names(is_running), "failed": names(has_failed), "paused": names(is_paused), "why": self.why(),
        })
    }

    /// `None`: nothing is wrong. A paused job is no fault: a person wanted it.
    fn complaint(&self) -> Option<String> {
        if self.state != State::Ready {
            let why = self.why().unwrap_or_default();
            return Some(format!("{}: {}: {why}", self.service, self.state.as_str()));
        }
        let failed = self.names(has_failed);
        (!failed.is_empty())
            .then(|| format!("{}: the last run of {} failed", self.service, failed.join(", ")))
    }
}

fn is_running(job: &Value) -> bool {
    job["running"] == true
}

fn is_paused(job: &Value) -> bool {
    job["paused"] == true
}

fn has_failed(job: &Value) -> bool {
    job.pointer("/last_execution/status")
        .is_some_and(|status| status == "failed")
}

/// What an answer of `/ready` that is no success says.
fn state_of(error: &anyhow::Error) -> State {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Refused(_)) => State::NotReady,
        _ => State::Unreachable,
    }
}
