//! Ruling 25: a missing price never lowers attention.

use std::path::PathBuf;
use std::time::Duration;

use eidos_devnet::Fault;
use eidos_testkit::{Command, ScratchDir};
use serde_json::Value;

use crate::fixture::Fixture;

async fn refusal(fixture: &Fixture, settings: &[(&str, &str)]) -> String {
    let (status, child) = fixture
        .command(&["--full"], settings)
        .run(Duration::from_mins(1))
        .await;
    assert!(!status.success(), "{}", child.stdout());
    assert_eq!(fixture.open_breaks().await, []);
    format!("{}{}", child.stdout(), child.stderr())
}

/// Operations paused for the token, sorted.
async fn paused(fixture: &Fixture, token: &str) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT operation FROM eidos_jobs_operation_pauses WHERE token = $1 AND lifted_at IS NULL ORDER BY 1",
    )
    .bind(token)
    .fetch_all(fixture.jobs.pool())
    .await
    .unwrap()
}

fn severities(report: &Value, token: &str) -> Vec<(String, String)> {
    let text = |found: &Value, key: &str| found[key].as_str().unwrap().to_owned();
    let breaks = report["breaks"].as_array().unwrap().iter();
    let mut of: Vec<(String, String)> = breaks
        .filter(|found| found["token"] == token)
        .map(|found| (text(found, "kind"), text(found, "severity")))
        .collect();
    of.sort();
    of
}

#[tokio::test]
async fn the_start_refuses_a_token_without_a_price_until_that_is_said_to_be_meant() {
    let fixture = Fixture::clean().await;
    fixture.without_price("WBTC");
    let refuse = ("RECONCILIATION__UNPRICED", "refuse");
    let said = refusal(&fixture, &[refuse]).await;
    assert!(
        said.contains("token WBTC has no price") && said.contains("unpriced: accept"),
        "{said}"
    );

    // A price in other letters is the price of nothing.
    let lower = (
        "RECONCILIATION__PRICES",
        r#"{"wbtc": {"usdc": "60000", "source": "desk"}}"#,
    );
    let said = refusal(&fixture, &[refuse, lower]).await;
    assert!(
        said.contains("wbtc") && said.contains("is written WBTC"),
        "{said}"
    );
    let said = refusal(&fixture, &[lower]).await;
    assert!(said.contains("is written WBTC"), "whatever is accepted: {said}");

    // A table is a source too, for the tokens it has, and not for one dated in the future.
    sqlx::raw_sql(
        "CREATE TABLE marks (symbol text, usdc numeric, at_ms bigint); GRANT SELECT ON marks TO PUBLIC; \
         INSERT INTO marks VALUES ('wbtc', 60000, 1700000000000), ('HUGE', 1, 1700000000000), ('WBTC', 1, 4102444800000)",
    )
    .execute(fixture.books())
    .await
    .unwrap();
    let table = [
        refuse,
        ("RECONCILIATION__PRICE_TABLE__DATABASE", "trading"),
        ("RECONCILIATION__PRICE_TABLE__TABLE", "marks"),
        ("RECONCILIATION__PRICE_TABLE__SYMBOL_COLUMN", "symbol"),
        ("RECONCILIATION__PRICE_TABLE__PRICE_COLUMN", "usdc"),
        ("RECONCILIATION__PRICE_TABLE__TIME_MS_COLUMN", "at_ms"),
    ];
    let said = refusal(&fixture, &table).await;
    assert!(
        said.contains("price_table has rows for wbtc") && said.contains("token WBTC has no price"),
        "{said}"
    );
    assert!(!said.contains("token HUGE"), "{said}");
    sqlx::raw_sql("UPDATE marks SET symbol = 'WBTC' WHERE symbol = 'wbtc'")
        .execute(fixture.books())
        .await
        .unwrap();
    let report = fixture.reconcile(&["--full"], &table).await;
    assert_eq!(report["breaks_found"], 0, "{report:#}");
}

#[tokio::test]
async fn insolvency_and_a_shortfall_of_an_unpriced_token_are_critical_and_pause() {
    let fixture = Fixture::new(&[Fault::EmergencyWithdrawal], &[]).await;
    fixture.without_price("WBTC");
    fixture.without_price("WETH");
    fixture.edit("WETH", 0, "0.000001").await;
    fixture.edit("WETH", 1, "-0.000001").await;
    let report = fixture.reconcile(&["--full"], &[]).await;
    let pair = |kind: &str, severity: &str| (kind.to_owned(), severity.to_owned());
    assert_eq!(
        severities(&report, "WBTC"),
        [pair("insolvent", "critical")],
        "{report:#}"
    );
    assert_eq!(
        severities(&report, "WETH"),
        [pair("shortfall", "critical"), pair("surplus", "warning")],
        "{report:#}"
    );
    assert_eq!(paused(&fixture, "WBTC").await, ["settlement", "withdrawal"]);
    assert_eq!(paused(&fixture, "WETH").await, ["settlement", "withdrawal"]);
}

/// `recon-svc check-config` of a file with these prices and two configured tokens: exit code and what it says.
async fn checked(prices: &str, further: &str) -> (i32, String) {
    let dir = ScratchDir::create("prices").unwrap();
    let path: PathBuf = dir.path().join("recon-svc.yaml");
    let yaml = format!(
        "service: {{ name: recon-svc, env: dev, version: test }}\n\
         chain:\n  vault: \"0x00000000000000000000000000000000000000aa\"\n  tokens:\n    \
         - {{ symbol: USDC, address: \"0x0000000000000000000000000000000000000001\", decimals: 6 }}\n    \
         - {{ symbol: WBTC, address: \"0x0000000000000000000000000000000000000002\", decimals: 8 }}\n\
         reconciliation:\n  prices: {prices}\n{further}"
    );
    std::fs::write(&path, yaml).unwrap();
    let (status, child) = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
        .args(["check-config"])
        .env("EIDOS_CONFIG", path)
        .run(Duration::from_secs(30))
        .await;
    (
        status.code().unwrap(),
        format!("{}{}", child.stdout(), child.stderr()),
    )
}

#[tokio::test]
async fn check_config_refuses_a_price_of_no_token_of_nothing_or_of_the_future() {
    const GOOD: &str = r#"{ WBTC: { usdc: "60000", as_of: "2026-01-01T00:00:00Z", source: desk } }"#;
    let (code, said) = checked(GOOD, "").await;
    assert_eq!(code, 0, "{said}");
    for (prices, named) in [
        (
            r#"{ wbtc: { usdc: "60000", source: desk } }"#,
            "the token is written WBTC",
        ),
        (
            r#"{ wbtc: { usdc: "60000", source: desk } }"#,
            "token WBTC has no price",
        ),
        (
            r#"{ WBTC: { usdc: "1", source: desk }, DOGE: { usdc: "1", source: desk } }"#,
            "DOGE, which is no token",
        ),
        (
            r#"{ WBTC: { usdc: "0", source: desk } }"#,
            "reconciliation.prices.WBTC.usdc",
        ),
        (
            r#"{ WBTC: { usdc: "1", as_of: "2036-01-01T00:00:00Z", source: desk } }"#,
            "reconciliation.prices.WBTC.as_of",
        ),
    ] {
        let (code, said) = checked(prices, "").await;
        assert_eq!(code, 78, "{prices}: {said}");
        assert!(said.contains(named), "{named} in {said}");
    }
    let (code, said) = checked("{}", "  unpriced: accept\n").await;
    assert_eq!(code, 0, "{said}");
}
