//! The order books in memory, and what the engine decides about each request. Nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use eidos_proto::matching::v1::{Outcome, RemovalReason};

use super::messages::OrderCancelled;
use super::misbehaviour::{Dice, Misbehaviour};

/// How many answers and log entries are kept; the oldest are forgotten first.
const MEMORY: usize = 1_000_000;

/// The event's reason for an order that the book does not have.
pub(super) const NOT_FOUND: &str = "ORDER_NOT_FOUND";

/// An order in a book.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Resting {
    pub(super) order_id: String,
    pub(super) market: String,
    pub(super) wallet: String,
    pub(super) expire_at: i64,
    pub(super) remaining: String,
    pub(super) is_empty: bool,
}

/// How a request reached the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// `ExpireOrders`.
    Grpc,
    /// The topic `cancel-requests`.
    Kafka,
}

/// One order that the engine is asked to remove.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) idempotency_id: String,
    pub(super) order_id: String,
    pub(super) market: String,
    pub(super) wallet: String,
    pub(super) attempt_epoch: u32,
    pub(super) reason: RemovalReason,
    pub(super) via: Via,
}

/// A request that the engine received, for assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The caller's id of this attempt.
    pub idempotency_id: String,
    /// Which order.
    pub order_id: String,
    /// Its market.
    pub market: String,
    /// The caller's count of attempts.
    pub attempt_epoch: u32,
    /// How it was asked.
    pub via: Via,
    /// What was answered. `None`: the request was dropped.
    pub outcome: Option<Outcome>,
    /// Whether the answer was that of an earlier request with the same id.
    pub is_repetition: bool,
    /// When, by the engine's clock, in epoch milliseconds.
    pub at_ms: i64,
}

/// An event that waits for its time.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) event: OrderCancelled,
    pub(super) delay: Duration,
}

/// What the engine says and what it publishes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) retry_after_ms: i64,
    pub(super) events: Vec<Outgoing>,
}

/// The books and what the engine remembers beside them.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) misbehaviour: Misbehaviour,
    pub(super) log: VecDeque<Asked>,
    dice: Dice,
    resting: HashMap<String, Resting>,
    /// What was removed since the start, with the event that says so.
    removed: HashMap<String, OrderCancelled>,
    answers: HashMap<String, (Outcome, String)>,
    answered: VecDeque<String>,
    last_sequence: HashMap<String, u64>,
    sequence: u64,
}

impl Books {
    pub(super) fn new(misbehaviour: Misbehaviour, dice: Dice) -> Self {
        Self {
            misbehaviour,
            log: VecDeque::new(),
            dice,
            resting: HashMap::new(),
            removed: HashMap::new(),
            answers: HashMap::new(),
            answered: VecDeque::new(),
            last_sequence: HashMap::new(),
            sequence: 0,
        }
    }

    /// Begins again, as after a restart, with these orders.
    pub(super) fn reload(&mut self, orders: Vec<Resting>) {
        self.resting.clear();
        self.removed.clear();
        self.last_sequence.clear();
        if self.misbehaviour.forget_on_restart {
            self.answers.clear();
            self.answered.clear();
        }
        self.meet(orders);
    }

    /// Takes orders into their books that it did not know.
    pub(super) fn meet(&mut self, orders: Vec<Resting>) {
        for order in orders {
            if !self.removed.contains_key(&order.order_id) {
                self.resting.insert(order.order_id.clone(), order);
            }
        }
    }

    pub(super) fn knows(&self, order_id: &str) -> bool {
        self.resting.contains_key(order_id) || self.removed.contains_key(order_id)
    }

    pub(super) fn len(&self) -> usize {
        self.resting.len()
    }

    /// Whether a share of `per_mille` falls on this case.
    pub(super) fn falls(&mut self, share: impl FnOnce(&Misbehaviour) -> u16) -> bool {
        let share = share(&self.misbehaviour);
        self.dice.falls(share)
    }

    /// Checks whether `sequence` follows the market's last one, as the documents' engine does; true if nobody asked for
    /// that check.
    pub(super) fn follows(&mut self, market: &str, sequence: Option<u64>) -> bool {
        if !self.misbehaviour.strict_sequence {
            return true;
        }
        let last = self.last_sequence.get(market).copied().unwrap_or(0);
        match sequence {
            Some(sequence) if sequence > last => {
                self.last_sequence.insert(market.to_owned(), sequence);
                true
            }
            _ => false,
        }
    }

    /// Decides about one request. `None`: it was dropped.
    pub(super) fn decide(&mut self, ask: &Ask, now_ms: i64) -> Option<Answer> {
        let known = self.answers.get(&ask.idempotency_id).cloned();
        let is_repetition = known.is_some();
        let answer = match known {
            Some((outcome, reason)) => Some(Answer::silent(outcome, reason)),
            None if self.falls(|faults| faults.drop_requests) => None,
            None => Some(self.answer(ask, now_ms)),
        };
        self.note(ask, answer.as_ref(), is_repetition, now_ms);
        answer
    }

    fn answer(&mut self, ask: &Ask, now_ms: i64) -> Answer {
        if self.falls(|faults| faults.retry_later) {
            let mut answer = Answer::silent(Outcome::RetryLater, "the engine is busy".to_owned());
            answer.retry_after_ms = i64::from(self.misbehaviour.retry_after_ms);
            return answer;
        }
        if let Some(event) = self.removed.get(&ask.order_id).cloned() {
            return self.removed_before(&event);
        }
        let Some(order) = self.resting.get(&ask.order_id).cloned() else {
            let events = self.failed(ask, NOT_FOUND, "0", now_ms);
            return Answer::with(Outcome::NotFound, String::new(), events);
        };
        let refusal = self.refusal(ask, &order, now_ms);
        if let Some(reason) = refusal {
            let events = self.failed(ask, &reason, &order.remaining, now_ms);
            return Answer::with(Outcome::Refused, reason, events);
        }
        if self.falls(|faults| faults.answer_without_removal) {
            return Answer::silent(Outcome::Removed, String::new());
        }
        self.remove(order, ask.reason, now_ms)
    }

