//! The cross-check: some values of every bulk read are read again, one plain view call each.

use eidos_types::{Address, BaseUnits};
use rand::seq::index;

use super::{Rung, total_view, word};
use crate::contracts::evm;
use crate::lock::locked;
use crate::{BlockRef, ChainError, ChainReader};

/// What the sample said.
pub(super) enum Verdict {
    /// Every value was the same.
    Agrees,
    /// One was not; the error names it.
    Contradicts(ChainError),
}

impl ChainReader {
    /// Reads a random sample of `values` again by plain calls at the same block, then makes sure that the block
    /// is still canonical.
    pub(super) async fn cross_check(
        &self,
        rung: Rung,
        at: &BlockRef,
        pairs: &[(Address, Address)],
        values: &[BaseUnits],
    ) -> Result<Verdict, ChainError> {
        // Single calls are what the sample would be read with.
        if rung != Rung::Single {
            let chosen = self.choose(values);
            let calls = chosen
                .iter()
                .map(|&position| {
                    let (wallet, token) = &pairs[position];
                    (
                        evm(&self.settings.vault),
                        total_view(self.settings.profile, wallet, token),
                    )
                })
                .collect();
            let answers = self.plain_reads(at, calls).await?;
            for (&position, answer) in chosen.iter().zip(&answers) {
                let plain = word(answer).map_err(|detail| self.malformed("eth_call", detail))?;
                if plain != values[position] {
                    let (wallet, token) = pairs[position];
                    let (number, bulk) = (at.number, values[position]);
                    return Ok(Verdict::Contradicts(ChainError::CrossCheckFailed {
                        rung,
                        wallet,
                        token,
                        number,
                        bulk,
                        plain,
                    }));
                }
            }
        }
        self.verify_canonical(at).await?;
        Ok(Verdict::Agrees)
    }

    /// Half of the sample from the values that are not zero, if there are any: most wallets hold nothing, and a
    /// reader that only ever answers zero must not pass by their majority.
    fn choose(&self, values: &[BaseUnits]) -> Vec<usize> {
        let size = self.settings.bulk.sample.min(values.len());
        let held: Vec<usize> = (0..values.len())
            .filter(|&position| !values[position].is_zero())
            .collect();
        let mut rng = locked(&self.rng);
        let from_held = held.len().min(size.div_ceil(2));
        let mut chosen: Vec<usize> = index::sample(&mut *rng, held.len(), from_held)
            .into_iter()
            .map(|at| held[at])
            .collect();
        chosen.extend(index::sample(&mut *rng, values.len(), size - from_held));
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }
}
