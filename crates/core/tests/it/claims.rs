//! Each slot runs once, whichever replica asks and whatever its clock says.

use std::cell::Cell;
use std::time::Duration;

use eidos_core::execution::{self, Filter, Page, Status, Trigger};
use eidos_core::slot::{Claim, ClaimRequest, claim};
use eidos_core::start::{Missed, Scheduled, scheduled};
use eidos_core::state;
use eidos_types::{Clock, JobName, Slot, SlotRange, SystemClock};
use futures::future::join_all;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::Fixture;

const TOLERANCE: Duration = Duration::from_secs(2);

async fn claim_slot(fixture: &Fixture, slot: Slot) -> Claim {
    claim_for(fixture, fixture.job.clone(), slot).await
}

async fn claim_for(fixture: &Fixture, job: JobName, slot: Slot) -> Claim {
    let request = ClaimRequest {
        job,
        slot,
        node: fixture.node(),
        tolerance: TOLERANCE,
    };
    let mut conn = fixture.db.pool().acquire().await.unwrap();
    claim(&mut conn, &request).await.unwrap()
}

#[tokio::test]
async fn of_eight_concurrent_claims_one_wins() {
    let fixture = Fixture::new().await;
    for round in (0..25).rev() {
        let slot = fixture.slot(round);
        let claims = join_all((0..8).map(|_replica| claim_slot(&fixture, slot))).await;
        let won = claims
            .iter()
            .filter(|claim| matches!(claim, Claim::Won { .. }))
            .count();
        assert_eq!(won, 1, "{claims:?}");
        assert_eq!(
            claims
                .iter()
                .filter(|claim| **claim == Claim::AlreadyClaimed)
                .count(),
            7
        );
    }
}

#[tokio::test]
async fn a_fast_clock_cannot_claim_the_future() {
    let fixture = Fixture::new().await;
    let fast = SystemClock::skewed(chrono::TimeDelta::minutes(1));
    let future = Slot::at(fast.now());
    assert_eq!(claim_slot(&fixture, future).await, Claim::AheadOfDatabaseClock);
    // Nothing was taken away from the real slots.
    assert!(matches!(
        claim_slot(&fixture, fixture.slot(0)).await,
        Claim::Won { .. }
    ));
    assert_eq!(claim_slot(&fixture, future).await, Claim::AheadOfDatabaseClock);
}

#[tokio::test]
async fn the_first_claim_has_no_backfill_and_the_next_owns_the_gap() {
    let fixture = Fixture::new().await;
    let (first, third) = (fixture.slot(30), fixture.slot(10));
    let won = |after, upto| Claim::Won {
        range: SlotRange { after, upto },
    };
    assert_eq!(claim_slot(&fixture, first).await, won(None, first));
    assert_eq!(claim_slot(&fixture, third).await, won(Some(first), third));
    assert_eq!(
        claim_slot(&fixture, fixture.slot(20)).await,
        Claim::AlreadyClaimed
    );
}

#[tokio::test]
async fn a_registered_job_starts_at_its_cursor_and_never_moves_back() {
    let fixture = Fixture::new().await;
    let cursor = fixture.slot(20);
    assert!(
        state::register(fixture.control(), &fixture.job, cursor)
            .await
            .unwrap()
    );
    assert!(
        !state::register(fixture.control(), &fixture.job, fixture.slot(60))
            .await
            .unwrap()
    );
    assert_eq!(
        claim_slot(&fixture, fixture.slot(40)).await,
        Claim::AlreadyClaimed
    );
    let known = state::get(fixture.jobs.read(), &fixture.job)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known.last_slot, Some(cursor));
}

/// A node with a fast clock that sees a job first must not silence it: nobody could claim the slots between the
/// database's now and such a cursor.
#[tokio::test]
async fn a_fast_clock_cannot_register_a_cursor_in_the_future() {
    let fixture = Fixture::new().await;
    state::register(fixture.control(), &fixture.job, fixture.slot(-60))
        .await
        .unwrap();
    let known = state::get(fixture.jobs.read(), &fixture.job)
        .await
        .unwrap()
        .unwrap();
    assert!(
        known.last_slot.unwrap() < fixture.slot(-1),
        "{:?}",
        known.last_slot
    );
}

#[tokio::test]
async fn a_paused_job_is_not_claimed_until_it_is_resumed() {
    let fixture = Fixture::new().await;
    let slot = fixture.slot(1);
    assert!(
        state::pause(fixture.control(), &fixture.job, "ann", "a bad release")
            .await
            .unwrap()
    );
    assert!(
        !state::pause(fixture.control(), &fixture.job, "bob", "me too")
            .await
            .unwrap()
    );
    assert_eq!(claim_slot(&fixture, slot).await, Claim::Paused);
    let paused = state::get(fixture.jobs.read(), &fixture.job)
        .await
        .unwrap()
        .unwrap()
        .pause
        .unwrap();
    assert_eq!(
        (paused.by.as_str(), paused.reason.as_str()),
        ("ann", "a bad release")
    );
    assert!(state::resume(fixture.control(), &fixture.job).await.unwrap());
    assert!(!state::resume(fixture.control(), &fixture.job).await.unwrap());
    assert!(matches!(claim_slot(&fixture, slot).await, Claim::Won { .. }));
}

