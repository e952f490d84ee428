//! Children: their death, their readiness, their messages.

use std::time::Duration;

use eidos_sandbox::{ManagedProcess, ProcessSpec, SandboxError, ScratchDir, Signal, find_program};

use crate::{runs, until};

fn spec(scratch: &ScratchDir, program: &'static str, args: &[&str]) -> ProcessSpec {
    let path = find_program(program, "coreutils").unwrap();
    ProcessSpec::new(program, path, scratch.path().join("log")).args(args)
}

#[tokio::test]
async fn children_die_when_their_parent_is_killed() {
    let scratch = ScratchDir::create("test").unwrap();
    let log = scratch.path().join("log");
    let parent = ManagedProcess::spawn(&ProcessSpec::new(
        "probe",
        env!("CARGO_BIN_EXE_sandbox-probe"),
        &log,
    ))
    .unwrap();
    let mut line = String::new();
    until("the probe printed its children", async || {
        line = std::fs::read_to_string(&log).unwrap();
        line.ends_with('\n')
    })
    .await;
    let children: Vec<u32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(children.len(), 2, "{line}");
    assert!(children.iter().all(|pid| runs(*pid)), "{line}");

    // To the parent alone: `kill` would take the children along by itself.
    parent.signal(Signal::Kill).unwrap();
    until("the children are gone", async || {
        !children.iter().any(|pid| runs(*pid))
    })
    .await;
}

#[tokio::test]
async fn children_outlive_the_thread_that_asked_for_them() {
    let scratch = ScratchDir::create("test").unwrap();
    let wanted = spec(&scratch, "sleep", &["1000"]);
    let child = std::thread::spawn(move || ManagedProcess::spawn(&wanted).unwrap())
        .join()
        .unwrap();
    // The thread is gone for certain once another one has come and gone; a signal would have been sent at its end.
    std::thread::spawn(|| ()).join().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(child.exit_status().unwrap().is_none());
}

#[tokio::test]
async fn dropping_kills_grandchildren_too() {
    let scratch = ScratchDir::create("test").unwrap();
    // `env` replaces itself, `timeout` stays as the parent of its command.
    let child = ManagedProcess::spawn(&spec(&scratch, "timeout", &["1000", "sleep", "1000"])).unwrap();
    let pid = child.pid();
    let mut grandchild = 0;
    until("the grandchild runs", async || {
        let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        grandchild = listed.trim().parse().unwrap_or(0);
        grandchild != 0
    })
    .await;
    drop(child);
    until("both are gone", async || !runs(pid) && !runs(grandchild)).await;
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let scratch = ScratchDir::create("test").unwrap();
    let spec = ProcessSpec::new("ghost", "/nowhere/ghost", scratch.path().join("log"));
    let error = ManagedProcess::spawn(&spec).unwrap_err().to_string();
    assert!(error.contains("/nowhere/ghost"), "{error}");
    let error = find_program("ghost-server", "the Debian package ghost")
        .unwrap_err()
        .to_string();
    for part in ["ghost-server", "the Debian package ghost", "scripts/install"] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn an_early_end_shows_the_log() {
    let scratch = ScratchDir::create("test").unwrap();
    let child = ManagedProcess::spawn(&spec(&scratch, "ls", &["/nowhere/at/all"])).unwrap();
    let error = child
        .wait_ready(Duration::from_secs(10), async || false)
        .await
        .unwrap_err();
    assert!(matches!(error, SandboxError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    assert!(matches!(
        child.signal(Signal::Stop),
        Err(SandboxError::Exited { .. })
    ));
}

#[tokio::test]
async fn waiting_has_an_end() {
    let scratch = ScratchDir::create("test").unwrap();
    let child = ManagedProcess::spawn(&spec(&scratch, "sleep", &["1000"])).unwrap();
    let limit = Duration::from_millis(50);
    // A probe that never answers is bounded as well.
    let error = child.wait_ready(limit, std::future::pending).await.unwrap_err();
    assert!(matches!(error, SandboxError::Late { .. }), "{error}");
    let error = child.wait_exit(limit).await.unwrap_err();
    assert!(matches!(error, SandboxError::Late { .. }), "{error}");
}

#[tokio::test]
async fn the_environment_is_clean_but_for_what_was_named() {
    let scratch = ScratchDir::create("test").unwrap();
    // CARGO_PKG_NAME is set in every test; it stands for the variables of a developer's shell.
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    let child = ManagedProcess::spawn(&spec(&scratch, "env", &[]).env("NAMED", "yes")).unwrap();
    child.wait_exit(Duration::from_secs(10)).await.unwrap();
    let seen = std::fs::read_to_string(scratch.path().join("log")).unwrap();
    assert!(seen.contains("NAMED=yes") && seen.contains("PATH="), "{seen}");
    assert!(!seen.contains("CARGO_PKG_NAME"), "{seen}");
}
