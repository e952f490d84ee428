//! [`Canary`]: an account whose difference was planted, and what a run found of it.

use eidos_recon::run::Decided;
use eidos_types::{Address, Amount};
use serde::Serialize;

use super::account::{AccountKey, TokenList};
use crate::settings::CanarySettings;

/// An account whose difference was planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Its account.
    pub account: AccountKey,
    /// Chain − books.
    pub difference: Amount,
}

/// What became of a canary in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CanaryReport {
    /// Whose account it is.
    pub wallet: Address,
    /// Token symbol.
    pub token: String,
    /// Chain − books, as it was planted.
    pub expected: Amount,
    /// Whether the run found just that.
    pub found: bool,
    /// What it found instead; empty if it found just that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instead: String,
}

impl Canary {
    /// Those of the settings.
    ///
    /// # Errors
    /// A sentence for each that names an unknown token.
    pub fn all(settings: &[CanarySettings], tokens: &TokenList) -> Result<Vec<Self>, Vec<String>> {
        let (mut canaries, mut problems) = (Vec::new(), Vec::new());
        for (index, canary) in settings.iter().enumerate() {
            match tokens.by_symbol(&canary.token) {
                Some(token) => canaries.push(Self {
                    account: AccountKey {
                        wallet: canary.wallet,
                        token,
                    },
                    difference: canary.difference,
                }),
                None => problems.push(format!(
                    "reconciliation.canaries.{index}.token: there is no token '{}'",
                    canary.token
                )),
            }
        }
        if problems.is_empty() {
            Ok(canaries)
        } else {
            Err(problems)
        }
    }

    /// Why a run did not find it; `None`: it did.
    #[must_use]
    pub fn instead(&self, decided: &Decided<AccountKey>) -> Option<String> {
        let mut breaks = decided.breaks.iter();
        if let Some((found, _)) = breaks.find(|(found, _)| found.subject == self.account) {
            let difference = &found.difference;
            return match difference.diff {
                Some(diff) if diff == self.difference => None,
                Some(diff) => Some(format!("a difference of {diff}")),
                None => Some(format!("{} of {}", difference.kind, difference.right_exact)),
            };
        }
        let is_changing = decided
            .undecided
            .iter()
            .any(|suspect| suspect.subject == self.account);
        Some(if is_changing {
            "an account that is changing: nothing else may move it".to_owned()
        } else {
            "no difference, or one below reconciliation.ignore_below_usdc".to_owned()
        })
    }
}
