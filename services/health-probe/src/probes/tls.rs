//! A handshake that records what the server presents, whatever it is, and checks it afterwards: an expired chain is shown, too.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::finding::Finding;
use super::target::Target;
use super::trust;
use crate::domain::address::Endpoint;
use crate::domain::certificates::{Certificate, Presented, judge};
use crate::domain::limits::Limits;

/// Names of certificates are those of servers: they are cut.
const LONGEST_NAME: usize = 100;
/// Certificate files are short.
const LONGEST_FILE: u64 = 1024 * 1024;

pub(super) async fn probe(target: &Target, endpoint: &Endpoint, now_ms: i64, limits: &Limits) -> Finding {
    let host = target.server_name.as_deref().unwrap_or(&endpoint.host);
    let name = match trust::server_name(host) {
        Ok(name) => name,
        Err(why) => return Finding::unknown(why),
    };
    let verifier = match trust::verifier(target.authority.as_ref()) {
        Ok(verifier) => verifier,
        Err(why) => return Finding::unknown(why),
    };
    let recorder = Arc::new(Recorder::default());
    let stream = match TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await {
        Ok(stream) => stream,
        Err(error) => return Finding::of_error(&error),
    };
    let recording = Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>;
    if let Err(error) = trust::handshake(stream, name.clone(), recording).await {
        return Finding::of_error(&error);
    }
    let presented = recorder.presented();
    let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
    let refusal = presented.split_first().and_then(|(own, others)| {
        verifier
            .verify_server_cert(own, others, &name, &[], UnixTime::since_unix_epoch(now))
            .err()
    });
    let on_disk = match &target.certificate {
        Some(path) => Some(on_disk(path).await),
        None => None,
    };
    let chain = match presented.iter().map(|der| parse(der)).collect::<Result<_, _>>() {
        Ok(chain) => chain,
        Err(why) => return Finding::failed(format!("a certificate of the server cannot be read: {why}")),
    };
    let presented = Presented {
        chain,
        refusal: refusal.map(|error| error.to_string()),
        on_disk,
    };
    judge(&presented, now_ms.div_euclid(1000), limits).into()
}

/// The first certificate of a file.
async fn on_disk(path: &Path) -> Result<Certificate, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if length > LONGEST_FILE {
        return Err(format!("{shown} has {length} bytes, more than any certificate"));
    }
    let pem = tokio::fs::read(path).await.map_err(failed)?;
    let first = CertificateDer::pem_slice_iter(&pem).next();
    let der = first
        .ok_or_else(|| format!("{shown} holds no certificate"))?
        .map_err(|error| format!("{shown} is not PEM: {error}"))?;
    parse(&der).map_err(|why| format!("{shown}: {why}"))
}

fn parse(der: &CertificateDer<'_>) -> Result<Certificate, String> {
    let (_rest, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    Ok(Certificate {
        subject: certificate
            .subject()
            .to_string()
            .chars()
            .take(LONGEST_NAME)
            .collect(),
        serial: certificate
            .raw_serial_as_string()
            .chars()
            .take(LONGEST_NAME)
            .collect(),
        not_before_s: certificate.validity().not_before.timestamp(),
        not_after_s: certificate.validity().not_after.timestamp(),
        is_self_signed: certificate.subject() == certificate.issuer(),
    })
}

/// Accepts every chain and keeps it. The proof that the server has the key is still checked.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<CertificateDer<'static>>>);

impl Recorder {
    fn presented(&self) -> Vec<CertificateDer<'static>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|der| der.clone().into_owned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = trust::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = trust::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        trust::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
