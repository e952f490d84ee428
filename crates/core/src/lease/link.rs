//! The watchdog's own connection: made on demand, thrown away after any doubt.

use std::time::Duration;

use eidos_types::JobName;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisError, RedisResult};
use tokio::sync::Mutex;

use super::error::LeaseError;
use crate::redis_client::{self, RedisSettings};

/// What a server is called whose answers are MOVED and ASK.
pub(super) const CLUSTER: &str = "node of a Redis Cluster";

/// A failed command: whether it may have been carried out.
#[derive(Debug)]
pub(super) enum Failed {
    /// It was never sent.
    NotSent(RedisError),
    /// Redis answered with an error: it was not carried out.
    Refused(RedisError),
    /// Anything may have happened.
    Unknown(RedisError),
}

impl Failed {
    pub(super) fn into_cause(self) -> RedisError {
        match self {
            Self::NotSent(cause) | Self::Refused(cause) | Self::Unknown(cause) => cause,
        }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    target: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    pub(super) prefix: String,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    /// Counts connections, so that a late failure does not throw away its successor.
    generation: u64,
    conn: Option<MultiplexedConnection>,
}

impl Link {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, LeaseError> {
        let client = redis_client::open(settings)?;
        let target = match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                format!("{host}:{port}")
            }
            other => other.to_string(),
        };
        Ok(Self {
            client,
            config: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.connect_timeout))
                .set_response_timeout(Some(settings.response_timeout)),
            target,
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
            prefix: settings.lock_prefix.clone(),
            current: Mutex::default(),
        })
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn not_one_server(&self, mode: &'static str) -> LeaseError {
        LeaseError::NotOneServer {
            target: self.target.clone(),
            mode,
        }
    }

    /// The error of a command about the lease of `job` that the server did not carry out.
    pub(super) fn refused(&self, job: &JobName, cause: RedisError) -> LeaseError {
        use redis::ServerErrorKind::{Ask, ClusterDown, CrossSlot, Moved};
        match cause.kind() {
            redis::ErrorKind::Server(Ask | ClusterDown | CrossSlot | Moved) => self.not_one_server(CLUSTER),
            _ => LeaseError::Server {
                job: job.clone(),
                cause,
            },
        }
    }

    pub(super) const fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Runs one command within the response timeout. After an error or timeout the connection is dropped: a
    /// blackholed one would never recover by itself.
    pub(super) async fn run<T>(
        &self,
        command: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Failed> {
        let (generation, mut conn) = self.connection().await.map_err(Failed::NotSent)?;
        // Twice: a script that Redis does not know is loaded and sent again.
        let limit = self.response_timeout * 2;
        let outcome = match tokio::time::timeout(limit, command(&mut conn)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(timed_out()),
        };
        match outcome {
            Ok(value) => Ok(value),
            Err(error) if matches!(error.kind(), redis::ErrorKind::Server(_)) || error.code().is_some() => {
                // Such as READONLY after a failover: the next connection may reach the new primary.
                self.discard(generation).await;
                Err(Failed::Refused(error))
            }
            Err(error) => {
                self.discard(generation).await;
                Err(Failed::Unknown(error))
            }
        }
    }

    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut current = self.current.lock().await;
        if let Some(conn) = &current.conn {
            return Ok((current.generation, conn.clone()));
        }
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&self.config);
        let conn = tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_elapsed| Err(timed_out()))?;
        current.generation += 1;
        current.conn = Some(conn.clone());
        Ok((current.generation, conn))
    }

    async fn discard(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.generation == generation {
            current.conn = None;
        }
    }
}

fn timed_out() -> RedisError {
    RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
