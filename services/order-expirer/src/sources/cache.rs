//! Cache entries of orders in the Redis of the exchange.

use std::time::Duration;

use eidos_core::lease::RedisSettings;
use eidos_settings::RedisSection;
use secrecy::ExposeSecret as _;

use crate::settings::{CacheSection, ID};

/// Unlinks the keys of orders.
#[derive(Debug, Clone)]
pub struct OrderCache {
    client: redis::Client,
    keys: Vec<String>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// Redis did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It said so.
    #[error("the Redis of the exchange (expiry.cache.redis_url): {0}")]
    Redis(#[from] redis::RedisError),
    /// It said nothing in time.
    #[error("the Redis of the exchange (expiry.cache.redis_url) did not answer within {0:?}")]
    TimedOut(Duration),
}

/// An open connection.
pub struct Session<'a> {
    cache: &'a OrderCache,
    connection: redis::aio::MultiplexedConnection,
}

impl OrderCache {
    /// Prepares the client; nothing is connected yet.
    ///
    /// # Errors
    /// If the URL or the certificate cannot be used.
    pub fn new(settings: &CacheSection, shared: &RedisSection) -> anyhow::Result<Self> {
        let mut redis = RedisSettings::from(shared);
        if let Some(url) = &settings.redis_url {
            let own = url.expose_secret() != redis.url.expose_secret();
            redis.url = url.clone();
            if own {
                // The login of the lease store belongs to the lease store.
                (redis.username, redis.password) = (None, None);
            }
        }
        Ok(Self {
            client: eidos_core::redis_client::open(&redis)?,
            keys: settings.keys.clone(),
            connect_timeout: redis.connect_timeout,
            response_timeout: redis.response_timeout,
        })
    }

    /// Whether any key is configured.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Connects.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn connect(&self) -> Result<Session<'_>, CacheError> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = within(self.connect_timeout * 2, connecting).await?;
        Ok(Session {
            cache: self,
            connection,
        })
    }
}

impl Session<'_> {
    /// Unlinks every key of these orders. Returns how many keys there were. Each key has a command of its own, so that keys
    /// of several slots of a cluster can be in one batch.
    ///
    /// # Errors
    /// [`CacheError`]; some keys may be gone.
    pub async fn unlink(&mut self, order_ids: &[&str]) -> Result<u64, CacheError> {
        let mut pipeline = redis::pipe();
        for order_id in order_ids {
            for key in &self.cache.keys {
                pipeline.cmd("UNLINK").arg(key.replace(ID, order_id));
            }
        }
        let limit = self.cache.response_timeout * 4;
        let counts: Vec<u64> = within(limit, pipeline.query_async(&mut self.connection)).await?;
        Ok(counts.iter().sum())
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, redis::RedisError>>,
) -> Result<T, CacheError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(CacheError::TimedOut(limit)),
    }
}
