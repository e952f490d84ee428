//! Requests on the topic `cancel-requests`: published is not done, and everything else is as over gRPC.

use eidos_devnet::matching::{Misbehaviour, Via};
use eidos_runtime::JobError;
use eidos_sandbox::{KafkaServer, KafkaServerOptions};

use crate::fixture::{Fixture, ORDERS};
use crate::kafka::Kafka;

const UNFROZEN_WRONG: &str = "SELECT count(*) FROM eidos_trading_balances b JOIN eidos_trading_orders o USING (wallet) \
    WHERE o.status = 5 AND (b.settled_frozen <> 0 OR b.settled_available <> 6)";

#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_once_and_two_replicas_share_the_events() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("", Misbehaviour::default(), &kafka).await;
    let listening = [fixture.listen(), fixture.listen()];
    fixture.expired_orders(1, 400).await;
    fixture.orders(1001, 1020, 1, "0", "1").await;
    let report = fixture.run().await;
    assert_eq!(report.verdicts.get("delivered"), Some(&400), "{report:#?}");
    fixture
        .until_requests("outcome = 'expired' AND confirmed_by = 'event'", 400)
        .await;
    assert_eq!(
        (fixture.with_status(5).await, fixture.with_status(1).await),
        (400, 20)
    );
    assert_eq!(fixture.number(UNFROZEN_WRONG).await, 0, "unfrozen once");
    let log = fixture.engine.log().await;
    assert_eq!(log.len(), 400);
    for market in ["BTC-USDC", "ETH-USDC"] {
        let asked: Vec<i64> = log
            .iter()
            .filter(|asked| asked.market == market)
            .map(|asked| asked.order_id.trim_start_matches('o').parse().unwrap())
            .collect();
        assert!(asked.is_sorted(), "the order of {market} is kept: {asked:?}");
    }
    assert!(
        log.iter()
            .all(|asked| asked.via == Via::Kafka && asked.attempt_epoch == 1)
    );
    for listening in listening {
        listening.stop().await;
    }
    for topic in [&kafka.topics.order_cancelled, &kafka.topics.order_updates] {
        assert!(kafka.dead_letters(topic).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_request_is_not_done_before_its_row_says_so() {
    let kafka = Kafka::real().await;
    let misbehaviour = Misbehaviour {
        drop_requests: 1000,
        ..Misbehaviour::default()
    };
    let fixture = Fixture::over_kafka("", misbehaviour, &kafka).await;
    fixture.expired_orders(1, 20).await;
    assert_eq!(fixture.run().await.verdicts.get("delivered"), Some(&20));
    assert_eq!(
        fixture
            .requests("state = 'answered' AND verdict = 'delivered'")
            .await,
        20
    );
    // Nobody listens: the rows are read by the runs, and what was dropped is asked for under a new id.
    fixture.engine.set_misbehaviour(Misbehaviour::default()).await;
    fixture.later(1);
    assert_eq!(
        fixture.run().await.sent,
        0,
        "within confirm_within nothing is asked again"
    );
    fixture.later(2);
    let report = fixture.run().await;
    assert_eq!((report.asked_again, report.sent), (20, 20), "{report:#?}");
    fixture.until_expired(20).await;
    fixture.later(1);
    assert_eq!(fixture.run().await.ended.get("expired"), Some(&20));
    assert_eq!(
        fixture
            .requests("confirmed_by = 'row' AND attempt_epoch = 2")
            .await,
        20
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_are_promised_nothing_and_lose_nothing() {
    let server = KafkaServer::start(KafkaServerOptions::default()).await.unwrap();
    let kafka = Kafka::on(&server).await;
    let fixture = Fixture::over_kafka("", Misbehaviour::default(), &kafka).await;
    let mut listening = fixture.listen();
    // The group has its offsets before the outage: a worker without any ends, and is started again by its host.
    fixture.expired_orders(301, 310).await;
    fixture.run().await;
    fixture.until_requests("outcome = 'expired'", 10).await;
    fixture.expired_orders(1, 300).await;
    server.kill().await.unwrap();
    for _ in 0..2 {
        let error = fixture.try_run().await.unwrap_err();
        assert!(matches!(error.without_report(), JobError::Retry(_)), "{error}");
        assert!(
            error.to_string().contains("requests cannot be published"),
            "{error}"
        );
        fixture.later(20);
    }
    assert_eq!(
        fixture.requests("sends > 0").await,
        10,
        "nothing is promised to brokers that are away"
    );
    server.start_again().await.unwrap();
    let report = fixture.run().await;
    assert_eq!(report.verdicts.get("delivered"), Some(&300), "{report:#?}");
    listening.during(fixture.until_expired(310)).await;
    listening
        .during(fixture.until_requests("outcome = 'expired'", 310))
        .await;
    assert_eq!(fixture.number(UNFROZEN_WRONG).await, 0, "unfrozen once");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_finds_no_more_than_the_window_on_its_topic() {
    let kafka = Kafka::real().await;
    let yaml =
        "matching: { answer_timeout: 500ms }\nexpiry: { kafka: { window: 25 }, confirm_at_most: 2m }\n";
    let fixture = Fixture::over_kafka(yaml, Misbehaviour::default(), &kafka).await;
    fixture.engine.take_down().await;
    fixture.expired_orders(1, 200).await;
    let report = fixture.run().await;
    assert_eq!((report.sent, report.paused_by_engine), (25, true), "{report:#?}");
    fixture.later(1);
    assert_eq!(fixture.run().await.sent, 0);
    // The wait for the row is over: the same orders again, and no others.
    fixture.later(2);
    let report = fixture.run().await;
    assert_eq!((report.asked_again, report.sent), (25, 25), "{report:#?}");
    assert_eq!(fixture.requests("sends > 0").await, 25);

    // It is back: the events open the window within the run.
    fixture.engine.bring_up().await.unwrap();
    let listening = fixture.listen();
    for run in 0.. {
        assert!(run < 30, "{} ended", fixture.requests("state = 'closed'").await);
        fixture.run().await;
        if fixture.requests("state = 'closed'").await == 200 {
            break;
        }
        fixture.later(3);
    }
    fixture.until_requests("outcome = 'expired'", 200).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_every_fault_ends_every_order_once() {
    let misbehaviour = Misbehaviour {
        event_delay_ms: 50,
        pause_ms: 50,
        retry_after_ms: 50,
        ..Misbehaviour::a_bit_of_everything()
    };
    let kafka = Kafka::real().await;
    let yaml = "matching: { batch_orders: 20 }\nexpiry: { max_epochs: 50 }\n";
    let fixture = Fixture::over_kafka(yaml, misbehaviour, &kafka).await;
    let listening = [fixture.listen(), fixture.listen()];
    fixture.expired_orders(1, 300).await;
    fixture.orders(1001, 1050, 1, "0", "1").await;
    for run in 0.. {
        assert!(run < 60, "{} ended", fixture.requests("state = 'closed'").await);
        let _report = fixture.try_run().await;
        if run % 3 == 0 {
            fixture.engine.restart().await.unwrap();
        }
        if fixture.requests("state = 'closed'").await == 300 {
            break;
        }
        fixture.later(4);
    }
    assert_eq!(
        (fixture.with_status(5).await, fixture.with_status(1).await),
        (300, 50)
    );
    assert_eq!(fixture.number(UNFROZEN_WRONG).await, 0, "unfrozen once");
    assert_eq!(fixture.requests("outcome = 'expired'").await, 300);
    for listening in listening {
        listening.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_insists_on_sequence_numbers_gets_them_and_never_a_lower_one() {
    let kafka = Kafka::real().await;
    let strict = Misbehaviour {
        strict_sequence: true,
        ..Misbehaviour::default()
    };
    let yaml = "expiry: { kafka: { sequence: clock } }\n";
    let fixture = Fixture::over_kafka(yaml, strict.clone(), &kafka).await;
    fixture.expired_orders(1, 30).await;
    fixture.run().await;
    fixture.until_expired(30).await;
    // A replica whose clock is behind: the stored number counts.
    let used = "UPDATE eidos_jobs_checkpoints SET value = to_jsonb((value #>> '{}')::bigint + 3600000000) WHERE checkpoint_key = 'sequence'";
    assert_eq!(
        sqlx::raw_sql(used)
            .execute(fixture.jobs.pool())
            .await
            .unwrap()
            .rows_affected(),
        1
    );
    fixture.expired_orders(31, 60).await;
    fixture.run().await;
    fixture.until_expired(60).await;
    let stored = "SELECT ((value #>> '{}')::bigint - extract(epoch FROM now()) * 1000000 > 3000000000)::int::bigint \
                  FROM eidos_jobs_checkpoints WHERE checkpoint_key = 'sequence'";
    assert_eq!(
        fixture.jobs.number(stored).await,
        1,
        "the numbers went on above the stored one"
    );

    // Without numbers, this engine drops every request; no order is reported as done.
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("", strict, &kafka).await;
    fixture.expired_orders(1, 5).await;
    assert_eq!(fixture.run().await.verdicts.get("delivered"), Some(&5));
    assert_eq!(fixture.requests("state = 'closed'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_says_about_an_order_it_does_not_have_is_recorded() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("expiry: { max_epochs: 2 }\n", Misbehaviour::default(), &kafka).await;
    let listening = fixture.listen();
    fixture.expired_orders(1, 3).await;
    fixture
        .sql(&format!(
            "UPDATE {ORDERS} SET created_by = '{}'",
            eidos_devnet::matching::NOT_IN_BOOK
        ))
        .await;
    fixture.run().await;
    fixture
        .until_requests(
            "state = 'answered' AND verdict = 'not_found' AND verdict_reason = 'ORDER_NOT_FOUND'",
            3,
        )
        .await;
    fixture.later(3);
    assert_eq!(fixture.run().await.contradictions, 3);
    fixture
        .until_requests(
            "state = 'answered' AND verdict = 'not_found' AND attempt_epoch = 2",
            3,
        )
        .await;
    fixture.later(5);
    assert_eq!(fixture.run().await.given_up, 3);
    assert_eq!(fixture.with_status(1).await, 3);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_at_once_publish_once() {
    let kafka = Kafka::real().await;
    let fixture = Fixture::over_kafka("", Misbehaviour::default(), &kafka).await;
    fixture.expired_orders(1, 300).await;
    let (one, other) = (fixture.command(&[]).spawn(), fixture.command(&[]).spawn());
    let mut done = 0;
    for child in [one, other] {
        match child.wait_exit(crate::fixture::WITHIN).await.code() {
            Some(0) => done += 1,
            // Another one has the lease.
            Some(75) => {}
            code => panic!("{code:?}\n{}\n{}", child.stdout(), child.stderr()),
        }
    }
    assert!(done >= 1);
    fixture.until_expired(300).await;
    assert_eq!(fixture.engine.log().await.len(), 300);
}
