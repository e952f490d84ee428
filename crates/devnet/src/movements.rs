//! What moves money in a devnet: deposits, trades in batches, withdrawals, each as far as one side knows of it.

use eidos_types::{Address, Amount, Hash32};
use sqlx::{Postgres, Transaction};

use crate::ledger::Key;
use crate::tokens::{Market, USDC};
use crate::traffic::Mined;

/// A deposit that the chain has.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// Whose.
    pub wallet: Address,
    /// Symbol of the token.
    pub token: &'static str,
    /// How much.
    pub amount: Amount,
    /// Its transaction.
    pub tx_hash: Hash32,
    /// Its log's index in the block.
    pub log_index: u64,
    /// Its block.
    pub block: u64,
    /// Its block's hash.
    pub block_hash: Hash32,
    /// Its id in both services' tables.
    pub id: String,
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
pub struct Trade {
    /// Its id in the books.
    pub id: String,
    /// Its market.
    pub market: Market,
    /// Whose order rested.
    pub maker: Address,
    /// Whose order came in.
    pub taker: Address,
    /// True if the maker buys.
    pub maker_buys: bool,
    /// In USDC for one base token.
    pub price: Amount,
    /// In base tokens.
    pub amount: Amount,
    /// In USDC.
    pub quote: Amount,
    /// What each side pays, in USDC.
    pub fee: Amount,
}

/// Trades that settle together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its id in the books.
    pub id: String,
    /// Its trades.
    pub trades: Vec<Trade>,
    /// The transaction that settled it, once there is one.
    pub settled: Option<Mined>,
}

/// The database's integers of a settlement's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettlementStatus {
    Submitted = 2,
    Settled = 3,
}

impl Trade {
    const fn buyer(&self) -> Address {
        if self.maker_buys { self.maker } else { self.taker }
    }

    const fn seller(&self) -> Address {
        if self.maker_buys { self.taker } else { self.maker }
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
            ((fee_recipient, USDC), self.fee.checked_add(self.fee)?),
        ])
    }
}

/// A withdrawal the books know.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    /// Its id in both services' tables.
    pub id: String,
    /// Whose.
    pub wallet: Address,
    /// Symbol of the token.
    pub token: &'static str,
    /// How much.
    pub amount: Amount,
    /// True once the Vault has paid.
    pub mined: bool,
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
pub struct LateCommit {
    pub(crate) transaction: Transaction<'static, Postgres>,
    pub(crate) key: Key,
    pub(crate) amount: Amount,
}
