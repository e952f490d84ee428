//! A run that ends between any two statements.

use std::future::poll_fn;
use std::task::Poll;

use eidos_disposal::DisposalError;
use eidos_disposal::partition::{Recovered, UndoRequest, UnitOutcome};
use eidos_disposal::unit::{self, UnitState};
use eidos_settings::SourceName;

use crate::fixture::{Fixture, JANUARY, approval, refusal};
use crate::run::Run;

/// Polls `act` so often and then drops it, as a process drops everything when it dies. `None`: it did not get there.
async fn killed_after<T>(polls: u32, act: impl Future<Output = T>) -> Option<T> {
    let mut act = Box::pin(act);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        act.as_mut().poll(cx).map(Some)
    })
    .await
}

/// What a scheduled run does with January, from whatever it finds.
async fn go_on(fixture: &Fixture, run: &Run) -> Result<Option<UnitOutcome>, DisposalError> {
    run.disposal()
        .recover(&crate::fixture::TABLE.parse().unwrap())
        .await?;
    let shape = fixture.shape().await;
    let table = &shape.relation;
    let layout = shape.partitioning.as_ref().unwrap();
    if let Some(partition) = layout
        .partitions
        .iter()
        .find(|found| found.relation.name == JANUARY)
    {
        let identity = eidos_disposal::partition::PartitionIdentity::of(&shape, partition, &run.policy)?;
        return run.disposal().advance(&identity, &approval()).await.map(Some);
    }
    match unit::open_of(fixture.jobs.pool(), SourceName::Risk, table, JANUARY).await? {
        Some(open) => run.disposal().resume(open).await.map(Some),
        None => Ok(None),
    }
}

#[tokio::test]
async fn killed_again_and_again_at_later_and_later_points_it_arrives_with_one_proved_export() {
    let fixture = Fixture::new().await;
    let mut kills = 0_u32;
    let quarantined = loop {
        let run = fixture.run().await;
        // The pace of the kills is uneven on purpose: every statement is somewhere in between.
        if let Some(done) = killed_after(kills * 2 + 1, go_on(&fixture, &run)).await {
            break done.unwrap().unwrap();
        }
        kills += 1;
        assert!(kills < 2_000, "no progress");
        let rows = fixture.rows().await;
        let resting = fixture
            .count(
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'eidos_quarantine'::regnamespace \
             AND relkind = 'r'",
            )
            .await;
        assert_eq!(rows + resting * 400, 1200, "after {kills} kills");
    };
    assert!(kills > 10, "{kills}");
    assert_eq!(quarantined.unit.state, UnitState::Quarantined);
    let mut kills = 0_u32;
    loop {
        let run = fixture.later_run().await;
        if let Some(done) = killed_after(kills * 2 + 1, go_on(&fixture, &run)).await {
            done.unwrap();
            break;
        }
        kills += 1;
        assert!(kills < 2_000, "no progress");
    }
    assert!(kills > 5, "{kills}");
    let run = fixture.later_run().await;
    run.recover().await;
    let states = fixture.states().await;
    let (last, before) = states.split_last().unwrap();
    assert_eq!(last, "dropped");
    assert!(before.iter().all(|state| state == "abandoned"), "{states:?}");
    assert_eq!(fixture.manifests().len(), 1);
    let kept = fixture.unit().await.unit_id.to_string();
    assert!(
        fixture
            .objects()
            .iter()
            .all(|path| path.display().to_string().contains(&kept)),
        "{:?}",
        fixture.objects()
    );
    assert_eq!(fixture.rows().await, 800);
}

#[tokio::test]
async fn an_interrupted_export_is_discarded_and_begun_again_under_another_name() {
    let fixture = Fixture::new().await;
    let first = fixture.verified().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'exporting'")
        .await;
    let run = fixture.run().await;
    let outcome = fixture.advance(&run).await.unwrap();
    assert_eq!(fixture.states().await, ["abandoned", "quarantined"]);
    assert_ne!(outcome.unit.unit_id, first.unit_id);
    let manifests = fixture.manifests();
    assert_eq!(manifests.len(), 1);
    assert!(
        manifests[0]
            .display()
            .to_string()
            .contains(&outcome.unit.unit_id.to_string())
    );
}

#[tokio::test]
async fn an_export_whose_table_was_removed_meanwhile_is_never_discarded() {
    let fixture = Fixture::new().await;
    fixture.verified().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'exporting'")
        .await;
    fixture.sql(&format!("DROP TABLE {JANUARY}")).await;
    let run = fixture.run().await;
    let outcome = run
        .disposal()
        .recover(&crate::fixture::TABLE.parse().unwrap())
        .await;
    assert_eq!(refusal(outcome), "removed");
    assert_eq!(fixture.manifests().len(), 1, "it may be the only copy");
}

