//! [`Work`] and [`Done`]: what both ways of restoring a unit are given, and what they give back.

use eidos_archive_store::{ArchiveStore, Manifest};
use eidos_core::fence::ForeignFence;
use eidos_disposal::settings::DisposalSettings;
use eidos_runtime::JobContext;

use super::triggers::Fired;
use crate::store::units::Exported;

/// What restoring one unit works with.
pub(super) struct Work<'a> {
    pub(super) ctx: &'a JobContext,
    pub(super) fence: &'a ForeignFence,
    pub(super) store: &'a ArchiveStore,
    pub(super) disposal: &'a DisposalSettings,
    pub(super) manifest: &'a Manifest,
    pub(super) unit: &'a Exported,
}

/// Where the rows of a unit are after its restore.
pub(super) struct Done {
    pub(super) table: String,
    pub(super) inserted: u64,
    /// What was disabled meanwhile.
    pub(super) silenced: Vec<Fired>,
}
