//! A monthly partition, from attached to dropped.
//!
//! [`PartitionDisposal::advance`] takes one unit as far as it may go now, from whatever state it is in:
//!
//! | state | what was done | a crash right after leaves | and the next run |
//! |---|---|---|---|
//! | planned | a row | perhaps both freeze triggers | freezes, which finds them |
//! | frozen | nobody can write, everybody can read | the same | goes on |
//! | exporting | announced | parts in the unit's folder | discards the folder, begins a new unit |
//! | verified | the export was read back and equals the rows | perhaps a detached partition | looks where the table is, goes on from there |
//! | quarantined | detached, in `eidos_quarantine` | the same | waits for `drop_after_ms` |
//! | dropping | announced; the export was read again | perhaps no table | table gone: dropped; table there: proves again |
//! | dropped | gone | the same | nothing |
//!
//! The rows are compared with the export for the last time under the lock that the DROP runs under, in its
//! transaction: between the proof and the act there is no moment.
//!
//! Rows that change in spite of the freeze (somebody removed the trigger) are found by that comparison. An object that
//! was cut, swapped or edited is found by reading the export in full just before. Then nothing is dropped, an alert is
//! raised, and a person decides.

use std::sync::atomic::{AtomicU32, Ordering};

use eidos_archive_store::{ArchiveFormat, ArchiveStore};
use eidos_core::fence::ExternalFence;
use eidos_plan::Approval;
use eidos_runtime::JobContext;
use eidos_settings::SourceName;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use crate::DisposalError;
use crate::catalogue::{self, Relation, Whereabouts};
use crate::lifecycle::Lifecycle;
use crate::settings::DisposalSettings;
use crate::unit::{Unit, UnitState};

mod attach;
mod begin;
mod checks;
mod copy;
mod detach;
mod erase;
mod failed;
mod finalize;
mod fitness;
mod freeze;
mod identity;
pub(crate) mod locks;
mod recover;
mod undo;

pub(crate) use begin::of_another_job;
pub use checks::server_is_ready;
pub use failed::failed_before;
pub use fitness::{locks_to_drop, locks_to_leave, may_be_dropped, may_leave, notes_on_leaving, room};
pub use identity::PartitionIdentity;
pub use locks::{Attempts, try_lock};
pub use recover::Recovered;
pub use undo::{UndoRequest, Undone, unit_to_undo};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What the settings say about a table's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionPolicy {
    /// Its database.
    pub source: SourceName,
    /// The format of the export; `None`: partitions go without one.
    pub archive: Option<ArchiveFormat>,
    /// Days a detached partition rests before it is dropped.
    pub quarantine_days: u32,
    /// Tables whose holds keep these partitions too, by the same times: the one their rows came from.
    pub held_with: Vec<Relation>,
}

/// How many partitions one run may still drop, all tables together.
#[derive(Debug)]
pub struct DropQuota(AtomicU32);

impl DropQuota {
    /// `disposal.drops_per_run`.
    #[must_use]
    pub const fn new(drops: u32) -> Self {
        Self(AtomicU32::new(drops))
    }

    /// Takes one, if there is one.
    fn take(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }
}

/// The means to dispose of a table's partitions in one run.
#[derive(Debug)]
pub struct PartitionDisposal<'a> {
    /// The run.
    pub ctx: &'a JobContext,
    /// Its right to write to the table's database.
    pub external: &'a ExternalFence,
    /// Where exports go; `None`: tables that are archived are refused.
    pub store: Option<&'a ArchiveStore>,
    /// Section `disposal`.
    pub settings: &'a DisposalSettings,
    /// The table's rules.
    pub policy: PartitionPolicy,
    /// Shared by all tables of the run.
    pub quota: &'a DropQuota,
}

/// How far a unit came.
#[derive(Debug, Clone)]
pub struct UnitOutcome {
    /// Its row as it is now.
    pub unit: Unit,
    /// What was done in this call, in order: `freeze`, `export`, `quarantine`, `drop`, ...
    pub acts: Vec<&'static str>,
    /// Why it went no further, if it is not done.
    pub waiting: Option<Waiting>,
}

