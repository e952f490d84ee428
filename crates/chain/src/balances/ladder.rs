//! [`Ladder`]: which rung is used next and for how many wallets, and what is remembered about each.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use serde::Serialize;

use crate::lock::locked;
use crate::observe;
use crate::rpc::{Less, Limit, hints};
use crate::rung::Rung;
use crate::settings::BulkSettings;

impl Rung {
    /// Most wallets in one request, whatever the node allows: what the call's gas pays for (measured on revm;
    /// the storage read alone is 2,100), what clients accept, or one.
    fn most_wallets(self, call_gas: u64, bulk: &BulkSettings, batch_calls: usize) -> usize {
        let paid_by_gas =
            |gas_per_wallet: u64| usize::try_from(call_gas / gas_per_wallet).unwrap_or(usize::MAX);
        let most = match self {
            Self::StorageReader => paid_by_gas(2_750),
            Self::StorageValues => 1_024,
            Self::ViewReader => paid_by_gas(3_600),
            Self::Multicall3 => paid_by_gas(9_000),
            Self::Batch => batch_calls,
            Self::Single => 1,
        };
        most.clamp(1, bulk.max_wallets)
    }
}

/// Whether a rung is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RungState {
    /// It may be used.
    Ready,
    /// It cannot be used here: not configured, layout unknown, no such contract.
    Unavailable(String),
    /// It failed and is left alone for a while.
    Resting(String),
    /// It gave a wrong value. Never used again by this reader.
    Distrusted(String),
}

/// A node that is too busy or too slow for so few wallets is out of order: asking for fewer would only make more
/// requests.
const LEAST_FOR_A_BUSY_NODE: usize = 64;

/// What a rung did, for reports and benchmarks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RungReport {
    /// The rung.
    pub rung: Rung,
    /// Whether it is in use, and why not.
    pub state: RungState,
    /// Requests it made (a batch is one).
    pub requests: u64,
    /// Values it read.
    pub values: u64,
    /// Wallets its next request would carry.
    pub wallets_per_request: usize,
}

#[derive(Debug)]
struct Entry {
    report: RungReport,
    /// Wallets per request: the largest that may be tried.
    most: usize,
    rests_until: Option<Instant>,
}

/// The ladder's memory: shared by all reads of one reader.
#[derive(Debug)]
pub(crate) struct Ladder {
    entries: Mutex<Vec<Entry>>,
    call_gas: Limit,
    bulk: BulkSettings,
    batch_calls: usize,
}

/// A bulk call with less gas than this reads too little to be worth a request.
const LEAST_CALL_GAS: u64 = 250_000;

