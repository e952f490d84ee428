//! The matching engine and the trading service: the documents' flow, and each way in which it goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_devnet::matching::{
    CancelRequest, Matching, MatchingOptions, Misbehaviour, OrderUpdate, Topics, Via,
};
use eidos_devnet::neighbours;
use eidos_devnet::orders::{self, Expected, OrdersOptions};
use eidos_proto::matching::v1::matching_service_client::MatchingServiceClient;
use eidos_proto::matching::v1::{
    ExpireOrder, ExpireOrderVerdict, ExpireOrdersRequest, ExpireOrdersResponse, Outcome, RemovalReason,
};
use eidos_testkit::{TestDb, eventually, shared_kafka};
use eidos_types::{Clock as _, SystemClock};
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

const WITHIN: Duration = Duration::from_mins(1);
/// Open orders whose time has come, and those without quantity.
const DUE: &str = "(status IN (0, 1, 2) AND expire_at > 0 AND expire_at < extract(epoch FROM now()) * 1000)
    OR (status = 2 AND remaining_amount = 0)";

struct Fixture {
    db: TestDb,
    engine: Matching,
    expected: Expected,
}

impl Fixture {
    async fn new(misbehaviour: Misbehaviour) -> Self {
        Self::with(misbehaviour, None).await
    }

    async fn with(misbehaviour: Misbehaviour, kafka: Option<(&str, Topics)>) -> Self {
        let db = TestDb::empty().await;
        neighbours::install(db.pool()).await.unwrap();
        let plan = OrdersOptions {
            not_in_book: 3,
            ..OrdersOptions::some(SystemClock::default().now_ms(), 20)
        };
        let expected = orders::fill(db.pool(), 7, &plan).await.unwrap();
        let mut options = MatchingOptions::new(db.pool().clone());
        options.misbehaviour = misbehaviour;
        if let Some((brokers, topics)) = kafka {
            (options.brokers, options.topics) = (Some(brokers.to_owned()), topics);
        }
        let engine = Matching::start(options).await.unwrap();
        Self { db, engine, expected }
    }

    /// What an expirer would ask for in this attempt.
    async fn due(&self, epoch: u32) -> Vec<ExpireOrder> {
        let rows: Vec<(String, String, String, i64, bool)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT order_id, market, wallet, expire_at, remaining_amount = 0 FROM eidos_trading_orders WHERE {DUE} ORDER BY id"
        )))
        .fetch_all(self.db.pool())
        .await
        .unwrap();
        rows.into_iter()
            .map(|(order_id, market, wallet, expire_at, is_empty)| ExpireOrder {
                idempotency_id: format!("{order_id}:{epoch}"),
                order_id,
                market,
                wallet,
                expire_at,
                attempt_epoch: epoch,
                reason: if is_empty {
                    RemovalReason::ZeroQuantity.into()
                } else {
                    RemovalReason::Expired.into()
                },
            })
            .collect()
    }

    async fn stream(&self) -> Stream {
        let mut client = MatchingServiceClient::connect(self.engine.grpc_url())
            .await
            .unwrap();
        let (sending, requests) = mpsc::channel(64);
        let response = client.expire_orders(ReceiverStream::new(requests)).await.unwrap();
        Stream {
            sending,
            receiving: response.into_inner(),
        }
    }

    /// Asks in batches of 40 until every order has a verdict or the stream ends.
    async fn ask(&self, orders: Vec<ExpireOrder>) -> Result<Vec<ExpireOrderVerdict>, Status> {
        let mut stream = self.stream().await;
        let count = orders.len();
        stream.send(orders).await;
        let mut verdicts = Vec::new();
        while verdicts.len() < count {
            verdicts.extend(stream.next().await?.verdicts);
        }
        Ok(verdicts)
    }

    async fn comparison(&self) -> orders::Comparison {
        orders::verdict(self.db.pool()).await.unwrap()
    }

    /// Waits until every order that must leave its book has left it, and compares.
    async fn settled(&self) {
        eventually(
            "every order that must end has ended",
            WITHIN,
            async || match orders::still_open(self.db.pool()).await.unwrap() {
                0 => Ok(()),
                open => Err(format!("{open} are open")),
            },
        )
        .await;
        let comparison = self.comparison().await;
        assert!(comparison.holds(), "\n{comparison}");
    }

    async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(self.db.pool()).await.unwrap();
    }
}

