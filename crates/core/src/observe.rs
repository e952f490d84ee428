//! What the guards count, through the suite's one catalogue of metrics.

use eidos_telemetry::metric;
use eidos_types::JobName;

pub(crate) fn slot_claim(job: &JobName, result: &'static str) {
    metric::slot_claim(job.as_str(), result);
}

pub(crate) fn fenced_write(job: &JobName) {
    metric::fence_rejected(job.as_str());
}

pub(crate) fn orphans_closed(job: &JobName, count: u64) {
    metric::executions_orphaned(job.as_str(), count);
}
