//! The events of a range of blocks, proven complete.
//!
//! `eth_getLogs` answers "nothing" both when nothing happened and when the node has not seen the blocks yet, so
//! an answer alone proves nothing. Each range is asked together with the headers of its first and last block in
//! one batch: the answering node has the last block, the ranges join without a gap (parent hashes), and the logs
//! are in these very blocks. The last block of all is asked for by its hash. [`LogProof::Blooms`] adds the
//! header of every block: its logs bloom must not promise what the answer does not hold.

mod blooms;
mod event;
mod positions;
pub(crate) mod range;
mod segment;
mod transactions;

use std::collections::HashMap;

use alloy_primitives::U64;
use alloy_rpc_types_eth::Log;
use eidos_types::{Address, Hash32};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::block::Header;
use crate::lock::locked;
use crate::rpc::{Answer, NodeErrorKind, Patience, Question, RpcError};
use crate::{Addressing, BlockRef, ChainError, ChainReader};
pub use event::{EventBody, EventKind, LogPosition, VaultEvent};
use range::{Advice, RangeSize};
use segment::Asked;
pub use transactions::{EventsOf, TransactionEvents};

/// Topics in one place of a filter: providers accept about a thousand.
const TRADES_PER_FILTER: usize = 500;

/// Which events, and how they are proven.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// The kinds; `None` for everything the configured contracts emit.
    pub kinds: Option<Vec<EventKind>>,
    /// How completeness is proven.
    pub proof: LogProof,
    /// True to get logs that do not decode as [`EventBody::Unreadable`] instead of an error.
    pub keep_unreadable: bool,
    /// Only events of these trades; empty: all. Other kinds than [`EventKind::TradeSettled`] name no trade.
    pub trades: Vec<Hash32>,
    /// Only logs whose indexed argument is this address; `None`: whatever they are about.
    pub about: Option<Argument>,
}

/// An indexed argument of an event that has to be an address: the node then answers with one account's events only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// The first one: the user of a Deposit or Withdraw, the payer of a `SettlementTransfer`.
    First(Address),
    /// The second one: the receiver of a `SettlementTransfer`, the token of a Deposit or Withdraw.
    Second(Address),
}

/// How completeness is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogProof {
    /// By the headers at the ends of each range.
    #[default]
    Ranges,
    /// By the headers of all blocks and their logs blooms. Dear: one header per block.
    Blooms,
}

/// Why a range was not read.
enum Trouble {
    /// The node refuses the range; what it says about it.
    Refused(Advice, RpcError),
    Read(Box<ChainError>),
}

fn read(error: ChainError) -> Trouble {
    Trouble::Read(Box::new(error))
}

/// The headers at the ends of a range, and its logs.
struct Segment {
    first: Header,
    last: Header,
    logs: Vec<Log>,
}

impl ChainReader {
    /// The events of blocks `from..=to`, in chain order, proven complete. None if `from` is above `to`.
    ///
    /// # Errors
    /// [`ChainError::LogsIncomplete`] if completeness cannot be proven, [`ChainError::Reorged`] if `to` is no
    /// longer canonical: in neither case are partial results returned.
    #[tracing::instrument(skip_all, fields(from, to = to.number))]
    pub async fn logs(
        &self,
        from: u64,
        to: &BlockRef,
        filter: &LogFilter,
    ) -> Result<Vec<VaultEvent>, ChainError> {
        if from > to.number {
            return Ok(Vec::new());
        }
        let asked = self.asked(filter)?;
        self.verify_canonical(to).await?;
        let mut events = Vec::new();
        let mut next = from;
        let mut previous: Option<Hash32> = None;
        while next < to.number {
            let end = self.with_range_size(|size| size.end(next, to.number - 1));
            let blocks = end - next + 1;
            match self.range(&asked, filter.proof, next, end, previous).await {
                Ok((mut found, last)) => {
                    events.append(&mut found);
                    self.with_range_size(|size| size.worked(blocks));
                    (next, previous) = (end + 1, Some(last));
                }
                Err(Trouble::Refused(advice, error)) => {
                    tracing::debug!(blocks, ?advice, %error, "the node refuses a range");
                    if !self.with_range_size(|size| size.too_large(blocks, advice)) {
                        let detail = format!("the node refuses even one block: {error}");
                        return Err(incomplete(next, end, detail));
                    }
                }
                Err(Trouble::Read(error)) => return Err(self.explain(to, *error).await),
            }
        }
        events.append(&mut self.last_block(&asked, filter.proof, to, previous).await?);
        self.verify_canonical(to).await?;
        Ok(events)
    }