/// What a unit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The end of its quarantine, epoch ms.
    Until(i64),
    /// A run that may still drop something.
    Quota,
}

impl PartitionDisposal<'_> {
    /// Takes the partition of a plan's item as far as it may go now.
    ///
    /// # Errors
    /// [`DisposalError::Refused`] says what is not as it must be, [`DisposalError::Store`] what is wrong with the
    /// export, [`DisposalError::Busy`] that the table was in use; nothing was removed in all of them.
    /// [`DisposalError::ends_the_run`] tells whether other tables may still be tried.
    pub async fn advance(
        &self,
        identity: &PartitionIdentity,
        approval: &Approval,
    ) -> Result<UnitOutcome, DisposalError> {
        // Boxed: what awaits it stays small.
        let outcome = Box::pin(async {
            let unit = self.unit_for(identity, approval).await?;
            self.drive(unit).await
        });
        self.lifecycle().counted(&identity.table.plain(), outcome.await)
    }

    /// Takes a unit that is on its way as far as it may go now: one that rests in quarantine is in no plan's catalogue.
    ///
    /// # Errors
    /// As [`PartitionDisposal::advance`].
    pub async fn resume(&self, unit: Unit) -> Result<UnitOutcome, DisposalError> {
        let table = unit.table.plain();
        let outcome = Box::pin(async {
            let unit = self.restarted(unit).await?;
            self.drive(unit).await
        });
        self.lifecycle().counted(&table, outcome.await)
    }

    async fn drive(&self, mut unit: Unit) -> Result<UnitOutcome, DisposalError> {
        let mut acts = Vec::new();
        let mut waiting = None;
        while !unit.state.is_final() && waiting.is_none() {
            self.ctx.check_cancelled()?;
            let stepped = match unit.state {
                UnitState::Planned => self.freeze(&unit).await.map(|next| (next, Some("freeze"))),
                UnitState::Frozen if unit.archived => {
                    self.mark_exporting(&unit).await.map(|next| (next, None))
                }
                UnitState::Exporting => self.export(&unit).await.map(|next| (next, Some("export"))),
                UnitState::Frozen | UnitState::Verified => self
                    .quarantine(&unit)
                    .await
                    .map(|next| (next, Some("quarantine"))),
                UnitState::Quarantined | UnitState::Dropping => {
                    waiting = self.may_drop(&unit);
                    if waiting.is_some() {
                        continue;
                    }
                    self.drop_proved(&unit).await.map(|next| (next, Some("drop")))
                }
                UnitState::Deleting | UnitState::Dropped | UnitState::Deleted | UnitState::Abandoned => {
                    return Err(checks::wrong_kind(&unit));
                }
            };
            let (next, act) = match stepped {
                Ok(stepped) => stepped,
                Err(failure) => return Err(self.after_failure(&unit, failure).await),
            };
            acts.extend(act);
            unit = next;
        }
        Ok(UnitOutcome { unit, acts, waiting })
    }

    /// Quarantine is counted from the slot a run works for, not from when it happened to start.
    fn may_drop(&self, unit: &Unit) -> Option<Waiting> {
        let due = unit.drop_after_ms.unwrap_or(i64::MAX);
        if self.ctx.slot().ms() < due {
            return Some(Waiting::Until(due));
        }
        (!self.quota.take()).then_some(Waiting::Quota)
    }

    const fn lifecycle(&self) -> Lifecycle<'_> {
        Lifecycle {
            ctx: self.ctx,
            external: self.external,
            store: self.store,
        }
    }

    /// Where the unit's table is now, by its identity.
    async fn whereabouts(&self, unit: &Unit) -> Result<Option<Whereabouts>, DisposalError> {
        let mut conn = self.reader().await?;
        catalogue::find(&mut conn, unit.table_oid).await
    }

    async fn reader(&self) -> Result<PoolConnection<Postgres>, DisposalError> {
        self.lifecycle().reader().await
    }

    const fn pool(&self) -> &PgPool {
        self.external.pool()
    }
}
