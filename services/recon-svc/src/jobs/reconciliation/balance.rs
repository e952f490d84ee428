//! Balances as the engine reads them: the books' snapshot on the left, the chain's block on the right.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use chrono::{DateTime, Utc};
use eidos_core::outbox::OutboxEvent;
use eidos_recon::source::Reread;
use eidos_recon::{CutPoint, Found, Identity, Source};
use eidos_types::Address;
use serde_json::{Value, json};

use super::compare::{PageOutcome, Suspect};
use super::events;
use super::report::{BreakReport, IgnoredReport};
use super::run::{Balance, DIMENSION, Fault, View};
use crate::dimensions::balance::account::AccountKey;
use crate::dimensions::balance::classify::{Hint, Movements, Opposites, classify};
use crate::dimensions::balance::point::{block_of, point_of};
use crate::dimensions::balance::sources::evidence;
use crate::dimensions::balance::tally::Tally;
use crate::dimensions::balance::verdict::Difference;

/// Breaks whose movements are looked up for a hint; the others get one from their numbers only.
const HINTS: usize = 500;

impl Source for Balance<'_> {
    const NAME: &'static str = DIMENSION;
    type Subject = AccountKey;
    type Tally = Tally;
    type Cut = View;
    type Cursor = Address;
    type Hint = Hint;
    type Fault = Fault;

    fn identity(&self, account: &AccountKey) -> Identity {
        self.job.tokens.account_identity(*account)
    }

    async fn open(&self) -> Result<View, Fault> {
        self.job.view(None).await
    }

    async fn can_read_at(&self, point: &CutPoint) -> bool {
        match block_of(point) {
            Some(block) => self.job.chain.verify_canonical(&block).await.is_ok(),
            None => false,
        }
    }

    async fn newest(&self) -> Result<u64, Fault> {
        Ok(self.job.chain.finalized().await?.number)
    }

    fn point(view: &View) -> CutPoint {
        point_of(&view.cut.block)
    }

    fn read_at(view: &View) -> DateTime<Utc> {
        view.cut.taken_at()
    }

    async fn read_again(&self, view: &mut View, suspects: &[Suspect]) -> Result<Reread<Self>, Fault> {
        let wanted: BTreeSet<AccountKey> = suspects.iter().map(|suspect| suspect.subject).collect();
        let wallets: BTreeSet<Address> = wanted.iter().map(|key| key.wallet).collect();
        let wallets: Vec<Address> = wallets.into_iter().collect();
        let recipient = self.job.chain.fee_recipient();
        let mut found = Reread::<Self>::new();
        let mut keep = |outcome: PageOutcome| {
            let suspects = outcome.suspects.into_iter();
            let wanted = suspects.filter(|suspect| wanted.contains(&suspect.subject));
            found.extend(wanted.map(|suspect| (suspect.subject, suspect)));
        };
        for chunk in wallets.chunks(self.job.rules().page_accounts.max(1)) {
            self.ctx.check_cancelled()?;
            let (reading, mut session) = (view.reading(), view.cut.snapshot.ticket().join().await?);
            let mut accounts = self.accounts_of(&reading, &mut session, chunk).await?;
            accounts.retain(|account| Some(account.key.wallet) != recipient);
            keep(self.job.compare(reading.against, accounts).await?);
        }
        if recipient.is_some_and(|recipient| wallets.contains(&recipient)) {
            let (reading, mut session) = (view.reading(), view.cut.snapshot.ticket().join().await?);
            keep(self.read_fees(&reading, &mut session).await?);
        }
        Ok(found)
    }

    async fn hints(&self, view: &mut View, breaks: &[(Suspect, CutPoint)]) -> Result<Vec<Hint>, Fault> {
        let mut opposites = Opposites::default();
        for (suspect, _) in breaks {
            if let Some(diff) = suspect.difference.diff {
                opposites.add(suspect.subject.token, suspect.subject.wallet, diff);
            }
        }
        let mut hints = Vec::with_capacity(breaks.len());
        for (i, (suspect, _)) in breaks.iter().enumerate() {
            let AccountKey { wallet, token } = suspect.subject;
            let symbol = self.job.tokens.symbol(token);
            let movements = if i < HINTS {
                evidence::movements(&mut view.cut.snapshot, &self.job.schema, wallet, symbol).await?
            } else {
                Movements::default()
            };
            let opposite = suspect.difference.diff.and_then(|diff| opposites.of(token, diff));
            hints.push(classify(&suspect.difference, &movements, opposite));
        }
        Ok(hints)
    }

    fn evidence(&self, view: &View, suspect: &Suspect, first: &CutPoint, hint: &Hint) -> Value {
        let difference = &suspect.difference;
        json!({
            "block": suspect.point, "first_block": first, "snapshot": view.cut.snapshot.id,
            "snapshot_time": view.cut.taken_at(), "in_flight": difference.lines, "note": difference.note,
            "onchain_exact": difference.right_exact, "hint": hint,
            "price": view.prices.of(self.job.tokens.symbol(suspect.subject.token)),
            "because": suspect.weight.because, "settings_digest": self.job.digest,
        })
    }

    fn opened(&self, found: &Found<AccountKey, Hint>) -> Option<OutboxEvent> {
        let stored = found.stored?;
        let (report, at) = (self.report_of(found), self.ctx.clock().now());
        Some(events::break_opened(&report, at, stored.id))
    }

    fn ignored(&self, account: &AccountKey, difference: &Difference) {
        let mut ignored = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        if ignored.len() < self.job.rules().report_breaks {
            ignored.push(IgnoredReport {
                wallet: account.wallet,
                token: self.job.tokens.symbol(account.token).to_owned(),
                kind: difference.kind,
                diff: difference.diff,
            });
        }
    }

    fn too_many(&self, count: usize, limit: usize) -> String {
        format!(
            "{count} accounts differ, more than reconciliation.max_suspects = {limit}: a difference almost \
             everywhere is a wrong setting (vault, chain, profile, decimals) and not that many breaks; check the \
             settings, or raise the limit"
        )
    }

    /// The job's checkpoints are older than its dimensions: these have the plain names.
    fn checkpoint(name: &str) -> String {
        name.to_owned()
    }
}

impl Balance<'_> {
    /// A break as the report shows it.
    pub(super) fn report_of(&self, found: &Found<AccountKey, Hint>) -> BreakReport {
        let Found { suspect, stored, .. } = found;
        BreakReport {
            break_id: stored.map(|stored| stored.id),
            dimension: DIMENSION,
            wallet: Some(suspect.subject.wallet),
            token: self.job.tokens.symbol(suspect.subject.token).to_owned(),
            kind: suspect.difference.kind,
            severity: suspect.weight.severity,
            expected: suspect.difference.left,
            onchain: suspect.difference.right_exact.clone(),
            diff: suspect.difference.diff,
            usdc: suspect.weight.value_usdc,
            hint: found.hint.clone(),
            confirmations: found.confirmations(),
            new: stored.is_some_and(|stored| stored.opened),
            because: suspect.weight.because.clone(),
        }
    }
}
