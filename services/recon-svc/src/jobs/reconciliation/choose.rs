//! What an hourly run looks at.

use std::collections::BTreeSet;

use eidos_recon::run::{CARRY_OVER, Done};
use eidos_recon::store::breaks;
use eidos_runtime::JobContext;
use eidos_types::Address;

use super::job::Reconciliation;
use super::left_behind::{CURSOR_KEY, SampleCursor};
use super::params::Params;
use super::run::{DIMENSION, Fault, View};
use crate::dimensions::balance::sources::changes;

/// The wallets, and why.
pub(super) struct Choice {
    pub(super) wallets: Vec<Address>,
    pub(super) chosen: Vec<(&'static str, u64)>,
    pub(super) cursor: Option<SampleCursor>,
}

impl Reconciliation {
    /// The wallets of an incremental run (ruling 23).
    pub(super) async fn choose(
        &self,
        ctx: &JobContext,
        view: &mut View,
        params: &Params,
        done: Option<&Done>,
        touched: BTreeSet<Address>,
        lost: BTreeSet<Address>,
    ) -> Result<Choice, Fault> {
        if let Some(wallets) = &params.wallets {
            let chosen = vec![("requested", wallets.len() as u64)];
            return Ok(Choice {
                wallets: wallets.clone(),
                chosen,
                cursor: None,
            });
        }
        let overlap = i64::try_from(self.rules().overlap_window.as_millis()).unwrap_or(i64::MAX);
        let since_ms = done.map_or(0, |done| done.at.timestamp_millis().saturating_sub(overlap));
        let conn = view.cut.snapshot.trading();
        let changed = changes::changed_wallets(conn, &self.schema, since_ms).await?;
        let parse = |texts: Vec<String>| -> BTreeSet<Address> {
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        };
        let open = parse(
            breaks::open_groups(ctx.jobs_db().control(), DIMENSION)
                .await
                .map_err(Fault::own)?,
        );
        let carry_over = parse(ctx.load_checkpoint(CARRY_OVER).await?.unwrap_or_default());
        let cursor: Option<SampleCursor> = ctx.load_checkpoint(CURSOR_KEY).await?;
        let limit = self.rules().sample_wallets;
        let sample =
            changes::wallets_after(conn, &self.schema, cursor.and_then(|cursor| cursor.after), limit).await?;
        let next = (sample.len() >= limit as usize)
            .then(|| sample.last().copied())
            .flatten();
        let in_flight: BTreeSet<Address> = view.lines.keys().map(|key| key.wallet).collect();
        let mut chosen = Vec::new();
        let mut all = BTreeSet::new();
        for (why, set) in [
            ("changed in the books", changed),
            ("touched on chain", touched),
            ("touched on a lost branch", lost),
            ("open breaks", open),
            ("debts", carry_over),
            ("in flight", in_flight),
            ("canaries", self.canary_wallets()),
            ("sample of quiet ones", sample.into_iter().collect()),
        ] {
            chosen.push((why, set.len() as u64));
            all.extend(set);
        }
        Ok(Choice {
            wallets: all.into_iter().collect(),
            chosen,
            cursor: Some(SampleCursor { after: next }),
        })
    }
}
