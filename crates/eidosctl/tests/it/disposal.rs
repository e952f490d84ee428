//! `holds`, `units`, `disposals` and `pauses set`: what is sent to retention-manager and recon-svc, and how the answer is shown.

use serde_json::{Value, json};

use crate::canned::{Answer, Canned};

const HOLD: &str = "0199f5a0-0000-7000-8000-000000000001";

fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn hold() -> Value {
    json!({
        "hold_id": HOLD, "source": "risk", "table": {"schema": "public", "name": "eidos_risk_events"},
        "from_ms": 1_704_067_200_000_i64, "to_ms": null, "reason": "case 17", "placed_by": "ann",
        "placed_at": "2026-01-02T03:04:05Z", "lifted_by": null, "lifted_at": null, "lift_reason": null,
    })
}

#[tokio::test]
async fn a_hold_is_placed_listed_and_lifted() {
    let placed = json!({ "hold": hold(), "warning": "the table could not be checked" });
    let service = Canned::start(vec![
        Answer::Json(201, placed),
        Answer::Json(200, json!({ "holds": [hold()] })),
        Answer::Json(200, json!({ "hold": hold() })),
    ])
    .await;
    let table = ["--source", "risk", "--table", "eidos_risk_events"];
    let range = ["--from", "1704067200000", "--to", "2024-02-01T00:00:00Z"];
    let place = [&["holds", "place"][..], &table, &range, &["--reason", "case 17"]].concat();
    let ran = service.run(&place).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.contains(HOLD) && ran.out.contains("warning: the table could not be checked"),
        "{}",
        ran.out
    );
    assert!(service.request(0).starts_with("POST /v1/holds "));
    let sent = json!({
        "source": "risk", "table": "eidos_risk_events", "from": 1_704_067_200_000_i64, "to": "2024-02-01T00:00:00Z",
        "reason": "case 17",
    });
    assert_eq!(body_of(&service.request(0)), sent);

    let ran = service.run(&["holds"]).await;
    assert!(
        ran.out.contains("public.eidos_risk_events") && ran.out.contains("2024-01-01T00:00:00"),
        "{}",
        ran.out
    );
    assert!(
        service
            .request(1)
            .starts_with("GET /v1/holds?all=false&limit=1000&offset=0 ")
    );

    let ran = service.run(&["holds", "lift", HOLD, "--reason", "closed"]).await;
    assert_eq!(ran.out, format!("{HOLD}: lifted\n"), "{}", ran.err);
    assert!(
        service
            .request(2)
            .starts_with(&format!("POST /v1/holds/{HOLD}/lift "))
    );
    assert_eq!(body_of(&service.request(2)), json!({ "reason": "closed" }));
}

#[tokio::test]
async fn units_and_disposals_are_filtered_by_the_server_and_paged() {
    let unit = json!({ "unit_id": HOLD, "unit_name": "eidos_risk_events_2024_01", "state": "quarantined", "row_count": 20 });
    let disposal = json!({ "id": 7, "action": "drop", "object_name": "eidos_risk_events_2024_01" });
    let service = Canned::start(vec![
        Answer::Json(200, json!({ "units": [unit], "next": HOLD })),
        Answer::Json(200, json!({ "disposals": [disposal], "next": 7 })),
    ])
    .await;
    let ran = service
        .run(&["units", "--state", "quarantined", "--limit", "1"])
        .await;
    assert!(
        ran.out.contains("eidos_risk_events_2024_01") && ran.out.contains(&format!("--before {HOLD}")),
        "{}",
        ran.out
    );
    assert!(
        service
            .request(0)
            .starts_with("GET /v1/units?state=quarantined&limit=1 ")
    );

    let arguments = [
        "disposals",
        "--action",
        "drop",
        "--job",
        "data-cleanup",
        "--limit",
        "1",
    ];
    let ran = service.run(&arguments).await;
    assert!(
        ran.out.contains("drop") && ran.out.contains("--before 7"),
        "{}",
        ran.out
    );
    assert!(
        service
            .request(1)
            .starts_with("GET /v1/disposals?job=data-cleanup&action=drop&limit=1 ")
    );
}

#[tokio::test]
async fn a_person_pauses_an_operation_and_hears_if_its_key_is_missing() {
    let service = Canned::start(vec![Answer::Json(
        201,
        json!({ "pause": {}, "announced": false }),
    )])
    .await;
    let ran = service
        .run(&["pauses", "set", "withdrawal", "USDC", "--reason", "a leak"])
        .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.starts_with("withdrawal USDC: paused\n") && ran.out.contains("the next run writes it"),
        "{}",
        ran.out
    );
    assert!(service.request(0).starts_with("POST /v1/pauses/withdrawal/USDC "));
    assert_eq!(
        body_of(&service.request(0)),
        json!({ "reason": "a leak", "break_id": null })
    );
}
