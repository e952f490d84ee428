//! A connection that is opened and closed.

use tokio::net::TcpStream;

use super::finding::Finding;
use crate::domain::address::Endpoint;

pub(super) async fn probe(endpoint: &Endpoint) -> Finding {
    match TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await {
        Ok(_connection) => Finding::good(),
        Err(error) => Finding::of_error(&error),
    }
}
