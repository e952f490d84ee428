//! `grpc.health.v1.Health/Check`, over a connection of its own.

use secrecy::ExposeSecret as _;
use tonic::metadata::MetadataValue;
use tonic::transport::{ClientTlsConfig, Endpoint as Channel};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::finding::Finding;
use super::target::Target;
use super::trust;
use crate::domain::address::Endpoint;

/// What an answer may have.
const LONGEST_ANSWER: usize = 64 * 1024;
/// And its headers.
const LONGEST_HEADERS: u32 = 16 * 1024;

pub(super) async fn probe(target: &Target, endpoint: &Endpoint, is_tls: bool, service: &str) -> Finding {
    let channel = match channel(target, endpoint, is_tls) {
        Ok(channel) => channel,
        Err(why) => return Finding::unknown(why),
    };
    let channel = match channel.connect().await {
        Ok(channel) => channel,
        Err(error) => return Finding::of_error(&error),
    };
    let mut request = Request::new(HealthCheckRequest {
        service: service.to_owned(),
    });
    if let Some(token) = &target.token {
        match MetadataValue::try_from(format!("Bearer {}", token.expose_secret())) {
            Ok(value) => request.metadata_mut().insert("authorization", value),
            Err(_invalid) => return Finding::unknown("the token cannot be sent in a header"),
        };
    }
    let mut client = HealthClient::new(channel).max_decoding_message_size(LONGEST_ANSWER);
    match client.check(request).await {
        Ok(answer) => of_status(answer.into_inner().status(), service),
        Err(status) if status.code() == Code::Unimplemented => {
            Finding::degraded("it answers, and has no health service (grpc.health.v1)")
        }
        Err(status) if status.code() == Code::NotFound => {
            Finding::failed(format!("it does not know the service '{service}'"))
        }
        Err(status) => Finding::failed(format!("answered {:?}: {}", status.code(), status.message())),
    }
}

fn of_status(status: ServingStatus, service: &str) -> Finding {
    let of = if service.is_empty() {
        String::new()
    } else {
        format!(" of '{service}'")
    };
    match status {
        ServingStatus::Serving => Finding::good(),
        ServingStatus::NotServing => Finding::failed(format!("says NOT_SERVING{of}")),
        ServingStatus::ServiceUnknown => Finding::failed(format!("says SERVICE_UNKNOWN{of}")),
        ServingStatus::Unknown => Finding::degraded(format!("says UNKNOWN{of}")),
    }
}

fn channel(target: &Target, endpoint: &Endpoint, is_tls: bool) -> Result<Channel, String> {
    let scheme = if is_tls { "https" } else { "http" };
    let channel = Channel::from_shared(format!("{scheme}://{endpoint}"))
        .map_err(|error| error.to_string())?
        .http2_max_header_list_size(LONGEST_HEADERS);
    if !is_tls {
        return Ok(channel);
    }
    let roots = trust::roots(target.authority.as_ref());
    let name = target.server_name.as_deref().unwrap_or(&endpoint.host);
    let tls = ClientTlsConfig::new()
        .trust_anchors(roots.roots.iter().cloned())
        .domain_name(name);
    channel.tls_config(tls).map_err(|error| error.to_string())
}
