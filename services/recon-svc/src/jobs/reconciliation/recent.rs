//! The newest blocks of a cut, as they are kept: each with its parent and with what its events led to.

use std::collections::BTreeMap;

use eidos_chain::{BlockRef, ChainError, EventBody, EventKind, VaultEvent};
use eidos_core::fence::Step;
use eidos_runtime::JobContext;

use super::branch::KEPT_BLOCKS;
use super::fault::Fault;
use super::job::Reconciliation;
use crate::dimensions::balance::sources::known::{self, Entry};
use crate::dimensions::movements::key::MovementKey;
use crate::store::chain_blocks::{self, Derived, KeptBlock};

/// What was derived from the newest blocks while their events were read.
#[derive(Debug)]
pub(super) struct Recent {
    /// The first block that is kept.
    first: u64,
    derived: BTreeMap<u64, Derived>,
}

impl Recent {
    /// Of a reading that begins with block `from` and ends with the cut: what is older was not read, or is too old to be kept.
    pub(super) fn from(from: u64, cut: &BlockRef) -> Self {
        Self {
            first: from.max(oldest_kept(cut)),
            derived: BTreeMap::new(),
        }
    }

    /// Notes what events touch.
    pub(super) fn note(&mut self, events: &[VaultEvent]) {
        for event in events.iter().filter(|event| event.at.block_number >= self.first) {
            let derived = self.derived.entry(event.at.block_number).or_default();
            derived.wallets.extend(known::touched(event));
            let key = MovementKey::Event {
                tx: event.at.tx_hash,
                index: event.at.log_index,
            };
            match event.body {
                EventBody::Deposit { .. }
                | EventBody::Unreadable {
                    kind: EventKind::Deposit,
                } => {
                    derived.deposits.insert(key.text());
                }
                EventBody::Withdraw { .. }
                | EventBody::Unreadable {
                    kind: EventKind::Withdraw,
                } => {
                    derived.withdrawals.insert(key.text());
                }
                _ => {}
            }
        }
    }

    /// Notes which accounts were new, and in which block.
    pub(super) fn note_shown(&mut self, shown: &BTreeMap<Entry, u64>) {
        for (entry, block) in shown.iter().filter(|(_, block)| **block >= self.first) {
            self.derived.entry(*block).or_default().shown.insert(*entry);
        }
    }

    /// Stores the blocks up to the cut that are not kept yet, each joined to the one before.
    ///
    /// # Errors
    /// [`ChainError::Reorged`] if they do not follow what is kept: the next attempt finds out where they part.
    pub(super) async fn keep(
        &mut self,
        job: &Reconciliation,
        ctx: &JobContext,
        step: &mut Step<'_>,
        cut: &BlockRef,
    ) -> Result<(), Fault> {
        let kept = chain_blocks::load(ctx.jobs_db().control(), job.chain_key())
            .await
            .map_err(Fault::own)?;
        let newest = kept.on_chain.first();
        let from = newest.map_or(self.first, |newest| self.first.max(newest.number + 1));
        let links = job.chain.ancestry(from, cut).await?;
        if let (Some(newest), Some(first)) = (newest, links.first())
            && newest.number + 1 == first.block.number
            && newest.hash != first.parent
        {
            return Err(ChainError::Reorged {
                number: newest.number,
                expected: newest.hash,
                found: first.parent,
            }
            .into());
        }
        let is_final = job.reads_final_blocks();
        let blocks: Vec<KeptBlock> = links
            .into_iter()
            .map(|link| KeptBlock {
                number: link.block.number,
                hash: link.block.hash,
                parent: link.parent,
                is_final,
                derived: self.derived.remove(&link.block.number).unwrap_or_default(),
            })
            .collect();
        let (key, at) = (job.chain_key(), ctx.clock().now());
        chain_blocks::add(step.conn(), key, &blocks, oldest_kept(cut), at)
            .await
            .map_err(Fault::own)
    }
}

/// The oldest block that is kept with this cut.
const fn oldest_kept(cut: &BlockRef) -> u64 {
    cut.number.saturating_sub(KEPT_BLOCKS - 1)
}
