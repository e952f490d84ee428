//! The Vault's events as a run reads them: each range once, and of both providers where a second one is configured.
//!
//! What one attempt at a cut has read is remembered until the next attempt, so that the register of accounts and the dimensions
//! of movements do not ask for the same blocks again.
//!
//! Two providers that say different things about the same blocks are never settled in favour of one: both are read again,
//! and if they still differ, that is a break and the run ends. A second provider that does not answer is a finding.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eidos_chain::{BlockRef, ChainError, ChainReader, EventKind, LogFilter, VaultEvent};

use super::cut::block_at;
use super::disagreement::{Digest, Disagreement};
use super::fault::Fault;
use super::provider::SecondProvider;
use super::report::Finding;
use crate::dimensions::balance::kind::BreakKind;
use crate::dimensions::balance::sources::known;
use crate::dimensions::settlement::on_chain::KINDS as OF_TRADES;

/// Most events that are remembered, about 10 MiB.
const REMEMBERED: usize = 50_000;

/// Some blocks, and every event of these kinds in them.
#[derive(Debug)]
struct Segment {
    from: u64,
    upto: u64,
    kinds: Vec<EventKind>,
    events: Vec<VaultEvent>,
}

impl Segment {
    fn has(&self, kinds: &[EventKind]) -> bool {
        kinds.iter().all(|kind| self.kinds.contains(kind))
    }
}

/// What was asked in one run.
#[derive(Debug, Default)]
struct Memory {
    segments: Vec<Segment>,
    /// Ranges that both providers gave the same events of.
    compared: u64,
    /// Why the second provider could not be asked.
    silent: Option<String>,
}

/// How the second provider fared in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    /// There is none.
    Off,
    /// It gave the same events of so many ranges.
    Agreed(u64),
    /// It did not answer, and why.
    Silent(String),
}

impl Control {
    /// What the report says about it.
    pub(super) fn finding(&self) -> Option<Finding> {
        let Self::Silent(why) = self else { return None };
        Some(Finding {
            kind: BreakKind::ProviderSilent,
            token: None,
            detail: format!(
                "the second provider (chain.second_rpc_url) could not be asked, so that nothing but the first one's own state \
                 and headers controls its events: {why}"
            ),
        })
    }
}

/// The events of the chain.
#[derive(Debug)]
pub struct EventLog {
    chain: Arc<ChainReader>,
    second: Option<SecondProvider>,
    /// True if trades are compared, so that their events are asked for in any case.
    has_trades: bool,
    memory: Mutex<Memory>,
}

