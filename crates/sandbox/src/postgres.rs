//! [`Postgres`]: a private PostgreSQL server.

mod data_directory;
mod programs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::scratch::{self, ScratchDir};
use crate::server::{Server, server_lifecycle};

use data_directory::DataDirectory;
pub(crate) use data_directory::server_user;
use programs::{Programs, Tool};

/// The superuser of every private server.
pub(crate) const SUPERUSER: &str = "eidos";

/// What a crash may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Nothing waits for the disk. What was committed survives SIGKILL of the server, because the kernel has it; a
    /// power cut may corrupt everything. For tests.
    #[default]
    Fast,
    /// PostgreSQL's own defaults.
    Durable,
}

/// How to run the server.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// What a crash may lose.
    pub durability: Durability,
    /// Most connections at once.
    pub max_connections: u32,
    /// Password of the superuser, asked for with SCRAM. Without one, every user of this machine may connect: right
    /// for a test that lasts seconds, and it spares each connection the key stretching.
    pub password: Option<SecretString>,
    /// Further server settings, name and value.
    pub settings: Vec<(String, String)>,
    /// Longest wait until it answers; recovery after a kill takes its time.
    pub ready_within: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Fast,
            max_connections: 200,
            password: None,
            settings: Vec::new(),
            ready_within: Duration::from_mins(1),
        }
    }
}

impl PostgresOptions {
    fn server_settings(&self, port: u16) -> Vec<(String, String)> {
        let mut all: Vec<(&str, String)> = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            // No socket file: its path would have to fit into 107 bytes.
            ("unix_socket_directories", String::new()),
            ("max_connections", self.max_connections.to_string()),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            ("log_line_prefix", "%m [%p] %q%a@%d ".to_owned()),
            ("shared_buffers", "128MB".to_owned()),
            ("max_wal_size", "2GB".to_owned()),
            ("max_locks_per_transaction", "256".to_owned()),
            ("jit", "off".to_owned()),
        ];
        if self.durability == Durability::Fast {
            // Not `synchronous_commit`: without it a commit waits in the server's own memory and dies with it.
            all.extend(["fsync", "full_page_writes"].map(|name| (name, "off".to_owned())));
        }
        let mut all: Vec<_> = all
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        all.extend(self.settings.iter().cloned());
        all
    }
}

/// A private PostgreSQL server on a loopback port: C locale, UTF-8, UTC, superuser `eidos`.
///
/// It never runs as root: when we are root it runs as the user `postgres`, whom the Debian package creates.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    port: PortLease,
    programs: Programs,
    password: Option<SecretString>,
    data: PathBuf,
    /// `None` when the data outlives the server.
    scratch: Option<ScratchDir>,
}

server_lifecycle!(Postgres);

impl Postgres {
    /// Starts a server on a new data directory, removed with it. Takes about a second.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], [`SandboxError::NoServerUser`], or why it did not start.
    pub async fn start(options: PostgresOptions) -> Result<Self, SandboxError> {
        let scratch = ScratchDir::create("postgres")?;
        let dir = scratch.path().to_owned();
        Self::start_in(&dir, options, Some(scratch)).await
    }

    /// Starts a server on the data below `dir`, made on the first use and kept. The password of the first use is the
    /// one that counts.
    ///
    /// When the server's user cannot reach `dir` (a clone below `/root`), the data lives in
    /// `/var/tmp/eidos-sandbox-<hash of dir>`, and `dir/DATA_DIRECTORY` says so.
    ///
    /// # Errors
    /// As [`Self::start`], and [`SandboxError::DataVersion`].
    pub async fn open(dir: &Path, options: PostgresOptions) -> Result<Self, SandboxError> {
        std::fs::create_dir_all(dir).map_err(SandboxError::file("create", dir))?;
        Self::start_in(dir, options, None).await
    }

