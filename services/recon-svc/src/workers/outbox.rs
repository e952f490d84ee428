//! Delivers the events of this service to Kafka and to the webhooks of `reconciliation.webhooks`.
//!
//! One worker routes events; each destination has a worker of its own, so that one that does not answer delays no other.
//! Replicas share the work (see [`eidos_core::outbox`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eidos_bus::{Event, EventId, Message, OPERATION_PAUSES, Publisher, Topic};
use eidos_core::outbox::{Backlog, DeliveryError, Destination, Outbox, OutboxEvent};
use eidos_runtime::{ServiceDeps, Worker, WorkerContext, WorkerEntry};
use eidos_telemetry::metric;
use futures::FutureExt;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::jobs::reconciliation::events::SOURCE;
use crate::settings::ReconSettings;

/// How often the outbox is looked at while nothing happens.
const POLL: Duration = Duration::from_secs(1);
/// How often old events are deleted and the gauges are set.
const UPKEEP: Duration = Duration::from_secs(30);
/// Beyond twice the delivery timeout: the time in which the brokers are asked for the reason of a time-out.
const REASON: Duration = Duration::from_secs(5);

/// The workers that deliver this service's events.
///
/// # Errors
/// If the HTTP client of the webhooks cannot be created.
pub(crate) fn workers(deps: &ServiceDeps<ReconSettings>, bus: Publisher) -> anyhow::Result<Vec<WorkerEntry>> {
    let rules = &deps.settings.service.reconciliation;
    let destinations = destinations(
        bus,
        deps.settings.suite.kafka.delivery_timeout,
        &rules.webhooks,
        rules.webhook_timeout,
    )?;
    let outbox = Outbox::new(deps.jobs_db.clone(), SOURCE, destinations);
    Ok(of_outbox(&outbox))
}

/// Kafka, unless it is switched off, and each webhook once.
///
/// # Errors
/// If the HTTP client cannot be created.
pub fn destinations(
    bus: Publisher,
    delivery_timeout: Duration,
    webhooks: &[String],
    webhook_timeout: Duration,
) -> anyhow::Result<Vec<Arc<dyn Destination>>> {
    let mut destinations: Vec<Arc<dyn Destination>> = Vec::new();
    if bus.is_on() {
        destinations.push(Arc::new(Kafka {
            bus,
            delivery_timeout,
        }));
    }
    let client = reqwest::Client::builder().timeout(webhook_timeout).build()?;
    for url in webhooks {
        let name = webhook_name(url);
        if destinations.iter().all(|known| known.name() != name) {
            destinations.push(Arc::new(Webhook {
                name,
                url: url.clone(),
                client: client.clone(),
                timeout: webhook_timeout,
            }));
        }
    }
    Ok(destinations)
}

/// One worker that routes, and one for each destination.
#[must_use]
pub fn of_outbox(outbox: &Outbox) -> Vec<WorkerEntry> {
    let routing = WorkerEntry::new(Routing(outbox.clone()));
    let delivering = outbox.destinations().iter().map(|destination| {
        WorkerEntry::new(Delivering {
            name: format!("outbox-{}", destination.name()),
            outbox: outbox.clone(),
            destination: Arc::clone(destination),
        })
    });
    std::iter::once(routing).chain(delivering).collect()
}

/// Creates the deliveries of new events, deletes old ones, and shows what is not delivered.
struct Routing(Outbox);

impl Worker for Routing {
    fn name(&self) -> &'static str {
        "outbox-routing"
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        let mut upkeep_due = Instant::now();
        let mut shown = BTreeSet::new();
        while !ctx.is_cancelled() {
            ctx.beat();
            self.0.route().await?;
            if Instant::now() >= upkeep_due {
                upkeep_due = Instant::now() + UPKEEP;
                self.0.upkeep().await?;
                show(&self.0.backlog().await?, &mut shown);
            }
            let _cut_short = tokio::time::timeout(POLL, ctx.cancelled()).await;
        }
        Ok(())
    }
}

