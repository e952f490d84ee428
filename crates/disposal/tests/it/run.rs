//! [`Run`]: a run of a job, and what it disposes with.

use eidos_archive_store::ArchiveStore;
use eidos_core::fence::ExternalFence;
use eidos_disposal::partition::{DropQuota, PartitionDisposal, PartitionPolicy, Recovered};
use eidos_disposal::settings::DisposalSettings;
use eidos_runtime::JobContext;

use crate::fixture::TABLE;

/// One run of the job.
pub(crate) struct Run {
    pub(crate) ctx: JobContext,
    pub(crate) external: ExternalFence,
    pub(crate) quota: DropQuota,
    pub(crate) policy: PartitionPolicy,
    pub(crate) store: Option<ArchiveStore>,
    pub(crate) settings: DisposalSettings,
}

impl Run {
    pub(crate) fn disposal(&self) -> PartitionDisposal<'_> {
        PartitionDisposal {
            ctx: &self.ctx,
            external: &self.external,
            store: self.store.as_ref(),
            settings: &self.settings,
            policy: self.policy.clone(),
            quota: &self.quota,
        }
    }

    /// Without an export.
    pub(crate) fn unarchived(mut self) -> Self {
        self.policy.archive = None;
        self
    }

    /// Goes no further than `frozen`: nowhere to export to.
    pub(crate) fn without_store(mut self) -> Self {
        self.store = None;
        self
    }

    pub(crate) fn with_quarantine_days(mut self, days: u32) -> Self {
        self.policy.quarantine_days = days;
        self
    }

    pub(crate) async fn recover(&self) -> Vec<Recovered> {
        self.disposal().recover(&TABLE.parse().unwrap()).await.unwrap()
    }
}
