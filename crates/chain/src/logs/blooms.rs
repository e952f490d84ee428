//! The dear proof: what the headers' logs blooms promise, the answer must hold.

use std::collections::{HashMap, HashSet};

use alloy_primitives::{Bloom, BloomInput, U64};
use alloy_rpc_types_eth::Log;
use eidos_types::Hash32;
use serde::Deserialize;
use serde_json::json;

use super::incomplete;
use super::segment::Asked;
use crate::block::Header;
use crate::rpc::{NodeErrorKind, Question, RpcError};
use crate::{ChainError, ChainReader};

#[derive(Deserialize)]
struct ReceiptLogs {
    logs: Vec<Log>,
}

impl ChainReader {
    /// Reads the header of every block of the range, checks that they form one chain between the `known` ends,
    /// and looks again into each block whose bloom promises a log that the answer does not hold. Returns the
    /// hash of every block.
    ///
    /// An empty bloom proves nothing: some chains (Polygon, some rollups) leave it empty in blocks with logs.
    pub(super) async fn prove_by_blooms(
        &self,
        asked: &Asked,
        from: u64,
        to: u64,
        known: &HashMap<u64, Hash32>,
        logs: &[Log],
    ) -> Result<HashMap<u64, Hash32>, ChainError> {
        let method = "eth_getBlockByNumber";
        let questions: Vec<Question> = (from..=to)
            .map(|number| Question::new(method, json!((U64::from(number), false))))
            .collect();
        let headers: Vec<Option<Header>> = self
            .ask_all(&questions)
            .await
            .map_err(|error| self.rpc.error(method, error))?;
        let with_logs: HashSet<u64> = logs.iter().filter_map(|log| log.block_number).collect();
        let mut hashes: HashMap<u64, Hash32> = HashMap::new();
        for (number, header) in (from..=to).zip(&headers) {
            let refuse = |detail: &str| incomplete(number, number, detail);
            let header = header
                .as_ref()
                .ok_or_else(|| refuse("the node does not have this block"))?;
            let block = header.block().filter(|block| block.number == number);
            let block = block.ok_or_else(|| refuse("the header is of another block"))?;
            let parent = number.checked_sub(1).and_then(|parent| hashes.get(&parent));
            let joins = parent.is_none_or(|parent| *parent.as_bytes() == header.parent_hash.0);
            if !joins || known.get(&number).is_some_and(|hash| *hash != block.hash) {
                return Err(refuse("it does not follow its predecessor: a reorganisation"));
            }
            hashes.insert(number, block.hash);
            let promised = header
                .logs_bloom
                .as_ref()
                .is_some_and(|bloom| promises(bloom, asked));
            if promised && !with_logs.contains(&number) {
                self.look_again(asked, number, block.hash).await?;
            }
        }
        Ok(hashes)
    }

    /// Refuses a block whose receipts hold a log that was left out: a bloom may promise one by chance.
    async fn look_again(&self, asked: &Asked, number: u64, hash: Hash32) -> Result<(), ChainError> {
        let method = "eth_getBlockReceipts";
        let receipts = match self
            .rpc
            .call::<Option<Vec<ReceiptLogs>>>(method, [json!({"blockHash": hash})])
            .await
        {
            Err(RpcError::Node(error)) if error.kind == NodeErrorKind::Unsupported => {
                // Older nodes take the plain form of the parameter only.
                self.rpc.call(method, [json!(U64::from(number))]).await
            }
            other => other,
        };
        let receipts = match receipts {
            Ok(Some(receipts)) => receipts,
            Ok(None) => {
                return Err(incomplete(
                    number,
                    number,
                    "the node has no receipts of this block",
                ));
            }
            Err(RpcError::Node(error)) if error.kind == NodeErrorKind::Unsupported => {
                return self.ask_by_hash(asked, number, hash).await;
            }
            Err(error) => return Err(self.rpc.error(method, error)),
        };
        let mut logs = receipts.iter().flat_map(|receipt| &receipt.logs);
        if logs.any(|log| asked.matches(log)) {
            return Err(incomplete(
                number,
                number,
                "the block's receipts hold logs that eth_getLogs left out",
            ));
        }
        Ok(())
    }

    /// Asks for the block's logs by its hash, where there are no receipts: most nodes answer that from another index.
    async fn ask_by_hash(&self, asked: &Asked, number: u64, hash: Hash32) -> Result<(), ChainError> {
        let filter = json!({"blockHash": hash, "address": asked.addresses(), "topics": asked.filter()});
        let logs: Vec<Log> = self.query("eth_getLogs", [filter]).await?;
        if logs.is_empty() {
            return Ok(());
        }
        Err(incomplete(
            number,
            number,
            "by its hash the block has logs that the range left out",
        ))
    }
}

fn promises(bloom: &Bloom, asked: &Asked) -> bool {
    let holds = |bytes: &[u8]| bloom.contains_input(BloomInput::Raw(bytes));
    asked.addresses().iter().any(|address| holds(address.as_bytes()))
        && asked.topics().iter().any(|topic| holds(topic.as_bytes()))
        && asked.argument().is_none_or(|(_, topic)| holds(topic.as_bytes()))
}
