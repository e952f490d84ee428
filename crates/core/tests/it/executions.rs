//! The history: pages, filters, last successes, abandoned runs.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_core::execution::{
    Ending, FailureKind, Filter, Outcome, Page, SkipRequest, Status, Trigger, abandoned, finish, last,
    last_successes, list, recent_endings, skip,
};
use eidos_core::fence::Fence;
use eidos_types::{Clock, JobName};

use crate::fixture::Fixture;

async fn end(fixture: &Fixture, fence: &Fence, outcome: &Outcome, now_ms: i64) {
    finish(fixture.control(), fence, outcome, None, now_ms)
        .await
        .unwrap();
}

fn success(checked: u64) -> Outcome {
    Outcome::Success {
        report: serde_json::json!({ "checked": checked }),
    }
}

#[tokio::test]
async fn pages_are_newest_first_without_gap_or_repetition() {
    let fixture = Fixture::new().await;
    let mut fences = Vec::new();
    for _run in 0..7 {
        fences.push(fixture.run().await.fence);
    }
    let mut seen = Vec::new();
    let mut page = Page {
        limit: 3,
        after: None,
    };
    let mut pages = 0;
    loop {
        let listing = list(fixture.jobs.read(), &Filter::default(), &page)
            .await
            .unwrap();
        pages += 1;
        seen.extend(
            listing
                .executions
                .iter()
                .map(|row| (row.started_at_ms, row.execution_id)),
        );
        // A run that starts meanwhile is newer and does not disturb the pages.
        fixture.run().await;
        let Some(next) = listing.next else { break };
        page.after = Some(next.to_string().parse().unwrap());
    }
    assert_eq!(pages, 3);
    assert_eq!(seen.len(), fences.len());
    assert!(seen.windows(2).all(|pair| pair[0].0 >= pair[1].0));
    let seen: BTreeSet<_> = seen.into_iter().map(|(_started, id)| id).collect();
    assert_eq!(seen, fences.iter().map(Fence::execution).collect());
}

#[tokio::test]
async fn filters_select_by_job_status_trigger_kind_and_time() {
    let fixture = Fixture::new().await;
    let now_ms = fixture.clock.now_ms();
    let fence = fixture.run().await.fence;
    end(&fixture, &fence, &success(1), now_ms + 500).await;
    fixture.run().await;
    fixture.run().await;
    let count = async |filter: Filter| {
        list(fixture.jobs.read(), &filter, &Page::default())
            .await
            .unwrap()
            .executions
            .len()
    };
    let all = Filter::default();
    let by_status = |status| Filter {
        status: Some(status),
        ..Filter::default()
    };
    assert_eq!(count(all.clone()).await, 3);
    assert_eq!(count(by_status(Status::Success)).await, 1);
    assert_eq!(count(by_status(Status::Running)).await, 1);
    let orphaned = Filter {
        failure_kind: Some(FailureKind::Orphaned),
        ..all.clone()
    };
    assert_eq!(count(orphaned).await, 1);
    let manual = Filter {
        trigger: Some(Trigger::Manual),
        ..all.clone()
    };
    assert_eq!(count(manual).await, 0);
    for (job, expected) in [("archive-data", 0), ("reconciliation", 3)] {
        let of_job = Filter {
            job: Some(job.parse().unwrap()),
            ..all.clone()
        };
        assert_eq!(count(of_job).await, expected);
    }
    let (from_ms, until_ms) = (Some(now_ms), Some(now_ms));
    assert_eq!(
        count(Filter {
            until_ms,
            ..all.clone()
        })
        .await,
        0
    );
    assert_eq!(count(Filter { from_ms, ..all }).await, 3);
}

#[tokio::test]
async fn ruling_12_the_last_success_is_found_behind_later_failures() {
    let fixture = Fixture::new().await;
    let now_ms = fixture.clock.now_ms();
    let fence = fixture.run().await.fence;
    end(&fixture, &fence, &success(9), now_ms + 60_000).await;
    fixture.run().await;
    fixture.run().await;
    let never: JobName = "archive-data".parse().unwrap();
    let found = last_successes(fixture.jobs.read(), &[fixture.job.clone(), never])
        .await
        .unwrap();
    assert_eq!(found, [(fixture.job.clone(), now_ms + 60_000)]);
    let report = last(fixture.jobs.read(), &fixture.job, Some(Status::Success))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.result, Some(serde_json::json!({"checked": 9})));
    assert!(report.duration_ms.unwrap() > 50_000);
    let newest = last(fixture.jobs.read(), &fixture.job, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(newest.status, Status::Running);
}

#[tokio::test]
async fn a_failure_that_a_later_attempt_took_over_is_told_apart_from_one_that_is_final() {
    let fixture = Fixture::new().await;
    let now_ms = fixture.clock.now_ms();
    let failed = |kind| Outcome::Failed {
        kind,
        message: "a test".to_owned(),
        report: None,
    };
    let (healed, final_one) = (Some(fixture.slot(3)), Some(fixture.slot(2)));
    let first = fixture.run_for(healed, 1).await.fence;
    end(&fixture, &first, &failed(FailureKind::Error), now_ms + 60_000).await;
    let second = fixture.run_for(healed, 2).await.fence;
    end(&fixture, &second, &success(1), now_ms + 120_000).await;
    let third = fixture.run_for(final_one, 1).await.fence;
    end(&fixture, &third, &failed(FailureKind::Timeout), now_ms + 180_000).await;

    let jobs = std::slice::from_ref(&fixture.job);
    let ending = |failure, retried, at_ms| Ending {
        job: fixture.job.clone(),
        failure: Some(failure),
        retried,
        at_ms,
    };
    let found = recent_endings(fixture.jobs.read(), jobs, now_ms).await.unwrap();
    assert_eq!(
        found,
        [
            ending(FailureKind::Error, true, now_ms + 60_000),
            ending(FailureKind::Timeout, false, now_ms + 180_000),
        ]
    );
    let later = recent_endings(fixture.jobs.read(), jobs, now_ms + 600_000)
        .await
        .unwrap();
    assert!(later.is_empty(), "{later:?}");
}

#[tokio::test]
async fn silent_runs_are_candidates_for_rescue_and_living_ones_are_not() {
    let fixture = Fixture::new().await;
    let fence = fixture.run().await.fence;
    let jobs = std::slice::from_ref(&fixture.job);
    let silent = async |silence| abandoned(fixture.jobs.read(), jobs, silence).await.unwrap();
    assert!(silent(Duration::from_mins(1)).await.is_empty());
    sqlx::query("UPDATE eidos_jobs_executions SET heartbeat_at = heartbeat_at - 120000")
        .execute(fixture.db.pool())
        .await
        .unwrap();
    let found = silent(Duration::from_mins(1)).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].execution_id, fence.execution());
}

#[tokio::test]
async fn skipping_nothing_writes_nothing() {
    let fixture = Fixture::new().await;
    let request = SkipRequest {
        job: fixture.job.clone(),
        slots: vec![],
        dropped: 0,
        reason: "none".to_owned(),
        node: fixture.node(),
    };
    let mut conn = fixture.control().acquire().await.unwrap();
    assert_eq!(skip(&mut conn, &request, &fixture.clock).await.unwrap(), 0);
}
