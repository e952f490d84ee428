//! The control of completeness: an answer without events is not taken for "nothing happened" (reference 4.6).
//!
//! What the Vault holds of each token changes by what is paid in and out, and what the Settlement contract counts as fees by
//! what trades pay. These are read from the state, and the events from the logs, which a node keeps apart: if both agree, no
//! event was left out. If they do not, every block's header is asked for what its logs bloom promises. An event that was left
//! out ends the run, and its checkpoint stays; a sum that changed without an event is a finding.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use eidos_chain::{BlockRef, ChainError, EventBody, LogProof, VaultEvent};
use eidos_types::{Address, BaseUnits};
use serde::{Deserialize, Serialize};

use super::super::cut::block_at;
use super::super::fault::Fault;
use super::super::job::Reconciliation;
use super::Side;
use crate::dimensions::balance::sum::UnitSum;
use crate::dimensions::movements::tally::MovementTally;

/// What a finished run of a dimension leaves for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Where both sides were read.
    pub cut: BlockRef,
    /// When the books were read.
    pub at: DateTime<Utc>,
    /// The first block whose events the next incremental run reads: the oldest one with an event in flight, or the one after
    /// the cut.
    pub next_block: u64,
    /// What the contracts held at the cut ([`super::Side::held`]).
    pub held: Held,
}

/// Sums by contract of the token.
pub type Held = BTreeMap<Address, UnitSum>;

impl Left {
    /// The name of its checkpoint.
    pub const KEY: &'static str = "next";

    /// What the run would have left at an earlier block, where the Vault held `held`: rows and events above it are read again.
    #[must_use]
    pub fn back_to(self, common: BlockRef, held: Held) -> Self {
        Self {
            cut: common,
            next_block: self.next_block.min(common.number + 1),
            held,
            at: self.at,
        }
    }
}

/// The amount of an event that moves tokens; `None`: it is not readable.
pub(super) const fn units_of(event: &VaultEvent) -> Option<(Address, BaseUnits, bool)> {
    match event.body {
        EventBody::Deposit { token, amount, .. } => Some((token, amount, true)),
        EventBody::Withdraw { token, amount, .. } => Some((token, amount, false)),
        _ => None,
    }
}

/// What the Vault holds of each token.
pub(super) async fn held_by_vault(job: &Reconciliation, cut: BlockRef) -> Result<Held, Fault> {
    let addresses: Vec<Address> = job.tokens.iter().map(|(_, token)| token.address).collect();
    let held = job.chain.token_held(&cut, &addresses).await?;
    Ok(sums_of(&addresses, held))
}

/// One sum for each token, however often it is listed.
pub(super) fn sums_of(tokens: &[Address], units: Vec<BaseUnits>) -> Held {
    let mut held = Held::new();
    for (token, units) in tokens.iter().zip(units) {
        held.entry(*token).or_insert_with(|| {
            let mut sum = UnitSum::default();
            sum.add(units);
            sum
        });
    }
    held
}

/// One control.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control<'a> {
    pub(super) job: &'a Reconciliation,
    pub(super) cut: BlockRef,
    /// The first block of the events that were counted.
    pub(super) from: u64,
    /// What was held before them; `None`: nothing, the Vault was not there.
    pub(super) before: Option<&'a Left>,
}

impl Control<'_> {
    /// Returns what the contracts hold, and what no event explains.
    ///
    /// # Errors
    /// [`ChainError::LogsIncomplete`] if events were left out.
    pub(super) async fn check<D: Side>(
        &self,
        tally: &MovementTally,
        is_one_cut: bool,
    ) -> Result<(Held, Vec<String>), Fault> {
        let Some(held) = D::held(self.job, self.cut).await? else {
            return Ok((Held::new(), Vec::new()));
        };
        let deployed = self.job.rules().vault_deployed_at_block;
        if self.before.is_none() && self.from > deployed {
            // Events before the first one that was read are in the sums.
            return Ok((held, Vec::new()));
        }
        if !is_one_cut {
            let finding = "what the contracts hold was not compared with its events: the run's pages were read at \
                           different blocks";
            return Ok((held, vec![finding.to_owned()]));
        }
        let mut findings = self.unexplained::<D>(&held, tally);
        if !findings.is_empty() && !self.prove::<D>(tally).await? {
            let note = format!(
                "; or events were left out: {} blocks are too many to read each header (limit \
                 reconciliation.event_blocks)",
                self.blocks()
            );
            for finding in &mut findings {
                finding.push_str(&note);
            }
        }
        Ok((held, findings))
    }

    /// The tokens whose sums the events do not explain.
    fn unexplained<D: Side>(&self, held: &Held, tally: &MovementTally) -> Vec<String> {
        let mut findings = Vec::new();
        for (_, token) in self.job.tokens.iter() {
            let of = |sums: &Held| sums.get(&token.address).copied().unwrap_or_default();
            let mut explained = self.before.map(|left| of(&left.held)).unwrap_or_default();
            explained.merge(of(&tally.paid_in));
            let mut there = of(held);
            there.merge(of(&tally.paid_out));
            let same = explained
                .exact()
                .zip(there.exact())
                .map(|(one, other)| one == other);
            if same != Some(true) {
                let show = |sum: UnitSum| {
                    sum.exact()
                        .map_or_else(|| "beyond 2^256".to_owned(), |units| units.exact(token.decimals))
                };
                findings.push(format!(
                    "{}: what was held before and what {} brought are {}, what is held now and what they took are {}, in \
                     blocks {} to {}: {}",
                    token.symbol,
                    D::MANY,
                    show(explained),
                    show(there),
                    self.from,
                    self.cut.number,
                    D::UNEXPLAINED
                ));
            }
        }
        findings
    }

    fn blocks(&self) -> u64 {
        (self.cut.number + 1).saturating_sub(self.from)
    }

    /// Reads the events again, each block proven by its header. False if there are too many blocks.
    async fn prove<D: Side>(&self, tally: &MovementTally) -> Result<bool, Fault> {
        if self.blocks() > self.job.rules().event_blocks {
            return Ok(false);
        }
        if self.blocks() == 0 {
            return Ok(true);
        }
        let chain = &self.job.chain;
        let last = block_at(chain, self.cut.number).await?;
        let events = chain.logs(self.from, &last, &D::filter(LogProof::Blooms)).await?;
        let readable = events.iter().filter(|event| D::is_counted(event)).count() as u64;
        if readable == tally.events {
            return Ok(true);
        }
        Err(ChainError::LogsIncomplete {
            from: self.from,
            to: self.cut.number,
            detail: format!(
                "{} events the first time and {readable} when each header was asked; what the contracts hold does not fit \
                 the first answer",
                tally.events
            ),
        }
        .into())
    }
}
