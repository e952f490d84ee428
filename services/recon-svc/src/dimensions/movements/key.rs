//! What is compared: one movement.

use std::cmp::Ordering;

use eidos_recon::{Identity, Subject, SubjectKey};
use eidos_types::{Address, Hash32};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::kind::MovementKind;

/// What names a movement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKey {
    /// An event of the chain.
    Event {
        /// Its transaction.
        tx: Hash32,
        /// Its log's index in the block.
        index: u64,
    },
    /// A row of the books that no event names, by its id.
    Row(String),
    /// A trade, by its id on the chain: both sides have it.
    Trade(Hash32),
    /// The fee account of a token, by its symbol.
    Fees(String),
}

/// How the keys of rows, trades and fee accounts begin.
const ROW: &str = "row:";
const TRADE: &str = "trade:";
const FEES: &str = "fees:";

impl MovementKey {
    /// The text under which it is stored: `0x…:3`, or `row:`, `trade:` or `fees:` and what it names.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Event { tx, index } => format!("{tx}:{index}"),
            Self::Row(id) => format!("{ROW}{id}"),
            Self::Trade(id) => format!("{TRADE}{id}"),
            Self::Fees(token) => format!("{FEES}{token}"),
        }
    }

    /// The key that was stored as this text; `None`: no key is stored like that.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        if let Some(id) = text.strip_prefix(ROW) {
            return Some(Self::Row(id.to_owned()));
        }
        if let Some(id) = text.strip_prefix(TRADE) {
            return id.parse().ok().map(Self::Trade);
        }
        if let Some(token) = text.strip_prefix(FEES) {
            return Some(Self::Fees(token.to_owned()));
        }
        let (tx, index) = text.split_once(':')?;
        Some(Self::Event {
            tx: tx.parse().ok()?,
            index: index.parse().ok()?,
        })
    }

    /// The transaction, if one is named.
    #[must_use]
    pub const fn tx(&self) -> Option<Hash32> {
        match self {
            Self::Event { tx, .. } => Some(*tx),
            Self::Row(_) | Self::Trade(_) | Self::Fees(_) => None,
        }
    }
}

/// A trade's id as its owner wrote it, as far as the chain has it; `None`: it is no text.
fn trade_text(id: &Hash32) -> Option<String> {
    let text = std::str::from_utf8(id.as_bytes()).ok()?.trim_end_matches('\0');
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// A movement with what a person needs to find it. Only the key says which one it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Movement {
    /// Which one.
    pub key: MovementKey,
    /// The token's symbol; its address, or what the books call it, where it is not known.
    pub unit: String,
    /// Whose: the event's user, or the row's wallet without an event.
    pub wallet: Option<Address>,
}

impl PartialEq for Movement {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Movement {}

impl PartialOrd for Movement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Movement {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// The longest unit that the tables hold.
const UNIT_BYTES: usize = 42;

impl Movement {
    /// A movement; `unit` is cut to what the tables hold.
    #[must_use]
    pub fn new(key: MovementKey, unit: &str, wallet: Option<Address>) -> Self {
        let mut unit = unit.replace(char::is_control, "?");
        unit.truncate(unit.floor_char_boundary(UNIT_BYTES));
        Self { key, unit, wallet }
    }

    /// How it is stored. The token's address stays out of the detail: the columns of before would then know a movement only
    /// by its wallet and token.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let mut detail = json!({ "token": self.unit });
        if let Some(wallet) = self.wallet {
            detail["wallet"] = json!(wallet);
        }
        if let MovementKey::Event { tx, index } = &self.key {
            detail["tx_hash"] = json!(tx);
            detail["log_index"] = json!(index);
        }
        if let MovementKey::Trade(id) = &self.key {
            detail["trade_id"] = json!(trade_text(id).unwrap_or_else(|| id.to_string()));
        }
        Identity {
            key: SubjectKey::lossy(&self.key.text()),
            unit: self.unit.clone(),
            detail,
        }
    }
}

impl Subject for Movement {
    type Kind = MovementKind;
    type Line = ();
    const SIDES: (&'static str, &'static str) = ("books", "chain");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_is_its_text(bytes in any::<[u8; 32]>(), index in any::<u64>(), id in "[a-z0-9/:-]{1,40}") {
            let hash = Hash32::new(bytes);
            let keys = [MovementKey::Event { tx: hash, index }, MovementKey::Trade(hash), MovementKey::Row(id.clone()), MovementKey::Fees(id)];
            for key in keys {
                prop_assert_eq!(MovementKey::of_text(&key.text()), Some(key));
            }
        }

        #[test]
        fn no_text_is_too_much(text in ".{0,300}") {
            let _ = MovementKey::of_text(&text);
            let movement = Movement::new(MovementKey::Row(text.clone()), &text, None);
            prop_assert!(movement.unit.len() <= 42 && movement.identity().key.as_str().len() <= SubjectKey::MAX_BYTES);
        }
    }
}
