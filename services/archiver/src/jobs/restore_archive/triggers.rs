//! What an INSERT into the original fires. Rows that come back were booked when they came first: a trigger that keeps a balance
//! or fills an outbox would book them twice. So a restore refuses, by name, or runs with these triggers and rules
//! disabled, if it is told to: under a lock that keeps every other writer of the partition out meanwhile, since their
//! rows would not fire anything either.
//!
//! Foreign keys and unique keys are not among them: they are checked as always.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{FREEZE_FUNCTION, Relation, TableShape};
use eidos_disposal::partition::{Attempts, try_lock};
use sqlx::PgConnection;

use super::params::Triggers;
use super::work::Work;
use crate::store::triggers::{Fired, Target, alter, check_deferred, fired, lock};

/// Whether a restore may go on.
///
/// # Errors
/// [`DisposalError::Refused`] names everything that would fire, and the choice; or says that the partition is frozen.
pub(super) fn allowed(table: &Relation, fired: &[Fired], triggers: Triggers) -> Result<(), DisposalError> {
    if fired.iter().any(|fired| fired.function == FREEZE_FUNCTION) {
        return Err(DisposalError::refused(
            "restore",
            format!(
                "the partition of {} is frozen: it is on its way out again. Wait for its unit, take it back with `undo`, or \
                 restore with --into side",
                table.plain()
            ),
        ));
    }
    if fired.is_empty() || triggers == Triggers::Disable {
        return Ok(());
    }
    Err(DisposalError::refused(
        "restore",
        format!(
            "an INSERT into {} fires {}: what they did when these rows first came would be done again. Restore with --into \
             side, or add --triggers disable: the rows go in without them, while a lock keeps other writers of that \
             partition out",
            table.plain(),
            listed(fired)
        ),
    ))
}

/// `trigger a (f), trigger b (g)`.
pub(super) fn listed(fired: &[Fired]) -> String {
    let all: Vec<String> = fired.iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// Disables what would fire, if it was asked for, under a lock that lasts as long as the transaction. Where nothing would
/// fire, a lock that only keeps new triggers out.
pub(super) async fn silence(
    work: &Work<'_>,
    conn: &mut PgConnection,
    shape: &TableShape,
    into: &Target,
    triggers: Triggers,
) -> Result<Vec<Fired>, DisposalError> {
    let seen = fired(conn, shape, into).await?;
    let lock = lock(into, !seen.is_empty());
    let mut attempts = Attempts::new(work.ctx, work.disposal, format!("lock {}", into.relation.plain()));
    while let Err(failure) = try_lock(conn, work.disposal.lock_timeout, &lock).await {
        attempts.again_after(failure).await?;
    }
    work.set_limits(conn).await?;
    // Under the lock: nobody adds one any more.
    let seen_before = seen.len();
    let seen = fired(conn, shape, into).await?;
    allowed(&into.relation, &seen, triggers)?;
    if seen.is_empty() {
        return Ok(seen);
    }
    if seen_before == 0 || into.is_divided {
        return Err(DisposalError::refused(
            "restore",
            format!(
                "{} is divided further, or got {} just now: nothing was disabled. Restore again, or with --into side",
                into.relation.plain(),
                listed(&seen)
            ),
        ));
    }
    for fired in &seen {
        alter(conn, into, "DISABLE", fired).await?;
    }
    Ok(seen)
}

/// Enables what was disabled, as it was. Deferred constraints are checked first: their checks are pending on the table.
pub(super) async fn wake(
    conn: &mut PgConnection,
    into: &Target,
    silenced: &[Fired],
) -> Result<(), DisposalError> {
    if silenced.is_empty() {
        return Ok(());
    }
    check_deferred(conn).await?;
    for fired in silenced {
        let enable = if fired.enabled == "A" {
            "ENABLE ALWAYS"
        } else {
            "ENABLE"
        };
        alter(conn, into, enable, fired).await?;
    }
    Ok(())
}
