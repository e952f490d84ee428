//! TLS servers with certificates of every sort.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_testkit::ScratchDir;
use eidos_types::ManualClock;
use health_probe::domain::address::Address;
use health_probe::domain::limits::Limits;
use health_probe::domain::observation::{Observation, Seen};
use health_probe::probes::{Authority, Prober, Target};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An authority whose certificates expire on 1 July 2030.
struct Issuer {
    authority: CertifiedIssuer<'static, KeyPair>,
    dir: ScratchDir,
}

impl Issuer {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = ScratchDir::create("certificates").unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        Self { authority, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn issue(&self, name: &str, year: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, year).signed_by(&key, &self.authority).unwrap();
        (certificate, key)
    }

    fn target(&self, port: u16) -> Target {
        let authority = Authority::read(&self.path("ca.pem").to_string_lossy()).unwrap();
        Target {
            authority: Some(authority),
            ..target(port)
        }
    }
}

fn params(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name = named(name);
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year, 7, 1);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn target(port: u16) -> Target {
    let address = Address::parse(&format!("tls://localhost:{port}")).unwrap();
    Target::new("x".to_owned(), address)
}

async fn serve(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> u16 {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(stream).await.map(|_session| ()) });
        }
    });
    port
}

async fn at(day: &str, target: &Target) -> Observation {
    let now: DateTime<Utc> = format!("{day}T00:00:00Z").parse().unwrap();
    let prober = Prober::new(Duration::from_secs(8)).unwrap();
    let clock = Arc::new(ManualClock::at(now));
    prober.with_limits(Limits::defaults(), clock).probe(target).await
}

#[tokio::test]
async fn a_chain_is_measured_30_and_7_days_before_it_expires() {
    let issuer = Issuer::new("ours");
    let (own, key) = issuer.issue("localhost", 2030);
    let chain = vec![own.der().clone(), issuer.authority.der().clone()];
    let target = issuer.target(serve(chain, &key).await);
    for (day, seen, part) in [
        ("2030-06-01", Seen::Good, ""),
        ("2030-06-02", Seen::Degraded, "expires in 29d"),
        ("2030-06-24", Seen::Degraded, "expires in 7d"),
        ("2030-06-25", Seen::Failed, "expires in 6d"),
        ("2030-07-02", Seen::Failed, "has expired: 2030-07-01"),
        ("2028-12-31", Seen::Failed, "valid only from 2029-01-01"),
    ] {
        let found = at(day, &target).await;
        assert_eq!(found.seen, seen, "{day}: {}", found.why);
        assert!(found.why.contains(part), "{day}: {}", found.why);
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_should_trust_says_why() {
    let (issuer, other) = (Issuer::new("ours"), Issuer::new("another"));
    let (own, key) = issuer.issue("localhost", 2030);
    let port = serve(vec![own.der().clone()], &key).await;
    let unknown = at("2030-01-01", &other.target(port)).await;
    assert_eq!(unknown.seen, Seen::Failed);
    assert!(
        unknown.why.contains("is not trusted") && unknown.why.contains("UnknownIssuer"),
        "{}",
        unknown.why
    );
    let named = Target {
        server_name: Some("trading.example".to_owned()),
        ..issuer.target(port)
    };
    let misnamed = at("2030-01-01", &named).await;
    assert!(
        misnamed.seen == Seen::Failed && misnamed.why.contains("not valid for"),
        "{}",
        misnamed.why
    );
    let key = KeyPair::generate().unwrap();
    let alone = params("localhost", 2030).self_signed(&key).unwrap();
    let port = serve(vec![alone.der().clone()], &key).await;
    let self_signed = at("2030-01-01", &issuer.target(port)).await;
    assert!(
        self_signed.seen == Seen::Failed && self_signed.why.contains("is self-signed"),
        "{}",
        self_signed.why
    );
}

#[tokio::test]
async fn a_certificate_that_was_renewed_and_not_reloaded_is_seen() {
    let issuer = Issuer::new("ours");
    let (own, key) = issuer.issue("localhost", 2030);
    let port = serve(vec![own.der().clone()], &key).await;
    let file = issuer.path("server.pem");
    let target = Target {
        certificate: Some(file.clone()),
        ..issuer.target(port)
    };
    std::fs::write(&file, own.pem()).unwrap();
    assert_eq!(at("2030-01-01", &target).await.seen, Seen::Good);
    let (renewed, _) = issuer.issue("localhost", 2031);
    std::fs::write(&file, renewed.pem()).unwrap();
    let found = at("2030-01-01", &target).await;
    assert!(
        found.seen == Seen::Degraded && found.why.contains("renewed but not reloaded"),
        "{}",
        found.why
    );
    std::fs::write(&file, "nonsense").unwrap();
    assert_eq!(at("2030-01-01", &target).await.seen, Seen::Unknown);
}