impl EventLog {
    /// Events of the node behind `chain`, controlled by `second` if there is one.
    #[must_use]
    pub fn new(chain: Arc<ChainReader>, second: Option<SecondProvider>, has_trades: bool) -> Self {
        Self {
            chain,
            second,
            has_trades,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a run: what was read before may be of another chain, and a provider that was silent is asked again.
    pub(super) fn begin(&self) {
        *self.memory() = Memory::default();
    }

    /// Begins another attempt at a cut.
    pub(super) fn forget(&self) {
        self.memory().segments.clear();
    }

    /// How the second provider fared since the run began.
    pub(super) fn control(&self) -> Control {
        let memory = self.memory();
        match (&self.second, &memory.silent) {
            (None, _) => Control::Off,
            (Some(_), Some(why)) => Control::Silent(why.clone()),
            (Some(_), None) => Control::Agreed(memory.compared),
        }
    }

    /// Every event of blocks `from..=last` that shows accounts or moves tokens. `is_read_next`: the dimensions of movements read
    /// these blocks as well, so that their kinds are asked for in the same requests.
    pub(super) async fn all(
        &self,
        from: u64,
        last: &BlockRef,
        is_read_next: bool,
    ) -> Result<Vec<VaultEvent>, Fault> {
        let own = known::filter();
        let shown = own.kinds.clone().unwrap_or_default();
        let mut asked = own;
        if is_read_next && self.has_trades {
            let more = OF_TRADES.into_iter().filter(|kind| !shown.contains(kind));
            asked.kinds = Some(shown.iter().copied().chain(more).collect());
        }
        let mut events = self.asked(from, last, &asked).await?;
        self.remember(from, last.number, &asked, events.clone());
        events.retain(|event| shown.contains(&event.body.kind()));
        Ok(events)
    }

    /// The events of blocks `from..=last` of the kinds that `filter` names; only what is not remembered is asked for.
    pub(super) async fn of(
        &self,
        from: u64,
        last: &BlockRef,
        filter: &LogFilter,
    ) -> Result<Vec<VaultEvent>, Fault> {
        let kinds = filter.kinds.as_deref().unwrap_or(&EventKind::ALL);
        let mut events = Vec::new();
        let mut next = from;
        while next <= last.number {
            if let Some(upto) = self.recall(next, last.number, kinds, &mut events) {
                next = upto + 1;
                continue;
            }
            let end = self.unknown_until(next, kinds).min(last.number);
            let end = if end == last.number {
                *last
            } else {
                block_at(&self.chain, end).await?
            };
            let found = self.asked(next, &end, filter).await?;
            self.remember(next, end.number, filter, found.clone());
            events.extend(found);
            next = end.number + 1;
        }
        Ok(events)
    }

    /// Adds what is remembered from `next` on. Returns the last block of it; `None`: nothing is.
    fn recall(&self, next: u64, last: u64, kinds: &[EventKind], events: &mut Vec<VaultEvent>) -> Option<u64> {
        let memory = self.memory();
        let segment = memory
            .segments
            .iter()
            .find(|segment| segment.from <= next && next <= segment.upto && segment.has(kinds))?;
        let upto = segment.upto.min(last);
        let wanted = |event: &&VaultEvent| {
            (next..=upto).contains(&event.at.block_number) && kinds.contains(&event.body.kind())
        };
        events.extend(segment.events.iter().filter(wanted).copied());
        Some(upto)
    }

    /// The last block before something is remembered again.
    fn unknown_until(&self, next: u64, kinds: &[EventKind]) -> u64 {
        let memory = self.memory();
        let later = memory
            .segments
            .iter()
            .filter(|segment| segment.has(kinds))
            .map(|segment| segment.from)
            .filter(|from| *from > next);
        later.min().map_or(u64::MAX, |from| from - 1)
    }

    fn remember(&self, from: u64, upto: u64, filter: &LogFilter, events: Vec<VaultEvent>) {
        if from > upto || events.len() > REMEMBERED {
            return;
        }
        let mut memory = self.memory();
        memory.segments.push(Segment {
            from,
            upto,
            kinds: filter.kinds.clone().unwrap_or_else(|| EventKind::ALL.to_vec()),
            events,
        });
        let held = |segments: &[Segment]| segments.iter().map(|segment| segment.events.len()).sum::<usize>();
        while held(&memory.segments) > REMEMBERED {
            memory.segments.remove(0);
        }
    }

    /// Asks for a range, of both providers.
    async fn asked(&self, from: u64, last: &BlockRef, filter: &LogFilter) -> Result<Vec<VaultEvent>, Fault> {
        let events = self.chain.logs(from, last, filter).await?;
        let Some(second) = self.second.as_ref().filter(|_| self.memory().silent.is_none()) else {
            return Ok(events);
        };
        if from > last.number {
            return Ok(events);
        }
        let said = match second.logs(from, last, filter).await {
            Ok(said) => said,
            Err(error) => return self.without_control(error, events, last).await,
        };
        if Digest::of(last, &said) == Digest::of(last, &events) {
            self.memory().compared += 1;
            return Ok(events);
        }
        self.asked_again(second, from, last, filter).await
    }

    /// A gap of one of them may be gone when both are read again.
    async fn asked_again(
        &self,
        second: &SecondProvider,
        from: u64,
        last: &BlockRef,
        filter: &LogFilter,
    ) -> Result<Vec<VaultEvent>, Fault> {
        tracing::warn!(
            from,
            to = last.number,
            "two providers give different events: both are read again"
        );
        let events = self.chain.logs(from, last, filter).await?;
        let said = match second.logs(from, last, filter).await {
            Ok(said) => said,
            Err(error) => return self.without_control(error, events, last).await,
        };
        if Digest::of(last, &said) == Digest::of(last, &events) {
            self.memory().compared += 1;
            return Ok(events);
        }
        let names = (self.chain.endpoint(), second.endpoint());
        Err(Fault::Disagreement(Box::new(Disagreement::of_events(
            names, from, last, &events, &said,
        ))))
    }

    /// The second provider has another block, or it could not be asked.
    async fn without_control(
        &self,
        error: ChainError,
        events: Vec<VaultEvent>,
        last: &BlockRef,
    ) -> Result<Vec<VaultEvent>, Fault> {
        if let ChainError::Reorged { number, found, .. } = &error
            && *number == last.number
        {
            // If the first provider has followed, the run takes another cut.
            self.chain.verify_canonical(last).await?;
            let names = (
                self.chain.endpoint(),
                self.second.as_ref().map_or("", SecondProvider::endpoint),
            );
            return Err(Fault::Disagreement(Box::new(Disagreement::of_blocks(
                names, last, *found,
            ))));
        }
        tracing::warn!(%error, "the second provider does not answer: nothing controls the first one's events");
        self.memory().silent = Some(error.to_string());
        Ok(events)
    }
}
