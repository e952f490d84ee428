//! Events shorten the wait for an order's end, and prove nothing by themselves.

use eidos_devnet::matching::Misbehaviour;

use crate::fixture::{Fixture, ORDERS};
use crate::kafka::Kafka;

fn update(order_id: &str, status: &str) -> String {
    format!(
        "{{\"order_id\":\"{order_id}\",\"wallet\":\"w\",\"market\":\"BTC-USDC\",\"status\":\"{status}\",\"timestamp\":1}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_alone_ends_nothing() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("", Misbehaviour::default(), &kafka).await;
    fixture.engine.take_down().await;
    fixture.expired_orders(1, 2).await;
    fixture.run().await;
    let mut listening = fixture.listen();
    let removed = "{\"order_id\":\"o1\",\"success\":true,\"reason\":\"EXPIRED\",\"sequence\":1}";
    kafka.write(&kafka.topics.order_cancelled, &[removed]).await;
    kafka
        .write(
            &kafka.topics.order_updates,
            &[&update("o1", "EXPIRED"), &update("o2", "EXPIRED")],
        )
        .await;
    // The engine's answer is recorded, and nothing more is claimed.
    fixture
        .until_requests("state = 'answered' AND verdict = 'removed'", 1)
        .await;
    listening.until_idle().await;
    assert_eq!(fixture.requests("state = 'closed'").await, 0);
    // The row ends it, and the same event leads there.
    fixture
        .sql(&format!("UPDATE {ORDERS} SET status = 5 WHERE order_id = 'o1'"))
        .await;
    kafka
        .write(&kafka.topics.order_updates, &[&update("o1", "EXPIRED")])
        .await;
    fixture
        .until_requests(
            "order_id = 'o1' AND outcome = 'expired' AND confirmed_by = 'event'",
            1,
        )
        .await;
    // An end of another kind is what the row says, not what the event says.
    fixture
        .sql(&format!("UPDATE {ORDERS} SET status = 4 WHERE order_id = 'o2'"))
        .await;
    kafka
        .write(&kafka.topics.order_updates, &[&update("o2", "EXPIRED")])
        .await;
    fixture
        .until_requests(
            "order_id = 'o2' AND outcome = 'cancelled' AND confirmed_by = 'event'",
            1,
        )
        .await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_about_orders_that_nobody_asked_for_and_repeated_ones_change_nothing() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("", Misbehaviour::default(), &kafka).await;
    let mut listening = fixture.listen();
    fixture.expired_orders(1, 10).await;
    fixture.run().await;
    fixture.until_requests("outcome = 'expired'", 10).await;
    let before = fixture
        .jobs
        .number("SELECT sum(hashtext(r::text))::bigint FROM eidos_jobs_order_expiries r")
        .await;
    let again: Vec<String> = (1..=10).map(|id| update(&format!("o{id}"), "EXPIRED")).collect();
    let strange: Vec<String> = (500..=520)
        .map(|id| update(&format!("o{id}"), "EXPIRED"))
        .collect();
    let alive: Vec<String> = (1..=10).map(|id| update(&format!("o{id}"), "PARTIAL")).collect();
    let all: Vec<&str> = again
        .iter()
        .chain(&strange)
        .chain(&alive)
        .map(String::as_str)
        .collect();
    kafka.write(&kafka.topics.order_updates, &all).await;
    kafka.write(&kafka.topics.order_updates, &all).await;
    let refused = "{\"order_id\":\"o999\",\"success\":false,\"reason\":\"ORDER_NOT_FOUND\"}";
    kafka
        .write(&kafka.topics.order_cancelled, &[refused, refused])
        .await;
    // A last event that is seen says that those before it were.
    fixture.expired_orders(11, 11).await;
    fixture.later(1);
    fixture.run().await;
    fixture
        .until_requests("order_id = 'o11' AND outcome = 'expired'", 1)
        .await;
    listening.until_idle().await;
    listening.stop().await;
    let after =
        "SELECT sum(hashtext(r::text))::bigint FROM eidos_jobs_order_expiries r WHERE order_id <> 'o11'";
    assert_eq!(fixture.jobs.number(after).await, before);
    for topic in [&kafka.topics.order_cancelled, &kafka.topics.order_updates] {
        assert!(kafka.dead_letters(topic).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_becomes_a_dead_letter_with_its_reason_and_delays_nobody() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("", Misbehaviour::default(), &kafka).await;
    let long = update(&"x".repeat(65), "EXPIRED");
    let poison = [
        "not json",
        "",
        "{\"order_id\":7,\"status\":\"EXPIRED\"}",
        "{\"order_id\":\"o1\"}",
        "{\"order_id\":\"\",\"status\":\"EXPIRED\"}",
        "{\"order_id\":\"o\\u0000\",\"status\":\"EXPIRED\"}",
        long.as_str(),
    ];
    kafka.write(&kafka.topics.order_updates, &poison).await;
    let removals = [
        "[1]",
        "{\"order_id\":\"o1\",\"result\":\"eaten\"}",
        "{\"order_id\":\"o1\"}",
    ];
    kafka.write(&kafka.topics.order_cancelled, &removals).await;
    let listening = fixture.listen();
    fixture.expired_orders(1, 50).await;
    fixture.run().await;
    fixture
        .until_requests("outcome = 'expired' AND confirmed_by = 'event'", 50)
        .await;
    listening.stop().await;
    let reasons = |letters: Vec<eidos_bus::DeadLetter>| {
        letters
            .into_iter()
            .map(|letter| letter.reason)
            .collect::<Vec<_>>()
    };
    let updates = reasons(kafka.dead_letters(&kafka.topics.order_updates).await);
    assert_eq!(updates.len(), poison.len(), "{updates:#?}");
    for part in [
        "expected ident",
        "EOF",
        "invalid type",
        "missing field `status`",
        "is not the id of an order",
    ] {
        assert!(
            updates.iter().any(|reason| reason.contains(part)),
            "{part}: {updates:#?}"
        );
    }
    let removals = reasons(kafka.dead_letters(&kafka.topics.order_cancelled).await);
    assert_eq!(removals.len(), 3, "{removals:#?}");
    for part in ["result is 'eaten'", "neither success nor result"] {
        assert!(
            removals.iter().any(|reason| reason.contains(part)),
            "{part}: {removals:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_makes_no_dead_letter() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("", Misbehaviour::default(), &kafka).await;
    fixture.engine.take_down().await;
    fixture.expired_orders(1, 3).await;
    fixture.run().await;
    fixture
        .sql(&format!(
            "UPDATE {ORDERS} SET status = 5; ALTER TABLE {ORDERS} RENAME TO away"
        ))
        .await;
    let events: Vec<String> = (1..=3).map(|id| update(&format!("o{id}"), "EXPIRED")).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    kafka.write(&kafka.topics.order_updates, &events).await;
    let error = fixture.listen().error().await;
    assert!(error.to_string().contains("a database refuses"), "{error}");
    fixture.sql(&format!("ALTER TABLE away RENAME TO {ORDERS}")).await;
    let listening = fixture.listen();
    fixture
        .until_requests("outcome = 'expired' AND confirmed_by = 'event'", 3)
        .await;
    listening.stop().await;
    assert!(kafka.dead_letters(&kafka.topics.order_updates).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_a_run_that_work_on_the_same_orders_agree() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("expiry: { page_orders: 20 }\n", Misbehaviour::default(), &kafka).await;
    let listening = [fixture.listen(), fixture.listen()];
    fixture.expired_orders(1, 600).await;
    for run in 0.. {
        assert!(run < 30, "{} ended", fixture.requests("state = 'closed'").await);
        fixture.run().await;
        if fixture.requests("outcome = 'expired'").await == 600 {
            break;
        }
    }
    assert_eq!(fixture.requests("true").await, 600);
    assert_eq!(fixture.engine.log().await.len(), 600, "none was asked for twice");
    for listening in listening {
        listening.stop().await;
    }
}
