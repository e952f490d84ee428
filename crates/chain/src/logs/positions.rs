//! Nodes that number logs anew in each transaction: their logs get the position in the transaction as index.
//!
//! Some Cosmos and Filecoin nodes give one index to two logs of a block. The receipts say which logs a transaction has and
//! in which order, so nothing is guessed, and a log that was answered twice is found out.

use std::collections::{BTreeSet, HashSet};

use alloy_primitives::B256;
use alloy_rpc_types_eth::Log;
use serde::Deserialize;
use serde_json::json;

use super::incomplete;
use super::segment::Asked;
use crate::rpc::Question;
use crate::{ChainError, ChainReader};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptLogs {
    transaction_hash: B256,
    block_hash: Option<B256>,
    logs: Vec<Log>,
}

impl ChainReader {
    /// Leaves the logs as they are, unless two of a block have one index: then those of the block's transactions are
    /// read from the receipts, where their positions are.
    pub(super) async fn with_positions(
        &self,
        asked: &Asked,
        range: (u64, u64),
        logs: Vec<Log>,
    ) -> Result<Vec<Log>, ChainError> {
        let blocks = blocks_with_one_index_twice(&logs);
        if blocks.is_empty() {
            return Ok(logs);
        }
        tracing::warn!(
            blocks = blocks.len(),
            first = blocks.first(),
            "the node gives one index to two logs of a block: their positions in the transaction are used instead"
        );
        let (unclear, mut clear): (Vec<Log>, Vec<Log>) = logs
            .into_iter()
            .partition(|log| log.block_number.is_some_and(|number| blocks.contains(&number)));
        let transactions: BTreeSet<B256> = unclear.iter().filter_map(|log| log.transaction_hash).collect();
        let method = "eth_getTransactionReceipt";
        let questions: Vec<Question> = transactions
            .iter()
            .map(|hash| Question::new(method, json!([hash])))
            .collect();
        let receipts: Vec<Option<ReceiptLogs>> = self
            .ask_all(&questions)
            .await
            .map_err(|error| self.rpc.error(method, error))?;
        for (hash, receipt) in transactions.iter().zip(receipts) {
            let answered: Vec<&Log> = unclear
                .iter()
                .filter(|log| log.transaction_hash.as_ref() == Some(hash))
                .collect();
            let found = positions(asked, *hash, receipt, &answered)
                .map_err(|detail| incomplete(range.0, range.1, detail))?;
            clear.extend(found);
        }
        Ok(clear)
    }
}

fn blocks_with_one_index_twice(logs: &[Log]) -> BTreeSet<u64> {
    let mut seen = HashSet::new();
    logs.iter()
        .filter_map(|log| {
            let (number, index) = (log.block_number?, log.log_index?);
            (!seen.insert((number, index))).then_some(number)
        })
        .collect()
}

/// The logs of one transaction that were asked for, with their positions in it; they must be as many as were answered.
fn positions(
    asked: &Asked,
    hash: B256,
    receipt: Option<ReceiptLogs>,
    answered: &[&Log],
) -> Result<Vec<Log>, String> {
    let receipt = receipt
        .filter(|receipt| receipt.transaction_hash == hash)
        .ok_or_else(|| format!("two logs with one index, and no receipt of {hash} that tells them apart"))?;
    let of_answer = answered.first().ok_or("no log")?;

    let found: Vec<Log> = receipt
        .logs
        .into_iter()
        .zip(0..)
        .filter(|(log, _position)| asked.matches(log))
        .map(|(mut log, position)| {
            log.log_index = Some(position);
            log.transaction_hash = Some(hash);
            log.block_number = of_answer.block_number;
            log.block_hash = receipt.block_hash;
            log
        })
        .collect();
    if found.len() == answered.len() {
        return Ok(found);
    }
    Err(format!(
        "eth_getLogs answered {} logs of {hash}, two with one index, and its receipt has {}",
        answered.len(),
        found.len()
    ))
}