    fn refusal(&mut self, ask: &Ask, order: &Resting, now_ms: i64) -> Option<String> {
        if self.falls(|faults| faults.refuse) {
            return Some(format!("{} is halted", order.market));
        }
        if ask.market != order.market {
            return Some(format!("it rests in {}, not in {}", order.market, ask.market));
        }
        match ask.reason {
            RemovalReason::Expired if order.expire_at <= 0 => Some("it never expires".to_owned()),
            RemovalReason::Expired if order.expire_at > now_ms => {
                Some(format!("it expires at {}", order.expire_at))
            }
            RemovalReason::ZeroQuantity if !order.is_empty => {
                Some(format!("it has {} left", order.remaining))
            }
            RemovalReason::Unspecified => Some("a removal needs a reason".to_owned()),
            RemovalReason::Expired | RemovalReason::ZeroQuantity => None,
        }
    }

    fn remove(&mut self, order: Resting, reason: RemovalReason, now_ms: i64) -> Answer {
        self.resting.remove(&order.order_id);
        let reason = match reason {
            RemovalReason::ZeroQuantity => "ZERO_QUANTITY",
            RemovalReason::Expired | RemovalReason::Unspecified => "EXPIRED",
        };
        let event = OrderCancelled {
            order_id: order.order_id,
            market: order.market,
            wallet: order.wallet,
            success: true,
            reason: reason.to_owned(),
            remaining_size: order.remaining,
            timestamp: nanoseconds(now_ms),
            sequence: self.next_sequence(),
        };
        self.removed.insert(event.order_id.clone(), event.clone());
        let events = self.outgoing(&event);
        Answer::with(Outcome::Removed, String::new(), events)
    }

    /// A new attempt for an order that this engine removed: the caller missed its event, so it is published again.
    fn removed_before(&mut self, event: &OrderCancelled) -> Answer {
        let reason = format!("it was removed as {}", event.reason);
        let events = self.outgoing(event);
        Answer::with(Outcome::AlreadyTerminal, reason, events)
    }

    /// The event of a request on Kafka that changed nothing; over gRPC the verdict says it.
    fn failed(&mut self, ask: &Ask, reason: &str, remaining: &str, now_ms: i64) -> Vec<Outgoing> {
        if ask.via == Via::Grpc {
            return Vec::new();
        }
        let event = OrderCancelled {
            order_id: ask.order_id.clone(),
            market: ask.market.clone(),
            wallet: ask.wallet.clone(),
            success: false,
            reason: reason.to_owned(),
            remaining_size: remaining.to_owned(),
            timestamp: nanoseconds(now_ms),
            sequence: self.next_sequence(),
        };
        self.outgoing(&event)
    }

    /// Returns none, one or two copies of `event`, each with its delay.
    fn outgoing(&mut self, event: &OrderCancelled) -> Vec<Outgoing> {
        if self.falls(|faults| faults.drop_events) {
            return Vec::new();
        }
        let copies = if self.falls(|faults| faults.duplicate_events) {
            2
        } else {
            1
        };
        (0..copies)
            .map(|_copy| {
                let most = self.misbehaviour.event_delay_ms;
                let delay_ms = if self.falls(|faults| faults.delay_events) {
                    self.dice.up_to_ms(most)
                } else {
                    0
                };
                Outgoing {
                    event: event.clone(),
                    delay: Duration::from_millis(delay_ms),
                }
            })
            .collect()
    }

    const fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn note(&mut self, ask: &Ask, answer: Option<&Answer>, is_repetition: bool, at_ms: i64) {
        if let Some(answer) = answer.filter(|answer| !is_repetition && answer.is_final())
            && !ask.idempotency_id.is_empty()
        {
            self.answered.push_back(ask.idempotency_id.clone());
            let said = (answer.outcome, answer.reason.clone());
            self.answers.insert(ask.idempotency_id.clone(), said);
            if self.answered.len() > MEMORY
                && let Some(oldest) = self.answered.pop_front()
            {
                self.answers.remove(&oldest);
            }
        }
        self.log.push_back(Asked {
            idempotency_id: ask.idempotency_id.clone(),
            order_id: ask.order_id.clone(),
            market: ask.market.clone(),
            attempt_epoch: ask.attempt_epoch,
            via: ask.via,
            outcome: answer.map(|answer| answer.outcome),
            is_repetition,
            at_ms,
        });
        if self.log.len() > MEMORY {
            self.log.pop_front();
        }
    }
}

impl Answer {
    const fn silent(outcome: Outcome, reason: String) -> Self {
        Self::with(outcome, reason, Vec::new())
    }

    const fn with(outcome: Outcome, reason: String, events: Vec<Outgoing>) -> Self {
        Self {
            outcome,
            reason,
            retry_after_ms: 0,
            events,
        }
    }

    /// "Retry later" is asked again under the same id, so it is not remembered.
    fn is_final(&self) -> bool {
        self.outcome != Outcome::RetryLater
    }
}

const fn nanoseconds(ms: i64) -> i64 {
    ms.saturating_mul(1_000_000)
}
