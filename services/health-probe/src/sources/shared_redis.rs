//! [`SharedRedis`]: the Redis over which replicas agree. Everything works without it (ruling 44).

use std::time::Duration;

use eidos_core::lease::{LeaseError, RedisSettings};
use eidos_core::redis_client::{RedisServer, RedisServerError};
use eidos_settings::RedisSection;
use eidos_telemetry::metric;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What errors call the server.
const NAMED: &str = "Redis (redis.url)";
/// A server that did not answer is not asked again for this long: an alert does not wait for one time limit after the other.
const AWAY_FOR: Duration = Duration::from_secs(5);

/// A connection that is made when it is used.
#[derive(Debug)]
pub struct SharedRedis {
    server: RedisServer,
    prefix: String,
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    /// `None`: it is made at the next use.
    connection: Option<MultiplexedConnection>,
    /// Until when it is not asked; `None`: it answered the last time.
    away_until: Option<Instant>,
}

impl SharedRedis {
    /// Prepares the client; nothing is connected.
    ///
    /// # Errors
    /// If the URL or the certificate cannot be used.
    pub fn new(section: &RedisSection) -> Result<Self, LeaseError> {
        let settings = RedisSettings::from(section);
        Ok(Self {
            prefix: settings.lock_prefix.clone(),
            server: RedisServer::new(settings, None, NAMED)?,
            link: Mutex::default(),
        })
    }

    /// The first part of every key.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Sends commands; `None`: Redis does not answer, which is logged when it begins and when it ends.
    pub async fn send<T: FromRedisValue>(&self, commands: &Pipeline) -> Option<T> {
        let mut link = self.link.lock().await;
        if link.away_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match self.try_to_send(&mut link, commands).await {
            Ok(answer) => {
                if link.away_until.take().is_some() {
                    tracing::info!("Redis answers again: replicas agree on who tells a receiver");
                }
                Some(answer)
            }
            Err(error) => {
                // After any doubt the next command begins anew.
                link.connection = None;
                metric::alert_sharing_failed();
                if link.away_until.replace(Instant::now() + AWAY_FOR).is_none() {
                    tracing::warn!(%error, "replicas do not know of each other: each decides alone and tells every receiver");
                }
                None
            }
        }
    }

    async fn try_to_send<T: FromRedisValue>(
        &self,
        link: &mut Link,
        commands: &Pipeline,
    ) -> Result<T, RedisServerError> {
        let connection = match &mut link.connection {
            Some(connection) => connection,
            none => none.insert(self.server.connect().await?),
        };
        self.server.send(connection, commands).await
    }
}
