//! The gRPC interface: `eidos.jobs.v1`, health and, where documents are exposed, reflection.

mod convert;
mod service;

use std::time::Duration;

use eidos_proto::FILE_DESCRIPTOR_SET;
use eidos_proto::jobs::v1::jobs_service_server::JobsServiceServer;
use eidos_runtime::HealthRegistry;
use eidos_settings::{SecuritySection, ServiceSection};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;

pub(crate) use service::JobsGrpc;

/// Largest request in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Longest a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often `grpc.health.v1` follows the readiness.
const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// How often a silent peer is asked whether it is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one connection that are worked on at once.
const CONCURRENT_REQUESTS: usize = 64;

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    jobs: JobsGrpc,
    health: HealthRegistry,
    service: &ServiceSection,
    security: &SecuritySection,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let following = follow_readiness(reporter, health, stop.clone());
    // Generic clients ask in the current or in the older protocol.
    let (reflection, old_reflection) = if service.api_docs_exposed() {
        (
            Some(descriptors().build_v1()?),
            Some(descriptors().build_v1alpha()?),
        )
    } else {
        (None, None)
    };
    let mut server = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        // A peer that went away without a word does not hold its connection.
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .concurrency_limit_per_connection(CONCURRENT_REQUESTS);
    if security.grpc_tls() {
        server = server.tls_config(tls(security).await?)?;
    }
    let jobs = JobsServiceServer::new(jobs).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let serving = server
        .add_service(jobs)
        .add_service(health_service)
        .add_optional_service(reflection)
        .add_optional_service(old_reflection)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned());
    tokio::select! {
        ended = serving => Ok(ended?),
        never = following => match never {},
    }
}

/// Keeps the status of the whole server (`""`) and of the jobs service equal to `/ready`.
async fn follow_readiness(
    reporter: tonic_health::server::HealthReporter,
    health: HealthRegistry,
    stop: CancellationToken,
) -> std::convert::Infallible {
    loop {
        let ready = health.report().await.ready && !stop.is_cancelled();
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        reporter.set_service_status("", status).await;
        reporter
            .set_service_status("eidos.jobs.v1.JobsService", status)
            .await;
        tokio::time::sleep(HEALTH_EVERY).await;
    }
}

fn descriptors() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn tls(security: &SecuritySection) -> anyhow::Result<ServerTlsConfig> {
    let cert = pem("security.grpc.cert", security.grpc.cert.as_deref()).await?;
    let key = pem("security.grpc.key", security.grpc.key.as_deref()).await?;
    let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(cert, key));
    if security.grpc.client_auth {
        let ca = pem("security.grpc.ca_cert", security.grpc.ca_cert.as_deref()).await?;
        tls = tls.client_ca_root(Certificate::from_pem(ca));
    }
    Ok(tls)
}

async fn pem(setting: &str, path: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let path =
        path.ok_or_else(|| anyhow::anyhow!("{setting} is needed while security.grpc.enabled is true"))?;
    tokio::fs::read(path)
        .await
        .map_err(|error| anyhow::anyhow!("{setting}: cannot read {path}: {error}"))
}
