//! [`Disagreement`]: what two providers say of the same blocks.

use eidos_chain::{BlockRef, LogPosition, VaultEvent};
use eidos_recon::CutPoint;
use eidos_types::Hash32;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::dimensions::balance::point::point_of;

/// Events that evidence names of each provider.
const NAMED_EVENTS: usize = 10;

/// What two answers are compared by: the last block, how many events, and a digest of them in chain order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    block: Hash32,
    count: usize,
    sha256: String,
}

impl Digest {
    pub(super) fn of(last: &BlockRef, events: &[VaultEvent]) -> Self {
        let mut sha = Sha256::new();
        for event in events {
            // One line an event: its position, which has the block's hash, and its contents.
            sha.update(format!("{:?} {:?}\n", event.at, event.body));
        }
        Self {
            block: last.hash,
            count: events.len(),
            sha256: hex::encode(sha.finalize()),
        }
    }

    fn evidence(&self) -> Value {
        json!({ "block_hash": self.block, "events": self.count, "sha256": self.sha256 })
    }
}

/// Two providers say different things about the same blocks.
#[derive(Debug)]
pub struct Disagreement {
    /// The first block they differ in.
    pub(super) block: u64,
    /// The end of the range.
    last: BlockRef,
    /// A sentence.
    pub(super) what: String,
    /// What each of them said.
    pub(super) evidence: Value,
}

fn named(events: &[&VaultEvent]) -> Vec<String> {
    let text = |at: &LogPosition| format!("block {} {}:{}", at.block_number, at.tx_hash, at.log_index);
    events
        .iter()
        .take(NAMED_EVENTS)
        .map(|event| text(&event.at))
        .collect()
}

impl Disagreement {
    pub(super) fn of_events(
        (first, second): (&str, &str),
        from: u64,
        last: &BlockRef,
        one: &[VaultEvent],
        other: &[VaultEvent],
    ) -> Self {
        let alone: Vec<&VaultEvent> = one.iter().filter(|event| !other.contains(event)).collect();
        let missing: Vec<&VaultEvent> = other.iter().filter(|event| !one.contains(event)).collect();
        let blocks = alone.iter().chain(&missing).map(|event| event.at.block_number);
        let block = blocks.min().unwrap_or(last.number);
        Self {
            block,
            last: *last,
            what: format!(
                "{first} and {second} give different events of blocks {from} to {}: {} and {}, the first difference is in \
                 block {block}",
                last.number,
                one.len(),
                other.len()
            ),
            evidence: json!({
                "first": first, "second": second, "from": from, "to": last.number,
                "first_says": Digest::of(last, one).evidence(), "second_says": Digest::of(last, other).evidence(),
                "only_first": named(&alone), "only_second": named(&missing),
            }),
        }
    }

    pub(super) fn of_blocks((first, second): (&str, &str), last: &BlockRef, found: Hash32) -> Self {
        Self {
            block: last.number,
            last: *last,
            what: format!(
                "block {} is {} at {first} and {found} at {second}",
                last.number, last.hash
            ),
            evidence: json!({
                "first": first, "second": second, "number": last.number, "first_says": { "block_hash": last.hash },
                "second_says": { "block_hash": found },
            }),
        }
    }

    /// Where it was read.
    pub(super) fn point(&self) -> CutPoint {
        point_of(&self.last)
    }
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}; nothing is decided from them: ask a third node which one is right, and take the other one out of chain.rpc_url \
             or chain.second_rpc_url",
            self.what
        )
    }
}

impl std::error::Error for Disagreement {}
