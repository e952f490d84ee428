//! [`Ledger`]: the oracle. What the books hold, what the chain holds, and what is in flight between them.
//!
//! It records every event once, in exact amounts, and never reads the database or the node. The tests compare it with
//! both, so neither side can drift from it unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use eidos_types::{Address, Amount};

/// A wallet and a token's symbol.
pub type Key = (Address, &'static str);

/// What the trading service's books say about one wallet and token, its sub-accounts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Booked {
    /// Free and settled.
    pub(crate) available: Amount,
    /// In open orders, settled.
    pub(crate) frozen: Amount,
    /// Bought but not settled on chain yet; no part of the comparison.
    pub(crate) pending: Amount,
}

/// One sub-account's balance of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SubBooked {
    /// Free.
    pub(crate) available: Amount,
    /// In open orders.
    pub(crate) frozen: Amount,
}

/// The oracle.
#[derive(Debug, Default)]
pub struct Ledger {
    books: BTreeMap<Key, Booked>,
    subs: BTreeMap<(Address, String, &'static str), SubBooked>,
    fees: BTreeMap<(u8, &'static str), Amount>,
    /// What the rows of settled trades say that they paid.
    fees_paid: BTreeMap<&'static str, Amount>,
    chain: BTreeMap<Key, Amount>,
    above_cut: BTreeMap<Key, Amount>,
    in_flight: BTreeMap<Key, Amount>,
    until_cut: BTreeMap<Key, Amount>,
    dirty_books: BTreeSet<Key>,
    dirty_subs: BTreeSet<(Address, String, &'static str)>,
    dirty_fees: BTreeSet<(u8, &'static str)>,
}

/// The books' rows that changed since the last call of [`Ledger::take_changes`].
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Rows of the balances.
    pub(crate) books: Vec<(Key, Booked)>,
    /// Rows of the sub-account balances: wallet, sub-account, token.
    pub(crate) subs: Vec<((Address, String, &'static str), SubBooked)>,
    /// Rows of the fee accounts: bucket, token.
    pub(crate) fees: Vec<((u8, &'static str), Amount)>,
}

impl Ledger {
    /// What the books hold; nothing for a wallet without a row.
    pub(crate) fn booked(&self, key: Key) -> Booked {
        self.books.get(&key).copied().unwrap_or_default()
    }

    /// The Vault's balance at the head.
    pub fn on_chain(&self, key: Key) -> Amount {
        self.chain.get(&key).copied().unwrap_or_default()
    }

    /// Changes a row of the books; it exists from now on.
    pub(crate) fn change_books(
        &mut self,
        key: Key,
        change: impl FnOnce(&mut Booked) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        change(self.books.entry(key).or_default())?;
        self.dirty_books.insert(key);
        Ok(())
    }

    /// Adds to what is free and settled; negative takes away.
    pub(crate) fn book(&mut self, key: Key, amount: Amount) -> anyhow::Result<()> {
        self.change_books(key, |row| {
            row.available = row.available.checked_add(amount)?;
            Ok(())
        })
    }

    /// Changes a sub-account's row.
    pub(crate) fn change_sub(
        &mut self,
        key: Key,
        sub_account: &str,
        change: impl FnOnce(&mut SubBooked) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let key = (key.0, sub_account.to_owned(), key.1);
        change(self.subs.entry(key.clone()).or_default())?;
        self.dirty_subs.insert(key);
        Ok(())
    }

    /// Adds to a bucket of the platform's fee accounts.
    pub(crate) fn book_fee(&mut self, bucket: u8, token: &'static str, amount: Amount) -> anyhow::Result<()> {
        let balance = self.fees.entry((bucket, token)).or_default();
        *balance = balance.checked_add(amount)?;
        self.dirty_fees.insert((bucket, token));
        Ok(())
    }

    /// Notes what the row of a settled trade says that it paid.
    pub(crate) fn pay_fee(&mut self, token: &'static str, amount: Amount) -> anyhow::Result<()> {
        add(&mut self.fees_paid, token, amount)
    }

    /// What settled trades paid and the fee account does not have; negative: it has more than they paid.
    pub(crate) fn fees_not_booked(&self, token: &'static str) -> anyhow::Result<Amount> {
        let paid = self.fees_paid.get(token).copied().unwrap_or_default();
        Ok(paid.checked_sub(self.fee_liability(token)?)?)
    }

    /// Moves the Vault's balance; negative takes away.
    pub(crate) fn move_chain(&mut self, key: Key, amount: Amount) -> anyhow::Result<()> {
        add(&mut self.chain, key, amount)
    }

    /// Notes that `amount` of the chain's balance came above the cut.
    pub(crate) fn move_above_cut(&mut self, key: Key, amount: Amount) -> anyhow::Result<()> {
        add(&mut self.above_cut, key, amount)
    }

    /// The cut has moved to the head: nothing is above it.
    pub(crate) fn cut_moved(&mut self) {
        self.above_cut.clear();
        self.until_cut.clear();
    }

    /// Notes an explicit in-flight line: the chain at the cut holds `amount` more than the books.
    pub(crate) fn fly(&mut self, key: Key, amount: Amount) -> anyhow::Result<()> {
        add(&mut self.in_flight, key, amount)
    }

    /// As [`Self::fly`], for a line that ends when the cut moves past its block.
    pub(crate) fn fly_until_cut(&mut self, key: Key, amount: Amount) -> anyhow::Result<()> {
        add(&mut self.until_cut, key, amount)
    }

    /// As [`Self::book`], without a trace for the next [`Self::take_changes`]: the caller writes the row.
    pub(crate) fn book_elsewhere(&mut self, key: Key, amount: Amount) -> anyhow::Result<()> {
        let row = self.books.entry(key).or_default();
        row.available = row.available.checked_add(amount)?;
        Ok(())
    }

    /// Everything a user has in the books, sub-accounts included.
    pub(crate) fn settled(&self, key: Key) -> anyhow::Result<Amount> {
        let row = self.booked(key);
        let mut sum = row.available.checked_add(row.frozen)?;
        for ((wallet, _, token), sub) in &self.subs {
            if (*wallet, *token) == key {
                sum = sum.checked_add(sub.available)?.checked_add(sub.frozen)?;
            }
        }
        Ok(sum)
    }

    /// On-chain minus off-chain at the cut, for every user and token with a difference.
    ///
    /// # Errors
    /// Overflow.
    pub fn differences(&self, fee_recipient: Address) -> anyhow::Result<BTreeMap<Key, Amount>> {
        let mut keys: BTreeSet<Key> = self.books.keys().chain(self.chain.keys()).copied().collect();
        keys.extend(self.subs.keys().map(|(wallet, _, token)| (*wallet, *token)));
        keys.extend(self.fees.keys().map(|(_, token)| (fee_recipient, *token)));
        let mut differences = BTreeMap::new();
        for key in keys {
            let at_cut = self
                .on_chain(key)
                .checked_sub(self.above_cut.get(&key).copied().unwrap_or_default())?;
            let booked = if key.0 == fee_recipient {
                self.fee_liability(key.1)?
            } else {
                self.settled(key)?
            };
            let expected = booked.checked_add(self.in_flight(key)?)?;
            let difference = at_cut.checked_sub(expected)?;
            if !difference.is_zero() {
                differences.insert(key, difference);
            }
        }
        Ok(differences)
    }

    /// The rows to write, once.
    pub(crate) fn take_changes(&mut self) -> Changes {
        Changes {
            books: std::mem::take(&mut self.dirty_books)
                .into_iter()
                .map(|key| (key, self.booked(key)))
                .collect(),
            subs: std::mem::take(&mut self.dirty_subs)
                .into_iter()
                .filter_map(|key| self.subs.get(&key).copied().map(|sub| (key, sub)))
                .collect(),
            fees: std::mem::take(&mut self.dirty_fees)
                .into_iter()
                .filter_map(|key| self.fees.get(&key).copied().map(|balance| (key, balance)))
                .collect(),
        }
    }

    /// Every wallet and token either side knows; what a complete reconciliation checks.
    pub(crate) fn pairs(&self) -> BTreeSet<Key> {
        self.books
            .keys()
            .copied()
            .chain(self.chain.keys().copied())
            .chain(self.subs.keys().map(|(wallet, _, token)| (*wallet, *token)))
            .collect()
    }

    fn in_flight(&self, key: Key) -> anyhow::Result<Amount> {
        let of = |map: &BTreeMap<Key, Amount>| map.get(&key).copied().unwrap_or_default();
        Ok(of(&self.in_flight).checked_add(of(&self.until_cut))?)
    }

    fn fee_liability(&self, token: &'static str) -> anyhow::Result<Amount> {
        let mut sum = Amount::ZERO;
        for ((_, of), balance) in &self.fees {
            if *of == token {
                sum = sum.checked_add(*balance)?;
            }
        }
        Ok(sum)
    }
}

fn add<K: Ord>(map: &mut BTreeMap<K, Amount>, key: K, amount: Amount) -> anyhow::Result<()> {
    let value = map.entry(key).or_default();
    *value = value.checked_add(amount)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn every_line_of_the_books_model_counts_once() {
        let (user, fees) = (Address::new([1; 20]), Address::new([2; 20]));
        let key = (user, "USDC");
        let mut ledger = Ledger::default();
        ledger.move_chain(key, amount("100")).unwrap();
        ledger.book(key, amount("60")).unwrap();
        assert_eq!(ledger.differences(fees).unwrap(), [(key, amount("40"))].into());
        ledger
            .change_sub(key, "s", |sub| {
                sub.frozen = amount("15");
                Ok(())
            })
            .unwrap();
        ledger.fly(key, amount("25")).unwrap();
        assert!(ledger.differences(fees).unwrap().is_empty());
        ledger.move_chain(key, amount("7")).unwrap();
        ledger.move_above_cut(key, amount("7")).unwrap();
        assert!(ledger.differences(fees).unwrap().is_empty());
        ledger.cut_moved();
        assert_eq!(ledger.differences(fees).unwrap(), [(key, amount("7"))].into());
    }

    #[test]
    fn fees_belong_to_the_recipient() {
        let fees = Address::new([2; 20]);
        let mut ledger = Ledger::default();
        ledger.move_chain((fees, "USDC"), amount("3")).unwrap();
        ledger.book_fee(4, "USDC", amount("2")).unwrap();
        ledger.fly((fees, "USDC"), amount("1")).unwrap();
        assert!(ledger.differences(fees).unwrap().is_empty());
    }
}
