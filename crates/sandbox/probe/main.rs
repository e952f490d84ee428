//! A parent for the test that kills it: starts a server and a plain child, prints their pids, waits for ever.

use std::io::Write;

use eidos_sandbox::{
    ManagedProcess, Postgres, PostgresOptions, ProcessSpec, SandboxError, ScratchDir, find_program,
};

#[tokio::main]
async fn main() -> Result<(), SandboxError> {
    let scratch = ScratchDir::create("probe")?;
    let sleep = find_program("sleep", "the Debian package coreutils")?;
    let child =
        ManagedProcess::spawn(&ProcessSpec::new("sleep", sleep, scratch.path().join("log")).arg("1000"))?;
    let postgres = Postgres::start(PostgresOptions::default()).await?;
    let line = format!(
        "pids {} {}\n",
        child.pid(),
        postgres.pid().await.unwrap_or_default()
    );
    std::io::stdout()
        .write_all(line.as_bytes())
        .map_err(|source| SandboxError::Process {
            action: "print from",
            name: "the probe".to_owned(),
            source,
        })?;
    std::future::pending().await
}
