//! What was read about one account, and how both sides' records of one event are found in it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use eidos_chain::{LogPosition, VaultEvent};
use eidos_recon::explain::event::sum;
use eidos_recon::explain::{Event, Posting};
use eidos_types::{Address, Amount, BaseUnits, Hash32};

use crate::dimensions::balance::account::TokenIndex;
use crate::dimensions::balance::sources::ledger::{Entry, EntryKind, TradeRow};
use crate::dimensions::deposits::sources::Booked as DepositRow;
use crate::dimensions::withdrawals::sources::{Booked as WithdrawalRow, Sent};

/// What the books keep of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Keeps {
    /// A balance and a log of what changed it.
    #[default]
    Log,
    /// Sums only: the fee account.
    Sums,
}

/// Everything that was read about one account.
#[derive(Debug, Clone, Default)]
pub(super) struct Material {
    /// Whose.
    pub(super) wallet: Address,
    /// Which token, as the books and as the chain have it.
    pub(super) token: (TokenIndex, Address),
    /// What the books keep of it.
    pub(super) keeps: Keeps,
    /// The token's decimals.
    pub(super) decimals: u8,
    /// Both sides are compared up to this block.
    pub(super) cut: u64,
    /// The first block whose events were read.
    pub(super) from: u64,
    /// True if there is none before it.
    pub(super) is_complete: bool,
    /// True if every row of every table was read.
    pub(super) has_all_rows: bool,
    /// How long a deposit may wait, in milliseconds.
    pub(super) deposit_max_age_ms: i64,
    /// The account's events.
    pub(super) events: Vec<VaultEvent>,
    /// The entries of its balance log.
    pub(super) entries: Vec<Entry>,
    /// Its deposits, and those that name its transactions.
    pub(super) deposits: Vec<DepositRow>,
    /// Deposits of transactions that its entries name, whoever has them.
    pub(super) others: BTreeMap<Hash32, Vec<VaultEvent>>,
    /// False: more of them were to be looked up than are.
    pub(super) has_all_others: bool,
    /// Transactions whose block, as the chain service saw it, is gone.
    pub(super) orphaned: BTreeSet<Hash32>,
    /// Its withdrawals, and those that name its transactions.
    pub(super) withdrawals: Vec<WithdrawalRow>,
    /// What the chain service sent for them.
    pub(super) sent: Vec<Sent>,
    /// Its trades.
    pub(super) trades: Vec<TradeRow>,
    /// Where the chain service saw their batches.
    pub(super) batch_blocks: BTreeMap<String, u64>,
    /// What the books hold; `None`: not an amount.
    pub(super) value: Option<Amount>,
}

impl Material {
    /// True if the balance log is what the balance is made of; without any entry the services' rows are.
    pub(super) fn has_ledger(&self) -> bool {
        !self.entries.is_empty()
    }

    /// True if an event of this block is among those that were read; `None`: a block that nobody names.
    pub(super) fn is_inside(&self, block: Option<u64>) -> bool {
        self.is_complete || block.is_some_and(|block| block >= self.from)
    }

    /// What the books hold beyond all that they posted; `None`: not known, as of an account without a log.
    pub(super) fn untold(&self, posted: &[Event]) -> Option<Amount> {
        if self.keeps == Keeps::Sums || !self.has_all_rows || (!self.has_ledger() && !self.is_complete) {
            return None;
        }
        let posted = if self.has_ledger() {
            sum(self.entries.iter().map(|entry| entry.amount.clone().ok()))
        } else {
            sum(posted.iter().map(Event::left_sum))
        };
        self.value?.checked_sub(posted?).ok()
    }

    /// What the chain did, `sign` being what it did to the account.
    pub(super) fn moved(&self, what: &str, at: &LogPosition, units: BaseUnits, is_out: bool) -> Posting {
        let exact = units.exact(self.decimals);
        let amount = match units.to_amount(self.decimals) {
            Ok(amount) if is_out => Ok(amount.negated()),
            Ok(amount) => Ok(amount),
            Err(_beyond) if is_out => Err(format!("-{exact}")),
            Err(_beyond) => Err(exact),
        };
        Posting {
            what: format!("{what} event"),
            reference: format!("{}:{}", at.tx_hash, at.log_index),
            amount,
            detail: format!("block {} {}", at.block_number, at.block_hash),
        }
    }
}

/// The entries that no event has been given yet.
#[derive(Debug)]
pub(super) struct Pool<'a>(Vec<Option<&'a Entry>>);

impl<'a> Pool<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Self {
        let mut entries: Vec<Option<&Entry>> = entries.iter().map(Some).collect();
        entries.sort_by_key(|entry| entry.map(|entry| entry.id));
        Self(entries)
    }

    /// Takes the oldest one that fits.
    pub(super) fn take(&mut self, fits: impl Fn(&Entry) -> bool) -> Option<&'a Entry> {
        let found = self.0.iter_mut().find(|entry| entry.is_some_and(&fits))?;
        found.take()
    }

    /// Takes all that fit.
    pub(super) fn take_all(&mut self, fits: impl Fn(&Entry) -> bool) -> Vec<&'a Entry> {
        std::iter::from_fn(|| self.take(&fits)).collect()
    }

    /// Takes an entry of this kind and amount, rather one that names the transaction than one that names none.
    pub(super) fn take_equal(
        &mut self,
        kind: EntryKind,
        amount: Amount,
        tx: Option<Hash32>,
    ) -> Option<&'a Entry> {
        let equal = |entry: &Entry| entry.kind == kind && entry.amount == Ok(amount);
        let named = self.take(|entry| equal(entry) && entry.tx.is_some() && entry.tx == tx);
        named.or_else(|| self.take(|entry| equal(entry) && entry.tx.is_none()))
    }

    /// What is left.
    pub(super) fn rest(self) -> Vec<&'a Entry> {
        self.0.into_iter().flatten().collect()
    }
}

/// An entry of the balance log as what the books did.
pub(super) fn entry_posting(entry: &Entry) -> Posting {
    let kind = match entry.kind {
        EntryKind::Deposit => "deposit",
        EntryKind::Withdrawal => "withdrawal",
        EntryKind::Refund => "refund",
        EntryKind::Settlement => "settlement",
        EntryKind::Other => "other",
    };
    let at = chrono::DateTime::from_timestamp_millis(entry.at_ms)
        .map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    Posting {
        what: format!("ledger entry ({kind})"),
        reference: entry.id.to_string(),
        amount: entry.amount.clone(),
        detail: at,
    }
}
