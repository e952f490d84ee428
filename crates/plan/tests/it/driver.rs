//! One run of a planned job, in its order: nothing is done before the plan fits, and only what the plan has.

use eidos_plan::Plan;
use eidos_runtime::JobError;

use crate::toy::{House, Painter, TODAY, TOMORROW};

const ALL: Painter = Painter { most: usize::MAX };

/// The plan is refused, says so, and nothing was written, recovery included.
async fn refused(house: &House, plan: &Plan, what: &str) {
    let before = house.written().await;
    let error = house.apply(&ALL, plan).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, JobError::Fail(_)), "{error:?}");
    assert!(text.contains(what), "{what}: {text}");
    assert_eq!(house.written().await, before, "{what}");
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let house = House::new().await;
    let before = house.written().await;
    let plan = house.plan(&ALL, TODAY).await;
    assert_eq!(plan.items.len(), 1);
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn the_schedule_does_what_is_due_and_leaves_what_is_reserved_for_a_person() {
    let house = House::new().await;
    house.wall("b", "red", TODAY).await;
    house
        .sql("UPDATE walls SET reserved = true WHERE name = 'b'")
        .await;
    let plan = house.plan(&ALL, TODAY).await;
    let report = house.run(&ALL, TODAY).await.unwrap();
    assert!(report.swept, "what earlier runs left is put in order first");
    assert_eq!(
        (report.painted, report.waiting),
        (vec!["a".to_owned()], vec!["b".to_owned()])
    );
    assert_eq!(
        house.approvals().await,
        [("a".to_owned(), "policy".to_owned(), plan.digest)]
    );

    let plan = house.plan(&ALL, TODAY).await;
    let report = house.apply(&ALL, &plan).await.unwrap();
    assert_eq!(report.painted, ["b"]);
    assert_eq!(
        house.approvals().await[1],
        ("b".to_owned(), "olga".to_owned(), plan.digest)
    );
}

#[tokio::test]
async fn a_plan_is_applied_for_the_slot_it_was_made_for() {
    let house = House::new().await;
    house.wall("due-tomorrow", "red", TOMORROW).await;
    let plan = house.plan(&ALL, TODAY).await;
    let report = house.apply(&ALL, &plan).await.unwrap();
    assert_eq!(report.painted, ["a"]);
    assert_eq!(report.plan.slot, plan.slot);
}

#[tokio::test]
async fn another_plan_is_refused_and_nothing_is_done() {
    let house = House::new().await;
    let plan = house.plan(&ALL, TODAY).await;
    house.wall("b", "red", TODAY).await;
    refused(
        &house,
        &plan,
        "'create b' is due now and was not planned; nothing was done",
    )
    .await;
    let plan = house.plan(&ALL, TODAY).await;
    house
        .sql("UPDATE walls SET colour = 'blue' WHERE name = 'a'")
        .await;
    refused(&house, &plan, "colour of a was \"white\" and is \"blue\"").await;
    let plan = house.plan(&ALL, TODAY).await;
    house
        .sql("UPDATE walls SET blocked = 'the paint is wet' WHERE name = 'b'")
        .await;
    refused(&house, &plan, "b is blocked now: the paint is wet").await;
    // Somebody else painted it: this plan did not.
    let plan = house.plan(&ALL, TODAY).await;
    house
        .sql("UPDATE walls SET painted = true WHERE name = 'a'")
        .await;
    refused(&house, &plan, "'create a' is not due any more").await;
    let nobodys = Plan {
        digest: "0123".to_owned(),
        ..plan
    };
    refused(&house, &nobodys, "no dry run of paint-walls made a plan").await;
    let plan = house.plan(&ALL, TODAY).await;
    house
        .sql("UPDATE eidos_jobs_executions SET started_at = started_at - 7200000")
        .await;
    refused(&house, &plan, "older than disposal.plan_max_age").await;
}

#[tokio::test]
async fn what_the_plan_did_already_may_be_missing() {
    let house = House::new().await;
    for wall in ["b", "c"] {
        house.wall(wall, "red", TODAY).await;
    }
    let plan = house.plan(&ALL, TODAY).await;
    let one = Painter { most: 1 };
    for wall in ["a", "b"] {
        assert_eq!(house.apply(&one, &plan).await.unwrap().painted, [wall]);
    }
    // Under the digest that was approved, not under that of the rest.
    for (wall, by, digest) in house.approvals().await {
        assert_eq!((by.as_str(), &digest), ("olga", &plan.digest), "{wall}");
    }
    assert_eq!(house.apply(&ALL, &plan).await.unwrap().painted, ["c"]);
    assert!(house.apply(&ALL, &plan).await.unwrap().painted.is_empty());
}

#[tokio::test]
async fn what_was_blocked_when_it_was_approved_stays() {
    let house = House::new().await;
    house.wall("b", "red", TODAY).await;
    house
        .sql("UPDATE walls SET blocked = 'the paint is wet' WHERE name = 'b'")
        .await;
    let plan = house.plan(&ALL, TODAY).await;
    house.sql("UPDATE walls SET blocked = NULL").await;
    assert_eq!(house.apply(&ALL, &plan).await.unwrap().painted, ["a"]);
}

#[tokio::test]
async fn what_must_be_looked_at_fails_the_run_with_its_report_after_the_rest_was_done() {
    let house = House::new().await;
    house.wall("Z", "damp", TODAY).await;
    let error = house.run(&ALL, TODAY).await.unwrap_err();
    let JobError::Reported {
        error,
        report,
        rendered,
    } = error
    else {
        panic!("no report: {error:?}");
    };
    assert!(matches!(*error, JobError::Retry(_)), "{error:?}");
    assert_eq!(error.to_string(), "[\"Z\"] are damp");
    assert_eq!(report["painted"], serde_json::json!(["a"]));
    assert_eq!(rendered, "painted [\"a\"]");
}
