//! The service under test: jobs that behave, fail, panic, wait and ignore.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use eidos_runtime::{Job, JobContext, JobEntry, JobError, Observation, Parts, ServiceDeps, Start};
use eidos_server::ServiceDefinition;
use eidos_settings::{NoOptions, ServiceSettings};
use eidos_types::SlotRange;
use futures::FutureExt;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SmallSettings {}

impl ServiceSettings for SmallSettings {
    const DEFAULTS: &'static str = include_str!("small_service.yaml");
    type Options = NoOptions;
}

pub(crate) fn definition() -> ServiceDefinition<SmallSettings> {
    ServiceDefinition {
        commands: &[],
        queries: &[],
        name: "small-svc",
        about: "test",
        start: Start::Connected,
        build: |_deps: ServiceDeps<SmallSettings>| {
            async {
                let jobs = vec![
                    JobEntry::new(Fine),
                    JobEntry::new(Observed),
                    JobEntry::new(EverySecond),
                    JobEntry::new(Flaky),
                    JobEntry::new(Hopeless),
                    JobEntry::new(Panics),
                    JobEntry::new(Waits),
                    JobEntry::new(Deaf),
                    JobEntry::new(Writes),
                    JobEntry::new(Unlocked),
                    JobEntry::new(Slow),
                ];
                Ok(Parts {
                    jobs,
                    workers: Vec::new(),
                })
            }
            .boxed()
        },
        reports: None,
        openapi: None,
        routes: Some(|_deps| {
            axum::Router::new().route(
                "/v1/things",
                axum::routing::get(async || "things").post(async || "made"),
            )
        }),
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Params {
    note: Option<String>,
    from_slots: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    slot: String,
    note: Option<String>,
    attempt: u32,
    dry_run: bool,
}

fn report(ctx: &JobContext, params: Params) -> Report {
    Report {
        slot: ctx.slot().to_string(),
        note: params.note.or(params.from_slots),
        attempt: ctx.attempt(),
        dry_run: ctx.dry_run(),
    }
}

macro_rules! job {
    ($name:ident = $job:literal, $ctx:ident, $params:ident => $body:expr) => {
        pub(crate) struct $name;

        impl Job for $name {
            const NAME: &'static str = $job;
            type Params = Params;
            type Report = Report;

            fn scheduled_params(&self, slots: &SlotRange) -> Params {
                Params {
                    from_slots: Some(format!("upto {}", slots.upto)),
                    ..Params::default()
                }
            }

            fn validate_params(&self, params: &Params) -> Result<(), String> {
                match &params.note {
                    Some(note) if note == "refuse" => Err("note must not be 'refuse'".to_owned()),
                    _ => Ok(()),
                }
            }

            async fn run(&self, $ctx: &JobContext, $params: Params) -> Result<Report, JobError> {
                $body
            }

            fn render(&self, report: &Report) -> String {
                format!("slot {}", report.slot)
            }
        }
    };
}

/// What each look of [`Observed`] found, per jobs database.
pub(crate) static SEEN: Mutex<BTreeMap<String, Vec<Option<String>>>> = Mutex::new(BTreeMap::new());

/// Its gauges are the note of the last run.
pub(crate) struct Observed;

#[derive(Deserialize)]
struct LastNote {
    note: String,
}

impl Job for Observed {
    const NAME: &'static str = "observed";
    type Params = Params;
    type Report = Report;

    async fn run(&self, ctx: &JobContext, params: Params) -> Result<Report, JobError> {
        let report = report(ctx, params);
        if report.note.as_deref() == Some("fails") {
            return Err(JobError::fail("as asked").with_report(&report, String::new()));
        }
        Ok(report)
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        let last = seen.last_report::<LastNote>().await?;
        let options = seen.jobs_db().read().connect_options();
        let database = options.get_database().unwrap_or_default().to_owned();
        let mut all = SEEN.lock().unwrap();
        all.entry(database).or_default().push(last.map(|last| last.note));
        Ok(())
    }

    fn render(&self, report: &Report) -> String {
        format!("slot {}", report.slot)
    }
}

job!(Fine = "fine", ctx, params => Ok(report(ctx, params)));
job!(EverySecond = "every-second", ctx, params => Ok(report(ctx, params)));
job!(Unlocked = "unlocked", ctx, params => Ok(report(ctx, params)));
job!(Slow = "slow", ctx, params => {
    ctx.unless_cancelled(tokio::time::sleep(Duration::from_millis(2500))).await?;
    Ok(report(ctx, params))
});
job!(Flaky = "flaky", ctx, params => {
    if ctx.attempt() < 3 {
        return Err(JobError::retry("the neighbour is away"));
    }
    Ok(report(ctx, params))
});
job!(Hopeless = "hopeless", _ctx, _params => Err(JobError::retry("the neighbour stays away")));
job!(Panics = "panics", ctx, params => {
    assert!(params.note.as_deref() == Some("calm"), "index out of patience");
    Ok(report(ctx, params))
});
job!(Waits = "waits", ctx, params => {
    ctx.progress(3, Some(10));
    ctx.unless_cancelled(std::future::pending::<()>()).await?;
    Ok(report(ctx, params))
});
job!(Deaf = "deaf", ctx, params => {
    std::future::pending::<()>().await;
    Ok(report(ctx, params))
});
job!(Writes = "writes", ctx, params => {
    let before: u64 = ctx.load_checkpoint("count").await?.unwrap_or(0);
    if !ctx.dry_run() || params.note.as_deref() == Some("write anyway") {
        let mut step = ctx.step().await?;
        step.save_checkpoint("count", &(before + 1)).await?;
        step.commit().await?;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(report(ctx, params))
});
