//! The events of single transactions, from their receipts: another index of the node than `eth_getLogs` reads, so that one
//! answers for the other.

use std::collections::HashMap;

use alloy_primitives::U64;
use alloy_rpc_types_eth::Log;
use eidos_types::Hash32;
use serde::Deserialize;
use serde_json::{Value, json};

use super::segment::{self, Asked};
use super::{LogFilter, VaultEvent, incomplete};
use crate::rpc::Question;
use crate::views::Receipt;
use crate::{ChainError, ChainReader};

/// A transaction that is in a block, and what the contracts emitted in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionEvents {
    /// Where it is.
    pub receipt: Receipt,
    /// The events that were asked for, in their order; none if it was reverted.
    pub events: Vec<VaultEvent>,
}

/// Transactions, and how much the absence of one proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsOf {
    /// In the order asked. `None`: the node knows no such transaction in a block up to `head`.
    pub transactions: Vec<Option<TransactionEvents>>,
    /// The newest block of the node that answered, as in [`crate::Receipts::head`].
    pub head: u64,
}

#[derive(Deserialize)]
struct WithLogs {
    #[serde(default)]
    logs: Vec<Log>,
}

impl ChainReader {
    /// Returns the events of each transaction, in the order asked, as its receipt has them.
    ///
    /// # Errors
    /// As [`ChainReader::receipts`]; [`ChainError::LogsIncomplete`] if the logs of a receipt contradict it.
    pub async fn events_of(&self, tx_hashes: &[Hash32], filter: &LogFilter) -> Result<EventsOf, ChainError> {
        let method = "eth_getTransactionReceipt";
        let asked = self.asked(filter)?;
        let mut found = EventsOf {
            transactions: Vec::with_capacity(tx_hashes.len()),
            head: u64::MAX,
        };
        let per_batch = self.settings.rpc.batch_calls.saturating_sub(1).max(1);
        for part in tx_hashes.chunks(per_batch) {
            let mut questions = vec![Question::new("eth_blockNumber", json!([]))];
            questions.extend(part.iter().map(|hash| Question::new(method, json!([hash]))));
            let answers: Vec<Value> = self
                .ask_all(&questions)
                .await
                .map_err(|error| self.rpc.error(method, error))?;
            let mut answers = answers.into_iter();
            let head: U64 = self.typed_answer("eth_blockNumber", answers.next().unwrap_or_default())?;
            found.head = found.head.min(head.to());
            for (hash, answer) in part.iter().zip(answers) {
                found.transactions.push(self.transaction(&asked, *hash, answer)?);
            }
        }
        Ok(found)
    }

    fn transaction(
        &self,
        asked: &Asked,
        hash: Hash32,
        answer: Value,
    ) -> Result<Option<TransactionEvents>, ChainError> {
        let method = "eth_getTransactionReceipt";
        if answer.is_null() {
            return Ok(None);
        }
        let logs: WithLogs = self.typed_answer(method, answer.clone())?;
        let receipt = self
            .receipt(hash, self.typed_answer(method, answer)?)
            .map_err(|detail| self.malformed(method, detail))?;
        let Some(receipt) = receipt else { return Ok(None) };
        let mut logs = logs.logs;
        logs.retain(|log| asked.matches(log));
        let number = receipt.block_number;
        let known = HashMap::from([(number, receipt.block_hash)]);
        let events = segment::events(asked, number, number, &known, &logs)
            .map_err(|detail| incomplete(number, number, detail))?;
        if let Some(other) = events.iter().find(|event| event.at.tx_hash != hash) {
            let detail = format!("the receipt of {hash} has a log of {}", other.at.tx_hash);
            return Err(incomplete(number, number, detail));
        }
        Ok(Some(TransactionEvents { receipt, events }))
    }
}
