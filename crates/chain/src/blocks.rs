//! Which block: the final one, one by number, one by hash, and whether it is still on the chain.

use std::sync::atomic::Ordering;

use alloy_primitives::U64;
use eidos_types::Hash32;
use serde_json::{Value, json};

use crate::block::Header;
use crate::rpc::{Answer, NodeError, NodeErrorKind, Question};
use crate::{BlockRef, ChainError, ChainReader, Finality};

impl ChainReader {
    /// Returns the newest block that is final by the configured policy, of a node that says it is not syncing.
    ///
    /// # Errors
    /// [`ChainError::Syncing`]; [`ChainError::Refused`] if the node does not know finality: the fix is a depth.
    pub async fn finalized(&self) -> Result<BlockRef, ChainError> {
        let block = self.final_block().await?;
        self.probe_again(&block).await;
        Ok(block)
    }

    /// Returns the header of a node that says it is not syncing; both are asked in one batch, so that one node answers.
    async fn synced_header(
        &self,
        tag: &'static str,
    ) -> Result<Result<Option<Header>, NodeError>, ChainError> {
        let method = "eth_getBlockByNumber";
        let questions = [
            Question::new("eth_syncing", json!([])),
            Question::new(method, json!([tag, false])),
        ];
        let answers = self
            .ask_together(&questions)
            .await
            .map_err(|error| self.rpc.error(method, error))?;
        let [syncing, header] = <[Answer<Value>; 2]>::try_from(answers)
            .map_err(|_other| self.malformed(method, "another number of answers".to_owned()))?;
        match syncing {
            Ok(answer) => self.judge_syncing(&answer)?,
            Err(error) if error.kind == NodeErrorKind::Unsupported => {}
            Err(error) => return Err(self.rpc.error("eth_syncing", error.into())),
        }
        let header = match header {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        serde_json::from_value(header)
            .map(Ok)
            .map_err(|error| self.malformed(method, format!("a header of another shape: {error}")))
    }

    pub(crate) async fn final_block(&self) -> Result<BlockRef, ChainError> {
        let tag = match self.settings.finality {
            Finality::Finalized => "finalized",
            Finality::Safe => "safe",
            Finality::Depth(depth) => {
                let head = self.synced_header("latest").await?;
                let head = head
                    .map_err(|error| self.rpc.error("eth_getBlockByNumber", error.into()))?
                    .and_then(|header| header.block())
                    .ok_or_else(|| self.malformed("eth_getBlockByNumber", "no latest block".to_owned()))?;
                if depth == 0 {
                    return Ok(head);
                }
                let number = head.number.saturating_sub(depth);
                return self.block(number).await?.ok_or_else(|| {
                    self.malformed(
                        "eth_getBlockByNumber",
                        format!("no block {number}, yet the head is {head}"),
                    )
                });
            }
        };
        let unknown = || {
            let reason = format!("the node at {} has no {tag} block", self.rpc.endpoint());
            let fix = "use finality: {depth: N} for a chain without finality";
            ChainError::refused("finality", tag, reason, fix)
        };
        let block = match self.synced_header(tag).await? {
            Ok(header) => header.and_then(|header| header.block()),
            Err(error)
                if matches!(
                    error.kind,
                    NodeErrorKind::Unsupported | NodeErrorKind::StateUnavailable
                ) =>
            {
                None
            }
            Err(error) => return Err(self.rpc.error("eth_getBlockByNumber", error.into())),
        };
        match block {
            Some(block) => {
                self.knows_finality.store(true, Ordering::Relaxed);
                Ok(block)
            }
            // A node forgets it over a restart, until its consensus client speaks to it.
            None if self.knows_finality.load(Ordering::Relaxed) => Err(ChainError::Transport {
                endpoint: self.rpc.endpoint().to_owned(),
                method: "eth_getBlockByNumber".to_owned(),
                cause: format!("it has no {tag} block now, although it had one before"),
            }),
            None => Err(unknown()),
        }
    }

    /// Returns the newest block, final or not.
    ///
    /// # Errors
    /// As any read.
    pub async fn head(&self) -> Result<BlockRef, ChainError> {
        self.header(json!("latest"))
            .await?
            .and_then(|header| header.block())
            .ok_or_else(|| self.malformed("eth_getBlockByNumber", "no latest block".to_owned()))
    }

    /// Returns the canonical block of this number. `None`: the chain, as this node sees it, is shorter.
    ///
    /// # Errors
    /// As any read; an answer for another number is [`ChainError::Malformed`].
    pub async fn block(&self, number: u64) -> Result<Option<BlockRef>, ChainError> {
        Ok(self
            .header_by_number(number)
            .await?
            .and_then(|header| header.block()))
    }

    /// Returns the block of this hash, canonical or not. `None`: the node does not know it.
    ///
    /// # Errors
    /// As any read; an answer with another hash is [`ChainError::Malformed`].
    pub async fn header_by_hash(&self, hash: Hash32) -> Result<Option<BlockRef>, ChainError> {
        let method = "eth_getBlockByHash";
        let header: Option<Header> = self.query(method, (hash, false)).await?;
        let Some(block) = header.and_then(|header| header.block()) else {
            return Ok(None);
        };
        if block.hash != hash {
            return Err(self.malformed(method, format!("asked for {hash}, got block {block}")));
        }
        Ok(Some(block))
    }

    pub(crate) async fn header_by_number(&self, number: u64) -> Result<Option<Header>, ChainError> {
        let header = self.header(json!(U64::from(number))).await?;
        match header.as_ref().and_then(Header::block) {
            Some(block) if block.number != number => {
                let detail = format!("asked for block {number}, got block {block}");
                Err(self.malformed("eth_getBlockByNumber", detail))
            }
            _ => Ok(header),
        }
    }

    async fn header(&self, which: Value) -> Result<Option<Header>, ChainError> {
        self.query("eth_getBlockByNumber", (which, false)).await
    }

    /// Checks that `at` is on the chain this node calls canonical.
    ///
    /// # Errors
    /// [`ChainError::Reorged`] if another block has its number; [`ChainError::StateUnavailable`] if none has:
    /// the node lags, or the chain became shorter.
    pub async fn verify_canonical(&self, at: &BlockRef) -> Result<(), ChainError> {
        let (number, hash) = (at.number, at.hash);
        match self.block(number).await? {
            Some(found) if found.hash == hash => Ok(()),
            Some(found) => Err(ChainError::Reorged {
                number,
                expected: hash,
                found: found.hash,
            }),
            None => Err(ChainError::StateUnavailable {
                number,
                hash,
                detail: "the node has no block of this number".to_owned(),
            }),
        }
    }

    /// Replaces "the node cannot" by "the block is gone" where that is the reason.
    pub(crate) async fn explain(&self, at: &BlockRef, error: ChainError) -> ChainError {
        let unavailable = match &error {
            ChainError::Node { code, message, .. } => {
                crate::rpc::NodeError::new(*code, message).kind == NodeErrorKind::StateUnavailable
            }
            _ => false,
        };
        if !unavailable {
            return error;
        }
        match self.verify_canonical(at).await {
            Err(reorged @ ChainError::Reorged { .. }) => reorged,
            _ => ChainError::StateUnavailable {
                number: at.number,
                hash: at.hash,
                detail: error.to_string(),
            },
        }
    }
}
