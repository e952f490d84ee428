//! A break is opened, seen again, resolved; a difference that comes back is another break.

use eidos_types::BreakId;
use uuid::Uuid;

use crate::fixture::{Fixture, open};

#[tokio::test]
async fn opened_seen_again_resolved_and_opened_again() {
    let fixture =
        Fixture::with("INSERT INTO counted VALUES ('a', 50); INSERT INTO reported VALUES ('a', 40)").await;
    let first = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert!(first.breaks[0].4, "opened");
    assert_eq!(fixture.breaks().await, [open("a", "below")]);

    let second = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert!(!second.breaks[0].4, "seen again");
    assert_eq!(second.breaks[0].3, 4, "two further readings that agree");
    let seen = ("a".to_owned(), "below".to_owned(), "open".to_owned(), 2);
    assert_eq!(fixture.breaks().await, [seen]);

    fixture.execute("UPDATE reported SET value = 45").await;
    let third = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert_eq!(
        third.breaks[0].3, 2,
        "another size starts the confirmations again"
    );

    fixture.execute("UPDATE reported SET value = 50").await;
    let fourth = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert_eq!((fourth.breaks.len(), fourth.resolved), (0, 1));
    assert_eq!(fixture.breaks().await[0].2, "resolved");

    fixture.execute("UPDATE reported SET value = 40").await;
    let fifth = fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    assert!(fifth.breaks[0].4, "opened again");
    let all = fixture.breaks().await;
    assert_eq!((all.len(), all[1].clone()), (2, open("a", "below")));

    let history: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT break_id, event FROM eidos_jobs_break_history ORDER BY id")
            .fetch_all(fixture.pool())
            .await
            .unwrap();
    let events: Vec<&str> = history.iter().map(|(_, event)| event.as_str()).collect();
    assert_eq!(events, ["opened", "seen", "seen", "resolved", "opened"]);
    let ids: Vec<BreakId> = history.iter().map(|(id, _)| BreakId::from_uuid(*id)).collect();
    assert!(ids[0] == ids[3] && ids[3] != ids[4], "{history:?}");
}

#[tokio::test]
async fn one_subject_has_one_open_break_of_a_kind() {
    let fixture =
        Fixture::with("INSERT INTO counted VALUES ('a', 50); INSERT INTO reported VALUES ('a', 40)").await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let again = "INSERT INTO eidos_jobs_breaks (break_id, dimension, subject, subject_detail, token, reference, kind, severity, \
            direction, first_seen, last_seen, evidence) \
        VALUES (gen_random_uuid(), 'counters', $1, '{}', 'count', 'other', $2, 'warning', 'shortfall', now(), now(), '{}')";
    for (subject, kind, is_free) in [("a", "below", false), ("a", "above", true), ("b", "below", true)] {
        let inserted = sqlx::query(again)
            .bind(subject)
            .bind(kind)
            .execute(fixture.pool())
            .await;
        assert_eq!(inserted.is_ok(), is_free, "{subject} {kind}: {inserted:?}");
        if let Err(error) = inserted {
            assert!(error.to_string().contains("uq_breaks_open_subject"), "{error}");
        }
    }
}
