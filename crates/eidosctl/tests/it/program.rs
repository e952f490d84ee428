//! Runs the real binary.

use std::process::Output;

use tokio::process::Command;

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `eidosctl` with an environment that holds nothing but what is given.
pub(crate) async fn eidosctl(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let run = Command::new(env!("CARGO_BIN_EXE_eidosctl"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output();
    let limit = std::time::Duration::from_mins(1);
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::time::timeout(limit, run)
        .await
        .expect("eidosctl ends within a minute")
        .expect("eidosctl starts");
    Ran {
        code: status.code().expect("eidosctl was not killed"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}
