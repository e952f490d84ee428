//! What a run counted: per token, never across tokens (ruling 25). Stored with each page's checkpoint, so a
//! resumed run ends with the sums of an undisturbed one.

use eidos_recon::sum::SignedSum;
use eidos_recon::tally::{Counts, Tally as Counted, Weighed};
use serde::{Deserialize, Serialize};

use super::account::{BooksValue, TokenIndex};
use super::sum::UnitSum;
use super::verdict::{Reading, Verdict};

/// Counts and sums of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenTally {
    /// How its accounts compared.
    #[serde(flatten)]
    pub counts: Counts,
    /// Accounts with at least one in-flight line.
    pub in_flight_accounts: u64,
    /// In-flight lines applied.
    pub in_flight_lines: u64,
    /// Their signed sum.
    pub in_flight: SignedSum,
    /// What the books expect, lines included; accounts without a readable value are left out.
    pub expected: SignedSum,
    /// What the vault owes these accounts.
    pub owed: UnitSum,
}

/// Counts and sums of a run, a shard or a page; a token's index is its position.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tally(Vec<TokenTally>);

impl Tally {
    /// Counts one compared account. `weighed` says what became of a difference; it is not read for a match.
    pub fn note(&mut self, token: TokenIndex, reading: &Reading, verdict: &Verdict, weighed: Weighed) {
        let tally = self.token_mut(token);
        tally.counts.note(verdict, weighed);
        tally.owed.add(reading.chain);
        if !reading.lines.is_empty() {
            tally.in_flight_accounts += 1;
        }
        for line in &reading.lines {
            tally.in_flight_lines += 1;
            tally.in_flight.add(line.amount);
        }
        match verdict {
            Verdict::Matched => tally.add_expected_of(reading),
            Verdict::Differs(difference) | Verdict::Unproven(difference) => {
                if let Some(expected) = difference.left {
                    tally.expected.add(expected);
                }
            }
        }
    }

    /// One token's numbers.
    #[must_use]
    pub fn token(&self, token: TokenIndex) -> TokenTally {
        self.0.get(usize::from(token.0)).copied().unwrap_or_default()
    }

    /// Accounts that agreed, over all tokens.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.0.iter().map(|tally| tally.counts.matched).sum()
    }

    fn token_mut(&mut self, token: TokenIndex) -> &mut TokenTally {
        let index = usize::from(token.0);
        if self.0.len() <= index {
            self.0.resize_with(index + 1, TokenTally::default);
        }
        &mut self.0[index]
    }
}

/// Both are over the same token list.
impl Counted for Tally {
    fn merge(&mut self, other: &Self) {
        for (i, theirs) in other.0.iter().enumerate() {
            let Ok(i) = u16::try_from(i) else { return };
            let ours = self.token_mut(TokenIndex(i));
            ours.counts.merge(&theirs.counts);
            ours.in_flight_accounts += theirs.in_flight_accounts;
            ours.in_flight_lines += theirs.in_flight_lines;
            ours.in_flight.merge(theirs.in_flight);
            ours.expected.merge(theirs.expected);
            ours.owed.merge(theirs.owed);
        }
    }

    fn checked(&self) -> u64 {
        self.0.iter().map(|tally| tally.counts.checked).sum()
    }
}

impl TokenTally {
    fn add_expected_of(&mut self, reading: &Reading) {
        if let BooksValue::Exact(amount) = &reading.books {
            self.expected.add(*amount);
        }
        for line in &reading.lines {
            self.expected.add(line.amount);
        }
    }
}
