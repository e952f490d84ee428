//! Exports go only where a person said, or where they went before anybody was asked.

use eidos_disposal::destination::{self, StoreAct, StoreReport, StoreRequest};
use eidos_disposal::{DisposalError, unit};

use crate::fixture::{Fixture, approval, refusal};
use crate::run::Run;

const FEBRUARY: &str = "eidos_risk_audit_logs_2024_02";

async fn accept(run: &Run, location: &str) -> Result<StoreReport, DisposalError> {
    let request = StoreRequest::of(StoreAct::Accept, Some(location), Some("ticket 7"));
    destination::requested(&run.ctx, run.store.as_ref().unwrap(), &request).await
}

async fn frozen(fixture: &Fixture) -> usize {
    let partitions = fixture.shape().await.partitioning.unwrap().partitions;
    partitions.iter().filter(|partition| partition.frozen).count()
}

#[tokio::test]
async fn nothing_is_frozen_or_exported_before_a_person_accepted_the_store() {
    let fixture = Fixture::new().await;
    fixture.forget_stores().await;
    let run = fixture.run().await;
    let location = fixture.store.location();
    let control = run.ctx.jobs_db().control();
    let blocked = destination::obstacle(control, "data-cleanup", &fixture.store)
        .await
        .unwrap();
    let error = fixture.advance(&run).await.unwrap_err();
    assert_eq!(
        blocked,
        Some(("store_not_accepted", error.to_string())),
        "a plan says the same"
    );
    let command = format!("retention-manager store accept --location '{location}' --reason");
    assert!(error.to_string().contains(&command), "{error}");
    assert!(error.is_about_the_store() && !error.is_retryable(), "{error}");
    assert_eq!(fixture.states().await, [""; 0]);
    assert_eq!((frozen(&fixture).await, fixture.objects().len()), (0, 0));
    let unready = destination::ready(control, "data-cleanup", &fixture.store).await;
    assert_eq!(refusal(unready), "store_not_accepted");

    let misspelt = accept(&run, &format!("{location}-")).await;
    assert!(
        misspelt.as_ref().unwrap_err().to_string().contains(&location),
        "{misspelt:?}"
    );
    fixture.advance(&run).await.unwrap_err();
    let report = accept(&run, &location).await.unwrap();
    assert!(report.accepted, "{report}");
    let recorded = "SELECT concat_ws('|', location, accepted_by, reason) FROM eidos_jobs_archive_stores";
    assert_eq!(
        fixture.jobs_text(recorded).await,
        format!("{location}|unnamed|ticket 7")
    );
    assert_eq!(fixture.acts().await, ["accept-store"]);
    let again = accept(&run, &location).await.unwrap();
    assert!(again.to_string().contains("it was accepted before"), "{again}");
    destination::ready(control, "data-cleanup", &fixture.store)
        .await
        .unwrap();
    fixture.advance(&run).await.unwrap();
    assert_eq!(fixture.states().await, ["quarantined"]);
}

#[tokio::test]
async fn another_location_is_refused_again_also_for_a_unit_that_is_frozen_already() {
    let fixture = Fixture::new().await;
    fixture.frozen().await;
    let mut run = fixture.run().await;
    run.store = Some(fixture.other_store("elsewhere").await);
    assert_eq!(refusal(fixture.advance(&run).await), "store_not_accepted");
    let february = fixture.identity(&run, FEBRUARY).await;
    let refused = run.disposal().advance(&february, &approval()).await;
    assert_eq!(refusal(refused), "store_not_accepted");
    assert_eq!(fixture.states().await, ["frozen"]);
    let location = run.store.as_ref().unwrap().location();
    accept(&run, &location).await.unwrap();
    fixture.advance(&run).await.unwrap();
    assert_eq!(fixture.states().await, ["quarantined"]);
}

/// An upgrade must not stop the night's run: the place that has the exports on record is the right one.
#[tokio::test]
async fn a_store_with_exports_from_before_counts_as_accepted_and_no_other_does() {
    let fixture = Fixture::new().await;
    fixture.quarantined().await;
    fixture.forget_stores().await;
    let mut run = fixture.run().await;
    let february = fixture.identity(&run, FEBRUARY).await;
    run.store = Some(fixture.other_store("empty").await);
    let refused = run.disposal().advance(&february, &approval()).await;
    assert_eq!(refusal(refused), "store_not_accepted");

    run.store = Some(fixture.store.clone());
    let control = run.ctx.jobs_db().control();
    let blocked = destination::obstacle(control, "data-cleanup", &fixture.store)
        .await
        .unwrap();
    assert_eq!(blocked, None, "a plan shows it as free");
    assert_eq!(
        fixture
            .jobs_text("SELECT count(*)::text FROM eidos_jobs_archive_stores")
            .await,
        "0"
    );
    run.disposal().advance(&february, &approval()).await.unwrap();
    let recorded = "SELECT concat_ws('|', location, accepted_by, adopted_for) FROM eidos_jobs_archive_stores";
    let expected = format!("{}|upgrade|data-cleanup", fixture.store.location());
    assert_eq!(fixture.jobs_text(recorded).await, expected);
    assert!(fixture.acts().await.contains(&"accept-store".to_owned()));

    // A copy of everything, as a replica has it, is not where exports belong unless a person says so.
    let copy = fixture.other_store("copy").await;
    for unit in unit::list_with_export(control, 10).await.unwrap() {
        let key = unit.manifest_key.unwrap();
        let (from, to) = (fixture.store.location(), copy.location());
        let path = |location: &str| format!("{}/{key}", location.trim_start_matches("file://"));
        let target = path(&to);
        std::fs::create_dir_all(std::path::Path::new(&target).parent().unwrap()).unwrap();
        std::fs::copy(path(&from), target).unwrap();
    }
    let blocked = destination::obstacle(control, "data-cleanup", &copy)
        .await
        .unwrap();
    assert_eq!(blocked.unwrap().0, "store_not_accepted");
}

#[tokio::test]
async fn a_store_that_does_not_work_is_not_accepted() {
    let fixture = Fixture::new().await;
    fixture.forget_stores().await;
    let run = fixture.run().await;
    let location = fixture.store.location();
    let folder = location.trim_start_matches("file://");
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::write(folder, "not a folder").unwrap();
    let error = accept(&run, &location).await.unwrap_err();
    assert!(error.to_string().contains(&location), "{error}");
    let recorded = "SELECT count(*)::text FROM eidos_jobs_archive_stores";
    assert_eq!(fixture.jobs_text(recorded).await, "0");
    assert_eq!(fixture.acts().await, [""; 0]);
}

#[tokio::test]
async fn what_was_accepted_is_shown_with_who_and_why() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let request = StoreRequest::of(StoreAct::Show, None, None);
    let shown = destination::requested(&run.ctx, &fixture.store, &request)
        .await
        .unwrap();
    assert!(shown.accepted, "{shown}");
    let text = shown.to_string();
    for part in ["set-up", "a test", "keeps no versions", &fixture.store.location()] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
