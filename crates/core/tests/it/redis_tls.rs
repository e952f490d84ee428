//! Encrypted connections to a real redis-server whose certificate a private authority has signed.

use eidos_core::lease::{LeaseClient, LeaseError, RedisSettings};
use eidos_sandbox::{Redis, RedisOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// A server that answers TLS on a port of its own, and the folder with the authority's certificate.
struct Encrypted {
    _server: Redis,
    folder: TempDir,
    port: u16,
}

impl Encrypted {
    /// A server whose certificate is for `127.0.0.1`.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let authority = write("ca.pem", authority.pem());
        let (certificate, key) = (
            write("server.pem", certificate.pem()),
            write("server.key", key.serialize_pem()),
        );
        // The port is free at this moment; the server binds it at once.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = Redis::start(RedisOptions {
            config_lines: vec![
                format!("tls-port {port}"),
                format!("tls-cert-file {certificate}"),
                format!("tls-key-file {key}"),
                format!("tls-ca-cert-file {authority}"),
                "tls-auth-clients no".to_owned(),
            ],
            ..RedisOptions::default()
        })
        .await
        .unwrap();
        Self {
            _server: server,
            folder,
            port,
        }
    }

    fn settings(&self, ca_cert: Option<&str>) -> RedisSettings {
        RedisSettings {
            ca_cert: ca_cert.map(|name| self.folder.path().join(name).display().to_string()),
            ..RedisSettings::new(format!("rediss://127.0.0.1:{}/0", self.port).into())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let redis = Encrypted::start().await;
    let leases = LeaseClient::connect(redis.settings(Some("ca.pem")))
        .await
        .unwrap();
    leases.ping().await.unwrap();

    let stranger = LeaseClient::connect(redis.settings(None)).await.unwrap_err();
    assert!(matches!(stranger, LeaseError::Connect { .. }), "{stranger}");
    assert!(stranger.to_string().contains("UnknownIssuer"), "{stranger}");
    // Another authority of ours is not the server's.
    let other = Encrypted::start().await;
    let mut settings = redis.settings(None);
    settings.ca_cert = other.settings(Some("ca.pem")).ca_cert;
    assert!(LeaseClient::connect(settings).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_cannot_be_read_is_named() {
    let redis = Encrypted::start().await;
    for name in ["nowhere.pem", "server.key"] {
        let error = LeaseClient::connect(redis.settings(Some(name)))
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("security.redis.ca_cert") && text.contains(name),
            "{name}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_may_accept_any_certificate() {
    let redis = Encrypted::start().await;
    let mut settings = redis.settings(None);
    settings.url = format!("rediss://127.0.0.1:{}/0#insecure", redis.port).into();
    LeaseClient::connect(settings)
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
}
