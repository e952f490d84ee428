//! A break is opened, seen again, resolved; a difference that comes back is another break.

use std::time::Duration;

use eidos_recon::life::State;
use eidos_recon::store::breaks;
use eidos_recon::store::edits::{Act, Refused};
use eidos_types::{BreakId, Clock, SystemClock};
use uuid::Uuid;

use crate::counters::Summary;

use crate::fixture::{Fixture, open};

/// `a` is 10 short: a warning.
const SHORT: &str = "INSERT INTO counted VALUES ('a', 50); INSERT INTO reported VALUES ('a', 40)";

async fn run(fixture: &Fixture) -> Summary {
    fixture.counters().reconcile(&fixture.run().await).await.unwrap()
}

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
    assert_eq!(events, ["opened", "seen", "seen", "auto_closed", "opened"]);
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

#[tokio::test]
async fn what_a_person_resolved_opens_again_when_a_later_run_still_sees_it() {
    let fixture = Fixture::with(SHORT).await;
    run(&fixture).await;
    let id = fixture.newest().await;
    let resolve = Act::Resolve {
        reason: "booked the deposit",
    };
    let row = fixture.edit(id, resolve).await.unwrap();
    assert_eq!(
        (row.status.as_str(), row.resolved_by.as_deref()),
        ("resolved", Some("ann"))
    );

    let again = run(&fixture).await;
    assert!(!again.breaks[0].4, "the same break");
    assert_eq!(fixture.lives().await.len(), 1);
    assert_eq!(fixture.lives().await[0].1, "open");
    let ended = "SELECT count(*) FROM eidos_jobs_breaks WHERE num_nulls(resolved_at, resolved_by, resolved_reason) = 3";
    assert_eq!(fixture.count(ended).await, 1, "nobody has ended it");

    fixture.edit(id, resolve).await.unwrap();
    fixture.execute("UPDATE reported SET value = 50").await;
    assert_eq!(run(&fixture).await.resolved, 1, "a clean reading proves it");
    assert_eq!(
        fixture.lives().await[0].1,
        "resolved",
        "and does not take it from the person"
    );
    assert_eq!(run(&fixture).await.resolved, 0, "once");

    fixture.execute("UPDATE reported SET value = 40").await;
    assert!(run(&fixture).await.breaks[0].4, "another break");
    let linked = "SELECT count(*) FROM eidos_jobs_breaks b JOIN eidos_jobs_breaks p ON p.break_id = b.previous_id \
                  WHERE p.state = 'resolved' AND NOT p.live";
    assert_eq!(fixture.count(linked).await, 1);
    assert_eq!(
        fixture.events(id).await,
        ["opened", "resolved", "reopened", "resolved", "proven"]
    );
    fixture.assert_verifies().await;
}

#[tokio::test]
async fn what_was_written_off_stays_so_until_it_has_another_size() {
    let fixture =
        Fixture::with("INSERT INTO counted VALUES ('a', 500); INSERT INTO reported VALUES ('a', 40)").await;
    let first = run(&fixture).await;
    assert_eq!(
        (first.breaks[0].2, first.breaks[0].3 >= 3),
        ("critical", true),
        "{first:?}"
    );
    let id = fixture.newest().await;
    let reason = "lost in the migration of 2024";
    fixture.edit(id, Act::WriteOff { reason }).await.unwrap();

    let again = run(&fixture).await;
    assert_eq!(
        (again.breaks[0].3, again.breaks[0].4),
        (0, false),
        "seen, without a confirmation that something could be paused for"
    );
    assert_eq!(fixture.lives().await[0].1, "written_off");

    fixture.execute("UPDATE reported SET value = 30").await;
    let other = run(&fixture).await;
    assert!(other.breaks[0].4 && other.breaks[0].3 >= 3, "{other:?}");
    let states: Vec<String> = fixture
        .lives()
        .await
        .into_iter()
        .map(|(_, state, _)| state)
        .collect();
    assert_eq!(states, ["written_off", "open"]);

    fixture.execute("UPDATE reported SET value = 40").await;
    run(&fixture).await;
    assert_eq!(fixture.lives().await.len(), 2, "the newer break is the live one");
    fixture.assert_verifies().await;
}

