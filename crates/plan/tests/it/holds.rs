//! Legal holds: what they cover, how they are placed and lifted.

use chrono::{DateTime, Utc};
use eidos_pg::Relation;
use eidos_plan::hold::{self, NewHold};
use eidos_settings::SourceName;
use eidos_testkit::TestDb;
use uuid::Uuid;

use crate::refusal;

fn new(from_ms: Option<i64>, to_ms: Option<i64>) -> NewHold {
    NewHold {
        hold_id: Uuid::now_v7(),
        source: SourceName::Risk,
        table: Relation::new("public", "eidos_risk_events"),
        from_ms,
        to_ms,
        reason: "case 7".to_owned(),
        placed_by: "ada".to_owned(),
        placed_at: DateTime::<Utc>::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_hold_covers_every_window_it_overlaps_until_it_is_lifted() {
    let db = TestDb::migrated().await;
    let table = Relation::new("public", "eidos_risk_events");
    let covered = async |window| {
        let found = hold::active(db.pool(), SourceName::Risk, &table, window)
            .await
            .unwrap();
        !found.is_empty()
    };
    let edges = [None, Some(0), Some(10), Some(20)];
    for (from, to) in edges
        .iter()
        .flat_map(|from| edges.iter().map(move |to| (*from, *to)))
    {
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            assert_eq!(refusal(hold::place(db.pool(), &new(from, to)).await), "hold");
            continue;
        }
        let placed = hold::place(db.pool(), &new(from, to)).await.unwrap();
        for window in [(-10, 0), (-10, 1), (0, 10), (9, 11), (10, 20), (19, 30), (20, 30)] {
            let naive = (window.0..window.1)
                .any(|ms| from.is_none_or(|from| ms >= from) && to.is_none_or(|to| ms < to));
            assert_eq!(
                covered(window).await,
                naive,
                "{from:?}..{to:?} against {window:?}"
            );
            assert_eq!(placed.covers(window), naive);
        }
        let lifted = hold::lift(db.pool(), placed.hold_id, "bob", "over", DateTime::UNIX_EPOCH)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(lifted.lifted_by.as_deref(), Some("bob"));
        assert!(!covered((i64::MIN, i64::MAX)).await);
        assert_eq!(
            hold::lift(db.pool(), placed.hold_id, "bob", "again", DateTime::UNIX_EPOCH)
                .await
                .unwrap(),
            None
        );
    }
    let other = Relation::new("public", "eidos_risk_audit_logs");
    hold::place(db.pool(), &new(None, None)).await.unwrap();
    assert!(
        hold::active(db.pool(), SourceName::Risk, &other, (0, 1))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        hold::active(db.pool(), SourceName::Chain, &table, (0, 1))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(hold::list(db.pool(), false, 10, 0).await.unwrap().len(), 1);
    assert!(hold::list(db.pool(), true, 100, 0).await.unwrap().len() > 5);
}
