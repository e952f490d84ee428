//! [`Anvil`]: a private EVM node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::programs;
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

/// Where npm puts the native binary, below the directory of `scripts/install`. The package's own `anvil` is a
/// JavaScript wrapper that would stand between us and the process we want to signal.
const NPM_DIR: &str = ".sandbox/tools/node_modules/@foundry-rs";

/// Longest wait for the answer to one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer read; what a steering request returns is far smaller.
const LARGEST_ANSWER_BYTES: u64 = 16 * 1024 * 1024;

/// When blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mining {
    /// One block for each transaction, at once.
    #[default]
    Automatic,
    /// One block every so many seconds.
    EverySeconds(u32),
    /// Only on `evm_mine` / `anvil_mine`: a test decides what is mined.
    OnRequest,
}

/// How to run the node.
#[derive(Debug, Clone)]
pub struct AnvilOptions {
    /// Chain id, 31337 unless changed.
    pub chain_id: u64,
    /// Funded accounts of the well-known test mnemonic.
    pub accounts: u32,
    /// When blocks are made.
    pub mining: Mining,
    /// `finalized` is two epochs behind the head; with 1, two blocks.
    pub slots_in_epoch: u32,
    /// A genesis file (`--init`).
    pub genesis: Option<PathBuf>,
    /// A file the state is loaded from at the start and written to at an orderly stop, with all past states. Without
    /// it a restarted node begins at block 0.
    pub state: Option<PathBuf>,
    /// Writes the state also while running, so that it survives a kill.
    pub state_every_s: Option<u32>,
    /// Longest wait until it answers; loading a large state takes its time.
    pub ready_within: Duration,
    /// Further arguments.
    pub args: Vec<OsString>,
}

impl Default for AnvilOptions {
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            accounts: 10,
            mining: Mining::Automatic,
            slots_in_epoch: 1,
            genesis: None,
            state: None,
            state_every_s: None,
            ready_within: Duration::from_mins(1),
            args: Vec::new(),
        }
    }
}

impl AnvilOptions {
    fn arguments(&self, port: u16) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["--quiet", "--host", "127.0.0.1", "--no-request-size-limit"]
            .map(Into::into)
            .into();
        let mut option = |name: &str, value: String| args.extend([OsString::from(name), value.into()]);
        option("--port", port.to_string());
        option("--chain-id", self.chain_id.to_string());
        option("--accounts", self.accounts.to_string());
        option("--slots-in-an-epoch", self.slots_in_epoch.to_string());
        if let Mining::EverySeconds(seconds) = self.mining {
            option("--block-time", seconds.to_string());
        }
        if let Some(seconds) = self.state_every_s {
            option("--state-interval", seconds.to_string());
        }
        if self.mining == Mining::OnRequest {
            args.push("--no-mining".into());
        }
        if let Some(genesis) = &self.genesis {
            args.extend(["--init".into(), genesis.into()]);
        }
        if let Some(state) = &self.state {
            args.extend([
                "--preserve-historical-states".into(),
                "--state".into(),
                state.into(),
            ]);
        }
        args.extend(self.args.iter().cloned());
        args
    }
}

/// A private EVM node on a loopback port.
#[derive(Debug)]
pub struct Anvil {
    server: Server,
    port: PortLease,
    keeps_state: bool,
    _scratch: ScratchDir,
}

server_lifecycle!(Anvil);

impl Anvil {
    /// Starts a node.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], or why it did not start.
    pub async fn start(options: AnvilOptions) -> Result<Self, SandboxError> {
        let program = find_anvil()?;
        let scratch = ScratchDir::create("anvil")?;
        let port = PortLease::take()?;
        let mut spec = ProcessSpec::new("anvil", program, scratch.path().join("anvil.log"))
            .args(options.arguments(port.port()))
            // It keeps caches below its home; ours stay in our directory.
            .env("HOME", scratch.path());
        spec.current_dir = Some(scratch.path().to_owned());
        let number = port.port();
        let server = Server::new(spec, Signal::Terminate, options.ready_within, move || {
            answers_chain_id(number)
        });
        server.start().await?;
        Ok(Self {
            server,
            port,
            keeps_state: options.state.is_some(),
            _scratch: scratch,
        })
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.port())
    }

    /// Sends one JSON-RPC request, such as `evm_mine` with `[]`, and returns the JSON text of the whole answer, be
    /// it a result or an error. For steering the node; to read the chain use `eidos-chain`.
    ///
    /// # Errors
    /// [`SandboxError::Process`] when it does not answer within 30 s.
    pub async fn request(&self, method: &str, params: &str) -> Result<String, SandboxError> {
        let answered = tokio::time::timeout(REQUEST_TIMEOUT, post(self.port.port(), method, params)).await;
        let answer = answered.unwrap_or_else(|_elapsed| Err(std::io::ErrorKind::TimedOut.into()));
        answer.map_err(SandboxError::process("send a request to", "anvil"))
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        if self.keeps_state {
            self.server.stop_blocking(Duration::from_secs(20));
        }
    }
}

/// `EIDOS_ANVIL`, then what npm installed below this workspace or above it, then `PATH`.
fn find_anvil() -> Result<PathBuf, SandboxError> {
    if let Some(named) = std::env::var_os("EIDOS_ANVIL").map(PathBuf::from)
        && programs::is_executable(&named)
    {
        return Ok(named);
    }
    programs::search_roots()
        .iter()
        .find_map(|root| native_binary(&root.join(NPM_DIR)))
        .or_else(|| programs::on_path("anvil"))
        .ok_or_else(|| SandboxError::MissingProgram {
            program: "anvil",
            package: "the npm package @foundry-rs/anvil",
            looked_in: format!("EIDOS_ANVIL, {NPM_DIR} here and above, PATH"),
        })
}

fn native_binary(dir: &Path) -> Option<PathBuf> {
    std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("anvil-linux-"))
        .map(|entry| entry.path().join("bin/anvil"))
        .find(|binary| programs::is_executable(binary))
}

/// One request by hand: an HTTP client is a large dependency for what the sandbox asks of a node on loopback.
async fn post(port: u16, method: &str, params: &str) -> std::io::Result<String> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let request = format!(
        "POST / HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER_BYTES).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (_head, json) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(json.to_owned())
}

pub(crate) async fn answers_chain_id(port: u16) -> bool {
    post(port, "eth_chainId", "[]")
        .await
        .is_ok_and(|answer| answer.contains("\"result\""))
}
