//! The Python environment of `scripts/install`, and the S3 server that comes with it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::programs;
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

/// Where `scripts/install` puts the environment, below the workspace.
const ENVIRONMENT: &str = ".sandbox/tools/python";
/// Moto behind a lock: its own program lets several creators of one object succeed when they come together, which the
/// stores this stands for do not.
const ONE_AT_A_TIME: &str = include_str!("moto_one_at_a_time.py");
/// A cold start imports half of botocore.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// The Python interpreter with what `scripts/tools/requirements.txt` names: duckdb, pyarrow, moto.
///
/// # Errors
/// [`SandboxError::MissingProgram`].
pub fn python() -> Result<PathBuf, SandboxError> {
    in_environment("python", "scripts/tools/requirements.txt")
}

fn in_environment(program: &'static str, package: &'static str) -> Result<PathBuf, SandboxError> {
    programs::search_roots()
        .iter()
        .map(|root| root.join(ENVIRONMENT).join("bin").join(program))
        .find(|path| programs::is_executable(path))
        .ok_or_else(|| SandboxError::MissingProgram {
            program,
            package,
            looked_in: format!("{ENVIRONMENT}/bin here and above"),
        })
}

/// A private S3-compatible server (moto) on a loopback port. It keeps objects in memory, speaks plain HTTP, answers one
/// request at a time, and takes any credentials.
#[derive(Debug)]
pub struct Moto {
    server: Server,
    port: PortLease,
    _scratch: ScratchDir,
}

server_lifecycle!(Moto);

impl Moto {
    /// Starts a server.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], or why it did not start.
    pub async fn start() -> Result<Self, SandboxError> {
        let program = python()?;
        let scratch = ScratchDir::create("moto")?;
        let port = PortLease::take()?;
        let number = port.port();
        let mut spec = ProcessSpec::new("moto_server", program, scratch.path().join("moto.log"))
            .arg("-c")
            .arg(ONE_AT_A_TIME)
            .arg(number.to_string())
            .env("HOME", scratch.path());
        spec.current_dir = Some(scratch.path().to_owned());
        let server = Server::new(spec, Signal::Terminate, READY_WITHIN, move || async move {
            TcpStream::connect(("127.0.0.1", number)).await.is_ok()
        });
        server.start().await?;
        Ok(Self {
            server,
            port,
            _scratch: scratch,
        })
    }

    /// `http://127.0.0.1:port`, the endpoint of S3's API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.port())
    }
}
