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

/// Changes one column of the first row of a table by half a token.
async fn half_more(fixture: &Fixture, table: &str, column: &str, offset: u32, sign: char) {
    let statement = format!(
        "UPDATE {table} SET {column} = {column} {sign} 0.5 WHERE id = (SELECT min(id) + {offset} FROM {table})"
    );
    let changed = sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(fixture.books())
        .await;
    assert_eq!(changed.unwrap().rows_affected(), 1, "{table}");
}

#[tokio::test]
async fn ruling_24_a_movement_that_heals_before_the_second_reading_is_no_break() {
    let fixture = Fixture::clean().await;
    let tables = [
        ("eidos_trading_deposits", "amount", "deposit"),
        ("eidos_trading_withdrawals", "amount", "withdrawal"),
        ("eidos_trading_trades", "quote_amount", "settlement"),
        ("eidos_trading_fee_accounts", "balance", "fee_account"),
    ];
    for (table, column, _) in tables {
        half_more(&fixture, table, column, 0, '+').await;
    }
    half_more(&fixture, tables[0].0, "amount", 1, '+').await;
    let child = fixture
        .command(&["--full"], &[("RECONCILIATION__RECHECK_DELAY", "5s")])
        .spawn();
    fixture
        .until(
            "suspects are stored",
            "SELECT count(DISTINCT split_part(checkpoint_key, '/', 1)) = 4 FROM eidos_jobs_checkpoints \
             WHERE checkpoint_key LIKE '%/suspects/%'",
        )
        .await;
    for (table, column, _) in tables {
        half_more(&fixture, table, column, 0, '-').await;
    }
    let status = child.wait_exit(std::time::Duration::from_mins(2)).await;
    assert!(status.success(), "{}", child.stderr());
    let report = report_of(&child);
    for (_, _, dimension) in tables {
        let part = crate::deposits::part(&report, dimension);
        assert_eq!(part["lag"], 1, "{dimension}: {report:#}");
        let left = u64::from(dimension == "deposit");
        assert_eq!(
            part["breaks_found"].as_u64(),
            Some(left),
            "{dimension}: {report:#}"
        );
    }
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
