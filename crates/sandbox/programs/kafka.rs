//! `scripts/kafka`: a private Apache Kafka in the foreground.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use eidos_sandbox::{KafkaServer, KafkaServerOptions, Sandbox, SandboxError};

const USAGE: &str = "usage: scripts/kafka [--port PORT] [--dir DIRECTORY]";

struct Arguments {
    port: Option<u16>,
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(mistake) => return end(2, &format!("{mistake}\n{USAGE}")),
    };
    match serve(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => end(1, &error.to_string()),
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        port: None,
        dir: PathBuf::from(".sandbox/kafka"),
    };
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--port" => {
                let value = value()?;
                let port = value.parse().ok().filter(|port| *port > 0);
                parsed.port =
                    Some(port.ok_or_else(|| format!("--port {value} is not a port: use 1 to 65535"))?);
            }
            "--dir" => parsed.dir = value()?.into(),
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(parsed)
}

async fn serve(arguments: Arguments) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Process {
        action: "serve",
        name: "kafka".to_owned(),
        source,
    };
    // The directory is locked, so that two brokers never share data.
    let sandbox = Sandbox::open(arguments.dir)?;
    let options = KafkaServerOptions {
        port: arguments.port,
        ..KafkaServerOptions::default()
    };
    let server = KafkaServer::open(sandbox.dir(), options).await?;
    let line = format!("{}\n", server.bootstrap_servers());
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .map_err(failed)?;
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(failed)?,
        _ = terminate.recv() => {}
    }
    server.stop().await
}

fn end(code: u8, text: &str) -> ExitCode {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "kafka: {text}");
    ExitCode::from(code)
}
