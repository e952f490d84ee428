//! The start: connect, verify, refuse with the name and the fix.

use eidos_runtime::{JobEntry, ServiceDeps};

use crate::settings::RetentionSettings;

/// Builds the jobs of this service.
#[expect(clippy::unused_async, reason = "the jobs that follow connect here")]
pub(crate) async fn build(_deps: ServiceDeps<RetentionSettings>) -> anyhow::Result<Vec<JobEntry>> {
    Ok(Vec::new())
}
