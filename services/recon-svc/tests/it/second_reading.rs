//! Ruling 24: what agrees when it is read again was late; what stands still is a break.

use crate::fixture::{Fixture, report_of};

#[tokio::test]
async fn ruling_24_a_difference_that_heals_before_the_second_reading_is_no_break() {
    let fixture = Fixture::clean().await;
    fixture.edit("USDC", 0, "50").await;
    fixture.edit("USDC", 1, "-70").await;
    let child = fixture
        .command(&["--full"], &[("RECONCILIATION__RECHECK_DELAY", "4s")])
        .spawn();
    fixture
        .until(
            "suspects are stored",
            "SELECT count(*) > 0 FROM eidos_jobs_checkpoints WHERE checkpoint_key LIKE 'suspects/%'",
        )
        .await;
    fixture.edit("USDC", 0, "-50").await;
    let status = child.wait_exit(std::time::Duration::from_mins(1)).await;
    assert!(status.success(), "{}", child.stderr());
    let report = report_of(&child);
    assert_eq!(report["lag"], 1, "{report:#}");
    assert_eq!(report["breaks_found"], 1, "{report:#}");
    assert_eq!(fixture.open_breaks().await[0].2, "surplus");
}

#[tokio::test]
async fn ruling_24_a_moving_account_is_left_to_the_next_run() {
    let fixture = Fixture::clean().await;
    fixture.edit("USDC", 0, "50").await;
    let settings = [
        ("RECONCILIATION__RECHECK_DELAY", "3s"),
        ("RECONCILIATION__RECHECK_ATTEMPTS", "1"),
    ];
    let child = fixture.command(&["--full"], &settings).spawn();
    fixture
        .until(
            "suspects are stored",
            "SELECT count(*) > 0 FROM eidos_jobs_checkpoints WHERE checkpoint_key LIKE 'suspects/%'",
        )
        .await;
    fixture.edit("USDC", 0, "1").await;
    assert!(
        child.wait_exit(std::time::Duration::from_mins(1)).await.success(),
        "{}",
        child.stderr()
    );
    let report = report_of(&child);
    assert_eq!(
        (&report["undecided"], &report["breaks_found"]),
        (&1.into(), &0.into()),
        "{report:#}"
    );
    // It stands still now; the next run owes it a reading although nothing about it changed any more.
    let report = fixture
        .reconcile(&[], &[("RECONCILIATION__SAMPLE_WALLETS", "0")])
        .await;
    assert_eq!(report["mode"], "incremental");
    assert_eq!(report["breaks_found"], 1, "{report:#}");
}
