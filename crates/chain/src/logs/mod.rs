//! The events of a range of blocks, proven complete.
//!
//! `eth_getLogs` answers "nothing" both when nothing happened and when the node has not seen the blocks yet, so
//! an answer alone proves nothing. Each range is asked together with the headers of its first and last block in
//! one batch: the answering node has the last block, the ranges join without a gap (parent hashes), and the logs
//! stand in these very blocks. The last block of all is asked for by its hash. [`LogProof::Blooms`] adds the
//! header of every block: its logs bloom must not promise what the answer does not hold.

mod blooms;
mod event;
mod positions;
mod range;
mod segment;

use std::collections::HashMap;

use alloy_primitives::U64;
use alloy_rpc_types_eth::Log;
use eidos_types::Hash32;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::block::Header;
use crate::rpc::{Answer, NodeErrorKind, Patience, Question, RpcError};
use crate::{Addressing, BlockRef, ChainError, ChainReader};
pub use event::{EventBody, EventKind, LogPosition, VaultEvent};
use range::RangeSize;
use segment::Asked;

/// Which events, and how they are proven.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// The kinds; `None` for everything the configured contracts emit.
    pub kinds: Option<Vec<EventKind>>,
    /// How completeness is proven.
    pub proof: LogProof,
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
    TooLarge(Option<(u64, u64)>),
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
        let mut size = RangeSize::new(&self.settings.logs);
        let mut events = Vec::new();
        let mut next = from;
        let mut previous: Option<Hash32> = None;
        while next < to.number {
            let end = size.end(next, to.number - 1);
            match self.range(&asked, filter.proof, next, end, previous).await {
                Ok((mut found, last)) => {
                    events.append(&mut found);
                    size.worked(end - next + 1);
                    (next, previous) = (end + 1, Some(last));
                }
                Err(Trouble::TooLarge(suggested)) if size.too_large(next, end, suggested) => {}
                Err(Trouble::TooLarge(_)) => {
                    return Err(incomplete(
                        next,
                        end,
                        "the node refuses even one block as too large",
                    ));
                }
                Err(Trouble::Read(error)) => return Err(self.explain(to, *error).await),
            }
        }
        events.append(&mut self.last_block(&asked, filter.proof, to, previous).await?);
        self.verify_canonical(to).await?;
        Ok(events)
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
            return Err(ChainError::Refused {
                setting: "settlement".to_owned(),
                value: "(not set)".to_owned(),
                reason: "events of the Settlement contract were asked for".to_owned(),
                fix: "set the Settlement contract's address".to_owned(),
            });
        }
        Ok(Asked {
            vault,
            settlement,
            kinds,
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
                            "address": asked.addresses(), "topics": [asked.topics()]});
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
        let header = |number| Question {
            method: "eth_getBlockByNumber",
            params: json!((U64::from(number), false)),
        };
        let questions = [
            header(from),
            Question {
                method: "eth_getLogs",
                params: json!([filter]),
            },
            header(to),
        ];
        let answers = self
            .ask_together(&questions)
            .await
            .map_err(|error| self.trouble(error))?;
        let [first, logs, last] = <[Answer<Value>; 3]>::try_from(answers)
            .map_err(|_other| read(self.malformed("eth_getLogs", "another number of answers".to_owned())))?;
        Ok(Segment {
            first: self.header_answer(first, from, (from, to))?,
            logs: self.typed(logs)?,
            last: self.header_answer(last, to, (from, to))?,
        })
    }

    fn header_answer(
        &self,
        answer: Answer<Value>,
        number: u64,
        range: (u64, u64),
    ) -> Result<Header, Trouble> {
        self.typed::<Option<Header>>(answer)?.ok_or_else(|| {
            let detail = format!("the node that answered does not have block {number}");
            read(incomplete(range.0, range.1, detail))
        })
    }

    fn typed<T: DeserializeOwned>(&self, answer: Answer<Value>) -> Result<T, Trouble> {
        let value = answer.map_err(|error| self.trouble(RpcError::Node(error)))?;
        serde_json::from_value(value).map_err(|error| read(self.malformed("eth_getLogs", error.to_string())))
    }

    fn trouble(&self, error: RpcError) -> Trouble {
        match &error {
            RpcError::Node(node) => match node.kind {
                NodeErrorKind::RangeTooLarge { suggested } => return Trouble::TooLarge(suggested),
                NodeErrorKind::TooLarge => return Trouble::TooLarge(None),
                _ => {}
            },
            RpcError::AnswerTooLong(_) | RpcError::TimedOut(_) | RpcError::Http { status: 413, .. } => {
                return Trouble::TooLarge(None);
            }
            _ => {}
        }
        read(self.rpc.error("eth_getLogs", error))
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
        let mut filter = json!({"address": asked.addresses(), "topics": [asked.topics()]});
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

    /// Several questions at once; one by one where the node refuses batches.
    pub(crate) async fn ask_together(&self, questions: &[Question]) -> Result<Vec<Answer<Value>>, RpcError> {
        match self.rpc.batch(Patience::NoRepeatOnTimeout, questions).await {
            Err(RpcError::Node(error)) if error.kind != NodeErrorKind::RateLimited => {}
            Err(RpcError::Http {
                status: 400..=405 | 415 | 422,
                ..
            }) => {}
            other => return other,
        }
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            match self
                .rpc
                .call_with(Patience::NoRepeatOnTimeout, question.method, &question.params)
                .await
            {
                Ok(value) => answers.push(Ok(value)),
                Err(RpcError::Node(error)) => answers.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }
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
