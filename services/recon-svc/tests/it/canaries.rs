//! Accounts that differ on purpose, and what a run says that does not find one.

use crate::fixture::Fixture;

#[tokio::test]
async fn every_run_finds_its_canary_and_one_that_is_not_found_is_critical() {
    let fixture = Fixture::clean().await;
    let wallet = fixture.edit("USDC", 0, "-50").await;
    fixture.rules(&format!(
        "  canaries: [{{ wallet: \"{wallet}\", token: USDC, difference: \"50\" }}]"
    ));
    let quiet = [
        ("RECONCILIATION__SAMPLE_WALLETS", "0"),
        ("RECONCILIATION__OVERLAP_WINDOW", "1ms"),
    ];
    for args in [&["--full"][..], &[]] {
        let report = fixture.reconcile(args, &quiet).await;
        assert_eq!(report["canaries"][0]["found"], true, "{report:#}");
        assert_eq!(report["breaks_found"], 0, "{report:#}");
        assert_eq!(report["findings"].as_array().unwrap().len(), 0, "{report:#}");
    }
    assert_eq!(fixture.open_breaks().await, [], "it is no break");

    // Another difference than the planted one.
    fixture.edit("USDC", 0, "1").await;
    let report = fixture.reconcile(&[], &quiet).await;
    assert_eq!(
        report["canaries"][0]["instead"], "a difference of 49",
        "{report:#}"
    );
    // None at all.
    fixture.edit("USDC", 0, "49").await;
    let report = fixture.reconcile(&["--full"], &quiet).await;
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["token"]),
        (&"canary_missed".into(), &"USDC".into()),
        "{report:#}"
    );
    let detail = finding["detail"].as_str().unwrap();
    assert!(detail.contains("found no difference"), "{detail}");
    assert_eq!(fixture.open_breaks().await, []);
}

#[tokio::test]
async fn a_canary_that_cannot_be_one_is_refused_with_the_others() {
    let fixture = Fixture::clean().await;
    let wallet = fixture.edit("USDC", 0, "0").await;
    fixture.rules(&format!(
        "  canaries: [{{ wallet: \"{wallet}\", token: USDC, difference: \"-1\" }}, \
         {{ wallet: \"{wallet}\", token: USDC, difference: \"0\" }}]"
    ));
    let child = fixture.command(&[], &[]).spawn();
    let status = child.wait_exit(std::time::Duration::from_mins(1)).await;
    assert_eq!(status.code(), Some(78), "{}", child.stderr());
    for key in ["canaries.0.difference", "canaries.1.difference"] {
        assert!(child.stderr().contains(key), "{}", child.stderr());
    }
}
