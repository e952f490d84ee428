//! A session of PostgreSQL, and one statement in it.

use std::time::Duration;

use eidos_core::db::session_options;
use reqwest::Url;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::finding::Finding;
use super::target::Target;
use crate::domain::limits::Limits;
use crate::domain::observation::Seen;
use crate::domain::postgres::judge;
use crate::domain::verdict::Verdict;
use crate::store::server;

const PORT: u16 = 5432;
/// What a client asks before anything else: is there TLS? Length 8 and the number of the request.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub(super) async fn probe(target: &Target, url: &Url, limit: Duration, limits: &Limits) -> Finding {
    if let Err(finding) = speaks(url).await {
        return finding;
    }
    let options = match session_options(&url.as_str().into(), "health-probe", &target.name) {
        Ok(options) => options,
        Err(error) => return Finding::of_error(&error),
    };
    let mut session = match PgConnection::connect_with(&options).await {
        Ok(session) => session,
        Err(error) => return Finding::of_error(&error),
    };
    let verdict = match server::facts(&mut session, limit).await {
        Ok(facts) => judge(&facts, target.role, limits),
        Err(error) => Verdict::of(Seen::Failed, format!("accepts sessions, and answers: {error}")),
    };
    // The answer is there; whether the server hears the farewell says nothing.
    let _closed = session.close().await;
    verdict.into()
}

/// Asks one byte of whatever listens there, before the client library believes the lengths that it sends.
async fn speaks(url: &Url) -> Result<(), Finding> {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let asking = async {
        let mut stream = TcpStream::connect((host, url.port().unwrap_or(PORT))).await?;
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    match asking.await {
        Ok(b'S' | b'N' | b'E') => Ok(()),
        Ok(_) => Err(Finding::failed("its first byte is not PostgreSQL's")),
        Err(error) => Err(Finding::of_error(&error)),
    }
}
