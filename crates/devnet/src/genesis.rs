//! Founding the devnet: accounts, contracts, and the registry of tokens and markets.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolEvent;
use anyhow::Context;
use eidos_chain::contracts::{
    ISettlement, IToken, IVault, encode, evm, settlement_deployment, test_token_deployment, vault_deployment,
};
use eidos_types::{Address, Hash32};
use serde_json::json;

use crate::devnet::{Addresses, Devnet};
use crate::tokens::{MARKETS, NATIVE, SPECS, Token, USDC};
use crate::traffic::{Mined, Traffic, Tx};

/// The address of an account: derived from the seed, its role and its number.
pub(crate) fn account(seed: u64, role: &str, index: usize) -> Address {
    crate::signer::address(&crate::signer::key(seed, role, index))
}

/// Deploys the tokens, the Vault and the Settlement contract, and introduces them to each other.
pub(crate) async fn deploy(
    traffic: &mut Traffic,
    chain_id: u64,
    seed: u64,
) -> anyhow::Result<(Addresses, BTreeMap<&'static str, Token>)> {
    let [owner, operator, fee_recipient] =
        ["owner", "operator", "fee-recipient"].map(|role| account(seed, role, 0));
    for role in ["owner", "operator"] {
        traffic.know(crate::signer::key(seed, role, 0));
    }
    let mut creations = Vec::new();
    for spec in &SPECS {
        creations.push(test_token_deployment(spec.name, spec.symbol, spec.decimals)?);
    }
    creations.push(vault_deployment(&owner, &operator)?);
    let creations: Vec<Tx> = creations.into_iter().map(|code| create(owner, code)).collect();
    let deployed = traffic
        .mine(&creations)
        .await
        .context("deploying tokens and Vault")?;
    let created = deployed
        .iter()
        .map(contract_of)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let vault = *created.last().context("nothing was deployed")?;
    let code = settlement_deployment(&owner, &operator, &vault, &fee_recipient)?;
    let mined = traffic
        .mine(&[create(owner, code)])
        .await
        .context("deploying Settlement")?;
    let settlement = mined
        .first()
        .context("nothing was deployed")
        .and_then(contract_of)?;
    let introduce = IVault::setSettlementContractCall {
        newContract: evm(&settlement),
    };
    traffic.mine(&[call(owner, vault, encode(&introduce))]).await?;

    let mut tokens: BTreeMap<_, _> = SPECS
        .iter()
        .zip(created)
        .map(|(spec, address)| {
            let token = Token {
                symbol: spec.symbol,
                decimals: spec.decimals,
                address,
                price_usdc: spec.price_usdc,
            };
            (spec.symbol, token)
        })
        .collect();
    tokens.insert(NATIVE.symbol, NATIVE);
    let addresses = Addresses {
        chain_id,
        vault,
        settlement,
        fee_recipient,
        owner,
        operator,
        deployed_in: deployed.first().map_or(0, |mined| mined.block),
    };
    Ok((addresses, tokens))
}

/// A call without native coin.
pub(crate) fn call(from: Address, to: Address, data: Bytes) -> Tx {
    Tx {
        from,
        to: Some(to),
        data,
        value: U256::ZERO,
    }
}

/// The indexer's name of an event.
pub(crate) fn event_type(topic: Option<&Hash32>) -> &'static str {
    let Some(topic) = topic else { return "Unknown" };
    let is = |hash: alloy_primitives::B256| topic.as_bytes() == &hash.0;
    if is(IVault::Deposit::SIGNATURE_HASH) {
        "Deposit"
    } else if is(IVault::Withdraw::SIGNATURE_HASH) {
        "Withdraw"
    } else if is(ISettlement::BatchSettled::SIGNATURE_HASH) || is(ISettlement::TradeSettled::SIGNATURE_HASH) {
        "Settlement"
    } else {
        "Unknown"
    }
}

impl Devnet {
    /// Fills the registries of tokens and markets.
    pub(crate) fn register_tokens(&mut self) -> anyhow::Result<()> {
        let at = self.tick();
        let chain_id = self.addresses.chain_id;
        for token in self.tokens.clone().into_values() {
            self.row(
                "eidos_admin_token_configs",
                json!({
                    "symbol": token.symbol, "name": token.symbol, "contract_address": token.address,
                    "decimals": token.decimals, "chain_id": chain_id, "status": 1, "confirmations": 12,
                    "created_at": at, "updated_at": at,
                }),
            );
        }
        for market in MARKETS {
            let (base, _) = market
                .symbol
                .split_once('-')
                .context("a market symbol without a dash")?;
            self.row(
                "eidos_market_markets",
                json!({
                    "symbol": market.symbol, "base_token": base, "quote_token": USDC,
                    "price_decimals": 2, "size_decimals": 4, "min_size": "0.0001", "max_size": "1000",
                    "min_notional": "1", "tick_size": "0.01", "maker_fee": "0.001", "taker_fee": "0.001", "status": 1,
                    "trading_enabled": true, "created_at": at, "updated_at": at,
                }),
            );
        }
        Ok(())
    }
}

fn create(from: Address, data: Bytes) -> Tx {
    Tx {
        from,
        to: None,
        data,
        value: U256::ZERO,
    }
}

fn contract_of(mined: &Mined) -> anyhow::Result<Address> {
    mined.contract.context("the transaction created no contract")
}

/// Calldata of a mint.
pub(crate) fn mint_call(to: Address, units: U256) -> Bytes {
    encode(&IToken::mintCall {
        to: evm(&to),
        amount: units,
    })
}

/// Calldata of an approval without limit.
pub(crate) fn approve_call(spender: Address) -> Bytes {
    encode(&IToken::approveCall {
        spender: evm(&spender),
        amount: U256::MAX,
    })
}
