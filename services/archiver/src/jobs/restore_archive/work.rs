//! [`Work`] and [`Done`]: what both ways of restoring a unit are given, and what they give back.

use eidos_archive_store::{ArchiveStore, Manifest};
use eidos_core::fence::ExternalFence;
use eidos_disposal::settings::DisposalSettings;
use eidos_runtime::JobContext;

use crate::store::triggers::Fired;
use crate::store::units::Exported;

/// What restoring one unit works with.
pub(crate) struct Work<'a> {
    pub(crate) ctx: &'a JobContext,
    pub(crate) fence: &'a ExternalFence,
    pub(crate) store: &'a ArchiveStore,
    pub(crate) disposal: &'a DisposalSettings,
    pub(crate) manifest: &'a Manifest,
    pub(crate) unit: &'a Exported,
}

/// Where the rows of a unit are after its restore.
pub(crate) struct Done {
    pub(crate) table: String,
    pub(crate) inserted: u64,
    /// What was disabled meanwhile.
    pub(crate) silenced: Vec<Fired>,
}
