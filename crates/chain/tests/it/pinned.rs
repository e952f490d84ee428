//! Reads stay at their block: later blocks do not show, a reorganisation is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::U256;
use eidos_chain::contracts::{IVault, encode, evm};
use eidos_chain::{ChainError, Finality, RungState};
use eidos_types::{Address, BaseUnits, Hash32};
use serde_json::json;

use crate::fixture::{Fixture, connect};
use crate::requests::is_bulk;
use eidos_testkit::{RpcFault, RpcProxy};

#[tokio::test]
async fn finality_follows_the_policy() {
    let fixture = Fixture::start().await;
    fixture.node.mine(20).await;
    let mut settings = fixture.settings();
    let head = connect(&settings).await.head().await.unwrap();
    for (finality, expected) in [
        (Finality::Depth(0), head.number),
        (Finality::Depth(5), head.number - 5),
        (Finality::Safe, head.number - 1),
        (Finality::Finalized, head.number - 2),
    ] {
        settings.finality = finality;
        let reader = connect(&settings).await;
        let block = reader.finalized().await.unwrap();
        assert_eq!(block.number, expected, "{finality:?}");
        assert_eq!(reader.header_by_hash(block.hash).await.unwrap(), Some(block));
    }
    let reader = connect(&settings).await;
    assert_eq!(reader.block(head.number + 1).await.unwrap(), None);
    assert_eq!(reader.header_by_hash(Hash32::new([1; 32])).await.unwrap(), None);
}

#[tokio::test]
async fn later_blocks_do_not_show() {
    let fixture = Fixture::start().await;
    let reader = fixture.reader().await;
    let user = fixture.users[0];
    fixture.deposit(user, fixture.usdc, 100).await;
    let before = reader.head().await.unwrap();
    fixture.deposit(user, fixture.usdc, 11).await;
    fixture
        .node
        .send(user, Some(fixture.vault), encode(&IVault::depositETHCall {}), 5)
        .await;
    let after = reader.head().await.unwrap();
    let pairs = [(user, fixture.usdc), (user, Address::ZERO)];
    let units = |values: [u128; 2]| values.map(BaseUnits::from).to_vec();
    assert_eq!(
        reader.vault_totals(&before, &pairs).await.unwrap(),
        units([100, 0])
    );
    assert_eq!(
        reader.vault_totals(&after, &pairs).await.unwrap(),
        units([111, 5])
    );
    let tokens = [fixture.usdc, Address::ZERO];
    assert_eq!(
        reader.token_held(&before, &tokens).await.unwrap(),
        units([100, 0])
    );
    assert_eq!(reader.token_held(&after, &tokens).await.unwrap(), units([111, 5]));
    let gone = IVault::emergencyWithdrawCall {
        token: evm(&fixture.usdc),
        amount: U256::from(111),
        to: evm(&fixture.owner),
    };
    fixture.node.call(fixture.owner, fixture.vault, &gone).await;
    let robbed = reader.head().await.unwrap();
    assert_eq!(reader.token_held(&robbed, &tokens).await.unwrap(), units([0, 5]));
    assert_eq!(
        reader.vault_totals(&robbed, &pairs).await.unwrap(),
        units([111, 5]),
        "balances do not move"
    );
}

#[tokio::test]
async fn a_token_that_is_no_contract_holds_no_zero() {
    let fixture = Fixture::start().await;
    let reader = fixture.reader().await;
    let at = reader.head().await.unwrap();
    let error = reader
        .token_held(&at, &[Address::new([9; 20])])
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_reorganisation_is_an_error() {
    let fixture = Fixture::start().await;
    let (pairs, totals) = fixture.fill(20, 1).await;
    let reader = fixture.reader().await;
    fixture.node.mine(3).await;
    let at = reader.head().await.unwrap();
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    fixture.node.rpc("anvil_reorg", json!([2, []])).await;
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Reorged { number, .. } if number == at.number),
        "{error}"
    );
    let error = reader.token_held(&at, &[fixture.usdc]).await.unwrap_err();
    assert!(error.needs_new_pin(), "{error}");
    let now = reader.head().await.unwrap();
    assert_eq!(
        reader.vault_totals(&now, &pairs).await.unwrap(),
        totals,
        "a new pin reads again"
    );
}

#[tokio::test]
async fn a_chain_that_became_shorter_is_an_error() {
    let fixture = Fixture::start().await;
    let (pairs, _totals) = fixture.fill(5, 1).await;
    let reader = fixture.reader().await;
    let snapshot = fixture.node.rpc("evm_snapshot", json!([])).await;
    fixture.node.mine(2).await;
    let at = reader.head().await.unwrap();
    fixture.node.rpc("evm_revert", json!([snapshot])).await;
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(matches!(error, ChainError::StateUnavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_reorganisation_in_the_middle_of_a_read_is_an_error() {
    let fixture = Fixture::start().await;
    let (pairs, _totals) = fixture.fill(20, 1).await;
    fixture.node.mine(3).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    // After the first bulk read the node says that the pinned number has another block.
    let reorganised = Arc::new(AtomicBool::new(false));
    proxy.misbehave(move |request| {
        if is_bulk(request) {
            reorganised.store(true, Ordering::Relaxed);
        }
        if request["method"] == "eth_getBlockByNumber" && reorganised.load(Ordering::Relaxed) {
            return RpcFault::answer(|mut answer| {
                answer["result"]["hash"] = json!(Hash32::new([0xee; 32]));
                answer
            });
        }
        RpcFault::None
    });
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(matches!(error, ChainError::Reorged { .. }), "{error}");
}

#[tokio::test]
async fn a_node_that_lags_does_not_answer_for_its_own_past() {
    let fixture = Fixture::start().await;
    let (pairs, _totals) = fixture.fill(10, 1).await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_getBlockByNumber") => RpcFault::answer(|mut answer| {
            answer["result"] = json!(null);
            answer
        }),
        _ => RpcFault::None,
    });
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(
        matches!(error, ChainError::StateUnavailable { .. }) && error.needs_new_pin(),
        "{error}"
    );
    // The header is there, the state is not: every wording of it asks for a new pin.
    for words in [
        "missing trie node 01 (path )",
        "header not found",
        "state not available for this block",
    ] {
        proxy.misbehave(move |request| match request["method"].as_str() {
            Some("eth_call") => RpcFault::error(request, -32_000, words),
            _ => RpcFault::None,
        });
        let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
        assert!(matches!(error, ChainError::StateUnavailable { .. }), "{error}");
    }
    assert!(
        matches!(reader.ladder_report().rungs[0].state, RungState::Ready),
        "it is not the rung's fault"
    );
}

#[tokio::test]
async fn a_header_of_another_block_is_refused() {
    let fixture = Fixture::start().await;
    let proxy = RpcProxy::before(&fixture.node.url).await;
    let reader = connect(&fixture.settings_at(&proxy.url)).await;
    proxy.misbehave(|request| match request["method"].as_str() {
        Some("eth_getBlockByNumber" | "eth_getBlockByHash") => {
            let mut request = request.clone();
            request["method"] = json!("eth_getBlockByNumber");
            request["params"][0] = json!("0x1");
            RpcFault::Ask(request)
        }
        _ => RpcFault::None,
    });
    assert!(matches!(
        reader.block(3).await.unwrap_err(),
        ChainError::Malformed { .. }
    ));
    let hash = eidos_types::Hash32::new([7; 32]);
    assert!(matches!(
        reader.header_by_hash(hash).await.unwrap_err(),
        ChainError::Malformed { .. }
    ));
}
