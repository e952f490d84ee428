//! Everything planted is found once, no trap is reported.

use eidos_devnet::{Fault, Trap};

use crate::fixture::Fixture;

#[tokio::test]
async fn ruling_22_every_fault_is_found_once_and_no_trap_is() {
    let fixture = Fixture::new(&Fault::ALL, &Trap::ALL).await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let verdict = fixture.verdict(fixture.world.manifest()).await;
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert_eq!(report["mode"], "full");
    assert_eq!(report["coverage"]["complete"], true);

    // Seen again, each break is the same row.
    let before = fixture.open_breaks().await;
    let again = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(fixture.open_breaks().await, before);
    assert_eq!(again["breaks_found"], report["breaks_found"]);
    let least: i64 = sqlx::query_scalar("SELECT min(occurrences) FROM eidos_jobs_breaks")
        .fetch_one(fixture.jobs.pool())
        .await
        .unwrap();
    assert_eq!(least, 2);
}

#[tokio::test]
async fn a_world_that_agrees_has_no_break_and_a_dry_run_writes_nothing() {
    let fixture = Fixture::clean().await;
    fixture.edit("USDC", 0, "5").await;
    let report = fixture.reconcile(&["--full", "--dry-run"], &[]).await;
    assert_eq!(report["breaks_found"], 1, "{report:#}");
    assert_eq!(fixture.open_breaks().await, []);
    let rows: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM eidos_jobs_reconciliation_records) \
              + (SELECT count(*) FROM eidos_jobs_reconciliation_checkpoints) \
              + (SELECT count(*) FROM eidos_jobs_checkpoints)",
    )
    .fetch_one(fixture.jobs.pool())
    .await
    .unwrap();
    assert_eq!(rows, 0);
    fixture.edit("USDC", 0, "-5").await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");
    assert_eq!(report["checked"], report["matched"]);
}

#[tokio::test]
async fn ruling_21_final_blocks_that_the_indexer_has_not_seen_are_beyond_the_cut() {
    let fixture = Fixture::new(&[], &[Trap::CreditAboveCut, Trap::LaggingIndexer]).await;
    // What lies above the indexer's checkpoint becomes final: only the cut keeps it out of the comparison.
    fixture.world.mine_blocks(100).await.unwrap();
    let report = fixture.reconcile(&["--full"], &[]).await;
    let cut = &report["cut"];
    assert!(
        cut["finalized_block"].as_u64() > cut["indexer_block"].as_u64(),
        "{cut}"
    );
    assert_eq!(cut["block"], cut["indexer_block"]);
    assert_eq!(report["breaks_found"], 0, "{report:#}");

    let limit = [("RECONCILIATION__INDEXER_MAX_LAG_BLOCKS", "5")];
    let report = fixture.reconcile(&["--full"], &limit).await;
    assert_eq!(
        report["findings"][0]["kind"], "indexer_behind",
        "a finding of its own: {report:#}"
    );
    assert_eq!(report["breaks_found"], 0, "and not thousands of breaks");
}

#[tokio::test]
async fn an_indexer_behind_is_a_finding_also_where_the_node_keeps_little_state() {
    // geth keeps the state of 128 blocks; this node of 60, while indexer_max_lag_blocks is 256.
    let fixture = Fixture::on_node(&["--prune-history", "60"], &[], &[]).await;
    // The chain is longer than that, or nothing would have been forgotten; the indexer's block is still readable.
    fixture.world.mine_blocks(52).await.unwrap();
    let report = fixture.reconcile(&["--full"], &[]).await;
    assert_eq!(report["findings"][0]["kind"], "indexer_behind", "{report:#}");
    assert_eq!(report["breaks_found"], 0, "{report:#}");

    // Further behind than the state: the run says so instead of pinning the same block again and again.
    fixture.world.mine_blocks(60).await.unwrap();
    let (status, child) = fixture
        .command(&["--full"], &[])
        .run(std::time::Duration::from_secs(90))
        .await;
    assert!(!status.success());
    let said = format!("{}{}", child.stdout(), child.stderr());
    assert!(
        said.contains("blocks behind the finalized") && said.contains("keeps no state that old"),
        "{said}"
    );
    assert_eq!(fixture.open_breaks().await, []);
}
