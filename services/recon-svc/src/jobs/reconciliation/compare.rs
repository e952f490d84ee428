//! One page: ask the chain, compare, weigh.

use chrono::{DateTime, Utc};
use eidos_chain::BlockRef;
use eidos_recon::severity::{Weight, weigh};
use eidos_types::Address;

use super::job::Reconciliation;
use crate::dimensions::balance::account::{AccountKey, TokenIndex};
use crate::dimensions::balance::merge::Account;
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::prices::Prices;
use crate::dimensions::balance::tally::Tally;
use crate::dimensions::balance::verdict::{Difference, Reading, judge};

/// An account that differed, to be read again.
pub type Suspect = eidos_recon::Suspect<AccountKey>;

/// What a page gave.
pub type PageOutcome = eidos_recon::PageOutcome<AccountKey, Tally>;

/// What a page is compared against.
#[derive(Debug, Clone, Copy)]
pub struct Against<'a> {
    /// The chain's block.
    pub block: BlockRef,
    /// The books' instant: prices are as old as this makes them.
    pub at: DateTime<Utc>,
    /// What tokens are worth.
    pub prices: &'a Prices,
}

impl Reconciliation {
    /// Compares accounts with the chain at the block.
    pub(super) async fn compare(
        &self,
        against: Against<'_>,
        accounts: Vec<Account>,
    ) -> Result<PageOutcome, SourceError> {
        let pairs: Vec<(Address, Address)> = accounts
            .iter()
            .map(|account| {
                let token = self
                    .tokens
                    .get(account.key.token)
                    .map_or(Address::ZERO, |token| token.address);
                (account.key.wallet, token)
            })
            .collect();
        let totals = self.chain.vault_totals(&against.block, &pairs).await?;
        let point = point_of(&against.block);
        let mut outcome = PageOutcome::default();
        for (account, chain) in accounts.into_iter().zip(totals) {
            let key = account.key;
            let Some(token) = self.tokens.get(key.token) else {
                continue;
            };
            let reading = Reading {
                books: account.books,
                lines: account.lines,
                chain,
                seen_on_chain: account.seen_on_chain,
            };
            let verdict = judge(&reading, token.decimals);
            let weigh = |difference: &Difference| self.weigh(key.token, difference, against);
            let weighed = outcome.sort(key, &verdict, weigh, &point);
            outcome.tally.note(key.token, &reading, &verdict, weighed);
        }
        Ok(outcome)
    }

    /// Weighs a difference at the run's prices.
    pub(super) fn weigh(&self, token: TokenIndex, difference: &Difference, against: Against<'_>) -> Weight {
        let rules = self.rules();
        weigh(
            difference.kind,
            difference.diff,
            against.prices.of(self.tokens.symbol(token)),
            against.at,
            rules.max_price_age,
            rules.thresholds(),
        )
    }
}
