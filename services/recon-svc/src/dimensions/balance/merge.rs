//! The outer merge: sorted sources of the books, the chain's known accounts and the in-flight lines, as one
//! ascending list of accounts. An account that only one source knows is in the result (reference 2.1: a
//! source-driven check cannot see what exists only on the other side).

use std::collections::BTreeMap;
use std::iter::Peekable;

use eidos_recon::feed::Keyed;
use eidos_recon::merge::check_order;
use eidos_types::{Address, Amount};

use super::account::{AccountKey, BooksValue};
use super::in_flight::Line;

/// In-flight lines of the run by account.
pub type LinesByAccount = BTreeMap<AccountKey, Vec<Line>>;

/// One row of the books: a balance or a sub-account's balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BooksRow {
    /// Whose and which token.
    pub key: AccountKey,
    /// Available + frozen, or why the row is no amount.
    pub amount: Result<Amount, String>,
}

/// One account before the chain was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Whose and which token.
    pub key: AccountKey,
    /// All rows of the books, added up.
    pub books: BooksValue,
    /// True if the chain has shown it a token movement.
    pub seen_on_chain: bool,
    /// What rolls the books to the cut.
    pub lines: Vec<Line>,
}

/// A source delivered keys that are not ascending: the database sorts by another rule than bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the books are not in byte order: wallet {got} came after {after}; wallets must be lower-case hex \
     (or set schema_profile.wallet_case to mixed)"
)]
pub struct OutOfOrder {
    /// What came before.
    pub after: Address,
    /// What came too late.
    pub got: Address,
}

impl From<eidos_recon::merge::OutOfOrder<Address>> for OutOfOrder {
    fn from(found: eidos_recon::merge::OutOfOrder<Address>) -> Self {
        Self {
            after: found.after,
            got: found.got,
        }
    }
}

impl Keyed for BooksRow {
    type Group = Address;

    fn group(&self) -> &Address {
        &self.key.wallet
    }
}

/// Merges one page. Every source is ascending by wallet and lies in `(after, upto]`; the order of tokens within
/// a wallet and the number of rows per account are free.
///
/// # Errors
/// [`OutOfOrder`] if a source is not.
pub fn merge_page(
    after: Option<Address>,
    balances: Vec<BooksRow>,
    subaccounts: Vec<BooksRow>,
    mut known: Vec<AccountKey>,
    lines: &LinesByAccount,
    upto: Address,
) -> Result<Vec<Account>, OutOfOrder> {
    check_order(after.as_ref(), balances.iter().map(|row| row.key.wallet))?;
    check_order(after.as_ref(), subaccounts.iter().map(|row| row.key.wallet))?;
    let mut accounts = Vec::with_capacity(balances.len());
    let mut balances = by_key(balances);
    let mut subaccounts = by_key(subaccounts);
    known.sort_unstable();
    known.dedup();
    let mut known = known.into_iter().peekable();
    let mut lines = lines_between(lines, after, upto).peekable();
    while let Some(key) = [
        balances.peek().map(|row| row.key),
        subaccounts.peek().map(|row| row.key),
        known.peek().copied(),
        lines.peek().map(|(key, _)| **key),
    ]
    .into_iter()
    .flatten()
    .min()
    {
        let mut books = BooksValue::Absent;
        add_rows(&mut books, &mut balances, key);
        add_rows(&mut books, &mut subaccounts, key);
        accounts.push(Account {
            key,
            books,
            seen_on_chain: known.next_if_eq(&key).is_some(),
            lines: lines
                .next_if(|(line_key, _)| **line_key == key)
                .map_or_else(Vec::new, |(_, lines)| lines.clone()),
        });
    }
    Ok(accounts)
}

fn by_key(mut rows: Vec<BooksRow>) -> Peekable<std::vec::IntoIter<BooksRow>> {
    // Ascending by wallet already; only tokens within a wallet move, which the stable sort finds cheap.
    rows.sort_by_key(|row| row.key);
    rows.into_iter().peekable()
}

fn add_rows(books: &mut BooksValue, rows: &mut Peekable<std::vec::IntoIter<BooksRow>>, key: AccountKey) {
    while let Some(row) = rows.next_if(|row| row.key == key) {
        books.add(row.amount);
    }
}

/// The lines of wallets in `(after, upto]`.
pub fn lines_between(
    lines: &LinesByAccount,
    after: Option<Address>,
    upto: Address,
) -> impl Iterator<Item = (&AccountKey, &Vec<Line>)> {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    use super::account::TokenIndex;
    let low = after.map_or(Unbounded, |wallet| {
        Excluded(AccountKey {
            wallet,
            token: TokenIndex(u16::MAX),
        })
    });
    let high = Included(AccountKey {
        wallet: upto,
        token: TokenIndex(u16::MAX),
    });
    // A page that starts at its own end has no lines; BTreeMap::range would panic on it.
    let empty = after.is_some_and(|after| after >= upto);
    let range = if empty {
        None
    } else {
        Some(lines.range((low, high)))
    };
    range.into_iter().flatten()
}
