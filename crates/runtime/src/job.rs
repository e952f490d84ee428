//! [`Job`]: what a service writes; [`JobEntry`]: how the runtime holds it.

use std::future::Future;
use std::sync::Arc;

use eidos_settings::CronLine;
use eidos_types::SlotRange;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{JobContext, JobError, Observation};

/// One scheduled job. Its settings live in its own fields; what differs between runs arrives as parameters.
pub trait Job: Send + Sync + 'static {
    /// The name in SQL, metrics, alerts, URLs and runbooks: kebab-case, 1–100 characters.
    const NAME: &'static str;
    /// What a caller may ask of one run. Give it `#[serde(deny_unknown_fields, default)]`: a parameter that is not
    /// understood is answered with 422 before anything is written.
    type Params: DeserializeOwned + Serialize + Default + Send + Sync;
    /// What the run found and did: stored with the execution, logged, shown by the API.
    type Report: Serialize + Send;

    /// Parameters of a scheduled run, derived from the slots it covers, never from the current time.
    fn scheduled_params(&self, slots: &SlotRange) -> Self::Params {
        let _ = slots;
        Self::Params::default()
    }

    /// Further cron lines that also make this job due, such as `full_cron`.
    fn extra_schedules(&self) -> Vec<CronLine> {
        Vec::new()
    }

    /// Rules that the type of the parameters cannot express.
    ///
    /// # Errors
    /// A sentence for the caller: which parameter, which value, what is allowed.
    fn validate_params(&self, params: &Self::Params) -> Result<(), String> {
        let _ = params;
        Ok(())
    }

    /// One attempt. It is cancelled through `ctx` and is expected to return soon after; it commits its work through
    /// [`JobContext::step`] and continues from its checkpoint when it is called again.
    fn run(
        &self,
        ctx: &JobContext,
        params: Self::Params,
    ) -> impl Future<Output = Result<Self::Report, JobError>> + Send;

    /// The only place for gauges of what is true, as opposed to counts of what this run did. Called in every replica, at its start and every `scheduler.observe_interval`: an alert must not
    /// hang on a replica that has not run the job for a month, nor be forgotten by a restart. Reads only.
    fn observe(&self, seen: &Observation<'_>) -> impl Future<Output = Result<(), JobError>> + Send {
        let _ = seen;
        std::future::ready(Ok(()))
    }

    /// Creates the counters and histograms that are this job's own, at zero, once at the start of each replica. A series that
    /// first appears with its first event shows no increase, and its panel is empty until then.
    fn series_from_zero(&self) {}

    /// The report as a person reads it on a terminal. JSON is always available beside it.
    fn render(&self, report: &Self::Report) -> String;
}

/// A report in both its forms.
#[derive(Debug, Clone)]
pub(crate) struct RunReport {
    pub(crate) json: Value,
    pub(crate) rendered: String,
}

/// Beside the keys of a stored report: what the job printed. A later release, or another service, need not know the
/// report's type to show it.
const RENDERED: &str = "_rendered";
/// Longer texts are not stored, bytes: the report itself has everything.
const MAX_RENDERED_BYTES: usize = 256 * 1024;

impl RunReport {
    /// The report as it is stored with the execution.
    pub(crate) fn stored(&self) -> Value {
        let mut json = self.json.clone();
        if let Value::Object(keys) = &mut json
            && self.rendered.len() <= MAX_RENDERED_BYTES
        {
            keys.insert(RENDERED.to_owned(), Value::String(self.rendered.clone()));
        }
        json
    }
}

/// Takes what the job printed out of a stored report.
pub fn take_rendered(stored: &mut Value) -> Option<String> {
    match stored.as_object_mut()?.remove(RENDERED)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A job of any type, ready to be scheduled.
#[derive(Clone)]
pub struct JobEntry {
    name: &'static str,
    job: Arc<dyn ErasedJob>,
}

impl JobEntry {
    /// Registers `job`. Its settings block is `jobs.<NAME>`.
    pub fn new<J: Job>(job: J) -> Self {
        Self {
            name: J::NAME,
            job: Arc::new(Erased(job)),
        }
    }

    /// The job's name as it was declared.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn extra_schedules(&self) -> Vec<CronLine> {
        self.job.extra_schedules()
    }

    pub(crate) fn scheduled_params(&self, slots: &SlotRange) -> Result<Value, JobError> {
        self.job.scheduled_params(slots)
    }

    /// Whether `params` are what this job understands; the sentence says why not.
    pub fn check_params(&self, params: &Value) -> Result<(), String> {
        self.job.check_params(params)
    }

    pub(crate) fn run<'a>(
        &'a self,
        ctx: &'a JobContext,
        params: Value,
    ) -> BoxFuture<'a, Result<RunReport, JobError>> {
        self.job.run(ctx, params)
    }

    pub(crate) fn observe<'a>(&'a self, seen: &'a Observation<'_>) -> BoxFuture<'a, Result<(), JobError>> {
        self.job.observe(seen)
    }

    pub(crate) fn series_from_zero(&self) {
        self.job.series_from_zero();
    }
}

impl std::fmt::Debug for JobEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("JobEntry").field(&self.name).finish()
    }
}

trait ErasedJob: Send + Sync {
    fn extra_schedules(&self) -> Vec<CronLine>;
    fn scheduled_params(&self, slots: &SlotRange) -> Result<Value, JobError>;
    fn check_params(&self, params: &Value) -> Result<(), String>;
    fn run<'a>(&'a self, ctx: &'a JobContext, params: Value) -> BoxFuture<'a, Result<RunReport, JobError>>;
    fn observe<'a>(&'a self, seen: &'a Observation<'_>) -> BoxFuture<'a, Result<(), JobError>>;
    fn series_from_zero(&self);
}

struct Erased<J>(J);

impl<J: Job> Erased<J> {
    fn params(params: &Value) -> Result<J::Params, String> {
        match params {
            Value::Null => Ok(J::Params::default()),
            // serde reads a struct from an array too, by position: a caller who sends one is mistaken.
            Value::Object(_) => J::Params::deserialize(params).map_err(|error| error.to_string()),
            _ => Err("the parameters must be a JSON object".to_owned()),
        }
    }
}

impl<J: Job> ErasedJob for Erased<J> {
    fn extra_schedules(&self) -> Vec<CronLine> {
        self.0.extra_schedules()
    }

    fn scheduled_params(&self, slots: &SlotRange) -> Result<Value, JobError> {
        serde_json::to_value(self.0.scheduled_params(slots)).map_err(JobError::fail)
    }

    fn check_params(&self, params: &Value) -> Result<(), String> {
        self.0.validate_params(&Self::params(params)?)
    }

    fn run<'a>(&'a self, ctx: &'a JobContext, params: Value) -> BoxFuture<'a, Result<RunReport, JobError>> {
        async move {
            let params = Self::params(&params).map_err(JobError::fail)?;
            let report = self.0.run(ctx, params).await?;
            let json = serde_json::to_value(&report).map_err(JobError::fail)?;
            let rendered = self.0.render(&report);
            Ok(RunReport { json, rendered })
        }
        .boxed()
    }

    fn observe<'a>(&'a self, seen: &'a Observation<'_>) -> BoxFuture<'a, Result<(), JobError>> {
        self.0.observe(seen).boxed()
    }

    fn series_from_zero(&self) {
        self.0.series_from_zero();
    }
}
