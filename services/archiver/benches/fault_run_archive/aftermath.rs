//! What a blow leaves, looked at before the next run can put it in order.

use std::collections::BTreeMap;

use eidos_disposal::unit::UnitState;
use eidos_testkit::{Tally, Verdict};

use crate::arena::Arena;

/// Rows that are hot and archived at once: (how many, one of them).
const TWICE: &str = "
    SELECT count(*), min(id) FROM (
        (SELECT 'order ' || id AS id FROM eidos_trading_orders INTERSECT SELECT 'order ' || id FROM eidos_trading_orders_archive)
        UNION ALL
        (SELECT 'trade ' || id FROM eidos_trading_trades INTERSECT SELECT 'trade ' || id FROM eidos_trading_trades_archive)) AS twice";

/// Orders that are archived while a trade of theirs is hot.
const SPLIT: &str = "
    SELECT count(*), min(a.order_id) FROM eidos_trading_orders_archive a
    WHERE EXISTS (SELECT FROM eidos_trading_trades t WHERE a.order_id IN (t.maker_order_id, t.taker_order_id))";

/// The unit that was worked on last, unless it rests.
const WORKED_ON: &str = "
    SELECT state FROM eidos_jobs_disposal_units WHERE state IN ('planned', 'frozen', 'exporting', 'verified', 'dropping', 'deleting')
    ORDER BY updated_at DESC LIMIT 1";

/// Everything that was seen.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    looks: i64,
    twice: Found,
    split: Found,
    states: BTreeMap<UnitState, u32>,
}

#[derive(Debug, Default)]
struct Found {
    violations: i64,
    example: Option<String>,
}

impl Found {
    fn add(&mut self, (count, example): (i64, Option<String>)) {
        self.violations += count;
        self.example = self.example.take().or(example);
    }
}

impl Aftermath {
    /// Right after a blow.
    pub(crate) async fn look(&mut self, arena: &Arena) -> anyhow::Result<()> {
        self.looks += 1;
        self.twice
            .add(sqlx::query_as(TWICE).fetch_one(&arena.exchange).await?);
        self.split
            .add(sqlx::query_as(SPLIT).fetch_one(&arena.exchange).await?);
        let worked_on: Option<String> = sqlx::query_scalar(WORKED_ON).fetch_optional(&arena.jobs).await?;
        let state = UnitState::ALL
            .into_iter()
            .find(|state| Some(state.as_str()) == worked_on.as_deref());
        if let Some(state) = state {
            *self.states.entry(state).or_default() += 1;
        }
        Ok(())
    }

    /// In which states blows left the unit they hit.
    pub(crate) fn add_to(&self, tally: &mut Tally) {
        for (state, count) in &self.states {
            let name = match state {
                UnitState::Planned => "  left a unit planned",
                UnitState::Frozen => "  left a unit frozen",
                UnitState::Exporting => "  left a unit exporting",
                UnitState::Verified => "  left a unit verified",
                UnitState::Dropping => "  left a unit dropping",
                UnitState::Deleting => "  left a unit deleting",
                UnitState::Quarantined | UnitState::Dropped | UnitState::Deleted | UnitState::Abandoned => {
                    continue;
                }
            };
            tally.insert(name, *count);
        }
    }

    /// What must never be seen, not even for a moment.
    pub(crate) fn verdicts(self) -> [Verdict; 2] {
        let looks = self.looks;
        let verdict = |invariant: &str, found: Found| Verdict {
            invariant: invariant.to_owned(),
            checked: looks,
            violations: found.violations,
            example: found.example,
        };
        [
            verdict("after each blow no row is hot and archived at once", self.twice),
            verdict("after each blow no archived order has a hot trade", self.split),
        ]
    }
}
