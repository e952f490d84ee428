//! What happens while the deletion waits for a row that somebody holds.

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_disposal::rows::{RowOutcome, RowRule};
use eidos_disposal::unit::UnitState;
use sqlx::AssertSqlSafe;

use crate::rows::{LOGS, disposal, due, hold, january, proved, rule, stand};
use crate::stand::{Stand, approval, refusal};

/// The deletion waits for row 1, which `statement` holds; `meanwhile` happens before that is committed.
async fn advance_past(
    stand: &Stand,
    rule: &RowRule,
    statement: String,
    meanwhile: impl AsyncFnOnce(),
) -> Result<RowOutcome, DisposalError> {
    let identity = january(stand, rule).await;
    let mut writer = stand.books.pool().begin().await.unwrap();
    sqlx::query(AssertSqlSafe(statement))
        .execute(&mut *writer)
        .await
        .unwrap();
    let mut run = stand.run().await;
    run.settings.lock_timeout = Duration::from_secs(20);
    let mut deletion = disposal(stand, &run, rule);
    deletion.settings = &run.settings;
    let approval = approval();
    let (outcome, ()) = tokio::join!(deletion.advance(&identity, &approval), async {
        eidos_testkit::eventually("the deletion waits", Duration::from_secs(20), async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            if stand.count(waiting).await > 0 { Ok(()) } else { Err("nobody waits") }
        })
        .await;
        meanwhile().await;
        writer.commit().await.unwrap();
    });
    outcome
}

#[tokio::test]
async fn a_row_that_changes_while_it_is_waited_for_is_deleted_as_it_is_then() {
    let stand = stand().await;
    let update = format!("UPDATE {LOGS} SET note = note WHERE id = 1");
    let outcome = advance_past(&stand, &rule(None), update, async || {})
        .await
        .unwrap();
    assert_eq!((outcome.unit.state, due(&stand).await), (UnitState::Deleted, 0));
}

#[tokio::test]
async fn ruling_37_a_hold_that_comes_while_a_row_is_waited_for_stops_what_would_be_committed() {
    for rule in [rule(None), proved()] {
        let stand = stand().await;
        let lock = format!("SELECT id FROM {LOGS} WHERE id = 1 FOR UPDATE");
        let outcome = advance_past(&stand, &rule, lock, async || hold(&stand).await).await;
        assert_eq!(refusal(outcome), "hold");
        assert_eq!(
            stand
                .count(&format!("SELECT count(*) FROM {LOGS} WHERE id = 1"))
                .await,
            1
        );
    }
}
