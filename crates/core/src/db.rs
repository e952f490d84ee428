//! Pools. Who may write is decided here, by what a session can do, not by discipline.
//!
//! * `control`: few connections, read-write, for claim, epoch, heartbeat and history. A busy job cannot
//!   starve it.
//! * `read`: sessions with `default_transaction_read_only`. What a job reads with.
//! * `data`: read-only by default as well; only a [`crate::fence::Step`] opens a writable transaction on it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::CoreError;
use crate::session::{self, Guards, Target};

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

/// How long a migration waits for its first sessions.
const OWNER_CONNECTS_WITHIN: Duration = Duration::from_secs(30);

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

/// Connects to the jobs database: two sessions are opened at once, so that a wrong address or password is refused at
/// start, and a pooler behind which no session is ours; the pools fill as needed.
///
/// # Errors
/// [`CoreError::Url`], [`CoreError::Connect`], [`CoreError::SharedSession`], [`CoreError::Guards`].
pub async fn connect_jobs(
    settings: impl Into<DatabaseSettings>,
    app_name: &str,
) -> Result<JobsDb, CoreError> {
    let settings = settings.into();
    let (options, target) = jobs_address(&settings, app_name)?;
    let read_only = Guards::new(&settings, true, target);
    probe(&options, settings.connect_timeout, &read_only).await?;
    open_jobs(settings, app_name)
}

/// Makes the pools of the jobs database without a connection: for a service that must start while the database is down.
/// Each session is still set up and read back when it is opened; only the comparison of two sessions, by which a pooler in
/// transaction mode is refused at start, is left out.
///
/// # Errors
/// [`CoreError::Url`].
pub fn open_jobs(settings: impl Into<DatabaseSettings>, app_name: &str) -> Result<JobsDb, CoreError> {
    let settings = settings.into();
    let (options, target) = jobs_address(&settings, app_name)?;
    let guards = Guards::new(&settings, false, target.clone());
    // Reads go to the primary as well: a checkpoint read from a lagging replica would repeat work.
    let read_only = Guards::new(&settings, true, target);
    let control = (settings.max_connections / 4).max(2);
    let data = (settings.max_connections.saturating_sub(control) / 2).max(1);
    let read = settings.max_connections.saturating_sub(control + data).max(1);
    Ok(JobsDb {
        control: pool(&settings, control, options.clone(), guards),
        read: pool(&settings, read, options.clone(), read_only.clone()),
        data: pool(&settings, data, options, read_only),
    })
}

fn jobs_address(
    settings: &DatabaseSettings,
    app_name: &str,
) -> Result<(PgConnectOptions, Target), CoreError> {
    let options = session_options(&settings.url, app_name, "jobs")?;
    let target = target(&options, "jobs");
    Ok((options, target))
}

/// Connects to a neighbour's database, its replica if it has one, with read-only sessions.
///
/// # Errors
/// As [`connect_jobs`]; all of them name `source`.
pub async fn connect_read_only(
    settings: impl Into<DatabaseSettings>,
    app_name: &str,
    source: impl Display,
) -> Result<PgPool, CoreError> {
    let settings = settings.into();
    let source = source.to_string();
    let url = settings.replica_url.as_ref().unwrap_or(&settings.url);
    let options = session_options(url, app_name, &source)?;
    let guards = Guards::new(&settings, true, target(&options, &source));
    probe(&options, settings.connect_timeout, &guards).await?;
    Ok(pool(&settings, settings.max_connections, options, guards))
}

/// Connects to another service's database that jobs write to. Its sessions are read-only by default too:
/// [`crate::fence::Fence::external_step`] opens the writable transaction.
///
/// # Errors
/// As [`connect_jobs`]; all of them name `source`.
pub async fn connect_external(
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

/// Connects as the owner of the jobs database's schema: private sessions without limits of ours.
///
/// # Errors
/// As [`connect_jobs`].
pub(crate) async fn connect_owner(url: &SecretString, app_name: &str) -> Result<PgPool, CoreError> {
    let options = session_options(url, app_name, "jobs")?;
    let target = target(&options, "jobs");
    let guards = Guards::of_owner(target);
    probe(&options, OWNER_CONNECTS_WITHIN, &guards).await?;
    let pool = guarded(PgPoolOptions::new().max_connections(2), guards);
    Ok(pool.connect_lazy_with(options))
}

/// A session as every server and pooler lets it in: no start-up parameter but those each of them knows.
///
/// # Errors
/// [`CoreError::Url`].
pub fn session_options(
    url: &SecretString,
    app_name: &str,
    source_name: &str,
) -> Result<PgConnectOptions, CoreError> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(|cause| CoreError::Url {
        source_name: source_name.to_owned(),
        cause,
    })?;
    // `PgBouncer` refuses extra_float_digits; floats come in binary, where it has no meaning.
    Ok(options.application_name(app_name).extra_float_digits(None))
}

fn pool(
    settings: &DatabaseSettings,
    max_connections: u32,
    options: PgConnectOptions,
    guards: Guards,
) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .min_connections(0)
        .acquire_timeout(settings.acquire_timeout)
        .idle_timeout(Duration::from_mins(5))
        .max_lifetime(Duration::from_mins(30))
        .test_before_acquire(false);
    guarded(pool, guards).connect_lazy_with(options)
}

/// A pool whose sessions are set up when they are opened, and looked at whenever one is taken.
fn guarded(pool: PgPoolOptions, guards: Guards) -> PgPoolOptions {
    let (arriving, returning) = (Arc::new(guards.clone()), Arc::new(guards));
    pool.after_connect(move |conn, _age| {
        let guards = Arc::clone(&arriving);
        Box::pin(async move {
            let established = guards.establish(conn).await;
            established.map_err(|error| sqlx::Error::Configuration(error.into()))
        })
    })
    .before_acquire(move |conn, _age| {
        let guards = Arc::clone(&returning);
        Box::pin(async move { guards.is_usable(conn).await })
    })
}

/// Opens a first session, proves that it is private, and sets it up as those of the pool.
async fn probe(options: &PgConnectOptions, limit: Duration, guards: &Guards) -> Result<(), CoreError> {
    let target = guards.target();
    let connect = async || {
        let connecting = PgConnection::connect_with(options);
        connecting.await.map_err(|cause| target.failed(cause))
    };
    let probing = async {
        let mut first = connect().await?;
        session::are_private(&mut first, options, target).await?;
        guards.establish(&mut first).await?;
        first.close().await.map_err(|cause| target.failed(cause))?;
        // Behind a pooler it may be the same session: what the first one set must be gone.
        let mut second = connect().await?;
        guards.establish(&mut second).await?;
        second.close().await.map_err(|cause| target.failed(cause))
    };
    within(limit, target, probing).await
}

async fn within(
    limit: Duration,
    target: &Target,
    connecting: impl Future<Output = Result<(), CoreError>>,
) -> Result<(), CoreError> {
    tokio::time::timeout(limit, connecting)
        .await
        .unwrap_or_else(|_elapsed| Err(target.failed(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))))
}

/// Where a session would go: everything but the password.
fn target(options: &PgConnectOptions, source_name: &str) -> Target {
    let host = options.get_socket().map_or_else(
        || format!("{}:{}", options.get_host(), options.get_port()),
        |socket| socket.display().to_string(),
    );
    let database = options.get_database().unwrap_or("(default)");
    Target {
        source_name: source_name.to_owned(),
        address: format!("{}@{host}/{database}", options.get_username()),
    }
}
