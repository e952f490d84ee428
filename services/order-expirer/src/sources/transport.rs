//! How requests reach the matching engine: over gRPC, which answers, or by a topic, which does not.

use std::time::Duration;

use eidos_bus::BusError;

use super::cancel_requests::{CancelRequests, Publishing};
use super::engine::{Answers, Engine, EngineError, ExpireStream};
use crate::store::requests::Request;

/// The way to the engine that `expiry.transport` names.
#[derive(Debug, Clone)]
pub enum Transport {
    /// `ExpireOrders` of `eidos.matching.v1`.
    Grpc(Box<Engine>),
    /// The topic `cancel-requests`.
    Kafka(CancelRequests),
}

/// One conversation: requests in, answers out.
pub enum Conversation {
    /// A stream.
    Grpc(Box<ExpireStream>),
    /// Messages on the topic, whose answers are those of the brokers.
    Kafka(Box<Publishing>),
}

/// Why a conversation is of no use any more. Nothing is known about orders without an answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The stream.
    #[error(transparent)]
    Grpc(#[from] EngineError),
    /// The topic.
    #[error("requests cannot be published: {0}")]
    Kafka(#[from] BusError),
}

impl TransportError {
    /// Whether asking again cannot help before an operator has acted.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Grpc(error) => error.is_refusal(),
            Self::Kafka(error) => !error.is_retryable(),
        }
    }

    /// Whether no answer came in time.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::Grpc(EngineError::TimedOut(_)))
    }
}

impl Transport {
    /// Opens a conversation, once there is a connection.
    ///
    /// # Errors
    /// [`TransportError`]: there is none.
    pub async fn open(&self) -> Result<Conversation, TransportError> {
        Ok(match self {
            Self::Grpc(engine) => Conversation::Grpc(Box::new(engine.open().await?)),
            Self::Kafka(requests) => Conversation::Kafka(Box::new(requests.open().await?)),
        })
    }

    /// The name in `/health` of what requests go to.
    #[must_use]
    pub const fn dependency(&self) -> &'static str {
        match self {
            Self::Grpc(_) => "matching_engine",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Checks whether a connection can be made.
    ///
    /// # Errors
    /// [`TransportError`]: there is none.
    pub async fn check(&self) -> Result<(), TransportError> {
        match self {
            Self::Grpc(engine) => Ok(engine.check().await?),
            Self::Kafka(requests) => Ok(requests.check().await?),
        }
    }

    /// The window that the caller keeps by itself, where the engine cannot name one. `None`: the engine names it.
    #[must_use]
    pub const fn own_window(&self) -> Option<u32> {
        match self {
            Self::Grpc(_) => None,
            Self::Kafka(requests) => Some(requests.window()),
        }
    }

    /// Whether each request carries a sequence number.
    #[must_use]
    pub const fn is_numbered(&self) -> bool {
        match self {
            Self::Grpc(_) => false,
            Self::Kafka(requests) => requests.is_numbered(),
        }
    }
}

impl Conversation {
    /// Whether a batch can be sent without waiting.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self {
            Self::Grpc(stream) => stream.has_room(),
            Self::Kafka(publishing) => publishing.has_room(),
        }
    }

    /// Sends a batch. Ask [`Self::has_room`] first. `first_number` is the sequence number of its first request.
    ///
    /// # Errors
    /// [`TransportError`]: the conversation has ended.
    pub fn send(&mut self, requests: &[Request], first_number: Option<i64>) -> Result<(), TransportError> {
        match self {
            Self::Grpc(stream) => Ok(stream.send(requests)?),
            Self::Kafka(publishing) => {
                publishing.queue(requests, first_number);
                Ok(())
            }
        }
    }

    /// Returns the next answers. `within`: how long it waits; `None`: the limit of the settings.
    ///
    /// # Errors
    /// [`TransportError`]: the conversation is of no use any more.
    pub async fn answers(&mut self, within: Option<Duration>) -> Result<Answers, TransportError> {
        match self {
            Self::Grpc(stream) => Ok(stream.answers(within).await?),
            Self::Kafka(publishing) => Ok(publishing.publish().await?),
        }
    }
}