struct Stream {
    sending: mpsc::Sender<ExpireOrdersRequest>,
    receiving: Streaming<ExpireOrdersResponse>,
}

impl Stream {
    async fn send(&self, orders: Vec<ExpireOrder>) {
        for batch in orders.chunks(40) {
            let orders = batch.to_vec();
            self.sending.send(ExpireOrdersRequest { orders }).await.unwrap();
        }
    }

    async fn next(&mut self) -> Result<ExpireOrdersResponse, Status> {
        let message = tokio::time::timeout(WITHIN, self.receiving.message())
            .await
            .unwrap()?;
        message.ok_or_else(|| Status::aborted("the stream ended"))
    }
}

fn outcomes(verdicts: &[ExpireOrderVerdict]) -> BTreeMap<&'static str, usize> {
    let mut counted = BTreeMap::new();
    for verdict in verdicts {
        *counted.entry(verdict.outcome().as_str_name()).or_default() += 1;
    }
    counted
}

#[tokio::test]
async fn expired_orders_leave_book_and_table_once_and_the_rest_stays() {
    let fixture = Fixture::new(Misbehaviour::default()).await;
    assert_eq!((fixture.expected.expires, fixture.expected.ends), (80, 10));
    assert!(!fixture.comparison().await.holds(), "nothing has happened yet");
    let due = fixture.due(1).await;
    assert_eq!(due.len(), 93, "80 expired, 10 empty, 3 in no book");
    let verdicts = fixture.ask(due.clone()).await.unwrap();
    let expected = [("OUTCOME_NOT_FOUND", 3), ("OUTCOME_REMOVED", 90)];
    assert_eq!(outcomes(&verdicts), BTreeMap::from(expected));
    let answered = verdicts.iter().map(|verdict| &verdict.order_id);
    assert!(
        answered.eq(due.iter().map(|order| &order.order_id)),
        "in the order of the questions"
    );
    fixture.settled().await;

    let again = fixture.ask(due.clone()).await.unwrap();
    assert_eq!(again, verdicts, "the same ids get the same verdicts");
    let log = fixture.engine.log().await;
    assert_eq!(log.iter().filter(|asked| asked.is_repetition).count(), 93);
    fixture.settled().await;
}

