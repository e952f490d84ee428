//! Reads stay at their block: later blocks do not show, a reorganisation is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy_primitives::{B256, U256};
use eidos_chain::contracts::{ISettlement, IVault, Trade, encode, evm};
use eidos_chain::{ChainError, Finality};
use eidos_types::{Address, BaseUnits, Hash32};
use serde_json::json;

use crate::proxy::{Fault, Proxy, is_bulk};
use crate::world::{World, connect};

#[tokio::test]
async fn finality_follows_the_policy() {
    let world = World::start().await;
    world.node.mine(20).await;
    let mut settings = world.settings();
    let head = connect(&settings).await.head().await.unwrap();
    for (finality, expected) in [
        (Finality::Depth(0), head.number),
        (Finality::Depth(5), head.number - 5),
        (Finality::Depth(10_000), 0),
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
    let world = World::start().await;
    let reader = world.reader().await;
    let user = world.users[0];
    world.deposit(user, world.usdc, 100).await;
    let before = reader.head().await.unwrap();
    world.deposit(user, world.usdc, 11).await;
    world
        .node
        .send(user, Some(world.vault), encode(&IVault::depositETHCall {}), 5)
        .await;
    let after = reader.head().await.unwrap();
    let pairs = [(user, world.usdc), (user, Address::ZERO)];
    let units = |values: [u128; 2]| values.map(BaseUnits::from).to_vec();
    assert_eq!(
        reader.vault_totals(&before, &pairs).await.unwrap(),
        units([100, 0])
    );
    assert_eq!(
        reader.vault_totals(&after, &pairs).await.unwrap(),
        units([111, 5])
    );
    let tokens = [world.usdc, Address::ZERO];
    assert_eq!(
        reader.token_held(&before, &tokens).await.unwrap(),
        units([100, 0])
    );
    assert_eq!(reader.token_held(&after, &tokens).await.unwrap(), units([111, 5]));
    let gone = IVault::emergencyWithdrawCall {
        token: evm(&world.usdc),
        amount: U256::from(111),
        to: evm(&world.owner),
    };
    world.node.call(world.owner, world.vault, &gone).await;
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
    let world = World::start().await;
    let reader = world.reader().await;
    let at = reader.head().await.unwrap();
    let error = reader
        .token_held(&at, &[Address::new([9; 20])])
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_reorganisation_is_an_error() {
    let world = World::start().await;
    let (pairs, totals) = world.fill(20, 1).await;
    let reader = world.reader().await;
    world.node.mine(3).await;
    let at = reader.head().await.unwrap();
    assert_eq!(reader.vault_totals(&at, &pairs).await.unwrap(), totals);
    world.node.rpc("anvil_reorg", json!([2, []])).await;
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Reorged { number, .. } if number == at.number),
        "{error}"
    );
    let error = reader.token_held(&at, &[world.usdc]).await.unwrap_err();
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
    let world = World::start().await;
    let (pairs, _totals) = world.fill(5, 1).await;
    let reader = world.reader().await;
    let snapshot = world.node.rpc("evm_snapshot", json!([])).await;
    world.node.mine(2).await;
    let at = reader.head().await.unwrap();
    world.node.rpc("evm_revert", json!([snapshot])).await;
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(matches!(error, ChainError::StateUnavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_reorganisation_in_the_middle_of_a_read_is_an_error() {
    let world = World::start().await;
    let (pairs, _totals) = world.fill(20, 1).await;
    world.node.mine(3).await;
    let proxy = Proxy::before(&world.node).await;
    let reader = connect(&world.settings_at(&proxy.url)).await;
    let at = reader.head().await.unwrap();
    // After the first bulk read the node says that the pinned number has another block.
    let reorganised = Arc::new(AtomicBool::new(false));
    proxy.misbehave(move |request| {
        if is_bulk(request) {
            reorganised.store(true, Ordering::Relaxed);
        }
        if request["method"] == "eth_getBlockByNumber" && reorganised.load(Ordering::Relaxed) {
            return Fault::answer(|mut answer| {
                answer["result"]["hash"] = json!(Hash32::new([0xee; 32]));
                answer
            });
        }
        Fault::None
    });
    let error = reader.vault_totals(&at, &pairs).await.unwrap_err();
    assert!(matches!(error, ChainError::Reorged { .. }), "{error}");
}

#[tokio::test]
async fn receipts_and_settlements() {
    let world = World::start().await;
    let (buyer, seller) = (world.users[0], world.users[1]);
    let deposit = world.deposit(buyer, world.usdc, 10_000).await;
    world.deposit(seller, world.weth, 50).await;
    let lock = |user: Address, token: Address, amount: u64| IVault::lockFundsCall {
        user: evm(&user),
        token: evm(&token),
        amount: U256::from(amount),
        orderId: B256::repeat_byte(1),
    };
    world
        .node
        .call(world.owner, world.vault, &lock(buyer, world.usdc, 2_004))
        .await;
    world
        .node
        .call(world.owner, world.vault, &lock(seller, world.weth, 10))
        .await;
    let reader = world.reader().await;
    let before = reader.head().await.unwrap();
    let (batch, trade) = (B256::repeat_byte(0xb1), B256::repeat_byte(0x71));
    let trades = vec![Trade {
        tradeId: trade,
        maker: evm(&buyer),
        taker: evm(&seller),
        baseToken: evm(&world.weth),
        quoteToken: evm(&world.usdc),
        baseAmount: U256::from(10),
        quoteAmount: U256::from(2_000),
        makerFee: U256::from(4),
        takerFee: U256::from(6),
        isBuy: true,
    }];
    let settle = ISettlement::settleBatchCall {
        batchId: batch,
        trades,
    };
    let settled_in = world.node.call(world.owner, world.settlement, &settle).await;
    let after = reader.head().await.unwrap();

    let ids = [Hash32::new(batch.0), Hash32::new([0; 32])];
    assert_eq!(
        reader.batches_settled(&before, &ids).await.unwrap(),
        [false, false]
    );
    assert_eq!(reader.batches_settled(&after, &ids).await.unwrap(), [true, false]);
    assert_eq!(
        reader
            .trades_settled(&after, &[Hash32::new(trade.0)])
            .await
            .unwrap(),
        [true]
    );
    assert_eq!(
        reader.fees_collected(&after, &[world.usdc]).await.unwrap(),
        [BaseUnits::from(10)]
    );
    let pairs = [
        (buyer, world.usdc),
        (buyer, world.weth),
        (seller, world.usdc),
        (seller, world.weth),
        (reader.fee_recipient().unwrap(), world.usdc),
    ];
    let totals = reader.vault_totals(&after, &pairs).await.unwrap();
    // Buyer: −2,000 quote −4 fee +10 base. Seller: −10 base +2,000 quote −6 fee. Fees: +10.
    assert_eq!(totals, [7_996, 10, 1_994, 40, 10].map(BaseUnits::from));
    assert_eq!(
        reader.vault_locked(&after, &pairs).await.unwrap(),
        [BaseUnits::ZERO; 5]
    );
    assert_eq!(
        reader.vault_locked(&before, &pairs[..1]).await.unwrap(),
        [BaseUnits::from(2_004)]
    );

    let receipts = reader
        .receipts(&[settled_in, Hash32::new([3; 32]), deposit])
        .await
        .unwrap();
    let settled = receipts[0].unwrap();
    assert_eq!(
        (settled.block_number, settled.block_hash, settled.success),
        (after.number, after.hash, true)
    );
    assert_eq!(receipts[1], None);
    assert!(receipts[2].unwrap().block_number < before.number);
    assert_eq!(
        reader.code_hash(&after, &world.vault).await.unwrap(),
        reader.vault_code_hash()
    );
}
