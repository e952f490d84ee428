//! [`Authority`]: whom certificates are checked against, and the handshake for it.

use std::sync::{Arc, OnceLock};

use reqwest::Client;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http;

/// An authority of a target's own. Read once, at the start.
#[derive(Debug, Clone)]
pub struct Authority {
    pub(super) roots: Arc<RootCertStore>,
    /// For requests by HTTP.
    pub(super) client: Client,
}

impl Authority {
    /// Reads the certificates of a file (PEM).
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(path: &str) -> Result<Self, String> {
        let pem = std::fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
        let certificates = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{path} is not PEM: {error}"))?;
        let mut roots = RootCertStore::empty();
        let (added, _refused) = roots.add_parsable_certificates(certificates.clone());
        if added == 0 {
            return Err(format!("{path} holds no certificate"));
        }
        let certificates = certificates
            .iter()
            .map(|der| reqwest::Certificate::from_der(der))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{path} holds a certificate that is none: {error}"))?;
        Ok(Self {
            roots: Arc::new(roots),
            client: http::client(Some(certificates)).map_err(|error| error.to_string())?,
        })
    }
}

/// The authorities of this machine, read at the first use.
fn of_machine() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// Those of the target, or of this machine.
pub(super) fn roots(authority: Option<&Authority>) -> Arc<RootCertStore> {
    authority.map_or_else(of_machine, |authority| Arc::clone(&authority.roots))
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Checks a chain as a client would.
pub(super) fn verifier(authority: Option<&Authority>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let roots = roots(authority);
    if roots.is_empty() {
        return Err("this machine knows no authority: name one in probes.targets.<name>.ca_cert".to_owned());
    }
    WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| error.to_string())
}

/// The name that a certificate is checked for.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|error| format!("'{name}' is not a name of a server: {error}"))
}

/// A handshake with this verifier.
pub(super) async fn handshake(
    stream: TcpStream,
    name: ServerName<'static>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
