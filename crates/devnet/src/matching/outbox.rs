//! Publishes the engine's events, each when it is due, and repeats what the broker or the database refuses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::book::Outgoing;
use super::kafka::Producer;
use super::messages::OrderCancelled;
use super::trading::Trading;

/// Events that wait for the engine's publisher, and again as many that wait for their time.
pub(super) const QUEUE: usize = 10_000;
/// Events published together.
const BATCH: usize = 500;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where events go.
#[derive(Debug, Clone)]
pub(super) enum Sink {
    /// To the topic `order-cancelled`.
    Kafka(Producer),
    /// Straight to the trading service, which has no brokers to hear from.
    Direct(Trading),
}

impl Sink {
    async fn publish(&self, events: &[OrderCancelled]) -> anyhow::Result<()> {
        match self {
            Self::Kafka(producer) => producer.cancelled(events).await,
            Self::Direct(trading) => trading.apply(events).await.map(|_updates| ()),
        }
    }
}

/// Runs until `stop`; what is not published then is lost, as with a process that is killed.
pub(super) async fn run(sink: Sink, mut inbox: mpsc::Receiver<Outgoing>, stop: CancellationToken) {
    let mut waiting = Waiting::default();
    loop {
        let due = waiting.next_due();
        tokio::select! {
            () = stop.cancelled() => return,
            received = inbox.recv(), if waiting.0.len() < QUEUE => match received {
                Some(outgoing) => waiting.add(outgoing),
                None => return,
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                while waiting.0.len() < QUEUE && let Ok(outgoing) = inbox.try_recv() {
                    waiting.add(outgoing);
                }
                let events = waiting.take_due(Instant::now());
                if !persist(&sink, &events, &stop).await {
                    return;
                }
            }
        }
    }
}

/// Publishes until it succeeds. Returns false if `stop` came first.
async fn persist(sink: &Sink, events: &[OrderCancelled], stop: &CancellationToken) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::select! {
            () = stop.cancelled() => return false,
            published = sink.publish(events) => match published {
                Ok(()) => return true,
                Err(error) => tracing::warn!("{} events are published again in {pause:?}: {error:#}", events.len()),
            },
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// Events by the instant at which they are due; those of one instant in the order of their arrival.
#[derive(Debug, Default)]
struct Waiting(BinaryHeap<Reverse<Entry>>, u64);

#[derive(Debug)]
struct Entry {
    due: Instant,
    arrival: u64,
    event: OrderCancelled,
}

impl Waiting {
    fn add(&mut self, outgoing: Outgoing) {
        self.1 += 1;
        self.0.push(Reverse(Entry {
            due: Instant::now() + outgoing.delay,
            arrival: self.1,
            event: outgoing.event,
        }));
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(entry)| entry.due)
    }

    fn take_due(&mut self, now: Instant) -> Vec<OrderCancelled> {
        let mut events = Vec::new();
        while events.len() < BATCH && self.next_due().is_some_and(|due| due <= now) {
            events.extend(self.0.pop().map(|Reverse(entry)| entry.event));
        }
        events
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.arrival).cmp(&(other.due, other.arrival))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
