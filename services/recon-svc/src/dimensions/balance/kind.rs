//! What kinds of difference an account, a token or a run may have.

use eidos_recon::{Kind, Relation};
use serde::{Deserialize, Serialize};

/// What kind of difference it is; part of a break's stable identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakKind {
    /// The token contract holds less for the vault than the vault owes its users (ruling 27).
    Insolvent,
    /// The chain holds less than the books say.
    Shortfall,
    /// The chain holds it, the books do not know the account.
    MissingInBooks,
    /// The books hold it, the chain never saw the account.
    MissingOnChain,
    /// One side's value is no `DECIMAL(36,18)`: too large, too fine, NaN.
    BeyondDecimal,
    /// The chain holds more than the books say.
    Surplus,
    /// The books hold a fraction of the token's smallest unit, which the chain cannot.
    Residue,
    /// Too many differences below the threshold, added up.
    DustLimit,
    /// The books' indexer is too far behind the chain to compare anything.
    IndexerBehind,
    /// The node has not reached a block that the books name: what it does not know proves nothing.
    NodeBehind,
    /// The books hold a token this service does not know.
    UnknownToken,
    /// A difference that was planted was not found: what the run says proves nothing.
    CanaryMissed,
    /// Blocks that were read are no longer on the chain.
    Reorganised,
    /// A block that the node had called final is no longer on the chain.
    FinalizedBlockChanged,
    /// Two providers say different things about the same blocks.
    ProvidersDisagree,
    /// The second provider did not answer, so that nothing controls the first one.
    ProviderSilent,
}

impl Kind for BreakKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Insolvent => "insolvent",
            Self::Shortfall => "shortfall",
            Self::MissingInBooks => "missing_in_books",
            Self::MissingOnChain => "missing_on_chain",
            Self::BeyondDecimal => "beyond_decimal",
            Self::Surplus => "surplus",
            Self::Residue => "residue",
            Self::DustLimit => "dust_limit",
            Self::IndexerBehind => "indexer_behind",
            Self::NodeBehind => "node_behind",
            Self::UnknownToken => "unknown_token",
            Self::CanaryMissed => "canary_missed",
            Self::Reorganised => "reorganised",
            Self::FinalizedBlockChanged => "finalized_block_changed",
            Self::ProvidersDisagree => "providers_disagree",
            Self::ProviderSilent => "provider_silent",
        }
    }

    fn is_never_small(self) -> bool {
        !matches!(self, Self::Shortfall | Self::Surplus | Self::Residue)
    }

    fn is_always_short(self) -> bool {
        self == Self::Insolvent
    }
}

impl From<Relation> for BreakKind {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::MissingLeft => Self::MissingInBooks,
            Relation::MissingRight => Self::MissingOnChain,
            Relation::Incomparable => Self::BeyondDecimal,
            Relation::Below => Self::Shortfall,
            Relation::Above => Self::Surplus,
            Relation::Unproven => Self::NodeBehind,
        }
    }
}

impl std::fmt::Display for BreakKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
