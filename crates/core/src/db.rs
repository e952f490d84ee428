//! Pools. Who may write is decided here, by what a session can do, not by discipline.
//!
//! * `control`: few connections, read-write, for claim, epoch, heartbeat and history. A busy job cannot
//!   starve it.
//! * `read`: sessions with `default_transaction_read_only`. What a job reads with.
//! * `data`: read-only by default as well; only a [`crate::fence::Step`] opens a writable transaction on it.

use std::fmt::Display;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Row};

use crate::{CoreError, sql};

/// How to reach one database and how long anything there may take.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `postgres://user:password@host:port/database?sslmode=...`.
    pub url: SecretString,
    /// A replica that answers reads of neighbours' tables. Not used for the jobs database.
    pub replica_url: Option<SecretString>,
    /// All pools of this database together; at least 4.
    pub max_connections: u32,
    /// Server-side limit of one statement.
    pub statement_timeout: Duration,
    /// Server-side limit of waiting for a lock.
    pub lock_timeout: Duration,
    /// The server ends a session that idles inside a transaction for longer: the liveness partner of the
    /// fence's share lock. At most half of the shortest lease.
    pub idle_in_transaction_timeout: Duration,
    /// Limit of waiting for a free connection, connecting included.
    pub acquire_timeout: Duration,
    /// Limit of the first connection, at start.
    pub connect_timeout: Duration,
}

impl DatabaseSettings {
    /// The defaults of the suite for this URL.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            replica_url: None,
            max_connections: 10,
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl From<&DatabaseSettings> for DatabaseSettings {
    fn from(settings: &DatabaseSettings) -> Self {
        settings.clone()
    }
}

/// The jobs database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobsDb {
    control: PgPool,
    read: PgPool,
    data: PgPool,
}

impl JobsDb {
    /// Read-write, small: claim, epoch, heartbeat, history. For the runner, not for jobs.
    #[must_use]
    pub const fn control(&self) -> &PgPool {
        &self.control
    }

    /// Read-only sessions.
    #[must_use]
    pub const fn read(&self) -> &PgPool {
        &self.read
    }

    pub(crate) const fn data(&self) -> &PgPool {
        &self.data
    }

    /// Closes all pools, waiting for what is checked out.
    pub async fn close(&self) {
        futures::future::join3(self.data.close(), self.read.close(), self.control.close()).await;
    }
}

/// Connects to the jobs database: one session is opened at once, so that a wrong address or password is
/// refused at start; the pools fill as needed.
///
/// # Errors
/// [`CoreError::Url`], [`CoreError::Connect`].
pub async fn connect_jobs(
    settings: impl Into<DatabaseSettings>,
    app_name: &str,
) -> Result<JobsDb, CoreError> {
    let settings = settings.into();
    let options = session_options(&settings, &settings.url, app_name, "jobs")?;
    probe(&options, &settings, "jobs").await?;
    // Reads go to the primary as well: a checkpoint read from a lagging replica would repeat work.
    let read_only = options.clone().options([("default_transaction_read_only", "on")]);
    let control = (settings.max_connections / 4).max(2);
    let data = (settings.max_connections.saturating_sub(control) / 2).max(1);
    let read = settings.max_connections.saturating_sub(control + data).max(1);
    Ok(JobsDb {
        control: pool(&settings, control, options),
        read: pool(&settings, read, read_only.clone()),
        data: pool(&settings, data, read_only),
    })
}

/// Connects to a neighbour's database, its replica if it has one, with read-only sessions.
///
/// # Errors
/// [`CoreError::Url`], [`CoreError::Connect`]; both name `source`.
pub async fn connect_read_only(
    settings: impl Into<DatabaseSettings>,
    app_name: &str,
    source: impl Display,
) -> Result<PgPool, CoreError> {
    let settings = settings.into();
    let source = source.to_string();
    let url = settings.replica_url.as_ref().unwrap_or(&settings.url);
    let options = session_options(&settings, url, app_name, &source)?
        .options([("default_transaction_read_only", "on")]);
    probe(&options, &settings, &source).await?;
    Ok(pool(&settings, settings.max_connections, options))
}

/// Connects to another service's database that jobs write to. Its sessions are read-only by default too:
/// [`crate::fence::Fence::foreign_step`] opens the writable transaction.
///
/// # Errors
/// [`CoreError::Url`], [`CoreError::Connect`]; both name `source`.
pub async fn connect_foreign(
    settings: impl Into<DatabaseSettings>,
    app_name: &str,
    source: impl Display,
) -> Result<PgPool, CoreError> {
    let settings = DatabaseSettings {
        replica_url: None,
        ..settings.into()
    };
    connect_read_only(settings, app_name, source).await
}

fn session_options(
    settings: &DatabaseSettings,
    url: &SecretString,
    app_name: &str,
    source_name: &str,
) -> Result<PgConnectOptions, CoreError> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(|cause| CoreError::Url {
        source_name: source_name.to_owned(),
        cause,
    })?;
    Ok(options.application_name(app_name).options([
        ("statement_timeout", millis(settings.statement_timeout)),
        ("lock_timeout", millis(settings.lock_timeout)),
        (
            "idle_in_transaction_session_timeout",
            millis(settings.idle_in_transaction_timeout),
        ),
        // The server notices a peer that vanished, and ends its transactions and locks.
        ("tcp_keepalives_idle", "10".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
        ("tcp_user_timeout", millis(Duration::from_secs(15))),
        ("timezone", "UTC".to_owned()),
    ]))
}

/// PostgreSQL reads 0 as "no limit": a limit below a millisecond becomes one.
fn millis(limit: Duration) -> String {
    limit.as_millis().max(1).to_string()
}

fn pool(settings: &DatabaseSettings, max_connections: u32, options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .min_connections(0)
        .acquire_timeout(settings.acquire_timeout)
        .idle_timeout(Duration::from_mins(5))
        .max_lifetime(Duration::from_mins(30))
        .test_before_acquire(false)
        .before_acquire(|conn, _age| Box::pin(is_between_transactions(conn)))
        .connect_lazy_with(options)
}

/// Whether a connection that comes back from the pool is in no transaction; it is closed if not. When a future is
/// dropped while `BEGIN` is on its way, sqlx 0.9 does not know that there will be a transaction, and rolls nothing back.
async fn is_between_transactions(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let rows = sqlx::raw_sql(sql::IS_BETWEEN_TRANSACTIONS)
        .fetch_all(conn)
        .await?;
    rows.first().map_or(Ok(false), |row| row.try_get(0))
}

async fn probe(
    options: &PgConnectOptions,
    settings: &DatabaseSettings,
    source_name: &str,
) -> Result<(), CoreError> {
    let connecting = async {
        let connection = PgConnection::connect_with(options).await?;
        connection.close().await
    };
    let outcome = tokio::time::timeout(settings.connect_timeout, connecting)
        .await
        .unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    outcome.map_err(|cause| CoreError::Connect {
        source_name: source_name.to_owned(),
        target: target(options),
        cause,
    })
}

/// Where a session would go: everything but the password.
fn target(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(
        || format!("{}:{}", options.get_host(), options.get_port()),
        |socket| socket.display().to_string(),
    );
    let database = options.get_database().unwrap_or("(default)");
    format!("{}@{host}/{database}", options.get_username())
}
