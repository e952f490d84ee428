//! The suite's settings sections, as this crate needs them.

use eidos_settings::{DatabaseSection, RedisSection};

use crate::db::DatabaseSettings;
use crate::lease::RedisSettings;

impl From<&DatabaseSection> for DatabaseSettings {
    fn from(section: &DatabaseSection) -> Self {
        Self {
            url: section.url.clone(),
            replica_url: section.replica_url.clone(),
            max_connections: section.max_connections,
            statement_timeout: section.statement_timeout,
            lock_timeout: section.lock_timeout,
            idle_in_transaction_timeout: section.idle_in_transaction_timeout,
            acquire_timeout: section.acquire_timeout,
            connect_timeout: section.connect_timeout,
        }
    }
}

impl From<&RedisSection> for RedisSettings {
    fn from(section: &RedisSection) -> Self {
        Self {
            url: section.url.clone(),
            username: section.username.clone(),
            password: section.password.clone(),
            lock_prefix: section.lock_prefix.clone(),
            connect_timeout: section.connect_timeout,
            response_timeout: section.response_timeout,
            ca_cert: section.ca_cert.clone(),
        }
    }
}
