//! One page: ask the chain, compare, weigh.

use chrono::{DateTime, Utc};
use eidos_chain::BlockRef;
use eidos_types::Address;
use serde::{Deserialize, Serialize};

use super::job::Reconciliation;
use crate::domain::account::{AccountKey, TokenIndex};
use crate::domain::merge::Account;
use crate::domain::severity::{Severity, Weight, weigh};
use crate::domain::tally::{Tally, Weighed};
use crate::domain::verdict::{BreakKind, Difference, Reading, Verdict, judge};
use crate::sources::SourceError;
use crate::sources::prices::Prices;

/// An account that differed, to be read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// Whose.
    pub wallet: Address,
    /// Which token of the run's list.
    pub token: TokenIndex,
    /// True if the chain has ever shown it.
    pub seen_on_chain: bool,
    /// How it differed.
    pub difference: Difference,
    /// How bad that is.
    pub weight: Weight,
    /// Where it was read.
    pub block: BlockRef,
}

impl Suspect {
    /// Its key.
    #[must_use]
    pub const fn key(&self) -> AccountKey {
        AccountKey {
            wallet: self.wallet,
            token: self.token,
        }
    }

    /// True if it differed; false if it could not be judged.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.difference.kind != BreakKind::NodeBehind
    }

    /// The verdict that made it a suspect.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let difference = Box::new(self.difference.clone());
        if self.is_judged() {
            Verdict::Differs(difference)
        } else {
            Verdict::Unproven(difference)
        }
    }
}

/// What a page gave.
#[derive(Debug, Default)]
pub struct PageOutcome {
    /// Counts and sums.
    pub tally: Tally,
    /// Differences to read again.
    pub suspects: Vec<Suspect>,
    /// Differences below the threshold.
    pub dust: Vec<(AccountKey, Difference)>,
    /// Accounts that agreed, when the caller asked for them.
    pub matched: Vec<AccountKey>,
}

impl PageOutcome {
    /// How many accounts differed; those that could not be judged are not counted.
    #[must_use]
    pub fn judged_suspects(&self) -> usize {
        self.suspects.iter().filter(|suspect| suspect.is_judged()).count()
    }
}

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
        let mut outcome = PageOutcome::default();
        for (account, chain) in accounts.into_iter().zip(totals) {
            let Some(token) = self.tokens.get(account.key.token) else {
                continue;
            };
            let seen_on_chain = account.seen_on_chain;
            let reading = Reading {
                books: account.books,
                lines: account.lines,
                chain,
                seen_on_chain,
            };
            let verdict = judge(&reading, token.decimals);
            let weighed = self.sort(&mut outcome, account.key, seen_on_chain, &verdict, against);
            outcome.tally.note(account.key.token, &reading, &verdict, weighed);
        }
        Ok(outcome)
    }

    fn sort(
        &self,
        outcome: &mut PageOutcome,
        key: AccountKey,
        seen_on_chain: bool,
        verdict: &Verdict,
        against: Against<'_>,
    ) -> Weighed {
        let (difference, weight) = match verdict {
            Verdict::Matched => {
                outcome.matched.push(key);
                return Weighed::Dust;
            }
            Verdict::Differs(difference) => (difference, self.weigh(key.token, difference, against)),
            Verdict::Unproven(difference) => (difference, Weight::undecided(&difference.note)),
        };
        if weight.severity == Severity::Ignored {
            outcome.dust.push((key, (**difference).clone()));
            return Weighed::Dust;
        }
        outcome.suspects.push(Suspect {
            wallet: key.wallet,
            token: key.token,
            seen_on_chain,
            difference: (**difference).clone(),
            weight,
            block: against.block,
        });
        Weighed::Suspect
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

/// Chain below books is a shortfall; what cannot be subtracted is judged by the side that is unreadable.
#[must_use]
pub fn direction(difference: &Difference) -> &'static str {
    let below = match difference.diff {
        Some(diff) => diff.is_negative(),
        None => difference.onchain.is_some(),
    };
    if below || difference.kind == BreakKind::Insolvent {
        "shortfall"
    } else {
        "surplus"
    }
}
