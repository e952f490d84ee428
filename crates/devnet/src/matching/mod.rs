//! A matching engine and a trading service that behave like the documents' flow, and misbehave on request.
//!
//! The engine alone decides over its books. It is asked to remove orders over gRPC ([`Matching::grpc_url`]) and, with
//! brokers, by the topic `cancel-requests`. What it removed it publishes on `order-cancelled`; the trading service reads
//! that, ends the order's row, gives back what was frozen and publishes on `order-updates`. Without brokers the event is
//! handed to the trading service in the process, with the same effects on the tables.
//!
//! How it behaves, as far as a caller can tell:
//!
//! - The first response of a stream has no verdicts and tells the window. Orders are decided in the order in which they came.
//! - A repeated idempotency id gets the same verdict and changes nothing; `RETRY_LATER` is asked again under the same id.
//! - A new attempt for an order that this engine removed is `ALREADY_TERMINAL`, and its event is published again.
//! - A restart ([`Matching::restart`], or the end of the process) loses events that were not published, and loads the
//!   books from the rows that are open: an order whose event was lost is in its book again.
//! - A row with [`NOT_IN_BOOK`] in `created_by` is open in the table and in no book.

mod book;
mod engine;
mod grpc;
mod kafka;
mod messages;
mod misbehaviour;
mod outbox;
mod trading;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use eidos_proto::matching::v1::RemovalReason;
use eidos_proto::matching::v1::matching_service_server::MatchingServiceServer;
use eidos_sandbox::PortLease;
use eidos_types::{SharedClock, SystemClock};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

pub use book::{Asked, Via};
pub use engine::NOT_IN_BOOK;
pub use messages::{CancelRequest, OrderCancelled, OrderUpdate, Topics};
pub use misbehaviour::Misbehaviour;

use book::{Ask, Books, Outgoing};
use engine::Engine;
use kafka::{Producer, Reader};
use misbehaviour::Dice;
use outbox::Sink;
use trading::Trading;

/// The consumer groups; a prefix of the topics is theirs too.
const ENGINE_GROUP: &str = "eidos-matching";
const TRADING_GROUP: &str = "eidos-trading";
/// The pause after a broker or database that does not answer.
const PAUSE: Duration = Duration::from_millis(300);

/// How to run the two services.
#[derive(Debug, Clone)]
pub struct MatchingOptions {
    /// The trading service's database, as its owner.
    pub trading: PgPool,
    /// `None`: no Kafka; requests come over gRPC and events go to the trading service in the process.
    pub brokers: Option<String>,
    /// The names of the topics.
    pub topics: Topics,
    /// The port of the gRPC server on loopback. `None`: a free one.
    pub port: Option<u16>,
    /// The same seed and the same requests in the same order give the same faults.
    pub seed: u64,
    /// What the engine does wrong.
    pub misbehaviour: Misbehaviour,
    /// Decides what has expired.
    pub clock: SharedClock,
}

impl MatchingOptions {
    /// Returns the options of an engine without Kafka and without a fault.
    #[must_use]
    pub fn new(trading: PgPool) -> Self {
        Self {
            trading,
            brokers: None,
            topics: Topics::default(),
            port: None,
            seed: 7,
            misbehaviour: Misbehaviour::default(),
            clock: Arc::new(SystemClock::default()),
        }
    }
}

/// The matching engine and the trading service, running in this process.
#[derive(Debug)]
pub struct Matching {
    engine: Arc<Engine>,
    trading: Trading,
    brokers: Option<(String, Topics)>,
    address: SocketAddr,
    /// `None`: the engine is down.
    running: Mutex<Option<Running>>,
    trading_running: Option<Running>,
    _port: Option<PortLease>,
}

