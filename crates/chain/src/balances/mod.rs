//! Many balances at one block: the ladder.
//!
//! ```text
//! header is canonical? → best rung reads everything → sample again by plain calls, header again
//!                            │ fails                       │ differs
//!                            └──── next rung ◄─────────────┘ (and this rung is never used again)
//! ```
//!
//! A value leaves this module only if every answer had the right shape, the sample agreed and the block was
//! canonical before and after. A rung is a matter of speed; it is never a matter of trust.

mod ladder;
mod questions;
mod sample;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::time::Instant;

use alloy_primitives::{Address as EvmAddress, B256, Bytes, U64};
use alloy_rpc_types_eth::state::StateOverride;
use eidos_types::{Address, BaseUnits};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::contracts::evm;
use crate::rpc::{NodeErrorKind, Patience, RpcError};
use crate::{BlockRef, ChainError, ChainReader, Rung};
pub(crate) use ladder::Ladder;
pub use ladder::{RungReport, RungState};
pub(crate) use questions::{CallRequest, profile_views, total_view, word};
use sample::Verdict;

/// Why a rung did not deliver.
enum Failure {
    /// This rung cannot do it; another one may.
    Rung(String),
    /// The read cannot be done at all now.
    Read(ChainError),
}

/// A part of one token's wallets: one request.
struct Part {
    token: Address,
    /// Into that token's list of positions.
    range: Range<usize>,
}

impl ChainReader {
    /// The Vault's total balance (locked part included, in base units) of each wallet and token at `at`, in the
    /// order of `pairs`.
    ///
    /// # Errors
    /// [`ChainError::StateUnavailable`] and [`ChainError::Reorged`] ask for a new pin. No error is ever
    /// replaced by a value, and no value is returned that the sample did not confirm.
    #[tracing::instrument(skip_all, fields(block = at.number, pairs = pairs.len()))]
    pub async fn vault_totals(
        &self,
        at: &BlockRef,
        pairs: &[(Address, Address)],
    ) -> Result<Vec<BaseUnits>, ChainError> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        self.verify_canonical(at).await?;
        self.verify_state(at).await?;
        let by_token = group_by_token(pairs);
        let mut contradiction = None;
        while let Some(rung) = self.ladder.best(Instant::now()) {
            let values = match self.read_with(rung, at, pairs, &by_token).await {
                Ok(values) => values,
                Err(Failure::Read(error)) => return Err(self.explain(at, error).await),
                Err(Failure::Rung(reason)) => {
                    self.ladder.failed(rung, &reason, Instant::now());
                    continue;
                }
            };
            match self.cross_check(rung, at, pairs, &values).await {
                Ok(Verdict::Agrees) => return Ok(values),
                Ok(Verdict::Contradicts(error)) => {
                    self.ladder.distrust(rung, &error.to_string());
                    contradiction = Some(error);
                }
                Err(error) => return Err(self.explain(at, error).await),
            }
        }
        Err(contradiction.unwrap_or_else(|| self.exhausted()))
    }

    fn exhausted(&self) -> ChainError {
        let reason = |report: RungReport| match report.state {
            RungState::Ready => format!("{}: ready", report.rung),
            RungState::Unavailable(why) | RungState::Resting(why) | RungState::Distrusted(why) => {
                format!("{}: {why}", report.rung)
            }
        };
        ChainError::LadderExhausted {
            reasons: self.ladder.report().into_iter().map(reason).collect(),
        }
    }

    /// Reads everything with one rung, in parts whose size adapts, several at once.
    async fn read_with(
        &self,
        rung: Rung,
        at: &BlockRef,
        pairs: &[(Address, Address)],
        by_token: &BTreeMap<Address, Vec<usize>>,
    ) -> Result<Vec<BaseUnits>, Failure> {
        let mut values = vec![BaseUnits::ZERO; pairs.len()];
        let mut queue: VecDeque<Part> = by_token
            .iter()
            .map(|(token, positions)| Part {
                token: *token,
                range: 0..positions.len(),
            })
            .collect();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.settings.rpc.parallel_requests
                && let Some(part) = take_part(&mut queue, self.ladder.wallets_per_request(rung))
            {
                running.push(self.read_part(rung, at, pairs, by_token, part));
            }
            let Some((part, gas, outcome)) = running.next().await else {
                return Ok(values);
            };
            let positions = &by_token[&part.token][part.range.clone()];
            match outcome {
                Ok(words) => {
                    self.ladder.worked(rung, words.len());
                    for (position, word) in positions.iter().zip(words) {
                        values[*position] = word;
                    }
                }
                Err(error) if self.wants_less_gas(gas, &error) => queue.push_front(part),
                Err(error)
                    if error
                        .wants_less()
                        .is_some_and(|less| self.ladder.too_much(rung, positions.len(), less)) =>
                {
                    tracing::debug!(%rung, wallets = positions.len(), %error, "asking for less");
                    queue.push_front(part);
                }
                Err(error) => return Err(self.judge(rung, error)),
            }
        }
    }

    /// True if the call was refused for the gas it named, and one with less is worth trying.
    fn wants_less_gas(&self, gas: u64, error: &RpcError) -> bool {
        match error {
            RpcError::Node(node) if node.kind == NodeErrorKind::GasTooHigh => {
                self.ladder.gas_refused(gas, &node.message)
            }
            // Other nodes cut the gas to their cap without a word, and name the cap when it is used up.
            RpcError::Node(node) if node.kind == NodeErrorKind::OutOfGas => {
                self.ladder.gas_ran_out(gas, &node.message)
            }
            _ => false,
        }
    }

    /// Whether an error is the rung's or the node's.
    fn judge(&self, rung: Rung, error: RpcError) -> Failure {
        let is_about_the_block =
            matches!(&error, RpcError::Node(node) if node.kind == NodeErrorKind::StateUnavailable);
        if is_about_the_block || error.is_outage() || rung == Rung::Single {
            Failure::Read(self.rpc.error("eth_call", error))
        } else {
            Failure::Rung(error.to_string())
        }
    }

    async fn read_part(
        &self,
        rung: Rung,
        at: &BlockRef,
        pairs: &[(Address, Address)],
        by_token: &BTreeMap<Address, Vec<usize>>,
        part: Part,
    ) -> (Part, u64, Result<Vec<BaseUnits>, RpcError>) {
        let wallets: Vec<Address> = by_token[&part.token][part.range.clone()]
            .iter()
            .map(|&position| pairs[position].0)
            .collect();
        let gas = self.ladder.call_gas();
        let outcome = self.ask(rung, at, &part.token, &wallets, gas).await;
        (part, gas, outcome)
    }

    /// One request of one rung.
    async fn ask(
        &self,
        rung: Rung,
        at: &BlockRef,
        token: &Address,
        wallets: &[Address],
        gas: u64,
    ) -> Result<Vec<BaseUnits>, RpcError> {
        let (profile, vault) = (self.settings.profile, &self.settings.vault);
        let slot = || {
            self.balances_slot
                .ok_or_else(|| RpcError::Malformed("the layout is unknown".to_owned()))
        };
        let read = match rung {
            Rung::StorageReader => {
                let data = questions::storage_reader_data(token, slot()?, wallets);
                let overrides = questions::code_override(evm(vault), &self.codes.storage_reader);
                questions::words(
                    &self.bulk_call(at, gas, evm(vault), data, Some(overrides)).await?,
                    wallets.len(),
                )
            }
            Rung::ViewReader => {
                let data = questions::view_reader_data(profile, vault, token, wallets);
                let overrides = questions::code_override(questions::SCRATCH, &self.codes.view_reader);
                let answer = self
                    .bulk_call(at, gas, questions::SCRATCH, data, Some(overrides))
                    .await?;
                questions::words(&answer, wallets.len())
            }
            Rung::Multicall3 => {
                let data = questions::multicall_data(profile, vault, token, wallets);
                let answer = self
                    .bulk_call(at, gas, evm(&self.settings.bulk.multicall), data, None)
                    .await?;
                questions::multicall_words(&answer, wallets.len())
            }
            Rung::StorageValues => {
                let slots = questions::storage_slots(token, slot()?, wallets);
                let params = (HashMap::from([(evm(vault), slots)]), self.addressing.of(at));
                let patience = Patience::NoRepeatOnTimeout;
                let answer: HashMap<EvmAddress, Vec<B256>> = self
                    .rpc
                    .call_with(patience, "eth_getStorageValues", params)
                    .await?;
                questions::storage_values(&answer, vault, wallets.len())
            }
            Rung::Batch | Rung::Single => {
                let calls = wallets
                    .iter()
                    .map(|wallet| (evm(vault), total_view(profile, wallet, token)));
                let answers = self.plain_calls(at, calls.collect(), rung == Rung::Batch).await?;
                answers.iter().map(|answer| word(answer)).collect()
            }
        };
        read.map_err(RpcError::Malformed)
    }

    async fn bulk_call(
        &self,
        at: &BlockRef,
        gas: u64,
        to: EvmAddress,
        data: Bytes,
        overrides: Option<StateOverride>,
    ) -> Result<Bytes, RpcError> {
        let request = CallRequest {
            to,
            data,
            gas: Some(U64::from(gas)),
        };
        let (block, patience) = (self.addressing.of(at), Patience::NoRepeatOnTimeout);
        match overrides {
            Some(overrides) => {
                self.rpc
                    .call_with(patience, "eth_call", (request, block, overrides))
                    .await
            }
            None => self.rpc.call_with(patience, "eth_call", (request, block)).await,
        }
    }
}

