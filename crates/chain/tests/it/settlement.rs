//! Batches, trades, fees and receipts, after a batch was really settled.

use alloy_primitives::{B256, U256};
use eidos_chain::contracts::{ISettlement, IVault, Trade, evm};
use eidos_chain::{BlockRef, ChainReader};
use eidos_types::{Address, BaseUnits, Hash32};

use crate::fixture::Fixture;

const BATCH: B256 = B256::repeat_byte(0xb1);
const TRADE: B256 = B256::repeat_byte(0x71);

/// The blocks before and after one settled trade, and the transactions.
struct Settled {
    reader: ChainReader,
    before: BlockRef,
    after: BlockRef,
    deposit: Hash32,
    batch_tx: Hash32,
}

/// The first user buys 10 WETH units from the second for 2,000 USDC units, with fees of 4 and 6.
async fn settle_one_trade(fixture: &Fixture) -> Settled {
    let (buyer, seller) = (fixture.users[0], fixture.users[1]);
    let deposit = fixture.deposit(buyer, fixture.usdc, 10_000).await;
    fixture.deposit(seller, fixture.weth, 50).await;
    let lock = |user: Address, token: Address, amount: u64| IVault::lockFundsCall {
        user: evm(&user),
        token: evm(&token),
        amount: U256::from(amount),
        orderId: B256::repeat_byte(1),
    };
    fixture
        .node
        .call(fixture.owner, fixture.vault, &lock(buyer, fixture.usdc, 2_004))
        .await;
    fixture
        .node
        .call(fixture.owner, fixture.vault, &lock(seller, fixture.weth, 10))
        .await;
    let reader = fixture.reader().await;
    let before = reader.head().await.unwrap();
    let trades = vec![Trade {
        tradeId: TRADE,
        maker: evm(&buyer),
        taker: evm(&seller),
        baseToken: evm(&fixture.weth),
        quoteToken: evm(&fixture.usdc),
        baseAmount: U256::from(10),
        quoteAmount: U256::from(2_000),
        makerFee: U256::from(4),
        takerFee: U256::from(6),
        isBuy: true,
    }];
    let settle = ISettlement::settleBatchCall {
        batchId: BATCH,
        trades,
    };
    let batch_tx = fixture
        .node
        .call(fixture.owner, fixture.settlement, &settle)
        .await;
    let after = reader.head().await.unwrap();
    Settled {
        reader,
        before,
        after,
        deposit,
        batch_tx,
    }
}

#[tokio::test]
async fn receipts_and_settlements() {
    let fixture = Fixture::start().await;
    let Settled {
        reader,
        before,
        after,
        deposit,
        batch_tx,
    } = settle_one_trade(&fixture).await;
    let (buyer, seller) = (fixture.users[0], fixture.users[1]);
    let ids = [Hash32::new(BATCH.0), Hash32::new([0; 32])];
    assert_eq!(
        reader.batches_settled(&before, &ids).await.unwrap(),
        [false, false]
    );
    assert_eq!(reader.batches_settled(&after, &ids).await.unwrap(), [true, false]);
    assert_eq!(
        reader
            .trades_settled(&after, &[Hash32::new(TRADE.0)])
            .await
            .unwrap(),
        [true]
    );
    assert_eq!(
        reader.fees_collected(&after, &[fixture.usdc]).await.unwrap(),
        [BaseUnits::from(10)]
    );
    let pairs = [
        (buyer, fixture.usdc),
        (buyer, fixture.weth),
        (seller, fixture.usdc),
        (seller, fixture.weth),
        (reader.fee_recipient().unwrap(), fixture.usdc),
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
        .receipts(&[batch_tx, Hash32::new([3; 32]), deposit])
        .await
        .unwrap();
    let head = reader.head().await.unwrap().number;
    assert_eq!(
        receipts.head, head,
        "how far the absence of a receipt proves anything"
    );
    let receipts = receipts.receipts;
    let settled = receipts[0].unwrap();
    assert_eq!(
        (settled.block_number, settled.block_hash, settled.success),
        (after.number, after.hash, true)
    );
    assert_eq!(receipts[1], None);
    assert!(receipts[2].unwrap().block_number < before.number);
    assert_eq!(
        reader.code_hash(&after, &fixture.vault).await.unwrap(),
        reader.vault_code_hash()
    );
}