/// Tasks with a common end.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Matching {
    /// Loads the books and starts both services.
    ///
    /// # Errors
    /// If the database or the port is not available, or the settings of Kafka are refused.
    pub async fn start(options: MatchingOptions) -> anyhow::Result<Self> {
        let lease = options.port.is_none().then(PortLease::take).transpose()?;
        let port = options.port.or(lease.as_ref().map(PortLease::port));
        let port = port.context("there is no port")?;
        let dice = Dice::new(StdRng::seed_from_u64(options.seed));
        let books = Books::new(options.misbehaviour, dice);
        let mut matching = Self {
            engine: Arc::new(Engine::new(
                options.trading.clone(),
                Arc::clone(&options.clock),
                books,
            )),
            trading: Trading::new(options.trading, options.clock),
            brokers: options.brokers.map(|brokers| (brokers, options.topics)),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            running: Mutex::new(None),
            trading_running: None,
            _port: lease,
        };
        matching.trading_running = matching.start_trading()?;
        matching.bring_up().await?;
        Ok(matching)
    }

    /// Returns the URL of the gRPC server, which stays the same over restarts.
    #[must_use]
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces what the engine does wrong from now on.
    pub async fn set_misbehaviour(&self, misbehaviour: Misbehaviour) {
        // Waits for a restart under way, whose books would forget by the old rules.
        let _running = self.running.lock().await;
        self.engine.books().misbehaviour = misbehaviour;
    }

    /// Takes the engine down and brings it up again.
    ///
    /// # Errors
    /// As [`Self::bring_up`].
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.take_down().await;
        self.bring_up().await
    }

    /// Ends the engine as a crash would: streams end, its port refuses, events that were not published are lost. The
    /// trading service goes on if there are brokers.
    pub async fn take_down(&self) {
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            running.end().await;
        }
    }

    /// Starts the engine unless it runs, with books loaded from the rows.
    ///
    /// # Errors
    /// If the database or the port is not available.
    pub async fn bring_up(&self) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            self.engine.reload().await?;
            *running = Some(self.start_engine().await?);
        }
        Ok(())
    }

    /// Returns every request that was received, the oldest first.
    pub async fn log(&self) -> Vec<Asked> {
        let _running = self.running.lock().await;
        self.engine.books().log.iter().cloned().collect()
    }

    /// Ends both services.
    pub async fn stop(mut self) {
        self.take_down().await;
        if let Some(running) = self.trading_running.take() {
            running.end().await;
        }
    }

    async fn start_engine(&self) -> anyhow::Result<Running> {
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("the matching engine cannot listen on {}", self.address))?;
        let (outbox, inbox) = mpsc::channel(outbox::QUEUE);
        let mut running = Running::new();
        let stop = running.stop.clone();
        let sink = if let Some((brokers, topics)) = &self.brokers {
            let reader = Reader::subscribe(brokers, &group(topics, ENGINE_GROUP), &topics.cancel_requests)?;
            let engine = Arc::clone(&self.engine);
            running.spawn(take_requests(reader, engine, outbox.clone()));
            Sink::Kafka(Producer::connect(brokers, topics)?)
        } else {
            Sink::Direct(self.trading.clone())
        };
        running.spawn(outbox::run(sink, inbox, stop.clone()));
        let service = grpc::Service {
            engine: Arc::clone(&self.engine),
            outbox,
            stop: stop.clone(),
        };
        running.tasks.spawn(async move {
            let served = tonic::transport::Server::builder()
                .add_service(MatchingServiceServer::new(service))
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
                .await;
            if let Err(error) = served {
                tracing::error!("the matching engine's server ended: {error}");
            }
        });
        Ok(running)
    }

    fn start_trading(&self) -> anyhow::Result<Option<Running>> {
        let Some((brokers, topics)) = &self.brokers else {
            return Ok(None);
        };
        let reader = Reader::subscribe(brokers, &group(topics, TRADING_GROUP), &topics.order_cancelled)?;
        let producer = Producer::connect(brokers, topics)?;
        let mut running = Running::new();
        running.spawn(record_removals(reader, self.trading.clone(), producer));
        Ok(Some(running))
    }
}

impl Running {
    fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs `task` until it ends or all are stopped.
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    async fn end(mut self) {
        self.stop.cancel();
        // The server waits for its connections to close; a caller that keeps one open does not hold up a crash.
        let waited = tokio::time::timeout(Duration::from_secs(2), async {
            while self.tasks.join_next().await.is_some() {}
        });
        if waited.await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

fn group(topics: &Topics, name: &str) -> String {
    let prefix = topics.cancel_requests.trim_end_matches("cancel-requests");
    format!("{prefix}{name}")
}

/// The engine's half of Kafka: what is asked on `cancel-requests`.
async fn take_requests(reader: Reader, engine: Arc<Engine>, outbox: mpsc::Sender<Outgoing>) {
    loop {
        let batch = match reader.batch().await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!("reading cancel requests: {error:#}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let asks: Vec<Ask> = kafka::decode::<CancelRequest>(&batch)
            .into_iter()
            .filter(|request| engine.books().follows(&request.market, request.sequence))
            .map(ask)
            .collect();
        while let Err(error) = engine.ask(&asks, &outbox).await {
            tracing::warn!("cancel requests wait: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
        if let Err(error) = reader.done(&batch).await {
            tracing::warn!("cancel requests may come again: {error:#}");
        }
    }
}

/// The trading service's half of Kafka: what was removed, on `order-cancelled`.
async fn record_removals(reader: Reader, trading: Trading, producer: Producer) {
    loop {
        let batch = match reader.batch().await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!("reading removed orders: {error:#}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let events = kafka::decode::<OrderCancelled>(&batch);
        while let Err(error) = record(&trading, &producer, &events).await {
            tracing::warn!("removed orders are recorded again: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
        if let Err(error) = reader.done(&batch).await {
            tracing::warn!("removed orders may come again: {error:#}");
        }
    }
}

async fn record(trading: &Trading, producer: &Producer, events: &[OrderCancelled]) -> anyhow::Result<()> {
    let updates = trading.apply(events).await?;
    producer.updated(&updates).await
}

fn ask(request: CancelRequest) -> Ask {
    Ask {
        reason: if request.reason == "ZERO_QUANTITY" {
            RemovalReason::ZeroQuantity
        } else {
            RemovalReason::Expired
        },
        idempotency_id: request.idempotency_id,
        order_id: request.order_id,
        market: request.market,
        wallet: request.wallet,
        attempt_epoch: request.attempt_epoch,
        via: Via::Kafka,
    }
}
