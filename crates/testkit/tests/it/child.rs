//! The second process: stopped, continued, killed, crashed.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use eidos_testkit::{CRASH_VARIABLE, ChildProcess, Command, eventually};

const SOON: Duration = Duration::from_secs(10);

fn probe() -> Command {
    Command::new(env!("CARGO_BIN_EXE_testkit-probe"))
}

fn count(child: &ChildProcess) -> usize {
    child.stdout().matches("count ").count()
}

async fn counts_on(child: &ChildProcess) {
    let before = count(child);
    eventually("the probe counts on", SOON, async || {
        let now = count(child);
        if now > before + 2 {
            Ok(())
        } else {
            Err(format!("{now} after {before}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_stopped_process_does_nothing_until_it_is_continued() {
    let child = probe().args(["one", "two"]).spawn();
    assert_eq!(child.wait_for_line("words", SOON).await, "words: one two");
    counts_on(&child).await;
    child.pause().await;
    let before = count(&child);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(count(&child), before);
    assert!(child.exit_status().is_none());
    child.resume();
    counts_on(&child).await;
}

#[tokio::test]
async fn signals_end_it() {
    let (killed, terminated, interrupted) = (probe().spawn(), probe().spawn(), probe().spawn());
    assert_eq!(killed.kill().signal(), Some(9));
    assert_eq!(
        killed.kill().signal(),
        Some(9),
        "killing the dead says how it died"
    );
    terminated.terminate();
    assert_eq!(terminated.wait_exit(SOON).await.signal(), Some(15));
    interrupted.interrupt();
    assert_eq!(interrupted.wait_exit(SOON).await.signal(), Some(2));
}

#[tokio::test]
async fn a_stopped_process_can_be_killed() {
    let child = probe().spawn();
    child.pause().await;
    assert_eq!(child.kill().signal(), Some(9));
}

#[tokio::test]
async fn a_crash_point_kills_at_the_pass_it_names() {
    let child = probe().env(CRASH_VARIABLE, "count:3").spawn();
    assert_eq!(child.wait_exit(SOON).await.signal(), Some(9));
    assert_eq!(count(&child), 2, "{}", child.stdout());
    assert!(
        child.stderr().contains("crash point count: dying at pass 3"),
        "{}",
        child.stderr()
    );
}

#[tokio::test]
async fn another_name_arms_nothing() {
    let child = probe().env(CRASH_VARIABLE, "counter").spawn();
    child.wait_for_line("count 5", SOON).await;
}

#[tokio::test]
async fn a_command_that_ends_is_run_to_its_end() {
    let (status, child) = probe().env("PROBE_ENDS", "1").arg("x").run(SOON).await;
    assert!(status.success());
    assert_eq!(
        (child.stdout().as_str(), child.stderr().as_str()),
        ("words: x\n", "as told\n")
    );
}

#[tokio::test]
#[should_panic(expected = "it ended with exit status: 0")]
async fn waiting_for_a_line_of_a_dead_process_ends_at_once() {
    probe()
        .env("PROBE_ENDS", "1")
        .spawn()
        .wait_for_line("never", SOON * 100)
        .await;
}
