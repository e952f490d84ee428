//! A connection that is opened and closed.

use tokio::net::TcpStream;

use super::finding::Finding;

pub(super) async fn probe(host: &str, port: u16) -> Finding {
    match TcpStream::connect((host, port)).await {
        Ok(_connection) => Finding::good(),
        Err(error) => Finding::of_error(&error),
    }
}
