//! [`open`]: the one way to Redis, with the login and the authority that the settings name.

use redis::{Client, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;

use crate::lease::{LeaseError, RedisSettings};

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
