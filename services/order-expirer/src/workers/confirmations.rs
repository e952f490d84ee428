//! `expiry-confirmations`: hears on Kafka what became of orders, so that a request ends within moments of its order and not
//! with the next run.
//!
//! An event proves no end; it says where to look (ADR 19). An event of the trading service has the order's row read at once,
//! on the primary, and only what the row says closes a request. An event of the engine is its answer to a request that was
//! published, and is recorded as that. What is missed here, the next run of `cleanup-orders` reads from the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use eidos_bus::{BusError, ConsumerLoop, Handled, Handler, LoopOptions, Received, Topic, Turn};
use eidos_core::db::JobsDb;
use eidos_runtime::{Worker, WorkerContext};
use eidos_settings::KafkaSection;
use eidos_telemetry::metric;
use eidos_types::SharedClock;
use sqlx::PgPool;

use crate::domain::life::{Outcome, State};
use crate::profile::{Status, StatusCodes};
use crate::settings::KafkaTransport;
use crate::sources::events::{self, Said, What};
use crate::store::orders::{OrderRow, OrdersStore};
use crate::store::requests::{self, Note, Request};

/// Messages that are handled together.
const TOGETHER: usize = 500;
/// How long the databases may take for them.
const STATEMENTS_WITHIN: Duration = Duration::from_secs(10);
/// Brokers that did not answer for this long make the replica not ready, together with [`DEADLINE`].
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Longer than a turn of the loop: the messages of one turn, each with a database that takes its time.
const DEADLINE: Duration = Duration::from_mins(2);

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// `order-cancelled`, of the engine.
    Removals,
    /// `order-updates`, of the trading service.
    Updates,
}

impl Source {
    /// The value of the metric's label `event`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Removals => "removal",
            Self::Updates => "update",
        }
    }
}

/// What an event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The order's row showed its end: the request is closed.
    Confirmed,
    /// The engine's answer was recorded.
    Answered,
    /// The order's row does not show the end yet: a run will read it again.
    Early,
    /// The request was closed before.
    Late,
    /// There is no request for the order.
    Unasked,
    /// It says nothing about the end of an order.
    Ignored,
}

impl Effect {
    const WORDS: [&'static str; 6] = ["confirmed", "answered", "early", "late", "unasked", "ignored"];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Answered => "answered",
            Self::Early => "early",
            Self::Late => "late",
            Self::Unasked => "unasked",
            Self::Ignored => "ignored",
        }
    }
}

/// What the databases say about the orders of some events, before anything is changed.
struct Findings {
    known: HashMap<String, Request>,
    rows: HashMap<String, OrderRow>,
}

/// Records what events say.
#[derive(Debug, Clone)]
pub struct Events {
    jobs_db: JobsDb,
    orders: OrdersStore,
    codes: StatusCodes,
    primary: PgPool,
    removals: String,
    clock: SharedClock,
}

/// The worker.
#[derive(Debug)]
pub struct Confirmations {
    reading: ConsumerLoop,
    events: Events,
}

/// What the worker needs besides its settings.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of the job")]
pub struct Databases {
    pub jobs_db: JobsDb,
    pub orders: OrdersStore,
    pub codes: StatusCodes,
    pub primary: PgPool,
}