#[tokio::test]
async fn an_order_that_has_not_expired_is_refused_with_the_reason() {
    let fixture = Fixture::new(Misbehaviour::default()).await;
    let mut asked = Vec::new();
    for (id, reason) in [
        ("o-live-1", RemovalReason::Expired),
        ("o-unlimited-1", RemovalReason::Expired),
        ("o-live-2", RemovalReason::ZeroQuantity),
        ("o-live-3", RemovalReason::Unspecified),
    ] {
        let market: String =
            sqlx::query_scalar("SELECT market FROM eidos_trading_orders WHERE order_id = $1")
                .bind(id)
                .fetch_one(fixture.db.pool())
                .await
                .unwrap();
        asked.push(ExpireOrder {
            idempotency_id: id.to_owned(),
            order_id: id.to_owned(),
            market,
            reason: reason.into(),
            ..ExpireOrder::default()
        });
    }
    asked.push(ExpireOrder {
        idempotency_id: "elsewhere".to_owned(),
        order_id: "o-expired-1".to_owned(),
        market: "DOGE-USDC".to_owned(),
        reason: RemovalReason::Expired.into(),
        ..ExpireOrder::default()
    });
    let verdicts = fixture.ask(asked).await.unwrap();
    for (verdict, reason) in verdicts.iter().zip([
        "it expires at",
        "it never expires",
        "left",
        "needs a reason",
        "not in DOGE-USDC",
    ]) {
        assert_eq!(verdict.outcome(), Outcome::Refused);
        assert!(verdict.reason.contains(reason), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_caller_that_ignores_the_contract_loses_its_stream() {
    let fixture = Fixture::new(Misbehaviour {
        window: 30,
        slow_ms: 200,
        ..Misbehaviour::default()
    })
    .await;
    let due = fixture.due(1).await;
    let many: Vec<ExpireOrder> = due.iter().cycle().take(600).cloned().collect();
    assert_eq!(
        fixture.ask(many).await.unwrap_err().code(),
        Code::ResourceExhausted
    );
    for batch in [
        Vec::new(),
        vec![ExpireOrder::default()],
        vec![due[0].clone(); 501],
    ] {
        let mut stream = fixture.stream().await;
        stream
            .sending
            .send(ExpireOrdersRequest { orders: batch })
            .await
            .unwrap();
        assert_eq!(
            stream.next().await.unwrap().window,
            30,
            "the first response tells the window"
        );
        assert_eq!(stream.next().await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn retry_later_is_asked_again_under_the_same_id() {
    let fixture = Fixture::new(Misbehaviour {
        retry_later: 1_000,
        ..Misbehaviour::default()
    })
    .await;
    let due = fixture.due(1).await;
    let verdicts = fixture.ask(due.clone()).await.unwrap();
    assert!(
        verdicts
            .iter()
            .all(|verdict| verdict.outcome() == Outcome::RetryLater && verdict.retry_after_ms == 200)
    );
    fixture.engine.set_misbehaviour(Misbehaviour::default()).await;
    fixture.ask(due).await.unwrap();
    fixture.settled().await;
}

#[tokio::test]
async fn the_window_closes_and_opens_again() {
    let fixture = Fixture::new(Misbehaviour {
        pause: 1_000,
        pause_ms: 1,
        ..Misbehaviour::default()
    })
    .await;
    let mut stream = fixture.stream().await;
    stream
        .send(fixture.due(1).await.into_iter().take(5).collect())
        .await;
    let mut seen = Vec::new();
    for _response in 0..4 {
        let response = stream.next().await.unwrap();
        seen.push((response.verdicts.len(), response.window));
    }
    assert_eq!(seen, [(0, 1_000), (0, 0), (0, 1_000), (5, 1_000)]);
}

#[tokio::test]
async fn a_dropped_request_has_no_verdict_and_a_broken_stream_says_unavailable() {
    let fixture = Fixture::new(Misbehaviour {
        drop_requests: 1_000,
        ..Misbehaviour::default()
    })
    .await;
    let mut stream = fixture.stream().await;
    stream.send(fixture.due(1).await).await;
    for _batch in 0..4 {
        assert!(stream.next().await.unwrap().verdicts.is_empty());
    }
    let log = fixture.engine.log().await;
    assert!(log.iter().all(|asked| asked.outcome.is_none()));
    let broken = Misbehaviour {
        break_stream: 1_000,
        ..Misbehaviour::default()
    };
    fixture.engine.set_misbehaviour(broken).await;
    let status = fixture.ask(fixture.due(1).await).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn an_answer_without_a_removal_and_a_lost_event_are_cured_by_a_new_attempt() {
    let forgetful = Misbehaviour {
        answer_without_removal: 1_000,
        ..Misbehaviour::default()
    };
    let fixture = Fixture::new(forgetful).await;
    let removed = |verdicts: Vec<ExpireOrderVerdict>| outcomes(&verdicts)["OUTCOME_REMOVED"];
    assert_eq!(removed(fixture.ask(fixture.due(1).await).await.unwrap()), 90);
    assert_eq!(orders::still_open(fixture.db.pool()).await.unwrap(), 90);

    let silent = Misbehaviour {
        drop_events: 1_000,
        ..Misbehaviour::default()
    };
    fixture.engine.set_misbehaviour(silent).await;
    assert_eq!(removed(fixture.ask(fixture.due(2).await).await.unwrap()), 90);
    assert_eq!(orders::still_open(fixture.db.pool()).await.unwrap(), 90);

    fixture.engine.set_misbehaviour(Misbehaviour::default()).await;
    let verdicts = fixture.ask(fixture.due(3).await).await.unwrap();
    assert_eq!(outcomes(&verdicts)["OUTCOME_ALREADY_TERMINAL"], 90);
    fixture.settled().await;
}

#[tokio::test]
async fn a_restart_loads_the_books_and_keeps_or_loses_the_answers() {
    for forget_on_restart in [false, true] {
        let fixture = Fixture::new(Misbehaviour {
            drop_events: 1_000,
            forget_on_restart,
            ..Misbehaviour::default()
        })
        .await;
        fixture.ask(fixture.due(1).await).await.unwrap();
        fixture.engine.take_down().await;
        assert!(
            MatchingServiceClient::connect(fixture.engine.grpc_url())
                .await
                .is_err()
        );
        fixture.engine.bring_up().await.unwrap();
        fixture
            .engine
            .set_misbehaviour(Misbehaviour {
                forget_on_restart,
                ..Misbehaviour::default()
            })
            .await;
        fixture.ask(fixture.due(1).await).await.unwrap();
        let log = fixture.engine.log().await;
        let repeated = log.iter().filter(|asked| asked.is_repetition).count();
        assert_eq!(repeated, if forget_on_restart { 0 } else { 93 });
        if !forget_on_restart {
            fixture.ask(fixture.due(2).await).await.unwrap();
        }
        fixture.settled().await;
    }
}

#[tokio::test]
async fn duplicated_and_delayed_events_free_each_balance_once() {
    let fixture = Fixture::new(Misbehaviour {
        duplicate_events: 1_000,
        delay_events: 500,
        event_delay_ms: 300,
        ..Misbehaviour::default()
    })
    .await;
    let mut due = fixture.due(1).await;
    fixture.ask(due.clone()).await.unwrap();
    fixture.settled().await;

    // A new attempt publishes every event twice more, in order: when a younger order has ended, they were all read.
    fixture
        .engine
        .set_misbehaviour(Misbehaviour {
            duplicate_events: 1_000,
            ..Misbehaviour::default()
        })
        .await;
    let younger = OrdersOptions {
        prefix: "younger".to_owned(),
        ..OrdersOptions::expired(SystemClock::default().now_ms(), 1)
    };
    orders::fill(fixture.db.pool(), 7, &younger).await.unwrap();
    for order in &mut due {
        order.idempotency_id.push('b');
    }
    due.extend(
        fixture
            .due(1)
            .await
            .into_iter()
            .filter(|order| order.order_id.starts_with("younger")),
    );
    let verdicts = fixture.ask(due).await.unwrap();
    let expected = [
        ("OUTCOME_ALREADY_TERMINAL", 90),
        ("OUTCOME_NOT_FOUND", 3),
        ("OUTCOME_REMOVED", 1),
    ];
    assert_eq!(outcomes(&verdicts), BTreeMap::from(expected));
    fixture.settled().await;
}

#[tokio::test]
async fn the_oracle_names_the_order_that_is_wrong() {
    let fixture = Fixture::new(Misbehaviour::default()).await;
    fixture.ask(fixture.due(1).await).await.unwrap();
    fixture.settled().await;
    let broken = async || {
        let comparison = fixture.comparison().await;
        let broken = comparison
            .findings
            .into_iter()
            .filter(|finding| finding.violations > 0);
        broken
            .map(|finding| (finding.invariant, finding.example.unwrap()))
            .collect::<Vec<_>>()
    };
    fixture
        .sql("UPDATE eidos_trading_orders SET status = 5 WHERE order_id = 'o-expired-7'")
        .await;
    let twice = (
        "no order became EXPIRED more than once, or anything after it",
        "o-expired-7".to_owned(),
    );
    assert_eq!(broken().await, std::slice::from_ref(&twice));
    fixture
        .sql("UPDATE eidos_trading_orders SET updated_by = 'order-expirer' WHERE order_id = 'o-cancelling-2'")
        .await;
    let touched = (
        "every other order is as it was, to the last column",
        "o-cancelling-2".to_owned(),
    );
    assert_eq!(broken().await, [twice.clone(), touched.clone()]);
    fixture
        .sql(
            "INSERT INTO eidos_trading_balance_logs (wallet, token, type, amount, order_id, created_at)
             SELECT wallet, token, type, amount, order_id, created_at FROM eidos_trading_balance_logs WHERE order_id = 'o-expired-9'",
        )
        .await;
    let freed = (
        "each freeze of an expired order was given back exactly once",
        "o-expired-9".to_owned(),
    );
    assert_eq!(broken().await, [twice, touched, freed]);
}

#[tokio::test]
async fn over_kafka_requests_become_removals_and_updates() {
    let broker = shared_kafka().await;
    let topics = Topics::prefixed(&format!("m{}-", uuid::Uuid::now_v7().simple()));
    for topic in [
        &topics.cancel_requests,
        &topics.order_cancelled,
        &topics.order_updates,
    ] {
        broker.create_topic(topic, 4).await.unwrap();
    }
    let brokers = broker.bootstrap_servers();
    let twice = Misbehaviour {
        duplicate_events: 1_000,
        ..Misbehaviour::default()
    };
    let fixture = Fixture::with(twice, Some((brokers, topics.clone()))).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    for order in fixture.due(1).await {
        let request = CancelRequest {
            reason: order
                .reason()
                .as_str_name()
                .trim_start_matches("REMOVAL_REASON_")
                .to_owned(),
            order_id: order.order_id,
            market: order.market.clone(),
            wallet: order.wallet,
            requested_at: 1,
            sequence: None,
            idempotency_id: order.idempotency_id,
            attempt_epoch: 1,
        };
        let body = serde_json::to_vec(&request).unwrap();
        let record = FutureRecord::to(&topics.cancel_requests)
            .key(&order.market)
            .payload(&body);
        producer.send(record, WITHIN).await.unwrap();
    }
    let nonsense = FutureRecord::to(&topics.cancel_requests)
        .key("BTC-USDC")
        .payload("{");
    producer.send(nonsense, WITHIN).await.unwrap();
    fixture.settled().await;
    let log = fixture.engine.log().await;
    assert!(log.iter().all(|asked| asked.via == Via::Kafka) && log.len() == 93);

    let mut statuses: BTreeMap<String, String> = BTreeMap::new();
    let updates: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("{}-test", topics.order_updates))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    updates.subscribe(&[&topics.order_updates]).unwrap();
    while statuses.len() < 90 {
        let message = tokio::time::timeout(WITHIN, updates.recv())
            .await
            .unwrap()
            .unwrap();
        let update: OrderUpdate = serde_json::from_slice(message.payload().unwrap()).unwrap();
        assert_eq!(message.key(), Some(update.order_id.as_bytes()));
        statuses.insert(update.order_id, update.status);
    }
    assert_eq!(
        statuses.values().filter(|status| *status == "EXPIRED").count(),
        80
    );
    assert_eq!(statuses.values().filter(|status| *status == "FILLED").count(), 10);
}

#[test]
fn misbehaviour_is_read_from_a_command_line() {
    let read: Misbehaviour = "drop_events=50, forget_on_restart=true".parse().unwrap();
    let expected = Misbehaviour {
        drop_events: 50,
        forget_on_restart: true,
        ..Misbehaviour::default()
    };
    assert_eq!(read, expected);
    assert_eq!("".parse::<Misbehaviour>().unwrap(), Misbehaviour::default());
    for (text, named) in [
        ("drop_event=1", "drop_event"),
        ("refuse", "'refuse'"),
        ("refuse=x", "'x'"),
    ] {
        let error = format!("{:#}", text.parse::<Misbehaviour>().unwrap_err());
        assert!(error.contains(named), "{error}");
    }
}
