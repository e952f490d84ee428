//! Ruling 23: what an hourly run looks at.

use eidos_devnet::Fault;

use crate::fixture::Fixture;

#[tokio::test]
async fn ruling_23_a_change_that_only_the_chain_saw_is_found() {
    let mut fixture = Fixture::clean().await;
    let full = fixture.reconcile(&[], &[]).await;
    assert_eq!(
        (&full["mode"], &full["breaks_found"]),
        (&"full".into(), &0.into()),
        "the first run covers all"
    );
    fixture.world.plant(Fault::MissingInBooks).await.unwrap();
    fixture.world.cut().await.unwrap();
    let settings = [
        ("RECONCILIATION__SAMPLE_WALLETS", "0"),
        ("RECONCILIATION__OVERLAP_WINDOW", "1ms"),
    ];
    let report = fixture.reconcile(&[], &settings).await;
    assert_eq!(report["mode"], "incremental");
    assert_eq!(report["breaks_found"], 1, "{report:#}");
    assert_eq!(fixture.open_breaks().await[0].2, "missing_in_books");
}

#[tokio::test]
async fn ruling_23_the_rotating_sample_reaches_a_manual_edit_and_a_repair_closes_it() {
    let fixture = Fixture::clean().await;
    fixture.reconcile(&["--full"], &[]).await;
    let wallet = fixture.edit("USDC", 0, "30").await;
    let quiet = [
        ("RECONCILIATION__SAMPLE_WALLETS", "0"),
        ("RECONCILIATION__OVERLAP_WINDOW", "1ms"),
    ];
    let report = fixture.reconcile(&[], &quiet).await;
    assert_eq!(report["breaks_found"], 0, "nothing says that it changed");
    let sample = [
        ("RECONCILIATION__SAMPLE_WALLETS", "1000"),
        ("RECONCILIATION__OVERLAP_WINDOW", "1ms"),
    ];
    let report = fixture.reconcile(&[], &sample).await;
    assert_eq!(report["breaks_found"], 1, "{report:#}");
    assert_eq!(fixture.open_breaks().await[0].0, wallet.to_lowercase());
    fixture.edit("USDC", 0, "-30").await;
    let report = fixture.reconcile(&[], &quiet).await;
    assert_eq!(
        report["resolved"], 1,
        "an open break is looked at every time: {report:#}"
    );
    assert_eq!(fixture.open_breaks().await, []);
}
