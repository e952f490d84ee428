//! Kafka behind our own types.
//!
//! What leaves this crate is [`Event`]: a JSON envelope with an identity that never changes, so that delivery at
//! least once can be made exactly once by its reader. [`Publisher`] is what a job holds; it knows how to be
//! off (no brokers configured), which is a setting and not a failure. [`ConsumerLoop`] is the reading side of a service:
//! it commits an offset after the [`Handler`]'s effects are durable, never before, writes what cannot be handled to a
//! dead-letter topic, and fails with words where Kafka would be silent. [`Consumer`] is the primitive below it.
//!
//! Every call is bounded: a full queue, an unreachable broker and a slow one each end in a [`BusError`] within the
//! configured time. Order is kept per key (one partition per key, idempotent producer, so that a retry cannot
//! overtake).

mod attempts;
mod cluster;
mod consumer;
mod consumer_loop;
mod dead_letter;
mod error;
mod event;
mod handler;
mod lag;
mod membership;
mod options;
mod producer;
mod publisher;
mod received;
mod replay;
mod restart;
mod topic;
mod topics;

pub use cluster::{Cluster, cluster};
pub use consumer::Consumer;
pub use consumer_loop::ConsumerLoop;
pub use dead_letter::dead_letter_topic;
pub use error::BusError;
pub use event::{Event, EventId, EventKind};
pub use handler::{Handled, Handler};
pub use lag::{GroupLag, group_lag};
pub use options::{LoopOptions, Turn};
pub use producer::{Delivered, Message, RawMessage};
pub use publisher::Publisher;
pub use received::Received;
pub use replay::{DeadLetter, ReplayOptions, replay};
pub use topic::{BREAKS, OPERATION_PAUSES, Topic, TopicError};