/// Groups the positions by token: readers take one token per call.
fn group_by_token(pairs: &[(Address, Address)]) -> BTreeMap<Address, Vec<usize>> {
    let mut by_token: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
    for (position, (_wallet, token)) in pairs.iter().enumerate() {
        by_token.entry(*token).or_default().push(position);
    }
    by_token
}

/// The next part, of at most `wallets`.
fn take_part(queue: &mut VecDeque<Part>, wallets: usize) -> Option<Part> {
    let mut part = queue.pop_front()?;
    let end = part.range.end.min(part.range.start + wallets);
    if end < part.range.end {
        queue.push_front(Part {
            token: part.token,
            range: end..part.range.end,
        });
        part.range.end = end;
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_position_once() {
        let (a, b) = (Address::new([1; 20]), Address::new([2; 20]));
        let pairs: Vec<_> = (0..25_u8)
            .map(|i| (Address::new([i; 20]), if i % 3 == 0 { a } else { b }))
            .collect();
        let by_token = group_by_token(&pairs);
        let mut queue: VecDeque<Part> = by_token
            .iter()
            .map(|(token, all)| Part {
                token: *token,
                range: 0..all.len(),
            })
            .collect();
        let mut seen: Vec<usize> = Vec::new();
        for size in [4, 1, 100, 3].into_iter().cycle() {
            let Some(part) = take_part(&mut queue, size) else {
                break;
            };
            assert!((1..=size).contains(&part.range.len()));
            seen.extend(&by_token[&part.token][part.range]);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..25).collect::<Vec<_>>());
    }
}