    /// Connection URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_via(self.port.port(), database)
    }

    /// The same database behind another port: for a proxy in between.
    #[must_use]
    pub fn url_via(&self, port: u16, database: &str) -> String {
        let password = self
            .password
            .as_ref()
            .map(|password| format!(":{}", password.expose_secret()))
            .unwrap_or_default();
        format!("postgres://{SUPERUSER}{password}@127.0.0.1:{port}/{database}")
    }

    /// Creates a database.
    ///
    /// # Errors
    /// [`SandboxError::DatabaseName`]; [`SandboxError::Command`] when it exists.
    pub async fn create_database(&self, name: &str) -> Result<(), SandboxError> {
        self.tool("createdb").args(["--", checked(name)?]).run().await
    }

    /// Creates a database as a copy of another one, to which nobody may be connected.
    ///
    /// # Errors
    /// As [`Self::create_database`].
    pub async fn create_database_from(&self, name: &str, template: &str) -> Result<(), SandboxError> {
        let (name, template) = (checked(name)?, checked(template)?);
        self.tool("createdb")
            .args(["--template", template, "--", name])
            .run()
            .await
    }

    /// Drops a database together with its connections; a missing one is no error.
    ///
    /// # Errors
    /// [`SandboxError::DatabaseName`], [`SandboxError::Command`].
    pub async fn drop_database(&self, name: &str) -> Result<(), SandboxError> {
        self.tool("dropdb")
            .args(["--if-exists", "--force", "--", checked(name)?])
            .run()
            .await
    }

    /// An empty database under this name, whatever was there before.
    ///
    /// # Errors
    /// As [`Self::drop_database`].
    pub async fn fresh_database(&self, name: &str) -> Result<(), SandboxError> {
        self.drop_database(name).await?;
        self.create_database(name).await
    }

    /// The data directory.
    #[must_use]
    pub fn data_directory(&self) -> &Path {
        &self.data
    }

    /// The directory of the server's binaries (`psql`, `pg_dump`, ...).
    #[must_use]
    pub fn programs(&self) -> &Path {
        self.programs.dir()
    }

    /// Keeps a scratch data directory for a day after this process ended, for the person who looks into a failed
    /// test.
    pub fn keep_data(&self) {
        if let Some(scratch) = &self.scratch {
            scratch::keep(scratch.path());
        }
    }

    async fn start_in(
        dir: &Path,
        options: PostgresOptions,
        scratch: Option<ScratchDir>,
    ) -> Result<Self, SandboxError> {
        let programs = Programs::find()?;
        let data = DataDirectory::prepare(dir, &programs, options.password.as_ref()).await?;
        let port = PortLease::take()?;
        let mut spec = ProcessSpec::new("postgres", programs.path("postgres"), dir.join("postgres.log"))
            .arg("-D")
            .arg(data.path());
        for (name, value) in options.server_settings(port.port()) {
            spec = spec.arg("-c").arg(format!("{name}={value}"));
        }
        spec.run_as = data.run_as();
        spec.current_dir = Some(data.path().to_owned());
        let ready = programs.clone();
        let number = port.port();
        let server = Server::new(spec, Signal::Interrupt, options.ready_within, move || {
            let tool = client_tool(&ready, "pg_isready", number, None).args(["--quiet", "--timeout=2"]);
            async move { tool.run().await.is_ok() }
        });
        server.start().await?;
        Ok(Self {
            server,
            port,
            programs,
            password: options.password,
            data: data.path().to_owned(),
            scratch,
        })
    }

    fn tool(&self, program: &'static str) -> Tool {
        client_tool(&self.programs, program, self.port.port(), self.password.as_ref())
            .args(["--maintenance-db=postgres"])
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.scratch.is_none() {
            self.server.stop_blocking(Duration::from_secs(10));
        }
    }
}

fn client_tool(
    programs: &Programs,
    program: &'static str,
    port: u16,
    password: Option<&SecretString>,
) -> Tool {
    let port = port.to_string();
    let tool = Tool::new(programs.path(program)).args(["-h", "127.0.0.1", "-p", &port, "-U", SUPERUSER]);
    match password {
        Some(password) => tool.secret_env("PGPASSWORD", password),
        None => tool,
    }
}

/// Only names that need no quoting, in SQL or in a URL.
fn checked(name: &str) -> Result<&str, SandboxError> {
    let usable = (1..=63).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if usable {
        Ok(name)
    } else {
        Err(SandboxError::DatabaseName {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn only_names_that_need_no_quoting_pass() {
        for good in ["jobs", "t_01_a", &"a".repeat(63)] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "_a", "Jobs", "a-b", "a\";drop", "a b", &"a".repeat(64)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
