//! [`Redis`]: a private Redis server.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::programs::find_program;
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// What survives a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppendOnly {
    /// Nothing: after a kill the server is empty. The harder case for a lock, and the faster one.
    #[default]
    Off,
    /// Every acknowledged write (`appendfsync always`).
    Always,
}

/// How to run the server.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// What survives a kill.
    pub append_only: AppendOnly,
    /// Password of the default user; no password when `None`.
    pub password: Option<SecretString>,
    /// Further lines of `redis.conf`.
    pub config_lines: Vec<String>,
    /// Runs it as a Sentinel, which watches other servers and holds no keys.
    pub sentinel: bool,
}

/// A private Redis server on a loopback port.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: PortLease,
    password: Option<SecretString>,
    /// `None` when the data outlives the server.
    scratch: Option<ScratchDir>,
}

server_lifecycle!(Redis);

impl Redis {
    /// Starts a server with a directory of its own, removed with it.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], or why it did not start.
    pub async fn start(options: RedisOptions) -> Result<Self, SandboxError> {
        let scratch = ScratchDir::create("redis")?;
        let dir = scratch.path().to_owned();
        Self::start_in(&dir, options, Some(scratch)).await
    }

    /// Starts a server on the data in `dir`, which is created when missing and stays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn open(dir: &Path, options: RedisOptions) -> Result<Self, SandboxError> {
        std::fs::create_dir_all(dir).map_err(SandboxError::file("create", dir))?;
        Self::start_in(dir, options, None).await
    }

    /// `redis://127.0.0.1:port`, with the password when there is one.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.port.port(), self.password.as_ref())
    }

    /// The same server behind another port: for a proxy in between.
    #[must_use]
    pub fn url_via(&self, port: u16) -> String {
        url(port, self.password.as_ref())
    }

    /// Removes every key and every cached script, as an operator's mistake or a failover to an empty replica would.
    ///
    /// # Errors
    /// [`SandboxError::Redis`].
    pub async fn flush_all(&self) -> Result<(), SandboxError> {
        let port = self.port.port();
        let failed = |source| SandboxError::Redis {
            port,
            source: Box::new(source),
        };
        let client = redis::Client::open(self.url()).map_err(failed)?;
        let mut connection = client.get_multiplexed_async_connection().await.map_err(failed)?;
        redis::pipe()
            .cmd("FLUSHALL")
            .cmd("SCRIPT")
            .arg("FLUSH")
            .query_async::<()>(&mut connection)
            .await
            .map_err(failed)
    }

    async fn start_in(
        dir: &Path,
        options: RedisOptions,
        scratch: Option<ScratchDir>,
    ) -> Result<Self, SandboxError> {
        let program = find_program("redis-server", "the Debian package redis-server")?;
        let port = PortLease::take()?;
        let config = write_config(dir, port.port(), &options)?;
        let mut spec = ProcessSpec::new("redis-server", program, dir.join("redis.log"))
            .arg(config)
            // Its allocator asks for the time before libfaketime is ready, and it never starts.
            .with_real_clock();
        if options.sentinel {
            spec = spec.arg("--sentinel");
        }
        let address = url(port.port(), options.password.as_ref());
        let server = Server::new(spec, Signal::Terminate, READY_WITHIN, move || {
            answers_ping(address.clone())
        });
        server.start().await?;
        Ok(Self {
            server,
            port,
            password: options.password,
            scratch,
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.scratch.is_none() {
            self.server.stop_blocking(Duration::from_secs(5));
        }
    }
}

fn url(port: u16, password: Option<&SecretString>) -> String {
    match password {
        Some(password) => format!("redis://:{}@127.0.0.1:{port}", password.expose_secret()),
        None => format!("redis://127.0.0.1:{port}"),
    }
}

async fn answers_ping(url: String) -> bool {
    let ping = async {
        let mut connection = redis::Client::open(url)?
            .get_multiplexed_async_connection()
            .await?;
        redis::cmd("PING").query_async::<String>(&mut connection).await
    };
    // While it loads its file it accepts connections and answers LOADING, which is an error here.
    ping.await.is_ok()
}

/// The configuration is a file, readable for its owner only: arguments are visible to everybody in `ps`.
fn write_config(dir: &Path, port: u16, options: &RedisOptions) -> Result<PathBuf, SandboxError> {
    let mut lines = vec![
        "bind 127.0.0.1".to_owned(),
        format!("port {port}"),
        format!("dir \"{}\"", dir.display()),
        "daemonize no".to_owned(),
        "save \"\"".to_owned(),
    ];
    if options.append_only == AppendOnly::Always {
        lines.extend(["appendonly yes".to_owned(), "appendfsync always".to_owned()]);
    }
    lines.extend(
        options
            .password
            .iter()
            .map(|password| format!("requirepass \"{}\"", password.expose_secret())),
    );
    lines.extend(options.config_lines.iter().cloned());
    let path = dir.join("redis.conf");
    let write = || -> std::io::Result<()> {
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        writeln!(file, "{}", lines.join("\n"))
    };
    write().map_err(SandboxError::file("write", &path))?;
    Ok(path)
}
