//! Kafka behind our own types.
//!
//! What leaves this crate is [`Event`]: a JSON envelope with an identity that never changes, so that delivery at
//! least once can be made exactly once by its reader. [`Publisher`] is what a job holds; it knows how to be
//! off (no brokers configured), which is a setting and not a failure. [`Consumer`] is the reading side: the caller
//! commits an offset after its own effects are durable, never before.
//!
//! Every call is bounded: a full queue, an unreachable broker and a slow one each end in a [`BusError`] within the
//! configured time. Order is kept per key (one partition per key, idempotent producer, so that a retry cannot
//! overtake).

mod consumer;
mod error;
mod event;
mod producer;
mod publisher;
mod topic;

pub use consumer::{Consumer, Received};
pub use error::BusError;
pub use event::{Event, EventId, EventKind};
pub use producer::{Delivered, Message};
pub use publisher::Publisher;
pub use topic::{BREAKS, OPERATION_PAUSES, Topic, TopicError};
