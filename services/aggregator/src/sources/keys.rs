//! Statistics in the Redis that the administration reads. Each key is replaced with its time to live in one transaction, so
//! that none lives for ever, whatever happens between two commands.

use std::time::Duration;

use anyhow::Context;
use eidos_core::lease::RedisSettings;
use eidos_settings::RedisSection;
use secrecy::ExposeSecret as _;

use crate::settings::StatisticsKeysSection;

/// Writes the keys.
#[derive(Debug, Clone)]
pub struct Keys {
    client: redis::Client,
    prefix: String,
    connect_timeout: Duration,
    response_timeout: Duration,
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
            prefix: settings.prefix.clone(),
            connect_timeout: redis.connect_timeout,
            response_timeout: redis.response_timeout,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// If Redis does not answer in time.
    pub async fn connect(&self) -> anyhow::Result<Session<'_>> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = within(self.connect_timeout * 2, connecting).await?;
        Ok(Session {
            keys: self,
            connection,
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
    ) -> anyhow::Result<()> {
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
    pub async fn text(&mut self, name: &str, text: &str, ttl: Duration) -> anyhow::Result<()> {
        let key = self.key(name);
        let mut transaction = redis::pipe();
        transaction.atomic().set(&key, text).ignore();
        transaction.pexpire(&key, millis(ttl)).ignore();
        self.send(&transaction).await
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.keys.prefix)
    }

    async fn send(&mut self, transaction: &redis::Pipeline) -> anyhow::Result<()> {
        let limit = self.keys.response_timeout * 4;
        within(limit, transaction.query_async(&mut self.connection)).await
    }
}

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, redis::RedisError>>,
) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(limit, call).await;
    answer
        .with_context(|| {
            format!("the Redis of the statistics (statistics_keys.redis_url) did not answer within {limit:?}")
        })?
        .context("the Redis of the statistics (statistics_keys.redis_url)")
}
