//! A connection to a database by its URL, for the commands that ask one and not a service.

use std::time::Duration;

use anyhow::Result;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{ConnectOptions as _, PgConnection};

use crate::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects within ten seconds.
///
/// # Errors
/// [`Failure::Settings`] for a URL that is none, [`Failure::Unreachable`]; neither shows the URL's password.
pub(super) async fn connect(url: &SecretString) -> Result<PgConnection> {
    let options: sqlx::postgres::PgConnectOptions = url
        .expose_secret()
        .parse()
        // The error may quote the URL, which holds a password.
        .map_err(|_unshown: sqlx::Error| {
            Failure::Settings(
                "the database URL is not postgres://user:password@host:port/database".to_owned(),
            )
        })?;
    let target = format!("postgres://{}:{}", options.get_host(), options.get_port());
    let options = options
        .application_name("eidosctl")
        // `PgBouncer` refuses it.
        .extra_float_digits(None)
        .disable_statement_logging();
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, options.connect())
        .await
        .map_err(|_elapsed| unreachable(&target, "no answer in time"))?
        .map_err(|error| unreachable(&target, &error.to_string()))?;
    Ok(connection)
}

fn unreachable(target: &str, reason: &str) -> Failure {
    Failure::Unreachable {
        url: target.to_owned(),
        reason: reason.to_owned(),
    }
}
