//! A million accounts in seconds: the chain from a genesis file with the Vault's storage in it, the books by binary COPY.
//!
//! There are neither deposits nor events here; the two sides simply agree. Both are written as streams, so
//! memory does not grow with the number of accounts.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_chain::contracts::{settlement_artifact, test_token_artifact, vault_artifact};
use eidos_chain::nested_slot;
use eidos_sandbox::{Anvil, AnvilOptions};
use eidos_types::copy_binary::{COPY_HEADER, COPY_TRAILER};
use eidos_types::{Address, Amount};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::devnet::{Addresses, now_ms};
use crate::genesis::account;
use crate::neighbours;
use crate::node::{Block, Node};
use crate::tokens::{SPECS, Token, TokenSpec};

/// Bytes collected before they are sent to the database.
const COPY_CHUNK: usize = 1 << 20;
/// Blocks above genesis. The node keeps every past state as a copy of all storage, so few.
const BLOCKS: u64 = 3;
/// Loading a genesis file of a million slots takes anvil four seconds.
const NODE_READY_WITHIN: Duration = Duration::from_mins(5);

/// A devnet of many accounts.
#[derive(Debug)]
pub struct Bulk {
    /// The node; it ends with this value.
    pub anvil: Anvil,
    /// Contracts and accounts.
    pub addresses: Addresses,
    /// Tokens by symbol.
    pub tokens: BTreeMap<&'static str, Token>,
    /// The indexer's checkpoint.
    pub cut: Block,
}

/// What account `index` of a plan holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its wallet; ascending with the index and spread over the whole address space.
    pub wallet: Address,
    /// Its token's position in [`Plan::tokens`].
    pub token: usize,
    /// What it holds in the token's smallest unit; never zero.
    pub units: u64,
}

/// Who holds what: a function of the index, never a list.
#[derive(Debug, Clone)]
pub struct Plan {
    accounts: u64,
    tokens: Vec<Token>,
}

impl Plan {
    /// `accounts` pairs of wallet and token, one token each.
    pub fn new(accounts: u64) -> Self {
        let tokens = SPECS
            .iter()
            .filter(|spec| spec.price_usdc.is_some())
            .map(|spec| Token {
                symbol: spec.symbol,
                decimals: spec.decimals,
                address: account(0, spec.symbol, 0),
                price_usdc: spec.price_usdc,
            })
            .collect();
        Self { accounts, tokens }
    }

    /// The tokens held.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Account `index`, below the number of accounts.
    pub fn account(&self, index: u64) -> Account {
        let step = u64::MAX / self.accounts.max(1);
        let mut wallet = [0_u8; 20];
        wallet[..8].copy_from_slice(&(index * step).to_be_bytes());
        wallet[8..16].copy_from_slice(&scramble(index).to_be_bytes());
        let tokens = self.tokens.len().max(1);
        Account {
            wallet: Address::new(wallet),
            token: usize::try_from(index % (tokens as u64)).unwrap_or_default(),
            units: scramble(index.wrapping_add(1 << 40)) % 1_000_000_000_000 + 1,
        }
    }

    /// All of them, in order of wallet.
    pub fn accounts(&self) -> impl Iterator<Item = Account> + '_ {
        (0..self.accounts).map(|index| self.account(index))
    }
}

/// Builds it: genesis file and node below `dir`, the books in the empty database behind `pool`.
///
/// # Errors
/// If a server refuses or the disk is full.
pub async fn build(accounts: u64, dir: &Path, pool: &PgPool) -> anyhow::Result<Bulk> {
    ensure!(
        (1..=100_000_000).contains(&accounts),
        "{accounts} accounts: use 1 to 100000000"
    );
    let plan = Plan::new(accounts);
    let addresses = addresses();
    let genesis = dir.join("bulk-genesis.json");
    write_genesis(&genesis, &plan, &addresses).with_context(|| format!("writing {}", genesis.display()))?;
    let anvil = Anvil::start(AnvilOptions {
        genesis: Some(genesis),
        ready_within: NODE_READY_WITHIN,
        ..AnvilOptions::default()
    })
    .await?;
    let node = Node::new(&anvil.url())?;
    node.mine(BLOCKS).await?;
    let cut = node.block(Some(node.finalized().await?)).await?;
    neighbours::install(pool).await?;
    fill_books(pool, &plan).await?;
    register(pool, &plan, &addresses, cut).await?;
    let tokens = plan
        .tokens
        .into_iter()
        .map(|token| (token.symbol, token))
        .collect();
    Ok(Bulk {
        anvil,
        addresses,
        tokens,
        cut,
    })
}

