//! [`Pooler`]: a connection pooler in front of a private PostgreSQL.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::postgres::{Postgres, SUPERUSER, server_user};
use crate::process::{ProcessSpec, Signal};
use crate::programs::find_program;
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Where Debian puts daemons, which is not on every user's `PATH`.
const SBIN: &str = "/usr/sbin";

/// For how long a client keeps its server session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolMode {
    /// Until it disconnects.
    #[default]
    Session,
    /// Until its transaction ends.
    Transaction,
    /// Until its statement ends.
    Statement,
}

impl PoolMode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolerBrand {
    /// `PgBouncer`: the program that `EIDOS_PGBOUNCER` names, else Debian's.
    #[default]
    PgBouncer,
    /// Odyssey: the program that `EIDOS_ODYSSEY` names, else the one on `PATH`.
    Odyssey,
}

/// How to run it.
#[derive(Debug, Clone)]
pub struct PoolerOptions {
    /// Which program.
    pub brand: PoolerBrand,
    /// For how long a client keeps its server session.
    pub mode: PoolMode,
    /// Most server sessions of one user in one database.
    pub pool_size: u32,
    /// Whether a server session is reset before another client gets it.
    pub reset: bool,
    /// Further lines of the configuration: of `PgBouncer`'s section, or of Odyssey's route.
    pub config_lines: Vec<String>,
}

impl Default for PoolerOptions {
    fn default() -> Self {
        Self {
            brand: PoolerBrand::PgBouncer,
            mode: PoolMode::Session,
            pool_size: 40,
            reset: true,
            config_lines: Vec::new(),
        }
    }
}

/// A connection pooler on a loopback port, for every database of one server. It asks for no password.
#[derive(Debug)]
pub struct Pooler {
    server: Server,
    port: PortLease,
    config: PathBuf,
    options: PoolerOptions,
    upstream: u16,
    _scratch: ScratchDir,
}

server_lifecycle!(Pooler);

impl Pooler {
    /// Starts it in front of `postgres`, which must ask for no password.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], or why it did not start.
    pub async fn start(postgres: &Postgres, options: PoolerOptions) -> Result<Self, SandboxError> {
        let program = program(options.brand)?;
        let scratch = ScratchDir::create("pooler")?;
        let port = PortLease::take()?;
        let config = scratch.path().join("pooler.conf");
        write_config(&config, port.port(), postgres.port(), &options)?;
        let mut spec = ProcessSpec::new("pooler", program, scratch.path().join("pooler.log")).arg(&config);
        // `PgBouncer` refuses root as PostgreSQL does.
        spec.run_as = server_user()?;
        let number = port.port();
        let server = Server::new(spec, Signal::Interrupt, READY_WITHIN, move || listens(number));
        server.start().await?;
        Ok(Self {
            server,
            port,
            config,
            options,
            upstream: postgres.port(),
            _scratch: scratch,
        })
    }

    /// Restarts it in another mode on the same port, as an operator would who edits its configuration.
    ///
    /// # Errors
    /// File errors, or why it did not start.
    pub async fn change_mode(&mut self, mode: PoolMode) -> Result<(), SandboxError> {
        self.options.mode = mode;
        write_config(&self.config, self.port.port(), self.upstream, &self.options)?;
        self.restart().await
    }
}

fn program(brand: PoolerBrand) -> Result<PathBuf, SandboxError> {
    let (variable, name, package) = match brand {
        PoolerBrand::PgBouncer => ("EIDOS_PGBOUNCER", "pgbouncer", "the Debian package pgbouncer"),
        PoolerBrand::Odyssey => ("EIDOS_ODYSSEY", "odyssey", "scripts/test-poolers"),
    };
    if let Some(named) = std::env::var_os(variable) {
        return Ok(PathBuf::from(named));
    }
    find_program(name, package).or_else(|missing| {
        let daemon = Path::new(SBIN).join(name);
        if daemon.exists() { Ok(daemon) } else { Err(missing) }
    })
}

async fn listens(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

fn write_config(path: &Path, port: u16, upstream: u16, options: &PoolerOptions) -> Result<(), SandboxError> {
    let text = match options.brand {
        PoolerBrand::PgBouncer => pgbouncer_config(port, upstream, options),
        PoolerBrand::Odyssey => odyssey_config(port, upstream, options),
    };
    std::fs::write(path, text).map_err(SandboxError::file("write", path))
}

fn pgbouncer_config(port: u16, upstream: u16, options: &PoolerOptions) -> String {
    let mut text = format!(
        "[databases]\n* = host=127.0.0.1 port={upstream} user={SUPERUSER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {}\ndefault_pool_size = {}\n\
         max_client_conn = 500\nserver_reset_query = {}\n",
        options.mode.as_str(),
        options.pool_size,
        if options.reset { "DISCARD ALL" } else { "" },
    );
    for line in &options.config_lines {
        let _written = writeln!(text, "{line}");
    }
    text
}

fn odyssey_config(port: u16, upstream: u16, options: &PoolerOptions) -> String {
    let reset = if options.reset { "yes" } else { "no" };
    format!(
        "daemonize no\nlog_to_stdout yes\nlog_format \"%p %t %l %m\\n\"\nworkers 1\n\
         listen {{\n host \"127.0.0.1\"\n port {port}\n}}\n\
         storage \"server\" {{\n type \"remote\"\n host \"127.0.0.1\"\n port {upstream}\n}}\n\
         database default {{\n user default {{\n authentication \"none\"\n storage \"server\"\n \
         storage_user \"{SUPERUSER}\"\n pool \"{}\"\n pool_size {}\n pool_discard {reset}\n{}\n }}\n}}\n",
        options.mode.as_str(),
        options.pool_size,
        options.config_lines.join("\n"),
    )
}
