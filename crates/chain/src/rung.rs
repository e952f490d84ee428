//! [`Rung`]: the names of the ways to read many balances.

use serde::{Deserialize, Serialize};

/// One way to read many balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// `eth_call` that puts a reader in the place of the Vault's code: one storage read per wallet.
    StorageReader,
    /// `eth_getStorageValues`: the same slots without the EVM.
    StorageValues,
    /// `eth_call` that puts a reader at an unused address, which asks the Vault's view.
    ViewReader,
    /// Multicall3's `aggregate3`.
    Multicall3,
    /// A JSON-RPC batch of plain calls.
    Batch,
    /// One plain call per value.
    Single,
}

impl Rung {
    /// Best first.
    pub const ALL: [Self; 6] = [
        Self::StorageReader,
        Self::StorageValues,
        Self::ViewReader,
        Self::Multicall3,
        Self::Batch,
        Self::Single,
    ];

    /// The name in settings, metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StorageReader => "storage_reader",
            Self::StorageValues => "storage_values",
            Self::ViewReader => "view_reader",
            Self::Multicall3 => "multicall3",
            Self::Batch => "batch",
            Self::Single => "single",
        }
    }

    /// True if it needs to know where the Vault keeps its balances.
    pub(crate) const fn needs_layout(self) -> bool {
        matches!(self, Self::StorageReader | Self::StorageValues)
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
