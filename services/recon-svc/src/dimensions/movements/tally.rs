//! What a run counted: per token, never across tokens (ruling 25).

use std::collections::BTreeMap;

use eidos_recon::Verdict;
use eidos_recon::tally::{Counts, Tally, Weighed};
use eidos_types::{Address, BaseUnits};
use serde::{Deserialize, Serialize};

use super::key::Movement;
use crate::dimensions::balance::sum::UnitSum;

/// Counts of a run, a shard or a page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MovementTally {
    /// By token symbol.
    pub tokens: BTreeMap<String, Counts>,
    /// Movements that one side has seen and the other is not late with.
    pub in_flight: u64,
    /// The oldest block of an event that is in flight: the next incremental run starts there.
    pub oldest_in_flight: Option<u64>,
    /// What events moved into the Vault since the last run, by contract of the token.
    pub paid_in: BTreeMap<Address, UnitSum>,
    /// What events moved out of it.
    pub paid_out: BTreeMap<Address, UnitSum>,
    /// Events counted in these two.
    pub events: u64,
}

impl MovementTally {
    /// Counts one compared movement.
    pub fn note(&mut self, movement: &Movement, verdict: &Verdict<Movement>, weighed: Weighed) {
        let counts = self.tokens.entry(movement.unit.clone()).or_default();
        counts.note(verdict, weighed);
    }

    /// Counts a movement that one side is not late with; `block`: where its event is, if the chain has it.
    pub fn wait(&mut self, block: Option<u64>) {
        self.in_flight += 1;
        self.oldest_in_flight = [self.oldest_in_flight, block].into_iter().flatten().min();
    }

    /// Adds an event to the control sums.
    pub fn paid(&mut self, token: Address, units: BaseUnits, is_in: bool) {
        let sums = if is_in {
            &mut self.paid_in
        } else {
            &mut self.paid_out
        };
        sums.entry(token).or_default().add(units);
        self.events += 1;
    }

    /// Movements that agreed, over all tokens.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.tokens.values().map(|counts| counts.matched).sum()
    }
}

impl Tally for MovementTally {
    fn merge(&mut self, other: &Self) {
        for (unit, counts) in &other.tokens {
            self.tokens.entry(unit.clone()).or_default().merge(counts);
        }
        self.in_flight += other.in_flight;
        self.oldest_in_flight = [self.oldest_in_flight, other.oldest_in_flight]
            .into_iter()
            .flatten()
            .min();
        for (ours, theirs) in [
            (&mut self.paid_in, &other.paid_in),
            (&mut self.paid_out, &other.paid_out),
        ] {
            for (token, sum) in theirs {
                ours.entry(*token).or_default().merge(*sum);
            }
        }
        self.events += other.events;
    }

    fn checked(&self) -> u64 {
        self.tokens.values().map(|counts| counts.checked).sum()
    }
}
