//! Both sides of movements at one cut.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_chain::BlockRef;

use super::super::cut::{Cut, block_at};
use super::super::fault::Fault;
use super::super::job::Reconciliation;
use crate::dimensions::balance::sources::prices::Prices;
use crate::dimensions::balance::sources::snapshot::BooksSnapshot;

/// A cut of its own, for the readings after the first one.
#[derive(Debug)]
pub struct MovementView {
    /// The cut.
    pub cut: Cut,
    /// What tokens are worth.
    pub prices: Prices,
    /// The first block whose events are younger than the limit.
    pub young_from: u64,
}

/// What movements are compared against.
#[derive(Debug, Clone, Copy)]
pub struct Against<'v> {
    /// The chain's block.
    pub block: BlockRef,
    /// The books' instant.
    pub at: DateTime<Utc>,
    /// What tokens are worth.
    pub prices: &'v Prices,
    /// The first block whose events are younger than the limit.
    pub young_from: u64,
}

impl MovementView {
    /// Pins a cut.
    pub(super) async fn open(job: &Reconciliation, max_age: Duration) -> Result<Self, Fault> {
        let cut = Cut::pin(&job.databases, &job.schema, &job.chain, None).await?;
        let prices = job.prices(cut.taken_at()).await?;
        let young_from = young_from(job, &cut.block, cut.taken_at(), max_age).await?;
        Ok(Self {
            cut,
            prices,
            young_from,
        })
    }

    /// What its movements are compared against, and the books.
    pub const fn split(&mut self) -> (Against<'_>, &mut BooksSnapshot) {
        let against = Against {
            block: self.cut.block,
            at: self.cut.taken_at(),
            prices: &self.prices,
            young_from: self.young_from,
        };
        (against, &mut self.cut.snapshot)
    }
}

/// The first block that is younger than `max_age`; the one after the cut if none is. Blocks are read in doubling
/// steps back from the cut and then in halves: as many as the age has binary digits, whatever the chain's length.
pub(super) async fn young_from(
    job: &Reconciliation,
    cut: &BlockRef,
    at: DateTime<Utc>,
    max_age: Duration,
) -> Result<u64, Fault> {
    let limit = chrono::TimeDelta::from_std(max_age).unwrap_or(chrono::TimeDelta::MAX);
    let oldest = at
        .checked_sub_signed(limit)
        .map_or(0, |oldest| oldest.timestamp());
    let oldest_s = u64::try_from(oldest).unwrap_or_default();
    let mut young = cut.number + 1;
    if cut.timestamp_s < oldest_s {
        return Ok(young);
    }
    young = cut.number;
    let mut step = 1;
    // Everything below `old` is old; 0 may be young itself.
    let mut old = loop {
        let Some(number) = cut.number.checked_sub(step) else {
            break 0;
        };
        if block_at(&job.chain, number).await?.timestamp_s < oldest_s {
            break number + 1;
        }
        (young, step) = (number, step.saturating_mul(2));
    };
    while old < young {
        let middle = old + (young - old) / 2;
        if block_at(&job.chain, middle).await?.timestamp_s < oldest_s {
            old = middle + 1;
        } else {
            young = middle;
        }
    }
    Ok(young)
}