    /// The transactions in blocks `from..=to` that settled some trades, each once. Every block is asked, so this is for what
    /// nothing else locates.
    ///
    /// # Errors
    /// As [`ChainReader::logs`].
    pub async fn transactions_of_trades(
        &self,
        from: u64,
        to: &BlockRef,
        trades: &[Hash32],
    ) -> Result<Vec<Hash32>, ChainError> {
        let mut found = Vec::new();
        for part in trades.chunks(TRADES_PER_FILTER) {
            let filter = LogFilter {
                kinds: Some(vec![EventKind::TradeSettled]),
                trades: part.to_vec(),
                keep_unreadable: true,
                ..LogFilter::default()
            };
            let events = self.logs(from, to, &filter).await?;
            found.extend(events.into_iter().map(|event| event.at.tx_hash));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn with_range_size<T>(&self, change: impl FnOnce(&mut RangeSize) -> T) -> T {
        change(&mut locked(&self.range_size))
    }

    fn asked(&self, filter: &LogFilter) -> Result<Asked, ChainError> {
        let (vault, settlement) = (self.settings.vault, self.settings.settlement);
        let kinds = match &filter.kinds {
            Some(kinds) => kinds.clone(),
            None => EventKind::ALL
                .into_iter()
                .filter(|kind| settlement.is_some() || !kind.is_of_settlement())
                .collect(),
        };
        if settlement.is_none() && kinds.iter().any(|kind| kind.is_of_settlement()) {
            let reason = "events of the Settlement contract were asked for";
            return Err(ChainError::no_settlement(reason));
        }
        Ok(Asked {
            vault,
            settlement,
            kinds,
            keep_unreadable: filter.keep_unreadable,
            trades: filter.trades.clone(),
            about: filter.about,
        })
    }

    /// One range, checked; with the hash of its last block.
    async fn range(
        &self,
        asked: &Asked,
        proof: LogProof,
        from: u64,
        to: u64,
        previous: Option<Hash32>,
    ) -> Result<(Vec<VaultEvent>, Hash32), Trouble> {
        let filter = json!({"fromBlock": U64::from(from), "toBlock": U64::from(to),
                            "address": asked.addresses(), "topics": asked.filter()});
        let segment = self.segment(from, to, filter).await?;
        let refuse = |detail: String| read(incomplete(from, to, detail));
        let known = ends(&segment, from, to).map_err(refuse)?;
        if let Some(previous) = previous
            && segment.first.parent_hash.0 != *previous.as_bytes()
        {
            let detail =
                format!("block {from} does not follow the last block read, {previous}: a reorganisation");
            return Err(refuse(detail));
        }
        let known = match proof {
            LogProof::Ranges => known,
            LogProof::Blooms => self
                .prove_by_blooms(asked, from, to, &known, &segment.logs)
                .await
                .map_err(read)?,
        };
        let last = known[&to];
        let logs = self
            .with_positions(asked, (from, to), segment.logs)
            .await
            .map_err(read)?;
        let events = segment::events(asked, from, to, &known, &logs).map_err(refuse)?;
        Ok((events, last))
    }

    /// Headers and logs in one batch, so that one node answers for all of them (behind a balancer that splits
    /// batches, the header hashes still have to agree).
    async fn segment(&self, from: u64, to: u64, filter: Value) -> Result<Segment, Trouble> {
        let header = |number| Question::new("eth_getBlockByNumber", json!((U64::from(number), false)));
        let questions = [
            header(from),
            Question::new("eth_getLogs", json!([filter])),
            header(to),
        ];
        let answers = self
            .ask_together(&questions)
            .await
            .map_err(|error| self.trouble(error, from, to))?;
        let [first, logs, last] = <[Answer<Value>; 3]>::try_from(answers)
            .map_err(|_other| read(self.malformed("eth_getLogs", "another number of answers".to_owned())))?;
        let logs = logs.map_err(|error| self.trouble(RpcError::Node(error), from, to))?;
        Ok(Segment {
            first: self.header_answer(first, from, (from, to))?,
            logs: self.typed("eth_getLogs", logs)?,
            last: self.header_answer(last, to, (from, to))?,
        })
    }

    fn header_answer(
        &self,
        answer: Answer<Value>,
        number: u64,
        range: (u64, u64),
    ) -> Result<Header, Trouble> {
        let method = "eth_getBlockByNumber";
        let header = answer.map_err(|error| read(self.rpc.error(method, RpcError::Node(error))))?;
        self.typed::<Option<Header>>(method, header)?.ok_or_else(|| {
            let detail = format!("the node that answered does not have block {number}");
            read(incomplete(range.0, range.1, detail))
        })
    }

    fn typed<T: DeserializeOwned>(&self, method: &str, value: Value) -> Result<T, Trouble> {
        serde_json::from_value(value).map_err(|error| read(self.malformed(method, error.to_string())))
    }

    /// Any refusal of a range of more than one block is answered by asking for fewer: providers have too many words
    /// for it. What is not a refusal: a node without the block or the method, a rate limit, credentials, an outage.
    fn trouble(&self, error: RpcError, from: u64, to: u64) -> Trouble {
        let is_known_size = error.is_time_out() || error.wants_less().is_some();
        let advice = match &error {
            RpcError::Node(node) => match node.kind {
                NodeErrorKind::RangeTooLarge { suggested } => {
                    Some(Advice::of(&node.message.to_lowercase(), suggested, from, to))
                }
                _ if is_known_size => Some(Advice::Denser),
                _ if node.code == METHOD_NOT_FOUND => None,
                _ if error.is_refusal() && from < to => {
                    Some(Advice::of(&node.message.to_lowercase(), None, from, to))
                }
                _ => None,
            },
            _ if is_known_size => Some(Advice::Denser),
            RpcError::Http { words, .. } if error.is_refusal() && from < to => {
                Some(Advice::of(&words.to_lowercase(), None, from, to))
            }
            _ => None,
        };
        match advice {
            Some(advice) => Trouble::Refused(advice, error),
            None => read(self.rpc.error("eth_getLogs", error)),
        }
    }

    /// The last block, by its hash: a node that does not have exactly this block cannot answer.
    async fn last_block(
        &self,
        asked: &Asked,
        proof: LogProof,
        to: &BlockRef,
        previous: Option<Hash32>,
    ) -> Result<Vec<VaultEvent>, ChainError> {
        let header = self.header_by_number(to.number).await?;
        let follows = header.as_ref().is_some_and(|header| {
            header.block().is_some_and(|block| block.hash == to.hash)
                && previous.is_none_or(|previous| header.parent_hash.0 == *previous.as_bytes())
        });
        if !follows {
            self.verify_canonical(to).await?;
            return Err(incomplete(
                to.number,
                to.number,
                "it does not follow the blocks read before it",
            ));
        }
        let which = match self.addressing.get() {
            Addressing::Hash => json!({"blockHash": to.hash}),
            Addressing::Number => json!({"fromBlock": U64::from(to.number), "toBlock": U64::from(to.number)}),
        };
        let mut filter = json!({"address": asked.addresses(), "topics": asked.filter()});
        merge(&mut filter, which);
        let logs: Vec<Log> = match self.rpc.call("eth_getLogs", [filter]).await {
            Ok(logs) => logs,
            Err(error) => return Err(self.explain(to, self.rpc.error("eth_getLogs", error)).await),
        };
        let mut known = HashMap::from([(to.number, to.hash)]);
        if proof == LogProof::Blooms {
            known = self
                .prove_by_blooms(asked, to.number, to.number, &known, &logs)
                .await?;
        }
        let logs = self.with_positions(asked, (to.number, to.number), logs).await?;
        segment::events(asked, to.number, to.number, &known, &logs)
            .map_err(|detail| incomplete(to.number, to.number, detail))
    }

    /// Several questions at once; one by one where the node refuses batches, or may refuse one because of a question
    /// in it: asked alone, it says which.
    pub(crate) async fn ask_together(&self, questions: &[Question]) -> Result<Vec<Answer<Value>>, RpcError> {
        let patience = Patience::NoRepeatOnTimeout;
        let mut is_remembered = false;
        if self.rpc.batch_calls() > 1 {
            match self.rpc.batch(patience, questions).await {
                Err(error) if is_about_the_batch(&error) => is_remembered = error.is_about_batches(),
                other => return other,
            }
        }
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            match self
                .rpc
                .call_with(patience, question.method, &question.params)
                .await
            {
                Ok(value) => answers.push(Ok(value)),
                Err(RpcError::Node(error)) => answers.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        if is_remembered && answers.iter().all(Result::is_ok) {
            self.rpc.batch_was_accepted(1);
        }
        Ok(answers)
    }
}

/// JSON-RPC 2.0.
const METHOD_NOT_FOUND: i64 = -32_601;

/// Whether a refusal may be of the batch, and not of the range in it.
fn is_about_the_batch(error: &RpcError) -> bool {
    let is_of_the_range = match error {
        RpcError::Node(node) => matches!(
            node.kind,
            NodeErrorKind::RangeTooLarge { .. } | NodeErrorKind::TooLarge | NodeErrorKind::LimitExceeded
        ),
        RpcError::Http { status, .. } => *status == 413,
        _ => false,
    };
    error.is_refusal() && !is_of_the_range
}

/// The hashes of the first and last block, which must be the ones that were asked for.
fn ends(segment: &Segment, from: u64, to: u64) -> Result<HashMap<u64, Hash32>, String> {
    let mut known = HashMap::new();
    for (header, number) in [(&segment.first, from), (&segment.last, to)] {
        match header.block() {
            Some(block) if block.number == number => {
                if known
                    .insert(number, block.hash)
                    .is_some_and(|other| other != block.hash)
                {
                    return Err(format!("two hashes for block {number}"));
                }
            }
            _ => return Err(format!("the header of another block than {number}")),
        }
    }
    Ok(known)
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn incomplete(from: u64, to: u64, detail: impl Into<String>) -> ChainError {
    ChainError::LogsIncomplete {
        from,
        to,
        detail: detail.into(),
    }
}
