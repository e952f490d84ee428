//! Plans: what their digest covers, how they are found again, what is said when the world has changed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_plan::{Action, Note, Plan, PlanItem, find_planned, verify_remaining};
use eidos_settings::SourceName;
use eidos_testkit::TestDb;
use eidos_types::Slot;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::refusal;

const DAY: Duration = Duration::from_hours(24);

fn slot() -> Slot {
    Slot::at("2026-01-01T04:00:00Z".parse().unwrap())
}

fn item(object: &str) -> PlanItem {
    PlanItem {
        source: SourceName::Risk,
        table: "public.eidos_risk_events".to_owned(),
        object: object.to_owned(),
        action: Action::ArchiveAndDrop,
        window_ms: Some((1_704_067_200_000, 1_706_745_600_000)),
        rows_estimate: Some(1_234_567),
        bytes: Some(34_603_008),
        locks: vec![format!("{object}: SHARE ROW EXCLUSIVE for a moment")],
        steps: vec!["freeze".to_owned(), "export".to_owned()],
        reason: "older than 12 months".to_owned(),
        blocked: None,
        identity: json!({ "oid": 16_400, "columns_fingerprint": "ab", "bounds": { "lower": 1, "upper": 2 } }),
    }
}

fn plan(items: Vec<PlanItem>) -> Plan {
    Plan::new(
        "data-cleanup",
        slot(),
        items,
        vec![Note::new("public.x has no retention rule")],
    )
    .unwrap()
}

#[test]
fn the_digest_names_the_work_and_nothing_else() {
    let planned = plan(vec![item("a"), item("b")]);
    let other_words = PlanItem {
        rows_estimate: None,
        bytes: Some(1),
        locks: Vec::new(),
        steps: Vec::new(),
        reason: "in other words".to_owned(),
        ..item("a")
    };
    assert_eq!(plan(vec![item("b"), other_words]).digest, planned.digest);
    let another = |change: &dyn Fn(&mut PlanItem)| {
        let mut changed = item("a");
        change(&mut changed);
        plan(vec![changed, item("b")]).digest
    };
    let changes: [&dyn Fn(&mut PlanItem); 5] = [
        &|item| item.identity["oid"] = json!(16_401),
        &|item| item.identity["bounds"]["upper"] = json!(3),
        &|item| item.action = Action::Drop,
        &|item| item.source = SourceName::Chain,
        &|item| item.object = "c".to_owned(),
    ];
    for (i, change) in changes.iter().enumerate() {
        assert_ne!(another(change), planned.digest, "change {i}");
    }
    let later = Slot::at("2026-01-02T04:00:00Z".parse().unwrap());
    let items = vec![item("a"), item("b")];
    assert_ne!(
        Plan::new("data-cleanup", later, items, Vec::new())
            .unwrap()
            .digest,
        planned.digest
    );
    assert_eq!(
        refusal(Plan::new("j", slot(), vec![item("a"), item("a")], Vec::new())),
        "plan"
    );
}

#[test]
fn what_has_changed_is_said_in_words() {
    let planned = plan(vec![item("a"), item("b")]);
    assert_eq!(verify_remaining(&planned, &planned, |_item| false), Ok(()));
    let mut recreated = item("a");
    recreated.identity["oid"] = json!(7);
    recreated.blocked = Some("legal hold 1 by ada (case 7)".to_owned());
    let now = plan(vec![recreated, item("c")]);
    let said = verify_remaining(&planned, &now, |_item| false)
        .unwrap_err()
        .to_string();
    for part in [
        "a is blocked now: legal hold 1",
        "oid of a was 16400 and is 7",
        "'archive and drop b' is not due any more",
        "'archive and drop c' is due now and was not planned",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let rest = plan(vec![item("a")]);
    assert!(verify_remaining(&planned, &rest, |_item| false).is_err());
    assert_eq!(
        verify_remaining(&planned, &rest, |item| item.object == "b"),
        Ok(())
    );
}

/// A small plan: for each object its identity, or nothing.
fn small(objects: &[Option<u8>]) -> Plan {
    let items = objects.iter().enumerate().filter_map(|(n, identity)| {
        Some(PlanItem {
            identity: json!({ "oid": (*identity)? }),
            ..item(&n.to_string())
        })
    });
    plan(items.collect())
}

proptest! {
    /// The naive model: each object is as it was planned, or the plan has done it and it is missing.
    #[test]
    fn a_plan_fits_what_is_left_of_it_and_nothing_else(
        objects in prop::collection::vec((prop::option::of(0..3_u8), prop::option::of(0..3_u8), any::<bool>()), 0..5),
    ) {
        let planned = small(&objects.iter().map(|(was, _, _)| *was).collect::<Vec<_>>());
        let now = small(&objects.iter().map(|(_, is, _)| *is).collect::<Vec<_>>());
        let fits = objects.iter().all(|(was, is, done)| was == is || (*done && is.is_none()));
        let done = |item: &PlanItem| objects[item.object.parse::<usize>().unwrap()].2;
        prop_assert_eq!(verify_remaining(&planned, &now, done).is_ok(), fits);
        prop_assert_eq!(planned.digest == now.digest, objects.iter().all(|(was, is, _)| was == is));
    }
}

#[test]
fn a_plan_is_read_by_a_person() {
    let held = PlanItem {
        blocked: Some("legal hold 1 by ada (case 7)".to_owned()),
        ..item("eidos_risk_events_2024_02")
    };
    let shown = plan(vec![item("eidos_risk_events_2024_01"), held]).render();
    for part in [
        "1 to do, 1 blocked",
        "public.eidos_risk_events (risk): archive and drop · 2 partitions · ~2,469,134 rows · 66.0 MiB",
        "why    older than 12 months",
        "1. freeze",
        "<each>: SHARE ROW EXCLUSIVE",
        "2024-01-01",
        "legal hold 1 by ada",
        "public.x has no retention rule",
        "--plan ",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 140), "{shown}");
}

/// A dry run's row, `age` old.
async fn record(db: &TestDb, result: &Value, age: Duration) {
    let made: DateTime<Utc> = slot().instant() - age;
    sqlx::query(
        "INSERT INTO eidos_jobs_executions (job_name, status, started_at, result, created_at, execution_id, trigger, dry_run) \
         VALUES ('data-cleanup', 'success', $1, $2, $1, gen_random_uuid(), 'cli', true)",
    )
    .bind(made.timestamp_millis())
    .bind(result)
    .execute(db.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn a_plan_is_found_by_its_digest_and_only_as_it_was_made() {
    let db = TestDb::migrated().await;
    let planned = plan(vec![item("a")]);
    let find = async |digest: &str, max_age| {
        find_planned(db.pool(), "data-cleanup", digest, max_age, slot().instant()).await
    };
    assert_eq!(refusal(find(&planned.digest, DAY).await), "plan");
    record(&db, &json!({ "plan": planned }), Duration::from_hours(2)).await;
    assert_eq!(find(&planned.digest, DAY).await.unwrap(), planned);
    assert_eq!(
        refusal(find(&planned.digest, Duration::from_hours(1)).await),
        "plan"
    );
    let elsewhere = find_planned(db.pool(), "archive-data", &planned.digest, DAY, slot().instant()).await;
    assert_eq!(refusal(elsewhere), "plan");

    // Somebody adds a partition to a plan that was approved.
    let mut tampered = planned.clone();
    tampered.items.push(item("b"));
    record(&db, &json!({ "plan": tampered }), Duration::from_hours(1)).await;
    assert_eq!(refusal(find(&planned.digest, DAY).await), "plan");
}
