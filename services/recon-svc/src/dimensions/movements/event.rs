//! An event of the Vault as it is compared.

use eidos_chain::{EventKind, LogFilter, LogProof};
use eidos_types::{Address, Amount, BaseUnits};

use crate::dimensions::balance::account::{TokenIndex, TokenList};

/// The chain's side of a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChain {
    /// Who moved how much.
    Moved {
        /// Whose balance.
        user: Address,
        /// The token's contract.
        token: Address,
        /// In base units.
        units: BaseUnits,
    },
    /// The topic of the event with other arguments.
    Unreadable,
}

/// The amount of an event as both sides can compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Whose.
    pub user: Address,
    /// The token; `None`: it is in no list, so its decimals are not known.
    pub token: Option<TokenIndex>,
    /// The token's symbol, or its address.
    pub unit: String,
    /// In whole tokens; or why it is not an amount.
    pub amount: Result<Amount, String>,
    /// In whole tokens with every digit; in base units where the decimals are not known.
    pub exact: String,
}

impl OnChain {
    /// Reads the event with the decimals of its token. `None`: it is unreadable.
    #[must_use]
    pub fn moved(&self, tokens: &TokenList) -> Option<Moved> {
        let Self::Moved { user, token, units } = *self else {
            return None;
        };
        let index = tokens.by_address(token);
        let known = index.and_then(|index| tokens.get(index));
        Some(Moved {
            user,
            token: index,
            unit: known.map_or_else(|| token.to_string(), |token| token.symbol.clone()),
            amount: known.map_or_else(
                || {
                    Err(format!(
                        "{units} base units of {token}, which is no token of this chain's settings"
                    ))
                },
                |token| units.to_amount(token.decimals).map_err(|error| error.to_string()),
            ),
            exact: known.map_or_else(|| units.to_string(), |token| units.exact(token.decimals)),
        })
    }
}

/// The events that move tokens into or out of the Vault.
#[must_use]
pub fn movement_filter(proof: LogProof) -> LogFilter {
    LogFilter {
        kinds: Some(vec![EventKind::Deposit, EventKind::Withdraw]),
        proof,
        keep_unreadable: true,
        ..LogFilter::default()
    }
}
