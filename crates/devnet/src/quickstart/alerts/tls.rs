//! [`TlsServer`]: a server that only presents certificates.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use chrono::{DateTime, Datelike, TimeDelta};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const NAME: &str = "gateway.devnet";
/// Longer than every limit.
const LONG: i64 = 365;

/// It takes connections until it is dropped.
pub(super) struct TlsServer {
    issuer: CertifiedIssuer<'static, KeyPair>,
    authority: PathBuf,
    port: u16,
    presented: Arc<Mutex<TlsAcceptor>>,
    accepting: JoinHandle<()>,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TlsServer {
    /// Presents a certificate of a year, by an authority whose file is written into `dir`.
    pub(super) async fn start(dir: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let authority = std::path::absolute(dir.join("authority.pem"))?;
        std::fs::write(&authority, issuer.pem())?;
        let presented = Arc::new(Mutex::new(certificate(&issuer, LONG)?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&presented)));
        Ok(Self {
            issuer,
            authority,
            port,
            presented,
            accepting,
        })
    }

    /// How health-probe is told of it.
    pub(super) fn target(&self) -> String {
        format!(
            "url: \"tls://127.0.0.1:{}\", server_name: {NAME}, ca_cert: \"{}\"",
            self.port,
            self.authority.display()
        )
    }

    /// Presents another certificate from now on.
    pub(super) fn present(&self, valid_for_days: i64) -> anyhow::Result<()> {
        let next = certificate(&self.issuer, valid_for_days)?;
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

/// A certificate that ends at the beginning of that day.
fn certificate(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    valid_for_days: i64,
) -> anyhow::Result<TlsAcceptor> {
    let now = DateTime::from_timestamp_millis(crate::devnet::now_ms()).context("the clock")?;
    let end = now + TimeDelta::days(valid_for_days);
    let mut params = CertificateParams::new([NAME.to_owned()])?;
    params.not_after = date_time_ymd(end.year(), u8::try_from(end.month())?, u8::try_from(end.day())?);
    let key = KeyPair::generate()?;
    let own = params.signed_by(&key, issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, presented: Arc<Mutex<TlsAcceptor>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = presented.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A handshake that fails is the client's to tell.
        tokio::spawn(async move { acceptor.accept(stream).await.map(drop) });
    }
}
