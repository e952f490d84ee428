//! `eidos_jobs_chain_blocks`: the newest blocks whose events were read, and what was derived from each.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use eidos_types::{Address, Hash32};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool, Row};

const LOAD: &str = "SELECT number, hash, parent_hash, is_final, derived, lost_at IS NOT NULL AS is_lost \
         FROM eidos_jobs_chain_blocks WHERE chain_id = $1 AND vault = $2 ORDER BY number DESC";

const INSERT: &str = "INSERT INTO eidos_jobs_chain_blocks (chain_id, vault, number, hash, parent_hash, is_final, derived, seen_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (chain_id, vault, hash) DO UPDATE SET derived = excluded.derived, seen_at = excluded.seen_at, lost_at = NULL";

const PRUNE: &str = "DELETE FROM eidos_jobs_chain_blocks \
         WHERE chain_id = $1 AND vault = $2 AND lost_at IS NULL AND number < $3";

const LOSE: &str = "UPDATE eidos_jobs_chain_blocks SET lost_at = $4 \
         WHERE chain_id = $1 AND vault = $2 AND lost_at IS NULL AND number > $3";

const FORGET: &str = "DELETE FROM eidos_jobs_chain_blocks WHERE chain_id = $1 AND vault = $2 AND lost_at IS NOT NULL AND hash = ANY($3)";

const FORGET_ALL: &str = "DELETE FROM eidos_jobs_chain_blocks WHERE chain_id = $1 AND vault = $2";

pub(super) const ALL: &[(&str, &str)] = &[
    ("chain_blocks::LOAD", LOAD),
    ("chain_blocks::INSERT", INSERT),
    ("chain_blocks::PRUNE", PRUNE),
    ("chain_blocks::LOSE", LOSE),
    ("chain_blocks::FORGET", FORGET),
    ("chain_blocks::FORGET_ALL", FORGET_ALL),
];

/// Whose blocks: the chain, and the Vault whose events were read.
#[derive(Debug, Clone, Copy)]
pub struct ChainKey {
    /// The chain.
    pub chain_id: u64,
    /// The Vault.
    pub vault: Address,
}

/// What was derived from the events of one block.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Derived {
    /// Wallets that its events touch.
    pub wallets: BTreeSet<Address>,
    /// Accounts that no earlier block had shown, as the register numbers them.
    pub shown: BTreeSet<(Address, u16)>,
    /// Keys of its deposits.
    pub deposits: BTreeSet<String>,
    /// Keys of its withdrawals.
    pub withdrawals: BTreeSet<String>,
}

/// A block that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBlock {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: Hash32,
    /// The hash of the block before it.
    pub parent: Hash32,
    /// Whether the node said that it is final.
    pub is_final: bool,
    /// What was derived from it.
    pub derived: Derived,
}

/// The kept blocks of a chain, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// Those that were on the chain when it was last looked at.
    pub on_chain: Vec<KeptBlock>,
    /// Those that another block has replaced, and whose consequences are not read again yet.
    pub lost: Vec<KeptBlock>,
}

fn undecodable(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("eidos_jobs_chain_blocks: {what}").into())
}

fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Loads what is kept.
///
/// # Errors
/// Those of the database; a row that nobody can have written.
pub async fn load(pool: &PgPool, key: ChainKey) -> Result<Kept, sqlx::Error> {
    let rows = sqlx::query(LOAD)
        .bind(bigint(key.chain_id))
        .bind(key.vault.to_string())
        .fetch_all(pool)
        .await?;
    let mut kept = Kept::default();
    for row in rows {
        let number: i64 = row.try_get("number")?;
        let hash = |column: &str| -> Result<Hash32, sqlx::Error> {
            let text: String = row.try_get(column)?;
            text.parse()
                .map_err(|error| undecodable(&format!("{column} {text}: {error}")))
        };
        let derived: serde_json::Value = row.try_get("derived")?;
        let block = KeptBlock {
            number: u64::try_from(number).map_err(|_negative| undecodable("a negative number"))?,
            hash: hash("hash")?,
            parent: hash("parent_hash")?,
            is_final: row.try_get("is_final")?,
            derived: serde_json::from_value(derived).map_err(|error| undecodable(&error.to_string()))?,
        };
        if row.try_get("is_lost")? {
            kept.lost.push(block);
        } else {
            kept.on_chain.push(block);
        }
    }
    Ok(kept)
}

/// Adds blocks, and deletes those below `from` that are on the chain.
///
/// # Errors
/// Those of the database.
pub async fn add(
    conn: &mut PgConnection,
    key: ChainKey,
    blocks: &[KeptBlock],
    from: u64,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    for block in blocks {
        sqlx::query(INSERT)
            .bind(bigint(key.chain_id))
            .bind(key.vault.to_string())
            .bind(bigint(block.number))
            .bind(block.hash.to_string())
            .bind(block.parent.to_string())
            .bind(block.is_final)
            .bind(sqlx::types::Json(&block.derived))
            .bind(at)
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query(PRUNE)
        .bind(bigint(key.chain_id))
        .bind(key.vault.to_string())
        .bind(bigint(from))
        .execute(conn)
        .await?;
    Ok(())
}

/// Marks the blocks above `common` as lost.
///
/// # Errors
/// Those of the database.
pub async fn lose(
    conn: &mut PgConnection,
    key: ChainKey,
    common: u64,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(LOSE)
        .bind(bigint(key.chain_id))
        .bind(key.vault.to_string())
        .bind(bigint(common))
        .bind(at)
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes lost blocks whose consequences were read again.
///
/// # Errors
/// Those of the database.
pub async fn forget(conn: &mut PgConnection, key: ChainKey, lost: &[Hash32]) -> Result<(), sqlx::Error> {
    let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
    sqlx::query(FORGET)
        .bind(bigint(key.chain_id))
        .bind(key.vault.to_string())
        .bind(lost)
        .execute(conn)
        .await?;
    Ok(())
}

/// Deletes every block: none of them is on the chain.
///
/// # Errors
/// Those of the database.
pub async fn forget_all(conn: &mut PgConnection, key: ChainKey) -> Result<(), sqlx::Error> {
    sqlx::query(FORGET_ALL)
        .bind(bigint(key.chain_id))
        .bind(key.vault.to_string())
        .execute(conn)
        .await?;
    Ok(())
}