/// The contracts' addresses are chosen, not computed: a genesis file may place code anywhere.
fn addresses() -> Addresses {
    let of = |role| account(0, role, 0);
    Addresses {
        chain_id: 31_337,
        vault: of("vault"),
        settlement: of("settlement"),
        fee_recipient: of("fee-recipient"),
        owner: of("owner"),
        operator: of("operator"),
        deployed_in: 0,
    }
}

/// Writes the genesis file as a stream: the Vault first, then the tokens, whose supply is known only then.
fn write_genesis(path: &PathBuf, plan: &Plan, addresses: &Addresses) -> anyhow::Result<()> {
    let vault = vault_artifact()?;
    let totals = vault.slot_of("_totals").context("the Vault has no _totals")?;
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let genesis_s = now_ms() / 1_000 - 3_600;
    write!(
        out,
        r#"{{"config":{{"chainId":{}}},"difficulty":"0x0","gasLimit":"0x4a817c800","nonce":"0x0","timestamp":"{genesis_s:#x}","alloc":{{"{}":{{"balance":"0x0","code":"{}","storage":{{{:?}:"{}",{:?}:"{}",{:?}:"{}""#,
        addresses.chain_id,
        addresses.vault,
        vault.deployed_bytecode,
        slot(0),
        padded(addresses.owner),
        slot(1),
        padded(addresses.operator),
        slot(2),
        padded(addresses.settlement),
    )?;
    let mut supply = vec![0_u128; plan.tokens.len()];
    for account in plan.accounts() {
        let token = plan.tokens.get(account.token).context("no such token")?;
        let place = nested_slot(totals, &account.wallet, &token.address);
        write!(out, r#","{place}":"{:#066x}""#, account.units)?;
        if let Some(sum) = supply.get_mut(account.token) {
            *sum += u128::from(account.units);
        }
    }
    write!(out, "}}}}")?;
    write_account(&mut out, addresses.settlement, &settlement_genesis(addresses)?)?;
    for ((token, spec), supply) in plan.tokens.iter().zip(&SPECS).zip(supply) {
        write_account(
            &mut out,
            token.address,
            &token_genesis(spec, addresses.vault, supply)?,
        )?;
    }
    write!(out, "}}}}")?;
    out.flush()?;
    Ok(())
}

fn write_account(out: &mut impl Write, address: Address, contents: &Value) -> std::io::Result<()> {
    write!(out, r#","{address}":{contents}"#)
}

fn settlement_genesis(addresses: &Addresses) -> anyhow::Result<Value> {
    let artifact = settlement_artifact()?;
    let mut storage = BTreeMap::new();
    for (label, value) in [
        ("owner", addresses.owner),
        ("vault", addresses.vault),
        ("operator", addresses.operator),
        ("feeRecipient", addresses.fee_recipient),
    ] {
        let place = artifact
            .slot_of(label)
            .with_context(|| format!("Settlement has no {label}"))?;
        storage.insert(slot(place), padded(value));
    }
    Ok(json!({"balance": "0x0", "code": artifact.deployed_bytecode, "storage": storage}))
}

fn token_genesis(spec: &TokenSpec, vault: Address, supply: u128) -> anyhow::Result<Value> {
    let artifact = test_token_artifact()?;
    let place = |label: &str| {
        artifact
            .slot_of(label)
            .with_context(|| format!("TestToken has no {label}"))
    };
    let held = {
        let mut words = [0_u8; 64];
        words[12..32].copy_from_slice(vault.as_bytes());
        words[56..].copy_from_slice(&place("balanceOf")?.to_be_bytes());
        alloy_primitives::keccak256(words).to_string()
    };
    let supply = format!("{supply:#066x}");
    let storage = BTreeMap::from([
        (slot(place("name")?), short_string(spec.name)?),
        (slot(place("symbol")?), short_string(spec.symbol)?),
        (slot(place("decimals")?), format!("{:#066x}", spec.decimals)),
        (slot(place("totalSupply")?), supply.clone()),
        (held, supply),
    ]);
    Ok(json!({"balance": "0x0", "code": artifact.deployed_bytecode, "storage": storage}))
}

/// Solidity's form of a string below 32 bytes: the text, then twice its length in the last byte.
fn short_string(text: &str) -> anyhow::Result<String> {
    let mut word = [0_u8; 32];
    let length = u8::try_from(text.len())
        .ok()
        .filter(|length| *length < 32)
        .context("not a short string")?;
    for (to, from) in word.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    word[31] = length * 2;
    Ok(format!("0x{}", hex::encode(word)))
}

fn slot(number: u64) -> String {
    format!("{number:#066x}")
}

fn padded(address: Address) -> String {
    format!("0x{:0>64}", hex::encode(address.as_bytes()))
}

/// Streams the balances into the database, in order of wallet, which is also the cheapest order for the index.
async fn fill_books(pool: &PgPool, plan: &Plan) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut copy = connection
        .copy_in_raw(
            "COPY eidos_trading_balances (wallet, token, settled_available, settled_frozen, created_at, updated_at)
             FROM STDIN (FORMAT binary)",
        )
        .await?;
    let mut chunk = COPY_HEADER.to_vec();
    let at = now_ms().to_be_bytes();
    for (index, account) in plan.accounts().enumerate() {
        let token = plan.tokens.get(account.token).context("no such token")?;
        let amount = token.amount(u128::from(account.units))?;
        // Every tenth account has everything in open orders.
        let (available, frozen) = if index % 10 == 0 {
            (Amount::ZERO, amount)
        } else {
            (amount, Amount::ZERO)
        };
        chunk.extend_from_slice(&6_i16.to_be_bytes());
        push_field(&mut chunk, account.wallet.to_string().as_bytes())?;
        push_field(&mut chunk, token.symbol.as_bytes())?;
        for value in [available, frozen] {
            let mut numeric = Vec::with_capacity(32);
            value.write_pg_numeric(&mut numeric);
            push_field(&mut chunk, &numeric)?;
        }
        push_field(&mut chunk, &at)?;
        push_field(&mut chunk, &at)?;
        if chunk.len() >= COPY_CHUNK {
            copy.send(std::mem::take(&mut chunk)).await?;
        }
    }
    chunk.extend_from_slice(&COPY_TRAILER);
    copy.send(chunk).await?;
    copy.finish().await?;
    sqlx::query("ANALYZE eidos_trading_balances")
        .execute(&mut *connection)
        .await?;
    Ok(())
}

fn push_field(chunk: &mut Vec<u8>, bytes: &[u8]) -> anyhow::Result<()> {
    chunk.extend_from_slice(&i32::try_from(bytes.len())?.to_be_bytes());
    chunk.extend_from_slice(bytes);
    Ok(())
}

async fn register(pool: &PgPool, plan: &Plan, addresses: &Addresses, cut: Block) -> anyhow::Result<()> {
    let now = now_ms();
    let tokens: Vec<Value> = plan
        .tokens
        .iter()
        .map(|token| {
            json!({
                "symbol": token.symbol, "name": token.symbol, "contract_address": token.address,
                "decimals": token.decimals, "chain_id": addresses.chain_id, "status": 1, "confirmations": 12,
                "created_at": now, "updated_at": now,
            })
        })
        .collect();
    let mut connection = pool.acquire().await?;
    neighbours::insert(&mut connection, "eidos_admin_token_configs", &tokens).await?;
    let checkpoint = json!({
        "chain_id": addresses.chain_id, "block_number": cut.number, "block_hash": cut.hash, "processed_at": now,
        "created_at": now, "updated_at": now,
    });
    neighbours::insert(&mut connection, "eidos_chain_block_checkpoints", &[checkpoint]).await
}

/// A fixed mixing of bits (splitmix64): accounts look random and are the same everywhere.
const fn scramble(index: u64) -> u64 {
    let mut bits = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallets_ascend_and_cover_the_whole_space() {
        let plan = Plan::new(1_000);
        let wallets: Vec<Address> = plan.accounts().map(|account| account.wallet).collect();
        assert!(wallets.is_sorted());
        assert!(wallets.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(wallets.last().unwrap().as_bytes()[0] >= 0xfe);
        assert!(plan.accounts().all(|account| account.units > 0));
    }

    #[test]
    fn short_strings_are_solidity_s() {
        assert_eq!(
            short_string("USDC").unwrap(),
            format!("0x55534443{}08", "0".repeat(54))
        );
    }
}
