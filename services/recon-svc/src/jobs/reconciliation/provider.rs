//! The second provider, and what it is to disagree with the first one.

use std::time::Duration;

use eidos_chain::{BlockRef, ChainError, ChainReader, ChainSettings, LogFilter, LogPosition, VaultEvent};
use eidos_recon::CutPoint;
use eidos_runtime::{JobContext, JobError};
use eidos_types::Hash32;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::chain_breaks::{ChainBreak, resolve};
use super::event_log::Control;
use super::fault::Fault;
use super::job::Reconciliation;
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::point::point_of;

/// The dimension of disagreements. A later reading of the same blocks, in which both agree, ends such a break.
pub(super) const PROVIDERS: &str = "providers";

/// Longest wait for a second provider when a run connects to it: the run does not depend on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Events that evidence names of each provider.
const NAMED_EVENTS: usize = 10;

/// Another node of the same chain. It is connected when it answers for the first time.
#[derive(Debug)]
pub struct SecondProvider {
    settings: ChainSettings,
    endpoint: String,
    reader: OnceCell<ChainReader>,
}

impl SecondProvider {
    /// The provider of `chain.second_rpc_url`; `None`: there is none. It is asked for at once, and one that does not answer
    /// now is asked again by every run.
    ///
    /// # Errors
    /// [`ChainError::Refused`] if it is on another chain or has other contracts.
    pub async fn connect(settings: &ChainSettings) -> Result<Option<Self>, ChainError> {
        let Some(mut settings) = settings.second() else {
            return Ok(None);
        };
        settings.rpc.start_patience = settings.rpc.start_patience.min(PATIENCE);
        let second = Self {
            endpoint: settings.endpoint(),
            settings,
            reader: OnceCell::new(),
        };
        match second.reader().await {
            Ok(_) => {}
            Err(refused @ ChainError::Refused { .. }) => return Err(refused),
            Err(error) => {
                tracing::warn!(%error, "the second provider does not answer; every run asks it again");
            }
        }
        Ok(Some(second))
    }

    async fn reader(&self) -> Result<&ChainReader, ChainError> {
        self.reader
            .get_or_try_init(|| ChainReader::connect(&self.settings))
            .await
    }

    /// Scheme, host and port, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The events of a range, proven complete like those of the first one.
    pub(super) async fn logs(
        &self,
        from: u64,
        last: &BlockRef,
        filter: &LogFilter,
    ) -> Result<Vec<VaultEvent>, ChainError> {
        let reader = self.reader().await?;
        reader.verify_chain_id().await?;
        reader.logs(from, last, filter).await
    }
}

impl Reconciliation {
    /// Stores that two providers disagree.
    pub(super) async fn record_disagreement(
        &self,
        ctx: &JobContext,
        disagreement: &Disagreement,
    ) -> Result<(), JobError> {
        if ctx.dry_run() {
            return Ok(());
        }
        let found = disagreement.as_break(self.chain.settings().chain_id);
        let mut step = ctx.step().await?;
        found.record(ctx, &mut step, &disagreement.point()).await?;
        Ok(step.commit().await?)
    }

    /// Closes the disagreements about blocks that both providers agree about now: a run that is contradicted leaves its
    /// checkpoints where they are, so that the next one reads the same blocks.
    pub(super) async fn end_disagreements(&self, ctx: &JobContext, block: &BlockRef) -> Result<(), Fault> {
        let has_agreed = matches!(self.events.control(), Control::Agreed(ranges) if ranges > 0);
        if !has_agreed {
            return Ok(());
        }
        let mut step = ctx.step().await?;
        resolve(ctx, &mut step, PROVIDERS, &point_of(block)).await?;
        Ok(step.commit().await?)
    }
}

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
    block: u64,
    /// The end of the range.
    last: BlockRef,
    what: String,
    evidence: Value,
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

    /// The break of it.
    pub(super) fn as_break(&self, chain_id: u64) -> ChainBreak {
        ChainBreak {
            dimension: PROVIDERS,
            kind: BreakKind::ProvidersDisagree,
            subject: format!("{chain_id}/{}", self.block),
            evidence: self.evidence.clone(),
            because: self.what.clone(),
        }
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
