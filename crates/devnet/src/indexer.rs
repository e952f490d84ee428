//! The chain service's indexer: it copies the contracts' events and moves its checkpoint, which is where both sides are
//! compared.

use anyhow::bail;
use serde_json::json;

use crate::devnet::{Devnet, now_ms};
use crate::node::Block;

/// Most rounds of mining until a cut is finalized: two epochs of the usual 32 slots, with room.
const FINALITY_ROUNDS: usize = 24;

impl Devnet {
    /// Lets the indexer catch up with the head, books what that makes known, and mines until the cut is finalized.
    ///
    /// # Errors
    /// If a server refuses.
    pub async fn cut(&mut self) -> anyhow::Result<Block> {
        self.credit_unindexed()?;
        self.advance_time().await?;
        self.mine_blocks(1).await?;
        let head = self.node().block(None).await?;
        self.index_events(head).await?;
        // The rows first, the checkpoint after them: a reader in between sees books ahead of the cut, which is normal,
        // and never a cut ahead of its rows.
        self.flush().await?;
        self.save_checkpoint(head).await?;
        self.ledger.cut_moved();
        self.cut = Some(head);
        if self.waits_for_finality {
            self.finalize(head.number).await?;
        }
        Ok(head)
    }

    /// Mines until `block` is finalized.
    async fn finalize(&self, block: u64) -> anyhow::Result<()> {
        for _ in 0..FINALITY_ROUNDS {
            if self.node().finalized().await? >= block {
                return Ok(());
            }
            self.mine_blocks(3).await?;
        }
        bail!("block {block} is still not finalized after {FINALITY_ROUNDS} rounds of mining")
    }

    async fn index_events(&mut self, head: Block) -> anyhow::Result<()> {
        let from = self.indexed_to + 1;
        for contract in [self.addresses.vault, self.addresses.settlement] {
            for log in self.traffic.logs(contract, from, head.number).await? {
                let at = self.tick();
                self.row(
                    "eidos_chain_events",
                    json!({
                        "chain_id": self.addresses.chain_id, "block_number": log.block, "tx_hash": log.tx_hash,
                        "log_index": log.index, "event_type": crate::genesis::event_type(log.topics.first()),
                        "event_data": {"topics": log.topics, "data": log.data}, "processed": true,
                        "created_at": at, "updated_at": at,
                    }),
                );
            }
        }
        self.indexed_to = head.number;
        Ok(())
    }

    async fn save_checkpoint(&self, head: Block) -> anyhow::Result<()> {
        let now = now_ms();
        sqlx::query(
            "INSERT INTO eidos_chain_block_checkpoints
                 (chain_id, block_number, block_hash, processed_at, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $4, $4)
             ON CONFLICT (chain_id) DO UPDATE SET block_number = EXCLUDED.block_number,
                 block_hash = EXCLUDED.block_hash, processed_at = EXCLUDED.processed_at,
                 updated_at = EXCLUDED.updated_at",
        )
        .bind(i32::try_from(self.addresses.chain_id)?)
        .bind(i64::try_from(head.number)?)
        .bind(head.hash.to_string())
        .bind(now)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
