//! Statistics in the Redis that the administration reads. Each key is replaced with its time to live in one transaction, so
//! that none lives for ever, whatever happens between two commands.

use std::time::Duration;

use eidos_core::redis_client::{RedisServer, RedisServerError, RedisSettings};
use eidos_settings::RedisSection;

use crate::settings::StatisticsKeysSection;

/// What errors call the server.
const NAMED: &str = "the Redis of the statistics (statistics_keys.redis_url)";

/// Writes the keys.
#[derive(Debug, Clone)]
pub struct Keys {
    server: RedisServer,
    prefix: String,
}

/// An open connection.
pub struct Session<'a> {
    keys: &'a Keys,
    connection: redis::aio::MultiplexedConnection,
}

impl Keys {
    /// Prepares the client; nothing is connected yet.
    ///
    /// # Errors
    /// If the URL or the certificate cannot be used.
    pub fn new(settings: &StatisticsKeysSection, shared: &RedisSection) -> anyhow::Result<Self> {
        let leases = RedisSettings::from(shared);
        Ok(Self {
            server: RedisServer::new(leases, settings.redis_url.as_ref(), NAMED)?,
            prefix: settings.prefix.clone(),
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// If Redis does not answer in time.
    pub async fn connect(&self) -> Result<Session<'_>, RedisServerError> {
        Ok(Session {
            keys: self,
            connection: self.server.connect().await?,
        })
    }
}

impl Session<'_> {
    /// Replaces a hash. Without fields it is only removed.
    ///
    /// # Errors
    /// If Redis refuses, or does not answer in time.
    pub async fn hash(
        &mut self,
        name: &str,
        fields: &[(String, String)],
        ttl: Duration,
    ) -> Result<(), RedisServerError> {
        let key = self.key(name);
        let mut transaction = redis::pipe();
        transaction.atomic().del(&key).ignore();
        if !fields.is_empty() {
            transaction.hset_multiple(&key, fields).ignore();
            transaction.pexpire(&key, millis(ttl)).ignore();
        }
        self.send(&transaction).await
    }

    /// Replaces a text.
    ///
    /// # Errors
    /// If Redis refuses, or does not answer in time.
    pub async fn text(&mut self, name: &str, text: &str, ttl: Duration) -> Result<(), RedisServerError> {
        let key = self.key(name);
        let mut transaction = redis::pipe();
        transaction.atomic().set(&key, text).ignore();
        transaction.pexpire(&key, millis(ttl)).ignore();
        self.send(&transaction).await
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.keys.prefix)
    }

    async fn send(&mut self, transaction: &redis::Pipeline) -> Result<(), RedisServerError> {
        self.keys.server.send(&mut self.connection, transaction).await
    }
}

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}
