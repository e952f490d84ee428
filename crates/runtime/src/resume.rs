//! Slots whose run was interrupted: what may be continued, by whichever replica, and as which attempt.

use eidos_core::CoreError;
use eidos_core::execution::{FailureKind, Status, Trigger};
use eidos_types::{ExecutionId, JobName, Slot, SlotRange};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::sql;
use crate::work::Again;

/// Runs of one slot, interruptions included, after which it is given up.
const MAX_RUNS_OF_A_SLOT: i64 = 20;

/// The newest run of a job's newest slot.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct NewestRun {
    pub(crate) job_name: String,
    paused: bool,
    last_slot_ms: i64,
    previous_slot_ms: Option<i64>,
    execution_id: Uuid,
    status: String,
    failure_kind: Option<String>,
    attempt: i32,
    params: Option<Value>,
    runs: i64,
}

/// Reads [`NewestRun`] of each of `jobs` that has one.
pub(crate) async fn newest_runs(control: &PgPool, jobs: &[JobName]) -> Result<Vec<NewestRun>, CoreError> {
    let names: Vec<&str> = jobs.iter().map(JobName::as_str).collect();
    let doing = "look for interrupted slots";
    sqlx::query_as(sql::NEWEST_SLOT_RUN)
        .bind(names)
        .fetch_all(control)
        .await
        .map_err(|cause| CoreError::Sql { doing, cause })
}

impl NewestRun {
    /// The run that continues this one, if it was interrupted and may be continued. A run that is still listed as
    /// running counts too: under the lease, it is the run of a node that stopped.
    pub(crate) fn resumed(&self) -> Option<Again> {
        if self.paused || self.runs >= MAX_RUNS_OF_A_SLOT {
            return None;
        }
        let attempt = u32::try_from(self.attempt).unwrap_or(1);
        let kind = self.failure_kind.as_deref();
        let is = |wanted: FailureKind| kind == Some(wanted.as_str());
        let attempt = if self.is_running() || is(FailureKind::Orphaned) {
            attempt + 1 // a crash counts as an attempt (ruling 8) ...
        } else if is(FailureKind::Shutdown) || is(FailureKind::LeaseLost) || is(FailureKind::Fenced) {
            attempt // ... a shutdown or a lost lease does not
        } else {
            return None;
        };
        Some(Again {
            slots: SlotRange {
                after: self.previous_slot_ms.and_then(Slot::from_ms),
                upto: Slot::from_ms(self.last_slot_ms)?,
            },
            trigger: Trigger::CatchUp,
            attempt,
            continues: Some(ExecutionId::from_uuid(self.execution_id)),
            idempotency_key: None,
            params: self.params.clone(),
            dry_run: false,
            requested_by: None, // only slots of the schedule are continued
        })
    }

    /// True while it is listed as running, whether or not its node lives.
    pub(crate) fn is_running(&self) -> bool {
        self.status == Status::Running.as_str()
    }

    /// Asked under the lease: whether `again` still continues the newest run of the newest slot, and that run has not
    /// succeeded. Between looking and leasing, another replica may have done the work.
    pub(crate) fn is_resumed_by(&self, again: &Again) -> bool {
        !self.paused
            && again.slots.upto.ms() == self.last_slot_ms
            && again.continues.map(ExecutionId::as_uuid) == Some(self.execution_id)
            && (self.is_running() || self.status == Status::Failed.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(status: &str, failure_kind: Option<&str>) -> NewestRun {
        NewestRun {
            job_name: "fine".to_owned(),
            paused: false,
            last_slot_ms: 2_000,
            previous_slot_ms: Some(1_000),
            execution_id: Uuid::from_u128(7),
            status: status.to_owned(),
            failure_kind: failure_kind.map(str::to_owned),
            attempt: 2,
            params: None,
            runs: 2,
        }
    }

    #[test]
    fn ruling_8_a_crash_counts_as_an_attempt_and_a_shutdown_does_not() {
        let attempt = |status, kind| newest(status, kind).resumed().map(|again| again.attempt);
        assert_eq!(attempt("running", None), Some(3));
        assert_eq!(attempt("failed", Some("orphaned")), Some(3));
        for kind in ["shutdown", "lease_lost", "fenced"] {
            assert_eq!(attempt("failed", Some(kind)), Some(2), "{kind}");
        }
        for kind in ["error", "timeout", "panic", "cancelled"] {
            assert_eq!(attempt("failed", Some(kind)), None, "{kind}");
        }
        assert_eq!(attempt("success", None), None);
    }

    #[test]
    fn a_slot_is_given_up_in_the_end_and_left_alone_while_paused() {
        assert!(
            NewestRun {
                runs: MAX_RUNS_OF_A_SLOT,
                ..newest("running", None)
            }
            .resumed()
            .is_none()
        );
        assert!(
            NewestRun {
                paused: true,
                ..newest("running", None)
            }
            .resumed()
            .is_none()
        );
    }

    #[test]
    fn what_another_replica_did_meanwhile_is_noticed_under_the_lease() {
        let again = newest("running", None).resumed().unwrap();
        assert!(newest("failed", Some("orphaned")).is_resumed_by(&again));
        assert!(!newest("success", None).is_resumed_by(&again));
        let other = NewestRun {
            execution_id: Uuid::from_u128(8),
            ..newest("failed", Some("shutdown"))
        };
        assert!(!other.is_resumed_by(&again));
        assert!(
            !NewestRun {
                last_slot_ms: 3_000,
                ..newest("running", None)
            }
            .is_resumed_by(&again)
        );
    }
}