/// Any sequence of claims behaves like a cursor in a variable: what is won is exactly what lies above it, and the
/// won ranges tile the time line.
#[test]
fn claims_follow_the_naive_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let mut runner = TestRunner::new(Config::with_cases(60));
    let base_ms = fixture.clock.now_ms() - 1_000_000;
    let case = Cell::new(0_u32);
    let slots = proptest::collection::vec(0_i64..2_000, 1..12);
    runner
        .run(&slots, |offsets| {
            case.set(case.get() + 1);
            let job: JobName = format!("job-{}", case.get()).parse().unwrap();
            let mut cursor: Option<i64> = None;
            for offset in offsets {
                // Offsets beyond 1000 lie in the future.
                let slot = Slot::from_ms(base_ms + offset * 1_000).unwrap();
                let expected = if slot.ms() > fixture.clock.now_ms() + 2_000 {
                    Claim::AheadOfDatabaseClock
                } else if cursor.is_none_or(|cursor| cursor < slot.ms()) {
                    let after = cursor.replace(slot.ms()).and_then(Slot::from_ms);
                    Claim::Won {
                        range: SlotRange { after, upto: slot },
                    }
                } else {
                    Claim::AlreadyClaimed
                };
                let near_now = (slot.ms() - fixture.clock.now_ms() - 2_000).abs() < 1_000;
                if !near_now {
                    assert_eq!(runtime.block_on(claim_for(&fixture, job.clone(), slot)), expected);
                } else if expected != Claim::AheadOfDatabaseClock {
                    // Too close to the border to know; take the case out of the model.
                    return Ok(());
                }
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn missed_slots_are_recorded_once_each_by_the_winner() {
    let fixture = Fixture::new().await;
    claim_slot(&fixture, fixture.slot(50)).await;
    let missed = [fixture.slot(40), fixture.slot(30)];
    let slot = fixture.slot(20);
    let starters: Vec<_> = (0..8).map(|_replica| fixture.starter(1)).collect();
    let starts = join_all(starters.iter().map(|starter| {
        scheduled(
            fixture.control(),
            starter,
            slot,
            TOLERANCE,
            &fixture.clock,
            |range| {
                assert!(range.contains(missed[0]) && range.contains(missed[1]));
                let missed = Missed {
                    slots: missed.to_vec(),
                    dropped: 3,
                    reason: "missed: only the latest slot is caught up".to_owned(),
                };
                (Trigger::Schedule, Some(serde_json::json!({"full": true})), missed)
            },
        )
    }))
    .await;
    let running = starts
        .iter()
        .filter(|start| matches!(start, Ok(Scheduled::Running { .. })))
        .count();
    assert_eq!(running, 1, "{starts:?}");
    let rows = execution::list(fixture.jobs.read(), &Filter::default(), &Page::default())
        .await
        .unwrap()
        .executions;
    let of = |status| rows.iter().filter(move |row| row.status == status);
    assert_eq!(of(Status::Running).count(), 1);
    let mut skipped: Vec<_> = of(Status::Skipped).filter_map(|row| row.slot).collect();
    skipped.sort();
    assert_eq!(skipped, missed);
    assert!(of(Status::Skipped).all(|row| row.error_message.as_deref().unwrap().starts_with("missed")));
}

#[tokio::test]
async fn a_start_that_dies_before_its_commit_leaves_the_slot_free() {
    let fixture = Fixture::new().await;
    let slot = fixture.slot(5);
    let mut tx = fixture.control().begin().await.unwrap();
    let request = ClaimRequest {
        job: fixture.job.clone(),
        slot,
        node: fixture.node(),
        tolerance: TOLERANCE,
    };
    assert!(matches!(
        claim(&mut tx, &request).await.unwrap(),
        Claim::Won { .. }
    ));
    drop(tx);
    let start = scheduled(
        fixture.control(),
        &fixture.starter(4),
        slot,
        TOLERANCE,
        &fixture.clock,
        |_range| (Trigger::CatchUp, None, Missed::default()),
    )
    .await
    .unwrap();
    let Scheduled::Running { run, .. } = start else {
        panic!("{start:?}")
    };
    assert_eq!(run.fence.epoch().get(), 4);
    let row = fixture.row(&run.fence).await;
    assert_eq!(
        (row.status, row.slot, row.trigger),
        (Status::Running, Some(slot), Trigger::CatchUp)
    );
}
