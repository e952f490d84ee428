//! The control of completeness: an answer without events is not taken for "nothing happened" (reference 4.6).
//!
//! What the Vault holds of each token changes by what is paid in and out. It is read from the state, and the events from the
//! logs, which a node keeps apart: if both agree, no event was left out. If they do not, every block's header is asked for
//! what its logs bloom promises. An event that was left out ends the run, and its checkpoint stays; a holding that moved
//! without an event is a finding.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use eidos_chain::{BlockRef, ChainError, EventKind, LogFilter, LogProof};
use eidos_types::Address;
use serde::{Deserialize, Serialize};

use super::super::cut::block_at;
use super::super::fault::Fault;
use super::super::job::Reconciliation;
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
    /// What the Vault held at the cut, by contract of the token.
    pub held: BTreeMap<Address, UnitSum>,
}

impl Left {
    /// The name of its checkpoint.
    pub const KEY: &'static str = "next";
}

/// The events that move tokens into or out of the Vault.
pub(super) fn filter(proof: LogProof) -> LogFilter {
    LogFilter {
        kinds: Some(vec![EventKind::Deposit, EventKind::Withdraw]),
        proof,
        keep_unreadable: true,
        about: None,
    }
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
    /// Returns what the Vault holds, and what no event explains.
    ///
    /// # Errors
    /// [`ChainError::LogsIncomplete`] if events were left out.
    pub(super) async fn check(
        &self,
        tally: &MovementTally,
        is_one_cut: bool,
    ) -> Result<(BTreeMap<Address, UnitSum>, Vec<String>), Fault> {
        let chain = &self.job.chain;
        let addresses: Vec<Address> = self.job.tokens.iter().map(|(_, token)| token.address).collect();
        let mut held = BTreeMap::new();
        for (address, units) in addresses
            .iter()
            .zip(chain.token_held(&self.cut, &addresses).await?)
        {
            held.entry(*address).or_insert_with(|| sum_of([Some(units)]));
        }
        if !is_one_cut {
            let finding = "what the Vault holds was not compared with its events: the run's pages were read at \
                           different blocks";
            return Ok((held, vec![finding.to_owned()]));
        }
        let mut findings = Vec::new();
        for (_, token) in self.job.tokens.iter() {
            let of =
                |sums: &BTreeMap<Address, UnitSum>| sums.get(&token.address).copied().unwrap_or_default();
            let mut explained = self.before.map(|left| of(&left.held)).unwrap_or_default();
            explained.merge(of(&tally.paid_in));
            let mut there = of(&held);
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
                    "{}: what was held before and its deposits are {}, what is held now and its withdrawals are {}, in \
                     blocks {} to {}: tokens moved without an event of the Vault (an emergency withdrawal, a transfer to \
                     it)",
                    token.symbol, show(explained), show(there), self.from, self.cut.number
                ));
            }
        }
        if !findings.is_empty() {
            let is_proven = self.prove(tally).await?;
            if !is_proven {
                let note = format!(
                    "; or events were left out: {} blocks are too many to read each header (limit \
                     reconciliation.event_blocks)",
                    self.blocks()
                );
                for finding in &mut findings {
                    finding.push_str(&note);
                }
            }
        }
        Ok((held, findings))
    }

    fn blocks(&self) -> u64 {
        (self.cut.number + 1).saturating_sub(self.from)
    }

    /// Reads the events again, each block proven by its header. False if there are too many blocks.
    async fn prove(&self, tally: &MovementTally) -> Result<bool, Fault> {
        if self.blocks() > self.job.rules().event_blocks {
            return Ok(false);
        }
        if self.blocks() == 0 {
            return Ok(true);
        }
        let chain = &self.job.chain;
        let last = block_at(chain, self.cut.number).await?;
        let events = chain.logs(self.from, &last, &filter(LogProof::Blooms)).await?;
        let readable = events
            .iter()
            .filter(|event| super::deposits::units_of(event).is_some())
            .count() as u64;
        if readable == tally.events {
            return Ok(true);
        }
        Err(ChainError::LogsIncomplete {
            from: self.from,
            to: self.cut.number,
            detail: format!(
                "{} events the first time and {readable} when each header was asked; what the Vault holds does not fit \
                 the first answer",
                tally.events
            ),
        }
        .into())
    }
}

fn sum_of(units: impl IntoIterator<Item = Option<eidos_types::BaseUnits>>) -> UnitSum {
    let mut sum = UnitSum::default();
    units.into_iter().flatten().for_each(|units| sum.add(units));
    sum
}