impl Ladder {
    pub(crate) fn new(bulk: &BulkSettings, batch_calls: usize) -> Self {
        let entries = bulk
            .rungs
            .iter()
            .map(|&rung| {
                let most = rung.most_wallets(bulk.call_gas, bulk, batch_calls);
                Entry {
                    report: RungReport {
                        rung,
                        state: RungState::Ready,
                        requests: 0,
                        values: 0,
                        wallets_per_request: most.min(bulk.start_wallets),
                    },
                    most,
                    rests_until: None,
                }
            })
            .collect();
        Self {
            entries: Mutex::new(entries),
            call_gas: Limit::new(bulk.call_gas),
            bulk: bulk.clone(),
            batch_calls,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        locked(&self.entries)
    }

    fn with<T: Default>(&self, rung: Rung, change: impl FnOnce(&mut Entry) -> T) -> T {
        self.entries()
            .iter_mut()
            .find(|entry| entry.report.rung == rung)
            .map(change)
            .unwrap_or_default()
    }

    /// The best rung that may be used now.
    pub(crate) fn best(&self, now: Instant) -> Option<Rung> {
        self.entries().iter_mut().find_map(|entry| {
            if entry.rests_until.is_some_and(|until| until <= now) {
                entry.rests_until = None;
                entry.report.state = RungState::Ready;
            }
            (entry.report.state == RungState::Ready).then_some(entry.report.rung)
        })
    }

    /// Marks a rung that cannot be used with this node and these contracts.
    pub(crate) fn unavailable(&self, rung: Rung, reason: String) {
        self.with(rung, |entry| entry.report.state = RungState::Unavailable(reason));
    }

    /// Makes a rung ready again: what made it unavailable is gone.
    pub(crate) fn available(&self, rung: Rung) {
        self.with(rung, |entry| {
            if matches!(entry.report.state, RungState::Unavailable(_)) {
                entry.report.state = RungState::Ready;
            }
        });
    }

    /// Rests a rung that failed: the next one is used, this one tried again later.
    pub(crate) fn failed(&self, rung: Rung, reason: &str, now: Instant) {
        tracing::warn!(%rung, reason, "a way to read balances in bulk failed; the next one is used");
        observe::rung_failed(rung);
        let until = now + self.bulk.retry_rung_after;
        self.with(rung, |entry| {
            entry.report.state = RungState::Resting(reason.to_owned());
            entry.rests_until = Some(until);
        });
    }

    /// Gives up a rung that gave a wrong value, for good.
    pub(crate) fn distrust(&self, rung: Rung, reason: &str) {
        tracing::error!(%rung, reason, "a way to read balances in bulk gave a WRONG value; it is not used again");
        observe::rung_distrusted(rung);
        self.with(rung, |entry| {
            entry.report.state = RungState::Distrusted(reason.to_owned());
            entry.rests_until = None;
        });
    }

    /// Wallets for the rung's next request.
    pub(crate) fn wallets_per_request(&self, rung: Rung) -> usize {
        self.with(rung, |entry| entry.report.wallets_per_request).max(1)
    }

    /// Notes that a request of `wallets` worked: a full one may be twice as large next time.
    pub(crate) fn worked(&self, rung: Rung, wallets: usize) {
        self.with(rung, |entry| {
            entry.report.requests += 1;
            entry.report.values += u64::try_from(wallets).unwrap_or(u64::MAX);
            if wallets >= entry.report.wallets_per_request {
                entry.report.wallets_per_request = (wallets * 2).min(entry.most).max(1);
            }
        });
        observe::values_read(rung, wallets);
    }

    /// Halves the next request after one of `wallets` was too much, and never asks for as much again if that is a limit
    /// of the node. False if nothing smaller is worth trying.
    pub(crate) fn too_much(&self, rung: Rung, wallets: usize, less: Less) -> bool {
        self.with(rung, |entry| {
            entry.report.requests += 1;
            if less == Less::ForGood {
                entry.most = entry.most.min(wallets.saturating_sub(1)).max(1);
            }
            entry.report.wallets_per_request = entry.report.wallets_per_request.min((wallets / 2).max(1));
        });
        match less {
            Less::ForGood => wallets > 1,
            Less::ForNow => wallets > LEAST_FOR_A_BUSY_NODE,
        }
    }

    /// Gas that a bulk call names now.
    pub(crate) fn call_gas(&self) -> u64 {
        self.call_gas.get()
    }

    pub(crate) fn learned_call_gas(&self) -> Option<u64> {
        self.call_gas.learned()
    }

    /// Lets no bulk call name more than `gas` from now on, and none carry more wallets than that pays for.
    pub(crate) fn lower_call_gas(&self, gas: u64) {
        self.call_gas.lower(gas.max(LEAST_CALL_GAS));
        let gas = self.call_gas();
        for entry in self.entries().iter_mut() {
            let report = &mut entry.report;
            entry.most = entry
                .most
                .min(report.rung.most_wallets(gas, &self.bulk, self.batch_calls));
            report.wallets_per_request = report.wallets_per_request.min(entry.most);
        }
    }

    /// Follows the figure in the node's `words` after it refused a call that names `asked` gas, or halves the gas where
    /// they have none. False if less is not worth trying.
    pub(crate) fn gas_refused(&self, asked: u64, words: &str) -> bool {
        if self.call_gas() >= asked {
            let named = named_gas(words, asked);
            self.lower_call_gas(named.unwrap_or(asked / 2));
            tracing::info!(
                asked,
                gas = self.call_gas(),
                "the node takes calls with less gas only"
            );
        }
        self.call_gas() < asked
    }

    /// Follows the smaller cap that the node's `words` name after a call with `asked` gas ran out of it. False if they
    /// name none.
    pub(crate) fn gas_ran_out(&self, asked: u64, words: &str) -> bool {
        let named = words
            .contains("allowance")
            .then(|| named_gas(words, asked))
            .flatten();
        if let Some(named) = named {
            self.lower_call_gas(named);
        }
        named.is_some()
    }

    pub(crate) fn report(&self) -> Vec<RungReport> {
        self.entries().iter().map(|entry| entry.report.clone()).collect()
    }
}

fn named_gas(words: &str, asked: u64) -> Option<u64> {
    hints::limit_below(&words.to_lowercase(), asked, &[]).filter(|named| *named >= LEAST_CALL_GAS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ladder() -> Ladder {
        Ladder::new(&BulkSettings::default(), 100)
    }

    fn size(ladder: &Ladder) -> usize {
        ladder.wallets_per_request(Rung::StorageReader)
    }

    #[test]
    fn sizes_double_until_the_gas_is_spent_and_halve_when_it_is_too_much() {
        let ladder = ladder();
        let rung = Rung::StorageReader;
        let mut seen = vec![size(&ladder)];
        for _ in 0..4 {
            ladder.worked(rung, size(&ladder));
            seen.push(size(&ladder));
        }
        assert_eq!(
            seen,
            [2_000, 4_000, 8_000, 16_000, 18_181],
            "50M gas at 2,750 each"
        );
        assert!(ladder.too_much(rung, 16_000, Less::ForGood));
        assert_eq!(size(&ladder), 8_000);
        ladder.worked(rung, 8_000);
        assert_eq!(size(&ladder), 15_999, "what was too much once is not tried again");
        ladder.worked(rung, 10);
        assert_eq!(size(&ladder), 15_999, "a small rest teaches nothing");
        assert!(ladder.too_much(rung, 15_999, Less::ForNow));
        ladder.worked(rung, 7_999);
        assert_eq!(
            size(&ladder),
            15_998,
            "what was too much for a busy node is tried again"
        );
        assert!(
            !ladder.too_much(rung, 1, Less::ForGood),
            "less than one wallet cannot be asked for"
        );
        assert_eq!(size(&ladder), 1);
    }

    #[test]
    fn the_gas_of_a_call_follows_the_node_and_is_halved_otherwise() {
        let ladder = ladder();
        let words = "Transaction gas limit is 50000000 and exceeds transaction gas cap of 16777216";
        assert!(ladder.gas_refused(50_000_000, words));
        assert_eq!((ladder.call_gas(), size(&ladder)), (16_777_216, 2_000));
        ladder.worked(Rung::StorageReader, 2_000);
        ladder.worked(Rung::StorageReader, 4_000);
        assert_eq!(size(&ladder), 6_100, "16.8M gas at 2,750 each");
        assert!(ladder.gas_refused(50_000_000, words), "a call that was under way");
        assert_eq!(ladder.learned_call_gas(), Some(16_777_216));
        assert!(ladder.gas_refused(16_777_216, "too much gas"));
        assert_eq!((ladder.call_gas(), size(&ladder)), (8_388_608, 3_050));
        assert!(!ladder.gas_ran_out(8_388_608, "out of gas: gas required exceeds: 8388608"));
        assert!(ladder.gas_ran_out(8_388_608, "gas required exceeds allowance (5000000)"));
        assert_eq!(ladder.call_gas(), 5_000_000);
        while ladder.call_gas() > LEAST_CALL_GAS {
            assert!(ladder.gas_refused(ladder.call_gas(), "too much gas"));
        }
        assert!(
            !ladder.gas_refused(LEAST_CALL_GAS, "too much gas"),
            "there is an end"
        );
    }

    #[test]
    fn a_failed_rung_rests_and_a_lying_one_is_gone() {
        let ladder = ladder();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(ladder.best(start), Some(Rung::StorageReader));
        ladder.failed(Rung::StorageReader, "no overrides", start);
        ladder.distrust(Rung::StorageValues, "wrong value");
        ladder.unavailable(Rung::ViewReader, "no overrides".into());
        assert_eq!(ladder.best(after(599)), Some(Rung::Multicall3));
        assert_eq!(ladder.best(after(600)), Some(Rung::StorageReader), "rested");
        ladder.failed(Rung::StorageReader, "no overrides", after(600));
        assert_eq!(
            ladder.best(after(601)),
            Some(Rung::Multicall3),
            "the distrusted one stays out"
        );
        for rung in [Rung::Multicall3, Rung::Batch, Rung::Single] {
            ladder.failed(rung, "x", after(601));
        }
        assert_eq!(ladder.best(after(602)), None);
    }
}
