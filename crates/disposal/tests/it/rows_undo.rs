//! `undo` of a month of rows: nothing was deleted before it, and the next run is not in the way.

use std::sync::Arc;

use chrono::TimeDelta;
use eidos_disposal::partition::UndoRequest;
use eidos_disposal::unit::UnitState;
use eidos_types::SystemClock;

use crate::fixture::{Fixture, approval, refusal};
use crate::rows::{disposal, due, fixture, january, proved};

fn request() -> UndoRequest {
    UndoRequest {
        reason: "case 17".to_owned(),
        hold: true,
    }
}

/// Exported and proved; the deletion was not begun, because the server's clock is not ours.
async fn verified(fixture: &Fixture) {
    let rule = proved();
    let identity = january(fixture, &rule).await;
    let clock = Arc::new(SystemClock::skewed(TimeDelta::minutes(2)));
    let run = fixture.run_with("2026-01-01T00:00:00Z", clock).await;
    let outcome = disposal(fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    outcome.unwrap_err();
    assert_eq!(fixture.states().await, ["verified"]);
}

#[tokio::test]
async fn a_month_whose_export_is_proved_is_undone_and_its_rows_stay_until_the_hold_is_lifted() {
    let fixture = fixture().await;
    let rows = due(&fixture).await;
    verified(&fixture).await;
    let run = fixture.later_run().await;
    let undone = run
        .disposal()
        .undo(fixture.unit().await, &request())
        .await
        .unwrap();
    assert_eq!(undone.was, UnitState::Verified);
    assert!(undone.hold_id.is_some(), "{undone}");
    assert_eq!(fixture.states().await, ["abandoned"]);
    assert_eq!(fixture.acts().await.pop().unwrap(), "undo");
    assert!(fixture.objects().is_empty(), "{:?}", fixture.objects());

    let rule = proved();
    let identity = january(&fixture, &rule).await;
    let next = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    assert_eq!(refusal(next), "hold");
    assert_eq!(due(&fixture).await, rows);
    fixture.lift().await;
    let next = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    assert_eq!(next.unwrap().unit.state, UnitState::Deleted);
    assert_eq!(due(&fixture).await, 0);
}

#[tokio::test]
async fn a_month_whose_rows_are_deleted_is_not_undone_and_the_way_back_is_named() {
    let fixture = fixture().await;
    let rule = proved();
    let identity = january(&fixture, &rule).await;
    let run = fixture.run().await;
    let outcome = disposal(&fixture, &run, &rule)
        .advance(&identity, &approval())
        .await;
    let unit = outcome.unwrap().unit;
    let refused = run.disposal().undo(unit.clone(), &request()).await.unwrap_err();
    assert_eq!(refused.refusal(), Some("gone"), "{refused}");
    let way_back = format!("archiver restore --unit {} --into original", unit.unit_id);
    assert!(refused.to_string().contains(&way_back), "{refused}");
    assert_eq!(fixture.states().await, ["deleted"]);
}
