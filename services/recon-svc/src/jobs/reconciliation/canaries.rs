//! Canaries: accounts whose difference an operator planted, so that every run proves that it finds one.
//!
//! The break of a canary is taken out of what a run decided: it is neither stored nor counted, and it pauses nothing. A canary
//! that a run compared and did not find, or found with another difference, is a critical finding: what such a run says of the
//! other accounts proves nothing.

use std::collections::BTreeSet;

use eidos_recon::run::Decided;
use eidos_telemetry::metric;
use eidos_types::Address;

use super::job::Reconciliation;
use super::report::Finding;
use crate::dimensions::balance::account::AccountKey;
use crate::dimensions::balance::canary::{Canary, CanaryReport};
use crate::dimensions::balance::kind::BreakKind;

impl Reconciliation {
    /// The wallets that an incremental run compares for their sake.
    pub(super) fn canary_wallets(&self) -> BTreeSet<Address> {
        self.canaries.iter().map(|canary| canary.account.wallet).collect()
    }

    /// Says what became of each canary among the compared wallets (`None`: all), and takes their breaks out.
    pub(super) fn take_canaries(
        &self,
        decided: &mut Decided<AccountKey>,
        wallets: Option<&[Address]>,
    ) -> Vec<CanaryReport> {
        let compared =
            |canary: &&Canary| wallets.is_none_or(|wallets| wallets.contains(&canary.account.wallet));
        let canaries = || self.canaries.iter().filter(compared);
        let reports = canaries().map(|canary| {
            let instead = canary.instead(decided);
            CanaryReport {
                wallet: canary.account.wallet,
                token: self.tokens.symbol(canary.account.token).to_owned(),
                expected: canary.difference,
                found: instead.is_none(),
                instead: instead.unwrap_or_default(),
            }
        });
        let reports: Vec<CanaryReport> = reports.collect();
        let is_canary = |account: &AccountKey| canaries().any(|canary| canary.account == *account);
        decided.breaks.retain(|(found, _)| !is_canary(&found.subject));
        decided.undecided.retain(|suspect| !is_canary(&suspect.subject));
        reports
    }
}

/// A finding for each that was not found.
pub(super) fn findings(reports: &[CanaryReport]) -> impl Iterator<Item = Finding> {
    let missed = reports.iter().filter(|report| !report.found);
    missed.map(|report| Finding {
        kind: BreakKind::CanaryMissed,
        token: Some(report.token.clone()),
        detail: format!(
            "the canary {} should differ by {} {}; this run found {}. What it says of other accounts proves nothing",
            report.wallet, report.expected, report.token, report.instead
        ),
    })
}

/// How many were not found, by the newest run that looked at any.
pub(super) fn gauge(reports: impl IntoIterator<Item = bool>) {
    let missed = reports.into_iter().filter(|found| !found).count();
    metric::reconciliation_canaries_missed(missed as u64);
}
