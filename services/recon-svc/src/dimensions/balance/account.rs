//! What is compared: one wallet's holding of one token.

use eidos_recon::feed::Keyed;
use eidos_recon::{Identity, Subject, SubjectKey};
use eidos_types::{Address, Amount};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::in_flight::Line;
use super::kind::BreakKind;

/// A token's position in the run's token list. Small on purpose: a key is 22 bytes and a million of them are
/// held and sorted cheaply. It is never stored; stored rows carry the symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenIndex(pub u16);

/// Wallet first, token second: the order of every stream of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountKey {
    /// Whose holding.
    pub wallet: Address,
    /// Of which token.
    pub token: TokenIndex,
}

impl Subject for AccountKey {
    type Kind = BreakKind;
    type Line = Line;
    const SIDES: (&'static str, &'static str) = ("books", "chain");
}

impl Keyed for AccountKey {
    type Group = Address;

    fn group(&self) -> &Address {
        &self.wallet
    }
}

/// What the books hold for an account, before in-flight lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BooksValue {
    /// No row at all, neither a balance nor a sub-account.
    #[default]
    Absent,
    /// Settled available + frozen + sub-accounts, exactly.
    Exact(Amount),
    /// A row whose value is no amount of money (NaN, beyond 36 digits): the reason.
    Unreadable(String),
}

impl BooksValue {
    /// Adds a further row of the same account. What cannot be added becomes unreadable, with its reason:
    /// a wrong number must surface as a break and not end the run for every other account.
    pub fn add(&mut self, row: Result<Amount, String>) {
        let next = match (std::mem::take(self), row) {
            (Self::Unreadable(reason), _) | (_, Err(reason)) => Self::Unreadable(reason),
            (Self::Absent, Ok(amount)) => Self::Exact(amount),
            (Self::Exact(sum), Ok(amount)) => match sum.checked_add(amount) {
                Ok(sum) => Self::Exact(sum),
                Err(overflow) => Self::Unreadable(overflow.to_string()),
            },
        };
        *self = next;
    }

    /// True if the books know this account.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// A token as this run sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The symbol the books use.
    pub symbol: String,
    /// The contract; zero is the chain's own coin.
    pub address: Address,
    /// Decimals, as the contract says (0–77).
    pub decimals: u8,
}

/// The run's tokens; an index into it is a [`TokenIndex`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList(Vec<Token>);

impl TokenList {
    /// A list in the given order.
    #[must_use]
    pub const fn new(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// The token at `index`.
    #[must_use]
    pub fn get(&self, index: TokenIndex) -> Option<&Token> {
        self.0.get(usize::from(index.0))
    }

    /// The symbol at `index`; `?` for an index of another run's list, which cannot happen within one run.
    #[must_use]
    pub fn symbol(&self, index: TokenIndex) -> &str {
        self.get(index).map_or("?", |token| token.symbol.as_str())
    }

    /// The index of the books' `symbol`.
    #[must_use]
    pub fn by_symbol(&self, symbol: &str) -> Option<TokenIndex> {
        self.position(|token| token.symbol == symbol)
    }

    /// The index of a contract.
    #[must_use]
    pub fn by_address(&self, address: Address) -> Option<TokenIndex> {
        self.position(|token| token.address == address)
    }

    /// Every index with its token.
    pub fn iter(&self) -> impl Iterator<Item = (TokenIndex, &Token)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(i, token)| Some((TokenIndex(u16::try_from(i).ok()?), token)))
    }

    /// How an account is stored: its key is `wallet/token`.
    #[must_use]
    pub fn account_identity(&self, account: AccountKey) -> Identity {
        let (wallet, token) = (account.wallet.to_string(), self.get(account.token));
        let symbol = self.symbol(account.token);
        identity(&format!("{wallet}/{symbol}"), symbol, token, Some(wallet))
    }

    /// How the vault's holding of a token is stored: its key is the token.
    #[must_use]
    pub fn token_identity(&self, index: TokenIndex) -> Identity {
        let symbol = self.symbol(index);
        identity(symbol, symbol, self.get(index), None)
    }

    /// How many tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, matches: impl Fn(&Token) -> bool) -> Option<TokenIndex> {
        let index = self.0.iter().position(matches)?;
        u16::try_from(index).ok().map(TokenIndex)
    }
}

fn identity(key: &str, symbol: &str, token: Option<&Token>, wallet: Option<String>) -> Identity {
    let address = token.map_or(Address::ZERO, |token| token.address);
    let mut detail = json!({ "token": symbol, "token_address": address });
    if let Some(wallet) = wallet {
        detail["wallet"] = wallet.into();
    }
    Identity {
        key: SubjectKey::lossy(key),
        unit: symbol.to_owned(),
        detail,
    }
}