impl Confirmations {
    /// Prepares the worker; nothing is connected yet.
    ///
    /// # Errors
    /// If the name of a topic cannot be used.
    pub fn new(
        kafka: &KafkaSection,
        settings: &KafkaTransport,
        databases: Databases,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let topics = [&settings.order_cancelled, &settings.order_updates]
            .into_iter()
            .map(|name| Topic::new(name.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let options = LoopOptions {
            together: TOGETHER,
            ..LoopOptions::new(settings.group.clone(), topics)
        };
        let Databases {
            jobs_db,
            orders,
            codes,
            primary,
        } = databases;
        Ok(Self {
            reading: ConsumerLoop::new(kafka, options)?,
            events: Events {
                jobs_db,
                orders,
                codes,
                primary,
                removals: settings.order_cancelled.clone(),
                clock,
            },
        })
    }
}

impl Confirmations {
    /// Reads events until `stop` is ready; `watch` is told how the loop is, as by [`ConsumerLoop::run`].
    ///
    /// # Errors
    /// As [`ConsumerLoop::run`].
    pub async fn read(
        &self,
        watch: impl Fn(&Turn) + Send + Sync,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), BusError> {
        for source in [Source::Removals, Source::Updates] {
            for effect in Effect::WORDS {
                metric::expiry_events(source.as_str(), effect, 0);
            }
        }
        self.reading.run(&self.events, watch, stop).await
    }
}

impl Worker for Confirmations {
    fn name(&self) -> &'static str {
        "expiry-confirmations"
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        let watch = |turn: &Turn| {
            if turn.is_alive(ANSWERED_WITHIN) {
                ctx.beat();
            }
        };
        Ok(self.read(watch, ctx.cancelled()).await?)
    }
}

impl Handler for Events {
    async fn handle(&self, message: &Received) -> Handled {
        let (source, said) = match self.read(message) {
            Ok(read) => read,
            Err(reason) => return Handled::poison(reason),
        };
        // An attempt that takes too long would end as a dead letter; a database that is away must not make one.
        match tokio::time::timeout(STATEMENTS_WITHIN, self.record_one(&said)).await {
            Ok(Ok(effect)) => {
                metric::expiry_events(source.as_str(), effect.as_str(), 1);
                Handled::Done
            }
            Ok(Err(error)) => Handled::unavailable(format!("a database refuses: {error}")),
            Err(_elapsed) => {
                Handled::unavailable(format!("a database takes longer than {STATEMENTS_WITHIN:?}"))
            }
        }
    }

    async fn handle_together(&self, messages: &[Received]) -> Vec<bool> {
        let read: Vec<Option<(Source, Said)>> =
            messages.iter().map(|message| self.read(message).ok()).collect();
        let said: Vec<&Said> = read.iter().flatten().map(|(_, said)| said).collect();
        let recorded = tokio::time::timeout(STATEMENTS_WITHIN, self.record_together(&said)).await;
        // What did not succeed is handled one by one, and says why there.
        let Ok(Ok(effects)) = recorded else {
            return vec![false; messages.len()];
        };
        let mut effects = effects.into_iter();
        let done = read.iter().map(|read| match read {
            None => false,
            Some((source, _)) => effects.next().flatten().is_some_and(|effect| {
                metric::expiry_events(source.as_str(), effect.as_str(), 1);
                true
            }),
        });
        done.collect()
    }
}

impl Events {
    fn read(&self, message: &Received) -> Result<(Source, Said), String> {
        if message.topic() == self.removals {
            events::removal(message).map(|said| (Source::Removals, said))
        } else {
            events::update(message).map(|said| (Source::Updates, said))
        }
    }

    /// Records one event, after everybody who is changing its request.
    async fn record_one(&self, said: &Said) -> Result<Effect, sqlx::Error> {
        let findings = self.look(&[said]).await?;
        let effect = self.effect(said, &findings);
        let mut tx = self.jobs_db.control().begin().await?;
        self.write(&mut tx, &[(said, effect)], &findings).await?;
        tx.commit().await?;
        Ok(effect)
    }

    /// Records events whose requests nobody else is changing. `None`: somebody is, and the event is not recorded.
    async fn record_together(&self, all: &[&Said]) -> Result<Vec<Option<Effect>>, sqlx::Error> {
        let findings = self.look(all).await?;
        let effects: Vec<Effect> = all.iter().map(|said| self.effect(said, &findings)).collect();
        let changing: BTreeSet<&str> = all
            .iter()
            .zip(&effects)
            .filter(|(_, effect)| effect.changes())
            .map(|(said, _)| said.order_id.as_str())
            .collect();
        if changing.is_empty() {
            return Ok(effects.into_iter().map(Some).collect());
        }
        let mut tx = self.jobs_db.control().begin().await?;
        let ids: Vec<&str> = changing.into_iter().collect();
        let free = requests::free(&mut tx, &ids).await?;
        let free: BTreeSet<&str> = free.iter().map(String::as_str).collect();
        let effects: Vec<Option<Effect>> = all
            .iter()
            .zip(effects)
            .map(|(said, effect)| {
                (!effect.changes() || free.contains(said.order_id.as_str())).then_some(effect)
            })
            .collect();
        let written: Vec<(&Said, Effect)> = all
            .iter()
            .zip(&effects)
            .filter_map(|(said, effect)| Some((*said, (*effect)?)))
            .collect();
        self.write(&mut tx, &written, &findings).await?;
        tx.commit().await?;
        Ok(effects)
    }

