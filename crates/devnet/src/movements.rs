//! What moves money in a devnet: deposits, trades in batches, withdrawals, each as far as one side knows of it.

use eidos_types::{Address, Amount, Hash32};
use sqlx::{Postgres, Transaction};

use crate::ledger::Key;
use crate::tokens::{Market, USDC};
use crate::traffic::Mined;

/// A deposit that the chain has.
#[derive(Debug, Clone)]
pub(crate) struct Deposit {
    /// Whose.
    pub(crate) wallet: Address,
    /// Symbol of the token.
    pub(crate) token: &'static str,
    /// How much.
    pub(crate) amount: Amount,
    /// Its transaction.
    pub(crate) tx_hash: Hash32,
    /// Its log's index in the block.
    pub(crate) log_index: u64,
    /// Its block.
    pub(crate) block: u64,
    /// Its block's hash.
    pub(crate) block_hash: Hash32,
    /// Its id in both services' tables.
    pub(crate) id: String,
}

/// How far the books are with a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DepositStage {
    /// Status 1: confirmed, not in the balance.
    Confirmed,
    /// Status 2: in the balance.
    Credited,
}

/// A matched trade. The fees are in USDC and go to the fee recipient.
#[derive(Debug, Clone)]
pub(crate) struct Trade {
    /// Its id in the books.
    pub(crate) id: String,
    /// Its market.
    pub(crate) market: Market,
    /// Whose order rested.
    pub(crate) maker: Address,
    /// Whose order came in.
    pub(crate) taker: Address,
    /// True if the maker buys.
    pub(crate) maker_buys: bool,
    /// In USDC for one base token.
    pub(crate) price: Amount,
    /// In base tokens.
    pub(crate) amount: Amount,
    /// In USDC.
    pub(crate) quote: Amount,
    /// What each side pays, in USDC.
    pub(crate) fee: Amount,
}

/// Trades that settle together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// Its id in the books.
    pub(crate) id: String,
    /// Its trades.
    pub(crate) trades: Vec<Trade>,
    /// The transaction that settled it, once there is one.
    pub(crate) settled: Option<Mined>,
}

/// The database's integers of a settlement's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettlementStatus {
    Submitted = 2,
    Settled = 3,
    Failed = 4,
    RolledBack = 5,
}

impl Batch {
    /// Returns the hash of the transaction that settled it, empty before.
    pub(crate) fn tx_hash(&self) -> String {
        self.settled
            .as_ref()
            .map(|mined| mined.tx_hash.to_string())
            .unwrap_or_default()
    }
}

impl Trade {
    const fn buyer(&self) -> Address {
        if self.maker_buys { self.maker } else { self.taker }
    }

    const fn seller(&self) -> Address {
        if self.maker_buys { self.taker } else { self.maker }
    }

    /// What both sides pay together.
    pub(crate) fn fees(&self) -> anyhow::Result<Amount> {
        Ok(self.fee.checked_add(self.fee)?)
    }

    /// What settlement moves: buyer's base and quote, seller's base and quote, the recipient's fees.
    pub(crate) fn deltas(&self, fee_recipient: Address) -> anyhow::Result<[(Key, Amount); 5]> {
        let paid = self.quote.checked_add(self.fee)?;
        let received = self.quote.checked_sub(self.fee)?;
        Ok([
            ((self.buyer(), self.market.base), self.amount),
            ((self.buyer(), USDC), paid.negated()),
            ((self.seller(), self.market.base), self.amount.negated()),
            ((self.seller(), USDC), received),
            ((fee_recipient, USDC), self.fees()?),
        ])
    }
}

/// A withdrawal the books know.
#[derive(Debug, Clone)]
pub(crate) struct Withdrawal {
    /// Its id in both services' tables.
    pub(crate) id: String,
    /// Whose.
    pub(crate) wallet: Address,
    /// Symbol of the token.
    pub(crate) token: &'static str,
    /// How much.
    pub(crate) amount: Amount,
    /// True once the Vault has paid.
    pub(crate) mined: bool,
}

/// The database's integers of a withdrawal's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithdrawalStatus {
    Submitted = 2,
    Confirmed = 3,
    Failed = 4,
}

/// An open transaction with a withdrawal in it ([`crate::Trap::LateCommit`]).
#[derive(Debug)]
pub(crate) struct LateCommit {
    pub(crate) transaction: Transaction<'static, Postgres>,
    pub(crate) key: Key,
    pub(crate) amount: Amount,
}
