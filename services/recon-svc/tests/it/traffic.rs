//! Deposits and withdrawals of the native coin outside devnet's own ledger: they may be on a branch that is lost.

use eidos_types::{Address, Hash32};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::fixture::Fixture;

const DEPOSIT_ETH: &str = "0xf6326fb3";
const WITHDRAW_ETH: &str = "f14210a6";
/// Gas money, far above what a test spends.
const PURSE: &str = "0x3635c9adc5dea00000";
const WEI: u128 = 1_000_000_000_000_000_000;

/// A mined movement of whole coins.
pub(crate) struct Moved {
    wallet: Address,
    coins: u128,
    tx: String,
    index: i32,
    block: i64,
}

/// A wallet of this number that nobody else has.
pub(crate) fn wallet(number: u64) -> Address {
    let mut bytes = [0xd0; 20];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    Address::new(bytes)
}

async fn call(fixture: &Fixture, method: &'static str, params: Value) -> Value {
    fixture.world.node().call(method, params).await.unwrap()
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Gives the wallets below this number gas money. It changes the state of the newest block and not its header, so another
/// block follows; no test goes back to it.
pub(crate) async fn fund(fixture: &Fixture, wallets: u64) {
    for number in 0..wallets {
        call(fixture, "anvil_setBalance", json!([wallet(number), PURSE])).await;
    }
    fixture.world.mine_blocks(1).await.unwrap();
}

/// A transaction to the Vault, alone in the next block.
async fn mined(fixture: &Fixture, wallet: Address, coins: u128, data: String, value: u128) -> Moved {
    let vault = fixture.world.addresses().vault;
    let request = json!([{"from": wallet, "to": vault, "data": data, "value": format!("{value:#x}"), "gas": "0x493e0"}]);
    let hash = call(fixture, "eth_sendTransaction", request).await;
    fixture.world.mine_blocks(1).await.unwrap();
    let receipt = call(fixture, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    Moved {
        wallet,
        coins,
        tx: hash.as_str().unwrap().to_owned(),
        index: i32::try_from(number(&receipt["logs"][0]["logIndex"])).unwrap(),
        block: i64::try_from(number(&receipt["blockNumber"])).unwrap(),
    }
}

/// Pays coins into the Vault, in a block of its own.
pub(crate) async fn deposit(fixture: &Fixture, wallet: Address, coins: u128) -> Moved {
    mined(fixture, wallet, coins, DEPOSIT_ETH.to_owned(), coins * WEI).await
}

/// Takes coins out of the Vault, in a block of its own.
pub(crate) async fn withdraw(fixture: &Fixture, wallet: Address, coins: u128) -> Moved {
    let data = format!("0x{WITHDRAW_ETH}{:064x}", coins * WEI);
    mined(fixture, wallet, coins, data, 0).await
}

async fn execute(fixture: &Fixture, statement: String) {
    sqlx::query(AssertSqlSafe(statement))
        .execute(fixture.books())
        .await
        .unwrap();
}

async fn add_to_balance(fixture: &Fixture, wallet: Address, coins: &str) {
    let statement = format!(
        "INSERT INTO eidos_trading_balances (wallet, token, settled_available, created_at, updated_at) \
         VALUES ('{wallet}', 'ETH', {coins}, 1, (extract(epoch FROM now()) * 1000)::bigint) \
         ON CONFLICT (wallet, token) DO UPDATE SET updated_at = EXCLUDED.updated_at, \
             settled_available = eidos_trading_balances.settled_available + EXCLUDED.settled_available"
    );
    execute(fixture, statement).await;
}

/// Credits a deposit in the books.
pub(crate) async fn book_deposit(fixture: &Fixture, deposit: &Moved) {
    let Moved {
        wallet,
        coins,
        tx,
        index,
        block,
    } = deposit;
    let statement = format!(
        "INSERT INTO eidos_trading_deposits (deposit_id, wallet, token, amount, tx_hash, log_index, block_num, status, \
             detected_at, confirmed_at, credited_at, created_at, updated_at) \
         SELECT '{id}', '{wallet}', 'ETH', {coins}, '{tx}', {index}, {block}, 2, now, now, now, now, now \
         FROM (SELECT (extract(epoch FROM now()) * 1000)::bigint AS now) AS clock",
        id = &tx[2..]
    );
    execute(fixture, statement).await;
    add_to_balance(fixture, *wallet, &coins.to_string()).await;
}

/// Debits a withdrawal in the books and calls it confirmed.
pub(crate) async fn book_withdrawal(fixture: &Fixture, withdrawal: &Moved) {
    let Moved {
        wallet,
        coins,
        tx,
        block,
        ..
    } = withdrawal;
    let (id, clock) = (
        &tx[2..],
        "(SELECT (extract(epoch FROM now()) * 1000)::bigint AS now) AS clock",
    );
    let statement = format!(
        "INSERT INTO eidos_trading_withdrawals (withdraw_id, wallet, token, amount, to_address, nonce, status, tx_hash, \
             submitted_at, confirmed_at, created_at, updated_at) \
         SELECT '{id}', '{wallet}', 'ETH', {coins}, '{wallet}', {block}, 3, '{tx}', now, now, now, now FROM {clock}"
    );
    execute(fixture, statement).await;
    let (token, chain_id) = (Address::ZERO, fixture.world.addresses().chain_id);
    let statement = format!(
        "INSERT INTO eidos_chain_withdrawal_txs (withdraw_id, wallet_address, to_address, token, token_address, amount, \
             chain_id, tx_hash, block_number, status, submitted_at, confirmed_at, created_at, updated_at) \
         SELECT '{id}', '{wallet}', '{wallet}', 'ETH', '{token}', {coins}, {chain_id}, '{tx}', {block}, 2, now, now, now, now \
         FROM {clock}"
    );
    execute(fixture, statement).await;
    add_to_balance(fixture, *wallet, &format!("-{coins}")).await;
}

/// The request with which anvil replaces its newest blocks by empty ones.
pub(crate) fn reorganise(depth: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "anvil_reorg", "params": [depth, []]})
}

/// Moves the books' indexer to the node's newest block.
pub(crate) async fn index(fixture: &Fixture) -> u64 {
    let head = fixture.world.node().block(None).await.unwrap();
    fixture.indexed(head.number, head.hash).await;
    head.number
}

/// Takes the indexer's hash away: what it follows is not known.
pub(crate) async fn forget_indexed_hash(fixture: &Fixture) {
    execute(
        fixture,
        "UPDATE eidos_chain_block_checkpoints SET block_hash = ''".to_owned(),
    )
    .await;
}

/// The hash of a block on the chain now.
pub(crate) async fn hash_of(fixture: &Fixture, block: u64) -> Hash32 {
    fixture.world.node().block(Some(block)).await.unwrap().hash
}