    /// Reads the requests for these orders and, where the trading service says that one of them ended, the rows.
    async fn look(&self, all: &[&Said]) -> Result<Findings, sqlx::Error> {
        let concerned = all.iter().filter(|said| said.what != What::Other);
        let ids: BTreeSet<&str> = concerned.map(|said| said.order_id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let known = if ids.is_empty() {
            Vec::new()
        } else {
            requests::known(self.jobs_db.control(), &ids).await?
        };
        let known: HashMap<String, Request> = known
            .into_iter()
            .map(|request| (request.order_id.clone(), request))
            .collect();
        let is_open = |id: &&str| {
            known
                .get(*id)
                .is_some_and(|request| request.facts.state != State::Closed)
        };
        let ended = all.iter().filter(|said| said.what == What::Ended);
        let ended: BTreeSet<&str> = ended.map(|said| said.order_id.as_str()).filter(is_open).collect();
        let ended: Vec<&str> = ended.into_iter().collect();
        let rows = if ended.is_empty() {
            Vec::new()
        } else {
            self.orders.by_ids(&self.primary, &ended).await?
        };
        let rows = rows.into_iter().map(|row| (row.order_id.clone(), row)).collect();
        Ok(Findings { known, rows })
    }

    fn effect(&self, said: &Said, findings: &Findings) -> Effect {
        if said.what == What::Other {
            return Effect::Ignored;
        }
        let Some(request) = findings.known.get(&said.order_id) else {
            return Effect::Unasked;
        };
        match (request.facts.state, &said.what) {
            (State::Closed, _) => Effect::Late,
            (_, What::Answer { .. }) => Effect::Answered,
            _ if self.end_of(&said.order_id, findings).is_some() => Effect::Confirmed,
            _ => Effect::Early,
        }
    }

    /// How the order ended, as its row says. `None`: it has not, or has no row; a run decides what that means.
    fn end_of(&self, order_id: &str, findings: &Findings) -> Option<Outcome> {
        match self.codes.meaning(findings.rows.get(order_id)?.status) {
            Status::Ended(outcome) => Some(outcome),
            Status::Live | Status::Cancelling | Status::Unknown => None,
        }
    }

    async fn write(
        &self,
        conn: &mut sqlx::PgConnection,
        effects: &[(&Said, Effect)],
        findings: &Findings,
    ) -> Result<(), sqlx::Error> {
        // Of several answers about an order, the first one counts.
        let mut notes: BTreeMap<&str, Note> = BTreeMap::new();
        let mut ended: BTreeMap<&str, Outcome> = BTreeMap::new();
        for (said, effect) in effects {
            match (&said.what, effect) {
                (What::Answer { verdict, reason }, Effect::Answered) => {
                    notes.entry(&said.order_id).or_insert_with(|| Note {
                        order_id: said.order_id.clone(),
                        verdict: *verdict,
                        reason: reason.clone(),
                    });
                }
                (What::Ended, Effect::Confirmed) => {
                    let outcome = self.end_of(&said.order_id, findings);
                    ended.extend(outcome.map(|outcome| (said.order_id.as_str(), outcome)));
                }
                _ => {}
            }
        }
        if !notes.is_empty() {
            let notes: Vec<Note> = notes.into_values().collect();
            requests::note(conn, &notes).await?;
        }
        if !ended.is_empty() {
            let ended: Vec<(&str, Outcome)> = ended.into_iter().collect();
            let closed = requests::close(conn, &ended, self.clock.now_ms(), "event").await?;
            for one in &closed {
                one.count(findings.rows.get(&one.order_id).map(|row| row.updated_at));
            }
        }
        Ok(())
    }
}

impl Effect {
    /// Whether a request is changed.
    const fn changes(self) -> bool {
        matches!(self, Self::Confirmed | Self::Answered)
    }
}
