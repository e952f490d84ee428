//! Cache entries of orders in the Redis of the exchange.

use eidos_core::redis_client::{RedisServer, RedisServerError, RedisSettings};
use eidos_settings::RedisSection;

use crate::settings::{CacheSection, ID};

/// What errors call the server.
const NAMED: &str = "the Redis of the exchange (expiry.cache.redis_url)";

/// Unlinks the keys of orders.
#[derive(Debug, Clone)]
pub struct OrderCache {
    server: RedisServer,
    keys: Vec<String>,
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
        let leases = RedisSettings::from(shared);
        Ok(Self {
            server: RedisServer::new(leases, settings.redis_url.as_ref(), NAMED)?,
            keys: settings.keys.clone(),
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
    /// [`RedisServerError`].
    pub async fn connect(&self) -> Result<Session<'_>, RedisServerError> {
        Ok(Session {
            cache: self,
            connection: self.server.connect().await?,
        })
    }
}

impl Session<'_> {
    /// Unlinks every key of these orders. Returns how many keys there were. Each key has a command of its own, so that keys
    /// of several slots of a cluster can be in one batch.
    ///
    /// # Errors
    /// [`RedisServerError`]; some keys may be gone.
    pub async fn unlink(&mut self, order_ids: &[&str]) -> Result<u64, RedisServerError> {
        let mut pipeline = redis::pipe();
        for order_id in order_ids {
            for key in &self.cache.keys {
                pipeline.cmd("UNLINK").arg(key.replace(ID, order_id));
            }
        }
        let counts: Vec<u64> = self.cache.server.send(&mut self.connection, &pipeline).await?;
        Ok(counts.iter().sum())
    }
}
