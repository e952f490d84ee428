//! `eidosctl check-config` and `eidosctl dead-letters` hand over to the program that links all services.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the tool in a folder of its own, with this program as the one beside it.
fn run(beside: Option<&str>, arguments: &[&str]) -> Output {
    let built = Path::new(env!("CARGO_BIN_EXE_eidosctl"));
    // Beside the built one: on one file system, a link is enough.
    let folder = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
    let tool = folder.path().join("eidosctl");
    std::fs::hard_link(built, &tool).unwrap();
    if let Some(program) = beside {
        std::os::unix::fs::symlink(program, folder.path().join("eidos-suite")).unwrap();
    }
    Command::new(tool)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
}

#[test]
fn it_starts_the_program_beside_it_and_passes_on_what_it_says() {
    let output = run(
        Some("/bin/echo"),
        &["check-config", "--config", "/etc/eidos.yaml"],
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "check-config --config /etc/eidos.yaml\n"
    );
    let output = run(Some("/bin/false"), &["check-config"]);
    assert_eq!(output.status.code(), Some(1), "the program's own exit code");
}

#[test]
fn without_that_program_it_says_what_to_do() {
    let output = run(None, &["check-config"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("eidos-suite cannot be started") && said.contains("<service> check-config"),
        "{said}"
    );
}

#[test]
fn dead_letters_are_its_work_too_with_every_argument() {
    let arguments = [
        "dead-letters",
        "replay",
        "--topic",
        "orders",
        "--dry-run",
        "--help",
    ];
    let output = run(Some("/bin/echo"), &arguments);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("{}\n", arguments.join(" ")));
}
