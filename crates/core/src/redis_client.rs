//! [`open`]: the one way to Redis, with the login and the authority that the settings name.

use std::time::Duration;

use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
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