/// Sets the gauges. `shown`: every destination that this process has shown before; without a backlog it is at zero.
fn show(backlog: &[Backlog], shown: &mut BTreeSet<String>) {
    for of in backlog {
        metric::outbox_backlog(&of.destination, of.pending, of.oldest_pending, of.dead);
    }
    let present: BTreeSet<String> = backlog.iter().map(|of| of.destination.clone()).collect();
    for gone in shown.difference(&present) {
        metric::outbox_backlog(gone, 0, Duration::ZERO, 0);
    }
    shown.extend(present);
}

/// Sends what is due at one destination.
struct Delivering {
    name: String,
    outbox: Outbox,
    destination: Arc<dyn Destination>,
}

impl Worker for Delivering {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        while !ctx.is_cancelled() {
            // Every attempt and every statement has a time limit of its own.
            let claimed = ctx.beating(self.outbox.deliver(&*self.destination)).await?;
            if claimed == 0 {
                tokio::select! {
                    () = self.outbox.routed(POLL) => {}
                    () = ctx.cancelled() => {}
                }
            }
        }
        Ok(())
    }
}

/// The topics of the event bus.
struct Kafka {
    bus: Publisher,
    delivery_timeout: Duration,
}

impl Destination for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn topic(&self) -> Option<&str> {
        None
    }

    fn attempt_limit(&self) -> Duration {
        self.delivery_timeout * 2 + REASON
    }

    fn deliver<'a>(&'a self, event: &'a OutboxEvent) -> BoxFuture<'a, Result<(), DeliveryError>> {
        async move {
            let topic = Topic::new(event.topic.clone()).map_err(|error| DeliveryError(error.to_string()))?;
            let envelope = envelope(event);
            let message = Message {
                key: &event.key,
                event: &envelope,
                traceparent: None,
            };
            let sent = self.bus.publish(&topic, message).await;
            sent.map(drop).map_err(|error| DeliveryError(error.to_string()))
        }
        .boxed()
    }
}

/// A URL that events of pauses are posted to.
struct Webhook {
    name: String,
    url: String,
    client: reqwest::Client,
    timeout: Duration,
}

impl Destination for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn topic(&self) -> Option<&str> {
        Some(OPERATION_PAUSES.as_str())
    }

    fn attempt_limit(&self) -> Duration {
        // The client's own limit comes first and says more.
        self.timeout + Duration::from_secs(1)
    }

    fn deliver<'a>(&'a self, event: &'a OutboxEvent) -> BoxFuture<'a, Result<(), DeliveryError>> {
        async move {
            let sent = self.client.post(&self.url).json(&envelope(event)).send().await;
            let answer = sent.and_then(reqwest::Response::error_for_status);
            // The URL of a webhook is a secret.
            answer
                .map(drop)
                .map_err(|error| DeliveryError(described(&error.without_url())))
        }
        .boxed()
    }
}

fn described(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn envelope(event: &OutboxEvent) -> Event<&serde_json::Value> {
    Event {
        event_id: EventId::from_uuid(event.event_id),
        kind: event.kind.clone(),
        occurred_at: event.occurred_at,
        source: event.source.clone(),
        payload: &event.payload,
    }
}

/// Names a webhook without what may be secret in its URL: its host, and a digest that tells two URLs of one host apart.
fn webhook_name(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed
        .as_ref()
        .and_then(|url| url.host_str())
        .unwrap_or("unknown");
    let digest = hex::encode(Sha256::digest(url));
    let host: String = host.chars().take(100).collect();
    format!("webhook:{host}#{}", &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_webhook_keeps_its_secrets_and_tells_urls_apart() {
        let one = webhook_name("https://bot:secret@hooks.example/services/T0/token");
        let two = webhook_name("https://bot:secret@hooks.example/services/T0/other");
        assert!(one.starts_with("webhook:hooks.example#"), "{one}");
        assert!(!one.contains("secret") && !one.contains("token"), "{one}");
        assert_ne!(one, two);
    }

    #[test]
    fn a_webhook_that_is_listed_twice_is_one_destination() {
        // Several tests of one process may do so.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let urls = [
            "https://a.example/x",
            "https://a.example/x",
            "https://a.example/y",
        ]
        .map(ToOwned::to_owned);
        let limit = Duration::from_secs(1);
        assert_eq!(
            destinations(Publisher::off(), limit, &urls, limit).unwrap().len(),
            2
        );
    }
}
