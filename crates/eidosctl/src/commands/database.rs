//! Connections to a database, for the commands that ask one themselves and not a service.

use std::path::Path;

use anyhow::Result;
use eidos_settings::{Input, SourceName, SuiteOnly};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{ConnectOptions as _, PgConnection};

use crate::Failure;

const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Returns `--database-url`, else `databases.jobs.url` of the settings.
pub(super) fn url(named: Option<&str>, config: Option<&Path>) -> Result<SecretString> {
    if let Some(url) = named.filter(|url| !url.is_empty()) {
        return Ok(SecretString::from(url.to_owned()));
    }
    let input = Input {
        file: config,
        env: std::env::vars().collect(),
    };
    let effective =
        eidos_settings::load::<SuiteOnly>(&input).map_err(|errors| Failure::Settings(errors.to_string()))?;
    let jobs = effective.suite.databases.get(&SourceName::Jobs).ok_or_else(|| {
        Failure::Settings(
            "which database? give --database-url, EIDOS_DATABASE_URL, or settings with databases.jobs.url"
                .to_owned(),
        )
    })?;
    Ok(jobs.url.clone())
}

/// Connects, and names the server if it does not answer; the address may hold a password and is not shown.
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
