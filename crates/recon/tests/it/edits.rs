//! What persons do: with the version that they saw, with an event, or not at all.

use eidos_recon::store::edits::{Act, Refused};
use eidos_recon::store::listing;
use eidos_types::{BreakId, SystemClock};

use crate::fixture::Fixture;

const SHORT: &str = "INSERT INTO counted VALUES ('a', 50); INSERT INTO reported VALUES ('a', 40)";

#[tokio::test]
async fn a_stale_version_changes_nothing_and_names_the_present_one() {
    let fixture = Fixture::with(SHORT).await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let id = fixture.newest().await;
    let seen = listing::one(fixture.pool(), id).await.unwrap().unwrap().version;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let note = Some("on it");
    let row = fixture.edit_seen(id, seen, Act::Acknowledge { note }).await;
    let row = row.unwrap();
    assert_eq!(
        row.version,
        seen + 1,
        "seen again with the same size, it was the same version"
    );

    // What a person decides upon has changed.
    fixture.execute("UPDATE reported SET value = 45").await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let before = (fixture.lives().await, fixture.events(id).await);
    for act in [
        Act::Assign {
            to: Some("bob"),
            note: None,
        },
        Act::Comment { text: "hm" },
        Act::Resolve { reason: "done" },
        Act::WriteOff { reason: "lost" },
    ] {
        let refused = fixture.edit_seen(id, row.version, act).await.unwrap_err();
        assert_eq!(refused, Refused::Stale { now: row.version + 1 }, "{act:?}");
    }
    let nobody = BreakId::new(&SystemClock::default());
    let refused = fixture.edit_seen(nobody, 1, Act::Comment { text: "hm" }).await;
    assert_eq!(refused.unwrap_err(), Refused::NoBreak);
    assert_eq!((fixture.lives().await, fixture.events(id).await), before);
}

#[tokio::test]
async fn of_two_who_saw_the_same_version_one_edits() {
    let fixture = Fixture::with(SHORT).await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let id = fixture.newest().await;
    let act = Act::Comment { text: "first" };
    for _ in 0..10 {
        let seen = listing::one(fixture.pool(), id).await.unwrap().unwrap().version;
        let (one, other) = tokio::join!(fixture.edit_seen(id, seen, act), fixture.edit_seen(id, seen, act));
        let won = usize::from(one.is_ok()) + usize::from(other.is_ok());
        assert_eq!(won, 1, "{one:?} {other:?}");
        let refused = one.and(other).unwrap_err();
        assert_eq!(refused, Refused::Stale { now: seen + 1 });
    }
    fixture.assert_verifies().await;
}

#[tokio::test]
async fn every_edit_is_an_event_with_who_and_what() {
    let fixture = Fixture::with(SHORT).await;
    fixture.counters().reconcile(&fixture.run().await).await.unwrap();
    let id = fixture.newest().await;
    let to = Some("bob");
    fixture.edit(id, Act::Acknowledge { note: None }).await.unwrap();
    let row = fixture.edit(id, Act::Assign { to, note: None }).await.unwrap();
    assert_eq!(row.assignee.as_deref(), to);
    let text = "ä, \"quoted\" and \n a line";
    fixture.edit(id, Act::Comment { text }).await.unwrap();
    let row = fixture
        .edit(
            id,
            Act::Assign {
                to: None,
                note: Some("back"),
            },
        )
        .await;
    assert_eq!(row.unwrap().assignee, None);
    let again = fixture.edit(id, Act::Acknowledge { note: None }).await;
    assert!(matches!(again, Err(Refused::NotNow(_))), "{again:?}");
    let reason = "booked";
    let row = fixture.edit(id, Act::Resolve { reason }).await.unwrap();
    assert_eq!(
        (row.resolved_reason.as_deref(), row.acknowledged_by.as_deref()),
        (Some(reason), Some("ann"))
    );

    let history = listing::history(fixture.pool(), id, 100).await.unwrap();
    let told: Vec<String> = history
        .iter()
        .rev()
        .skip(1)
        .map(|event| {
            let details = event.details.clone().unwrap_or_default();
            format!("{} {} {details}", event.event, event.by)
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"acknowledged ann {"note":null}"#,
            r#"assigned ann {"from":null,"note":null,"to":"bob"}"#,
            r#"commented ann {"text":"ä, \"quoted\" and \n a line"}"#,
            r#"assigned ann {"from":"bob","note":"back","to":null}"#,
            r#"resolved ann {"reason":"booked"}"#,
        ]
    );
    let versions: Vec<Option<i64>> = history.iter().rev().map(|event| event.version).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6].map(Some));
    fixture.assert_verifies().await;
}
