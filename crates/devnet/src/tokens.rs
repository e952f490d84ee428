//! The tokens and markets of the devnet, with the prices its severities are computed from.

use alloy_primitives::U256;
use eidos_types::{Address, Amount, BaseUnits};
use serde::Serialize;

/// A token of the devnet.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// Its symbol, as the books name it.
    pub symbol: &'static str,
    /// Its decimals.
    pub decimals: u8,
    /// Its contract; zero is the native coin.
    pub address: Address,
    /// What one whole token is worth in whole USDC; `None` for a token without a price.
    pub price_usdc: Option<u32>,
}

/// A token before it has a contract: name, symbol, decimals, price.
pub(crate) struct TokenSpec {
    pub(crate) name: &'static str,
    pub(crate) symbol: &'static str,
    pub(crate) decimals: u8,
    pub(crate) price_usdc: Option<u32>,
}

/// The symbol of the quote token and of every fee.
pub(crate) const USDC: &str = "USDC";
/// Base token of `ETH-USDC`.
pub(crate) const WETH: &str = "WETH";
/// Base token of `BTC-USDC`.
pub(crate) const WBTC: &str = "WBTC";
/// The native coin.
pub(crate) const ETH: &str = "ETH";
/// A token without a price that any account can mint without end: how a value beyond DECIMAL(36,18) comes about.
pub(crate) const HUGE: &str = "HUGE";

/// Those with a contract, in the order they are deployed.
pub(crate) const SPECS: [TokenSpec; 4] = [
    TokenSpec {
        name: "USD Coin",
        symbol: USDC,
        decimals: 6,
        price_usdc: Some(1),
    },
    TokenSpec {
        name: "Wrapped Ether",
        symbol: WETH,
        decimals: 18,
        price_usdc: Some(3_000),
    },
    TokenSpec {
        name: "Wrapped Bitcoin",
        symbol: WBTC,
        decimals: 8,
        price_usdc: Some(60_000),
    },
    TokenSpec {
        name: "Huge Supply",
        symbol: HUGE,
        decimals: 18,
        price_usdc: None,
    },
];

/// The native coin, which has no contract.
pub(crate) const NATIVE: Token = Token {
    symbol: ETH,
    decimals: 18,
    address: Address::ZERO,
    price_usdc: Some(3_000),
};

/// A market of the devnet. Its symbol says BTC or ETH while the vault holds the wrapped tokens, as in the real one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Market {
    /// Its symbol.
    pub(crate) symbol: &'static str,
    /// Symbol of the base token.
    pub(crate) base: &'static str,
    /// Whole USDC for one base token, around which trades happen.
    pub(crate) price_usdc: u32,
}

/// The markets.
pub(crate) const MARKETS: [Market; 2] = [
    Market {
        symbol: "ETH-USDC",
        base: WETH,
        price_usdc: 3_000,
    },
    Market {
        symbol: "BTC-USDC",
        base: WBTC,
        price_usdc: 60_000,
    },
];

impl Token {
    /// The amount in the token's smallest units.
    pub(crate) fn units(&self, amount: Amount) -> anyhow::Result<U256> {
        Ok(U256::from_be_bytes(
            BaseUnits::from_amount(amount, self.decimals)?.to_be_bytes(),
        ))
    }

    /// An amount of `units` of the token's smallest unit.
    ///
    /// # Errors
    /// If it does not fit DECIMAL(36,18).
    pub fn amount(&self, units: u128) -> anyhow::Result<Amount> {
        Ok(BaseUnits::from(units).to_amount(self.decimals)?)
    }
}
