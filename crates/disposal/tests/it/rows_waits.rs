//! What happens while the deletion waits for a row that somebody holds.

use std::time::Duration;

use eidos_disposal::DisposalError;
use eidos_disposal::rows::{RowOutcome, RowRule};
use eidos_disposal::unit::UnitState;
use sqlx::AssertSqlSafe;

use crate::fixture::{Fixture, approval, refusal};
use crate::rows::{LOGS, disposal, due, fixture, hold, january, proved, rule};

/// The deletion waits for row 1, which `statement` holds; `meanwhile` happens before that is committed.
async fn advance_past(
    fixture: &Fixture,
    rule: &RowRule,
    statement: String,
    meanwhile: impl AsyncFnOnce(),
) -> Result<RowOutcome, DisposalError> {
    let identity = january(fixture, rule).await;
    let mut writer = fixture.books.pool().begin().await.unwrap();
    sqlx::query(AssertSqlSafe(statement))
        .execute(&mut *writer)
        .await
        .unwrap();
    let mut run = fixture.run().await;
    run.settings.lock_timeout = Duration::from_secs(20);
    let mut deletion = disposal(fixture, &run, rule);
    deletion.settings = &run.settings;
    let approval = approval();
    let (outcome, ()) = tokio::join!(deletion.advance(&identity, &approval), async {
        eidos_testkit::eventually("the deletion waits", Duration::from_secs(20), async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            if fixture.count(waiting).await > 0 { Ok(()) } else { Err("nobody waits") }
        })
        .await;
        meanwhile().await;
        writer.commit().await.unwrap();
    });
    outcome
}

#[tokio::test]
async fn a_row_that_changes_while_it_is_waited_for_is_deleted_as_it_is_then() {
    let fixture = fixture().await;
    let update = format!("UPDATE {LOGS} SET note = note WHERE id = 1");
    let outcome = advance_past(&fixture, &rule(None), update, async || {})
        .await
        .unwrap();
    assert_eq!((outcome.unit.state, due(&fixture).await), (UnitState::Deleted, 0));
}

#[tokio::test]
async fn ruling_37_a_hold_that_comes_while_a_row_is_waited_for_stops_what_would_be_committed() {
    for rule in [rule(None), proved()] {
        let fixture = fixture().await;
        let lock = format!("SELECT id FROM {LOGS} WHERE id = 1 FOR UPDATE");
        let outcome = advance_past(&fixture, &rule, lock, async || hold(&fixture).await).await;
        assert_eq!(refusal(outcome), "hold");
        assert_eq!(
            fixture
                .count(&format!("SELECT count(*) FROM {LOGS} WHERE id = 1"))
                .await,
            1
        );
    }
}
