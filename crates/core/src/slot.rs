//! The slot claim: each scheduled slot runs once, whichever replica asks and whatever its clock says.
//!
//! One statement moves the job's cursor forward by compare-and-set. A slot beyond the *database's* clock cannot
//! be claimed (a node with a fast clock would otherwise take future slots away from the real ones), nor can one
//! of a paused job. The winner owns every slot since the last claim; the loser writes nothing.

use std::time::Duration;

use eidos_types::{JobName, NodeId, Slot, SlotRange};
use sqlx::PgConnection;

use crate::error::call;
use crate::{CoreError, observe, sql};

/// Which slot, for whom.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The job.
    pub job: JobName,
    /// The slot that is due.
    pub slot: Slot,
    /// The claiming process.
    pub node: NodeId,
    /// How far ahead of the database's clock a slot may lie, for ordinary clock skew: a few seconds.
    pub tolerance: Duration,
}

/// The outcome of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The slot is ours, with every slot after the previous claim. A first claim has no earlier slots.
    Won {
        /// What we own.
        range: SlotRange,
    },
    /// This slot or a later one was claimed before. Write nothing.
    AlreadyClaimed,
    /// The job is paused. Write nothing.
    Paused,
    /// The slot lies in the database's future: our clock is fast. Write nothing, try again later.
    AheadOfDatabaseClock,
}

const WON: &str = "won";
const ALREADY_CLAIMED: &str = "already_claimed";
const PAUSED: &str = "paused";
const AHEAD_OF_DATABASE_CLOCK: &str = "ahead_of_database_clock";

impl Claim {
    /// The words of `slot_claim_total{result}`.
    pub const RESULTS: [&str; 4] = [WON, ALREADY_CLAIMED, PAUSED, AHEAD_OF_DATABASE_CLOCK];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Won { .. } => WON,
            Self::AlreadyClaimed => ALREADY_CLAIMED,
            Self::Paused => PAUSED,
            Self::AheadOfDatabaseClock => AHEAD_OF_DATABASE_CLOCK,
        }
    }
}

/// Claims a slot. Give it a transaction to commit the claim together with what follows from it
/// ([`crate::start::scheduled`] does); alone, it commits by itself.
///
/// # Errors
/// [`CoreError::Sql`], [`CoreError::TimedOut`]; the slot may be claimed when the outcome is unknown and the
/// connection was not inside a transaction.
pub async fn claim(conn: &mut PgConnection, request: &ClaimRequest) -> Result<Claim, CoreError> {
    let tolerance_ms = i64::try_from(request.tolerance.as_millis()).unwrap_or(i64::MAX / 4);
    let moved: Option<Option<i64>> = call(
        "claim a slot",
        sqlx::query_scalar(sql::CLAIM_SLOT)
            .bind(request.job.as_str())
            .bind(request.slot.ms())
            .bind(request.node.as_uuid())
            .bind(tolerance_ms)
            .fetch_optional(&mut *conn),
    )
    .await?;
    let claim = match moved {
        Some(previous) => Claim::Won {
            range: SlotRange {
                after: previous.and_then(Slot::from_ms),
                upto: request.slot,
            },
        },
        None => why_not(conn, request, tolerance_ms).await?,
    };
    observe::slot_claim(&request.job, claim.as_str());
    Ok(claim)
}

/// Only explains: whatever it answers, the claim did not happen.
async fn why_not(
    conn: &mut PgConnection,
    request: &ClaimRequest,
    tolerance_ms: i64,
) -> Result<Claim, CoreError> {
    let (ahead, claimed, paused): (bool, bool, Option<bool>) = call(
        "read why a slot was not claimed",
        sqlx::query_as(sql::WHY_NOT_CLAIMED)
            .bind(request.job.as_str())
            .bind(request.slot.ms())
            .bind(tolerance_ms)
            .fetch_one(conn),
    )
    .await?;
    Ok(match (ahead, claimed, paused) {
        (true, ..) => Claim::AheadOfDatabaseClock,
        (false, false, Some(true)) => Claim::Paused,
        _ => Claim::AlreadyClaimed,
    })
}
