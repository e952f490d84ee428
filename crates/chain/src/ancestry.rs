//! How blocks hang together: the headers of a range, joined by their parents' hashes, and the canonical blocks of some
//! numbers. Who keeps them can tell later which of them a reorganisation took away.

use alloy_primitives::U64;
use eidos_types::Hash32;
use serde_json::json;

use crate::block::Header;
use crate::rpc::Question;
use crate::{BlockRef, ChainError, ChainReader};

/// A block and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The block.
    pub block: BlockRef,
    /// The hash of the block before it.
    pub parent: Hash32,
}

impl ChainReader {
    /// Returns the blocks `from..=to` in their order; each is the parent of the next. None if `from` is above `to`.
    ///
    /// # Errors
    /// [`ChainError::Reorged`] if they do not join, or do not end with `to`; [`ChainError::StateUnavailable`] if the node
    /// lacks one of them.
    pub async fn ancestry(&self, from: u64, to: &BlockRef) -> Result<Vec<Link>, ChainError> {
        let mut links = Vec::new();
        let mut next = to.hash;
        // From the end, so that every hash is the one that its successor names.
        for header in self.headers(from..=to.number).await?.into_iter().rev() {
            let link =
                link_of(&header).ok_or_else(|| self.malformed(METHOD, "a pending block".to_owned()))?;
            if link.block.hash != next {
                return Err(ChainError::Reorged {
                    number: link.block.number,
                    expected: next,
                    found: link.block.hash,
                });
            }
            next = link.parent;
            links.push(link);
        }
        links.reverse();
        Ok(links)
    }

    /// Returns the canonical block of each number, in the order asked.
    ///
    /// # Errors
    /// [`ChainError::StateUnavailable`] if the node lacks one of them: it is behind.
    pub async fn blocks(
        &self,
        numbers: impl IntoIterator<Item = u64> + Send,
    ) -> Result<Vec<BlockRef>, ChainError> {
        let headers = self.headers(numbers).await?;
        let blocks = headers.iter().map(|header| {
            header
                .block()
                .ok_or_else(|| self.malformed(METHOD, "a pending block".to_owned()))
        });
        blocks.collect()
    }

    async fn headers(
        &self,
        numbers: impl IntoIterator<Item = u64> + Send,
    ) -> Result<Vec<Header>, ChainError> {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let questions: Vec<Question> = numbers
            .iter()
            .map(|number| Question::new(METHOD, json!((U64::from(*number), false))))
            .collect();
        let headers: Vec<Option<Header>> = self
            .ask_all(&questions)
            .await
            .map_err(|error| self.rpc.error(METHOD, error))?;
        numbers
            .into_iter()
            .zip(headers)
            .map(|(number, header)| self.expected(number, header))
            .collect()
    }

    fn expected(&self, number: u64, header: Option<Header>) -> Result<Header, ChainError> {
        let header = header.ok_or_else(|| ChainError::StateUnavailable {
            number,
            hash: Hash32::ZERO,
            detail: "the node has no block of this number".to_owned(),
        })?;
        match header.block() {
            Some(block) if block.number == number => Ok(header),
            other => {
                let found =
                    other.map_or_else(|| "a pending block".to_owned(), |block| format!("block {block}"));
                Err(self.malformed(METHOD, format!("asked for block {number}, got {found}")))
            }
        }
    }
}

const METHOD: &str = "eth_getBlockByNumber";

fn link_of(header: &Header) -> Option<Link> {
    Some(Link {
        block: header.block()?,
        parent: Hash32::new(header.parent_hash.0),
    })
}
