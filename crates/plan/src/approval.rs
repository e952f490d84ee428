//! Whose approval a piece of work needs, and whether it was given.
//!
//! The schedule may do what no rule reserves for a person. A person applies a plan by its digest: the work is surveyed
//! anew, and unless it is exactly what was planned nothing is done at all.

use eidos_runtime::JobContext;

use crate::{Plan, PlanItem};

/// What the schedule's own decisions are recorded under.
pub const POLICY: &str = "policy";

/// On whose approval a piece of work is done, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The plan that names it.
    pub plan_digest: String,
    /// [`POLICY`], or the person who applied the plan.
    pub approved_by: String,
}

/// What one run may do: a plan that a person approved, or the schedule's own.
#[derive(Debug)]
pub struct Approved<'p> {
    planned: Option<&'p Plan>,
    approval: Approval,
}

impl<'p> Approved<'p> {
    /// Of a run that applies `planned`, or of the schedule's own run of `now`.
    #[must_use]
    pub fn new(ctx: &JobContext, planned: Option<&'p Plan>, now: &Plan) -> Self {
        let by = match planned {
            Some(_) => ctx.requested_by().unwrap_or("unnamed"),
            None => POLICY,
        };
        Self {
            planned,
            approval: Approval {
                // What somebody approved, also when a part of it was done before.
                plan_digest: planned.map_or(&now.digest, |plan| &plan.digest).clone(),
                approved_by: by.to_owned(),
            },
        }
    }

    /// Returns what is recorded with everything that is done.
    #[must_use]
    pub const fn approval(&self) -> &Approval {
        &self.approval
    }

    /// Returns the plan a person applies; `None`: the schedule's own run.
    #[must_use]
    pub const fn planned(&self) -> Option<&'p Plan> {
        self.planned
    }

    /// Checks whether a piece may be done now. `reserved`: its rule reserves it for a person. `begun_by`: who approved
    /// it when it was begun; a person's approval is kept to its end.
    #[must_use]
    pub fn permits(&self, reserved: bool, begun_by: Option<&str>) -> bool {
        !reserved || self.planned.is_some() || begun_by.is_some_and(|by| by != POLICY)
    }

    /// Checks whether the plan a person applies has exactly this piece, and not as one that is blocked: then nobody
    /// approved it, whatever has become of the block. The schedule's own plan has all of them.
    #[must_use]
    pub fn includes(&self, item: &PlanItem) -> bool {
        self.planned.is_none_or(|plan| {
            plan.items.iter().any(|planned| {
                planned.key() == item.key() && planned.identity == item.identity && planned.blocked.is_none()
            })
        })
    }
}