#[tokio::test]
async fn an_acknowledgement_covers_what_the_person_saw() {
    let fixture = Fixture::with(SHORT).await;
    run(&fixture).await;
    let id = fixture.newest().await;
    fixture.edit(id, Act::Acknowledge { note: None }).await.unwrap();
    run(&fixture).await;
    assert_eq!(fixture.lives().await[0].1, "acknowledged");
    fixture.execute("UPDATE reported SET value = 45").await;
    run(&fixture).await;
    assert_eq!(fixture.lives().await[0].1, "acknowledged", "smaller");
    fixture.execute("UPDATE counted SET value = 5000").await;
    run(&fixture).await;
    assert_eq!(fixture.lives().await[0].1, "open", "critical now");
    assert_eq!(
        fixture.events(id).await[..5],
        ["opened", "acknowledged", "seen", "seen", "reopened"]
    );
    fixture.assert_verifies().await;
}

#[tokio::test]
async fn only_a_clean_reading_of_both_sides_closes_a_break_by_itself() {
    let fixture = Fixture::with(SHORT).await;
    run(&fixture).await;
    let before = fixture.lives().await;
    fixture.execute("UPDATE reported SET value = NULL").await;
    let silent = run(&fixture).await;
    assert_eq!(
        (silent.undecided, silent.resolved),
        (1, 0),
        "an answer that is missing proves nothing"
    );
    assert_eq!(fixture.lives().await, before);
    let mut lost = fixture.counters();
    lost.fails_at_page = Some(1);
    lost.reconcile(&fixture.run().await).await.unwrap_err();
    fixture.execute("UPDATE reported SET value = 50").await;
    fixture
        .counters()
        .reconcile(&fixture.dry_run().await)
        .await
        .unwrap();
    assert_eq!(
        fixture.lives().await,
        before,
        "neither a run that failed nor a dry one"
    );
    assert_eq!(run(&fixture).await.resolved, 1);
    assert_eq!(fixture.lives().await[0].1, "auto_closed");
    let id = fixture.newest().await;
    for act in [
        Act::Acknowledge { note: None },
        Act::Assign {
            to: Some("bob"),
            note: None,
        },
        Act::Resolve { reason: "x" },
        Act::WriteOff { reason: "x" },
    ] {
        let refused = fixture.edit(id, act).await.unwrap_err();
        assert!(
            matches!(refused, Refused::NotNow(not_now) if not_now.state == State::AutoClosed),
            "{refused:?}"
        );
    }
    fixture.edit(id, Act::Comment { text: "fine" }).await.unwrap();
    fixture.assert_verifies().await;
}

#[tokio::test]
async fn a_warning_that_is_old_enough_becomes_critical_once_and_stays_so() {
    let fixture = Fixture::with(SHORT).await;
    run(&fixture).await;
    let ctx = fixture.run().await;
    let hours = |hours| Duration::from_hours(hours);
    let severity =
        "SELECT count(*) FROM eidos_jobs_breaks WHERE severity = 'critical' AND escalated_at IS NOT NULL";
    let escalate = async |after| {
        let mut step = ctx.step().await.unwrap();
        let actor = breaks::Actor {
            by: "counters-check",
            run: Uuid::nil(),
            execution: ctx.execution_id(),
            at: SystemClock::default().now() + chrono::TimeDelta::hours(23),
        };
        let risen = breaks::escalate(step.conn(), "counters", after, actor)
            .await
            .unwrap();
        step.commit().await.unwrap();
        risen
    };
    assert_eq!(escalate(hours(24)).await, 0, "a day is not over");
    assert_eq!(fixture.count(severity).await, 0);
    assert_eq!(escalate(hours(22)).await, 1);
    assert_eq!(escalate(hours(22)).await, 0, "once");
    assert_eq!(escalate(Duration::MAX).await, 0, "no instant is so far away");
    run(&fixture).await;
    assert_eq!(
        fixture.count(severity).await,
        1,
        "its size alone would give a warning"
    );
    let id = fixture.newest().await;
    assert_eq!(fixture.events(id).await, ["opened", "escalated", "seen"]);
    fixture.assert_verifies().await;
}
