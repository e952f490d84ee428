//! The fee account as the engine reads it: one page with every token.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eidos_chain::BlockRef;
use eidos_recon::{Page, Pages};

use super::super::fault::Fault;
use super::super::job::Reconciliation;
use super::control::Held;
use super::source::{Engine, Movements, Outcome, Side};
use super::{Against, Plan};
use crate::dimensions::balance::point::point_of;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;
use crate::dimensions::fees::sources::FeeRows;
use crate::dimensions::fees::verdict::judge;
use crate::dimensions::movements::key::MovementKey;
use crate::settings::ReconciliationSection;

/// The dimension's name in tables and metrics.
pub const FEE_ACCOUNT: &str = "fee_account";

/// The fee account.
#[derive(Debug)]
pub enum FeeAccount {}

/// The two sides of the fee account, as one run reads them.
type Fees<'a> = Movements<'a, FeeAccount>;

impl Fees<'_> {
    /// Compares every token; `keys`: only these.
    async fn compare(
        &self,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: Option<&BTreeSet<MovementKey>>,
    ) -> Result<Outcome, Fault> {
        let job = self.sides.job;
        let recipient = job.chain.fee_recipient();
        let rows = FeeRows {
            schema: Arc::clone(&job.schema),
            recipient,
            opening: job.rules().fee_account_opening.clone(),
        };
        let mut outcome = Outcome::default();
        for fees in rows.all(snapshot.trading()).await? {
            let judged = judge(&fees, recipient);
            if keys.is_none_or(|keys| keys.contains(&judged.movement.key)) {
                self.put(&mut outcome, against, &judged, None);
            }
        }
        Ok(outcome)
    }
}

impl Side for FeeAccount {
    const NAME: &'static str = FEE_ACCOUNT;
    const MANY: &'static str = "fee accounts";

    fn max_age(rules: &ReconciliationSection) -> Duration {
        rules.in_flight_max_age
    }

    /// Both sides are sums of one snapshot of the books: no events are read.
    async fn held(_job: &Reconciliation, _cut: BlockRef) -> Result<Option<Held>, Fault> {
        Ok(None)
    }

    async fn compare_keys(
        movements: &Fees<'_>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        keys: &BTreeSet<MovementKey>,
    ) -> Result<Outcome, Fault> {
        movements.compare(against, snapshot, Some(keys)).await
    }

    async fn read_pages<'a>(
        movements: &Fees<'a>,
        engine: &Engine<'_, 'a, Self>,
        against: Against<'_>,
        snapshot: &mut BooksSnapshot,
        plan: &Plan,
    ) -> Result<(), Fault> {
        let mut pages = AllTokens {
            fees: movements,
            against,
            snapshot,
            carried: &plan.carried,
        };
        let point = point_of(&against.block);
        engine
            .read_shard(movements, 0, &point, against.at, &mut pages)
            .await
    }
}

/// The only page.
struct AllTokens<'r, 'd> {
    fees: &'r Fees<'d>,
    against: Against<'r>,
    snapshot: &'r mut BooksSnapshot,
    /// What was read by its key.
    carried: &'r BTreeSet<MovementKey>,
}

impl<'a> Pages<Fees<'a>> for AllTokens<'_, '_> {
    async fn page(&mut self, _after: Option<&u64>) -> Result<Page<Fees<'a>>, Fault> {
        let mut outcome = self.fees.compare(self.against, self.snapshot, None).await?;
        outcome
            .suspects
            .retain(|suspect| !self.carried.contains(&suspect.subject.key));
        Ok(Page {
            outcome,
            upto: self.against.block.number,
            last: true,
        })
    }
}
