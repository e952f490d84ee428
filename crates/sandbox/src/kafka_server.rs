//! [`KafkaServer`]: a private Apache Kafka, one process that is broker and controller (`KRaft`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;

use crate::error::SandboxError;
use crate::kafka_admin;
use crate::ports::PortLease;
use crate::process::{ProcessSpec, Signal};
use crate::programs::{find_program, search_roots};
use crate::scratch::ScratchDir;
use crate::server::{Server, server_lifecycle};

/// Where `scripts/install` puts the jars of `scripts/tools/kafka`, below the workspace.
const JARS: &str = ".sandbox/tools/kafka";
/// Written last by `scripts/install`: without it the jars are not complete.
const INSTALLED: &str = "installed";
/// A broker on two busy cores needs ten seconds.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// Longest run of the formatter.
const FORMAT_WITHIN: Duration = Duration::from_mins(1);
/// Any 16 bytes in Base64; two private brokers never meet.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";
/// A broker of tests lives for minutes: it starts fast and never becomes fast.
const JVM: [&str; 5] = [
    "-Xmx256m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// How to run the server.
#[derive(Debug, Clone, Default)]
pub struct KafkaServerOptions {
    /// Further lines of `server.properties`; they win over ours.
    pub config_lines: Vec<String>,
    /// Its port on 127.0.0.1; a free one when `None`.
    pub port: Option<u16>,
}

/// A private Apache Kafka on loopback ports, without access control. It creates no topic by itself.
#[derive(Debug)]
pub struct KafkaServer {
    server: Server,
    port: PortLease,
    /// The port of the controller, which no client uses.
    _controller: PortLease,
    /// `None` when the data outlives the server.
    scratch: Option<ScratchDir>,
}

server_lifecycle!(KafkaServer);

impl KafkaServer {
    /// Starts a server with a directory of its own, removed with it.
    ///
    /// # Errors
    /// [`SandboxError::MissingProgram`] for Java or the jars, or why it did not start.
    pub async fn start(options: KafkaServerOptions) -> Result<Self, SandboxError> {
        let scratch = ScratchDir::create("kafka")?;
        let dir = scratch.path().to_owned();
        Self::start_in(&dir, options, Some(scratch)).await
    }

    /// Starts a server on the data in `dir`, which is created when missing and stays.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn open(dir: &Path, options: KafkaServerOptions) -> Result<Self, SandboxError> {
        std::fs::create_dir_all(dir).map_err(SandboxError::file("create", dir))?;
        let dir = dir.canonicalize().map_err(SandboxError::file("resolve", dir))?;
        Self::start_in(&dir, options, None).await
    }

    /// `host:port`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port.port())
    }

    /// Creates a topic; an existing one is no error.
    ///
    /// # Errors
    /// [`SandboxError::Kafka`].
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), SandboxError> {
        kafka_admin::create_topic(&self.bootstrap_servers(), topic, partitions).await
    }

    /// Deletes the messages of a partition before `offset`, as retention does.
    ///
    /// # Errors
    /// [`SandboxError::Kafka`].
    pub async fn delete_before(&self, topic: &str, partition: i32, offset: i64) -> Result<(), SandboxError> {
        kafka_admin::delete_before(&self.bootstrap_servers(), topic, partition, offset).await
    }

    async fn start_in(
        dir: &Path,
        options: KafkaServerOptions,
        scratch: Option<ScratchDir>,
    ) -> Result<Self, SandboxError> {
        let java = find_program("java", "the Debian package default-jre-headless")?;
        let classpath = format!("{}/*", jars()?.display());
        let port = match options.port {
            Some(port) => PortLease::take_this(port)?,
            None => PortLease::take()?,
        };
        let controller = PortLease::take()?;
        let config = write_config(dir, port.port(), controller.port(), &options)?;
        format_storage(&java, &classpath, &config).await?;
        let spec = ProcessSpec::new("kafka", java, dir.join("kafka.log"))
            .args(JVM)
            .args(["-cp", &classpath, "kafka.Kafka"])
            .arg(config);
        let number = port.port();
        let server = Server::new(spec, Signal::Terminate, READY_WITHIN, move || is_ready(number));
        server.start().await?;
        Ok(Self {
            server,
            port,
            _controller: controller,
            scratch,
        })
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        if self.scratch.is_none() {
            self.server.stop_blocking(Duration::from_secs(10));
        }
    }
}

fn jars() -> Result<PathBuf, SandboxError> {
    search_roots()
        .iter()
        .map(|root| root.join(JARS))
        .find(|dir| dir.join(INSTALLED).is_file())
        .ok_or_else(|| SandboxError::MissingProgram {
            program: "kafka",
            package: "the jars that scripts/tools/kafka names",
            looked_in: format!("{JARS} here and above"),
        })
}

async fn is_ready(port: u16) -> bool {
    if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        return false;
    }
    let question = move || kafka_admin::answers(&format!("127.0.0.1:{port}"));
    tokio::task::spawn_blocking(question).await.unwrap_or(false)
}

/// Writes the identity of the cluster into an empty data directory; a formatted one stays as it is.
async fn format_storage(java: &Path, classpath: &str, config: &Path) -> Result<(), SandboxError> {
    let mut command = Command::new(java);
    command
        .args(JVM)
        .args(["-cp", classpath, "kafka.tools.StorageTool", "format"])
        .args(["--ignore-formatted", "--cluster-id", CLUSTER_ID, "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let failed = |status: String, output: String| SandboxError::Command {
        command: "kafka.tools.StorageTool format".to_owned(),
        status,
        output,
    };
    let run = tokio::time::timeout(FORMAT_WITHIN, command.output()).await;
    let output = run
        .map_err(|_elapsed| failed(format!("no end within {FORMAT_WITHIN:?}"), String::new()))?
        .map_err(SandboxError::process("start", "java"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(failed(
        output.status.to_string(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

fn write_config(
    dir: &Path,
    port: u16,
    controller: u16,
    options: &KafkaServerOptions,
) -> Result<PathBuf, SandboxError> {
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.consumer.min.heartbeat.interval.ms=500\n\
         group.consumer.heartbeat.interval.ms=500\n\
         group.consumer.min.session.timeout.ms=6000\n\
         group.consumer.session.timeout.ms=6000\n",
        dir.join("data").display()
    );
    for line in &options.config_lines {
        text.push_str(line);
        text.push('\n');
    }
    let path = dir.join("server.properties");
    std::fs::write(&path, text).map_err(SandboxError::file("write", &path))?;
    Ok(path)
}
