//! [`SourceName`]: the logical databases.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A logical source of data. Each has its own DSN; several may point at one database (ruling 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceName {
    /// Our own tables.
    Jobs,
    /// Orders, trades, balances.
    Trading,
    /// Candles and public trades.
    Market,
    /// What the chain indexer and the relayer stored.
    Chain,
    /// Risk reviews and events.
    Risk,
    /// The admin back end.
    Admin,
}

impl SourceName {
    /// All sources.
    pub const ALL: [Self; 6] = [
        Self::Jobs,
        Self::Trading,
        Self::Market,
        Self::Chain,
        Self::Risk,
        Self::Admin,
    ];

    /// The key below `databases`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Trading => "trading",
            Self::Market => "market",
            Self::Chain => "chain",
            Self::Risk => "risk",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The keys, as an error names them.
const NAMES: [&str; 6] = ["jobs", "trading", "market", "chain", "risk", "admin"];

/// By way of text, because the path of an error only names a key that was read as text.
impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|source| source.as_str() == text);
        known.ok_or_else(|| serde::de::Error::unknown_variant(&text, &NAMES))
    }
}
