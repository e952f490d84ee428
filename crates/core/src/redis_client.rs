//! [`open`]: the one way to Redis, with the login and the authority that the settings name. [`RedisServer`]: a Redis that a
//! service uses for something else than leases.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, RedisError, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::lease::LeaseError;

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://host:port/database` or `rediss://...`.
    pub url: SecretString,
    /// ACL user, where the URL names none.
    pub username: Option<String>,
    /// Password, where the URL has none.
    pub password: Option<SecretString>,
    /// First part of every key.
    pub lock_prefix: String,
    /// Limit of making a connection.
    pub connect_timeout: Duration,
    /// Limit of one command.
    pub response_timeout: Duration,
    /// Path of the certificate (PEM) of the authority an encrypted connection trusts; `None`: the public ones.
    pub ca_cert: Option<String>,
}

impl RedisSettings {
    /// The suite's defaults for this URL.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            username: None,
            password: None,
            lock_prefix: "eidos:job:lock".to_owned(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
            ca_cert: None,
        }
    }
}

/// A Redis of the exchange, which may be that of the leases or another.
#[derive(Debug, Clone)]
pub struct RedisServer {
    client: Client,
    named: &'static str,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// A [`RedisServer`] did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisServerError {
    /// It said so.
    #[error("{named}: {source}")]
    Redis {
        /// Which server, with the setting that names it.
        named: &'static str,
        /// What it said.
        source: RedisError,
    },
    /// It said nothing in time.
    #[error("{named} did not answer within {limit:?}")]
    TimedOut {
        /// Which server, with the setting that names it.
        named: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl RedisServer {
    /// Prepares the client for `url`, or for the Redis of the leases where that is `None`; nothing is connected yet. `named` is
    /// what errors call it: "the Redis of … (the setting)".
    ///
    /// # Errors
    /// Those of [`open`].
    pub fn new(
        leases: RedisSettings,
        url: Option<&SecretString>,
        named: &'static str,
    ) -> Result<Self, LeaseError> {
        let settings = match url {
            Some(url) if url.expose_secret() != leases.url.expose_secret() => RedisSettings {
                url: url.clone(),
                // The login of the lease store belongs to the lease store.
                username: None,
                password: None,
                ..leases
            },
            _ => leases,
        };
        Ok(Self {
            client: open(&settings)?,
            named,
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// [`RedisServerError`].
    pub async fn connect(&self) -> Result<MultiplexedConnection, RedisServerError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        self.within(self.connect_timeout * 2, connecting).await
    }

    /// Sends the commands, and waits four times as long as for a single one.
    ///
    /// # Errors
    /// [`RedisServerError`].
    pub async fn send<T: redis::FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        commands: &redis::Pipeline,
    ) -> Result<T, RedisServerError> {
        self.within(self.response_timeout * 4, commands.query_async(connection))
            .await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisServerError> {
        let named = self.named;
        tokio::time::timeout(limit, call)
            .await
            .map_err(|_elapsed| RedisServerError::TimedOut { named, limit })?
            .map_err(|source| RedisServerError::Redis { named, source })
    }
}

impl From<&RedisSettings> for RedisSettings {
    fn from(settings: &RedisSettings) -> Self {
        settings.clone()
    }
}

/// Makes a client for the server of the settings. Nothing is connected yet.
///
/// User and password of the URL win over those beside it. With `ca_cert`, an encrypted connection trusts that authority
/// and no other.
///
/// # Errors
/// [`LeaseError::Url`], or [`LeaseError::Authority`] if the certificate cannot be read.
pub fn open(settings: &RedisSettings) -> Result<Client, LeaseError> {
    // TLS needs a provider; whoever installed one before us wins.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let info = connection_info(settings)?;
    let Some(path) = &settings.ca_cert else {
        return Client::open(info).map_err(LeaseError::Url);
    };
    let refuse = |reason: String| LeaseError::Authority {
        path: path.clone(),
        reason,
    };
    let root_cert = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    // The library trusts nobody then, which would look like a wrong certificate of the server.
    if CertificateDer::pem_slice_iter(&root_cert).next().is_none() {
        return Err(refuse("it holds no certificate".to_owned()));
    }
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(root_cert),
    };
    Client::build_with_tls(info, certificates).map_err(|error| refuse(error.to_string()))
}

fn connection_info(settings: &RedisSettings) -> Result<ConnectionInfo, LeaseError> {
    let info = settings
        .url
        .expose_secret()
        .into_connection_info()
        .map_err(LeaseError::Url)?;
    let mut login = info.redis_settings().clone();
    if let (None, Some(username)) = (login.username(), &settings.username) {
        login = login.set_username(username);
    }
    if let (None, Some(password)) = (login.password(), &settings.password) {
        login = login.set_password(password.expose_secret());
    }
    Ok(info.set_redis_settings(login))
}