#[tokio::test]
async fn a_unit_whose_table_was_removed_before_its_export_is_closed_and_told_once() {
    let fixture = Fixture::new().await;
    let unit = fixture.verified().await;
    let run = fixture.run().await;
    run.disposal().release(&unit, "not now").await.unwrap();
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'frozen'")
        .await;
    fixture.sql(&format!("DROP TABLE {JANUARY}")).await;
    let table = crate::fixture::TABLE.parse().unwrap();
    assert_eq!(refusal(run.disposal().recover(&table).await), "removed");
    assert_eq!(fixture.states().await, ["abandoned"]);
    assert_eq!(run.disposal().recover(&table).await.unwrap(), []);
}

#[tokio::test]
async fn a_table_already_in_quarantine_is_found_there() {
    let fixture = Fixture::new().await;
    let unit = fixture.quarantined().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'verified', quarantine_table = NULL, drop_after_ms = NULL")
        .await;
    let run = fixture.run().await;
    let recovered = run.recover().await;
    assert!(
        matches!(
            recovered.as_slice(),
            [Recovered::MovedOn {
                state: UnitState::Quarantined,
                ..
            }]
        ),
        "{recovered:?}"
    );
    let again = fixture.unit().await;
    assert_eq!(
        (again.quarantine_table, again.drop_after_ms),
        (unit.quarantine_table, unit.drop_after_ms)
    );
}

#[tokio::test]
async fn a_drop_that_was_announced_is_finished_or_noted() {
    for gone in [false, true] {
        let fixture = Fixture::new().await;
        let unit = fixture.quarantined().await;
        fixture
            .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'dropping'")
            .await;
        if gone {
            fixture
                .sql(&format!("DROP TABLE {}", unit.quarantine_table.unwrap()))
                .await;
        }
        let run = fixture.later_run().await;
        run.recover().await;
        let expected = if gone { "dropped" } else { "dropping" };
        assert_eq!(fixture.states().await, [expected]);
        if !gone {
            run.disposal().resume(fixture.unit().await).await.unwrap();
            assert_eq!(fixture.states().await, ["dropped"]);
        }
    }
}

#[tokio::test]
async fn what_a_stale_node_uploads_later_is_swept_and_strangers_are_left_alone() {
    let fixture = Fixture::new().await;
    fixture.verified().await;
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET state = 'exporting'")
        .await;
    let late = fixture.manifests().remove(0);
    let content = std::fs::read(&late).unwrap();
    let run = fixture.run().await;
    fixture.advance(&run).await.unwrap();
    assert!(!late.exists());
    std::fs::create_dir_all(late.parent().unwrap()).unwrap();
    std::fs::write(&late, &content).unwrap();
    let stranger = late
        .parent()
        .unwrap()
        .with_file_name("0197a000-0000-7000-8000-000000000000");
    std::fs::create_dir_all(&stranger).unwrap();
    std::fs::write(stranger.join("manifest.json"), &content).unwrap();
    let recovered = run.recover().await;
    assert!(
        recovered
            .iter()
            .any(|found| matches!(found, Recovered::Swept { objects: 1, .. })),
        "{recovered:?}"
    );
    assert!(
        recovered
            .iter()
            .any(|found| matches!(found, Recovered::UnknownFolder { .. })),
        "{recovered:?}"
    );
    assert!(!late.exists() && stranger.join("manifest.json").exists());
    assert_eq!(fixture.manifests().len(), 2, "ours and the stranger's");
}

#[tokio::test]
async fn an_undo_that_is_killed_at_later_and_later_points_is_finished_by_the_next_one() {
    let fixture = Fixture::new().await;
    fixture.quarantined().await;
    let request = UndoRequest::of(Some("case 17"), None);
    let mut kills = 0_u32;
    loop {
        let run = fixture.run().await;
        let disposal = run.disposal();
        let undo = disposal.undo(fixture.unit().await, &request);
        if let Some(done) = killed_after(kills * 2 + 1, undo).await {
            done.unwrap();
            break;
        }
        kills += 1;
        assert!(kills < 2000, "it gets nowhere");
    }
    assert!(kills > 10, "{kills} kills");
    assert_eq!(fixture.rows().await, 1200);
    fixture
        .sql("UPDATE eidos_risk_audit_logs SET seen = NOT seen WHERE id = 7")
        .await;
    assert_eq!(fixture.states().await, ["abandoned"]);
    assert!(fixture.objects().is_empty(), "{:?}", fixture.objects());
    let holds = "SELECT count(*)::text FROM eidos_jobs_legal_holds";
    assert_eq!(fixture.jobs_text(holds).await, "1");
}
