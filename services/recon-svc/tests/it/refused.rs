//! What is wrong at start is refused with its name and a fix, and nothing is reconciled.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::Fixture;

async fn refusal(fixture: &Fixture, settings: &[(&str, &str)]) -> String {
    let settings = [&[("SERVICE__START_TIMEOUT", "1s")][..], settings].concat();
    let (status, child) = fixture
        .command(&["--full"], &settings)
        .run(Duration::from_mins(1))
        .await;
    assert!(!status.success(), "{}", child.stdout());
    format!("{}{}", child.stdout(), child.stderr())
}

#[tokio::test]
async fn ruling_16_each_mistake_is_named() {
    let fixture = Fixture::clean().await;
    let column = r#"{"balances": {"columns": {"settled_frozen": "frozen_settled"}}}"#;
    for (key, value, named) in [
        ("CHAIN__CHAIN_ID", "1", "chain_id"),
        ("CHAIN__RPC_URL", "http://127.0.0.1:9", "127.0.0.1:9"),
        (
            "SCHEMA_PROFILE__PROFILE",
            "eidos-code",
            "table trading_balances does not exist",
        ),
        (
            "SCHEMA_PROFILE__TABLES",
            column,
            "eidos_trading_balances has no column frozen_settled",
        ),
    ] {
        let said = refusal(&fixture, &[(key, value)]).await;
        assert!(said.contains(named), "{key}: {named} in {said}");
    }
    sqlx::query("DELETE FROM eidos_chain_block_checkpoints")
        .execute(fixture.books())
        .await
        .unwrap();
    let said = refusal(&fixture, &[("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1")]).await;
    assert!(said.contains("eidos_chain_block_checkpoints"), "{said}");
}

#[tokio::test]
async fn ruling_16_tokens_that_contradict_the_books_are_named() {
    let fixture = Fixture::clean().await;
    let tokens = |without: &str, usdc_decimals: u8| {
        let list = fixture
            .world
            .tokens()
            .values()
            .filter(|token| token.symbol != without);
        let entry = |token: &eidos_devnet::Token| {
            let decimals = if token.symbol == "USDC" {
                usdc_decimals
            } else {
                token.decimals
            };
            json!({ "symbol": token.symbol, "address": token.address, "decimals": decimals })
        };
        list.map(entry).collect::<Value>().to_string()
    };
    for (value, named) in [
        (
            tokens("HUGE", 6),
            "token HUGE is in eidos_admin_token_configs but not in chain.tokens",
        ),
        (tokens("", 7), "token USDC: chain.tokens says"),
    ] {
        let said = refusal(&fixture, &[("CHAIN__TOKENS", &value)]).await;
        assert!(said.contains(named), "{named} in {said}");
    }
}

#[tokio::test]
async fn ruling_21_an_indexer_on_a_fork_is_no_difference() {
    let fixture = Fixture::clean().await;
    sqlx::query("UPDATE eidos_chain_block_checkpoints SET block_hash = '0x' || repeat('ab', 32)")
        .execute(fixture.books())
        .await
        .unwrap();
    let said = refusal(&fixture, &[("JOBS__RECONCILIATION__RETRY__MAX_ATTEMPTS", "1")]).await;
    assert!(said.contains("reorganised"), "{said}");
    assert_eq!(fixture.open_breaks().await, []);
}
