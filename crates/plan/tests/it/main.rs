//! Plans, holds and the driver of planned jobs against a real PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: a failure is the test's"
)]

mod driver;
mod holds;
mod plans;
mod toy;

use eidos_plan::PlanError;

/// The label of a refusal; any other outcome fails the test.
#[track_caller]
fn refusal<T: std::fmt::Debug>(outcome: Result<T, PlanError>) -> &'static str {
    match outcome.unwrap_err() {
        PlanError::Refused { reason, .. } => reason,
        error @ PlanError::Sql { .. } => panic!("no refusal: {error:?}"),
    }
}
