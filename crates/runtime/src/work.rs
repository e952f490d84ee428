//! What a run is asked to do, before it is known whether it may.

use std::time::Duration;

use eidos_core::execution::Trigger;
use eidos_core::trigger::PendingTrigger;
use eidos_types::{ExecutionId, Slot, SlotRange};
use serde_json::Value;

use crate::schedule::Due;

/// Why a job is to run.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Slots are due; the first of them is claimed.
    Scheduled(Due),
    /// Somebody asked for it and it is not started yet.
    Triggered(PendingTrigger),
    /// Its slot is claimed or its trigger started already: a further attempt, or a run in a terminal.
    Again(Again),
}

/// A run that needs no claim.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    pub(crate) slots: SlotRange,
    pub(crate) trigger: Trigger,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// The run it continues: it may only start while that one is the newest of its slot.
    pub(crate) continues: Option<ExecutionId>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) params: Option<Value>,
    pub(crate) dry_run: bool,
    /// The person or program that asked for it; `None` for the schedule.
    pub(crate) requested_by: Option<String>,
}

impl Again {
    /// True if it works for a slot of the schedule.
    pub(crate) const fn is_scheduled(&self) -> bool {
        matches!(self.trigger, Trigger::Schedule | Trigger::CatchUp)
    }
}

impl Work {
    /// Number of the attempt this would be, from 1.
    pub(crate) const fn attempt(&self) -> u32 {
        match self {
            Self::Again(again) => again.attempt,
            Self::Scheduled(_) | Self::Triggered(_) => 1,
        }
    }
}

/// What one tick came to.
#[derive(Debug)]
pub(crate) enum Ticked {
    /// Another run of the job holds the lease, for at most this long unless it is renewed.
    Busy { remaining: Duration },
    /// Nothing to do: claimed by another replica, paused, withdrawn.
    NotOurs(&'static str),
    /// It ran.
    Ran(Box<Ran>),
}

/// A run that has ended and was recorded.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) execution: ExecutionId,
    pub(crate) outcome: Result<crate::job::RunReport, crate::supervise::Failure>,
    /// What a further attempt would be.
    pub(crate) again: Again,
}

/// The range of a run that is for one instant only.
pub(crate) const fn only(slot: Slot) -> SlotRange {
    SlotRange {
        after: None,
        upto: slot,
    }
}
