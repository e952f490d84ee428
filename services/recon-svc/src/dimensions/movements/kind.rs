//! What kinds of difference a movement may have.

use eidos_recon::{Kind, Relation};
use serde::{Deserialize, Serialize};

/// What kind of difference it is; part of a break's stable identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// The chain has the event, and no row of the books names it.
    MissingInBooks,
    /// The books say that it happened, and the chain has no such event.
    MissingOnChain,
    /// One event, credited by more than one row.
    DuplicateCredit,
    /// Both have it, with different amounts.
    WrongAmount,
    /// Both have it, for different wallets.
    WrongWallet,
    /// Both have it, in different tokens.
    WrongToken,
    /// Credited from a block that a reorganisation removed; the event is nowhere else.
    Orphaned,
    /// The books know the deposit and have not credited it for longer than the limit.
    NotCredited,
    /// The books gave the withdrawal back (failed, cancelled, rejected), and the Vault has paid it.
    RefundedYetMined,
    /// The Vault has paid, and the books call it open for longer than the limit.
    MinedYetPending,
    /// Debited and not paid, or matched and not settled, for longer than the limit.
    Stuck,
    /// The chain has settled the trade, and the books call it open for longer than the limit.
    SettledYetPending,
    /// The books gave the trade back (failed, rolled back), and the chain has settled it.
    UndoneYetSettled,
    /// The chain has settled the trade's batch and not the trade: no later transaction can settle it in that batch.
    PartlySettled,
    /// Both have the trade, and another side bought.
    WrongSide,
    /// Both have the trade, with other fees.
    WrongFee,
    /// Trades of the books whose ids are one id on the chain, which has only 32 bytes of each.
    IdCollision,
    /// Trades paid fees that the fee account does not have.
    FeeNotBooked,
    /// The fee account has fees that no trade paid.
    FeeWithoutTrade,
    /// An amount that is not a `DECIMAL(36,18)`: too large, too fine, NaN, NULL.
    BeyondDecimal,
    /// A row of the books that names no event: its transaction, index or id cannot be read.
    UnreadableRow,
    /// A log with the event's topic and other arguments than the event has.
    UnreadableEvent,
    /// The node had not reached the block that the books name.
    NodeBehind,
}

impl Kind for MovementKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::MissingInBooks => "missing_in_books",
            Self::MissingOnChain => "missing_on_chain",
            Self::DuplicateCredit => "duplicate_credit",
            Self::WrongAmount => "wrong_amount",
            Self::WrongWallet => "wrong_wallet",
            Self::WrongToken => "wrong_token",
            Self::Orphaned => "orphaned",
            Self::NotCredited => "not_credited",
            Self::RefundedYetMined => "refunded_yet_mined",
            Self::MinedYetPending => "mined_yet_pending",
            Self::Stuck => "stuck",
            Self::SettledYetPending => "settled_yet_pending",
            Self::UndoneYetSettled => "undone_yet_settled",
            Self::PartlySettled => "partly_settled",
            Self::WrongSide => "wrong_side",
            Self::WrongFee => "wrong_fee",
            Self::IdCollision => "id_collision",
            Self::FeeNotBooked => "fee_not_booked",
            Self::FeeWithoutTrade => "fee_without_trade",
            Self::BeyondDecimal => "beyond_decimal",
            Self::UnreadableRow => "unreadable_row",
            Self::UnreadableEvent => "unreadable_event",
            Self::NodeBehind => "node_behind",
        }
    }

    fn is_never_small(self) -> bool {
        !matches!(
            self,
            Self::WrongAmount | Self::WrongFee | Self::FeeNotBooked | Self::FeeWithoutTrade
        )
    }

    fn is_always_short(self) -> bool {
        self.is_of_the_whole()
    }
}

impl MovementKind {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::MissingInBooks,
        Self::MissingOnChain,
        Self::DuplicateCredit,
        Self::WrongAmount,
        Self::WrongWallet,
        Self::WrongToken,
        Self::Orphaned,
        Self::NotCredited,
        Self::RefundedYetMined,
        Self::MinedYetPending,
        Self::Stuck,
        Self::SettledYetPending,
        Self::UndoneYetSettled,
        Self::PartlySettled,
        Self::WrongSide,
        Self::WrongFee,
        Self::IdCollision,
        Self::FeeNotBooked,
        Self::FeeWithoutTrade,
        Self::BeyondDecimal,
        Self::UnreadableRow,
        Self::UnreadableEvent,
        Self::NodeBehind,
    ];

    /// The kind with this name in tables; `None`: there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// True if only a status is behind: the money is where it belongs, and a person has to look why.
    #[must_use]
    pub const fn is_of_status(self) -> bool {
        matches!(
            self,
            Self::NotCredited | Self::MinedYetPending | Self::Stuck | Self::SettledYetPending
        )
    }

    /// True if the whole amount is at stake and not only the difference of the two sides.
    #[must_use]
    pub const fn is_of_the_whole(self) -> bool {
        matches!(
            self,
            Self::WrongWallet
                | Self::WrongToken
                | Self::WrongSide
                | Self::RefundedYetMined
                | Self::UndoneYetSettled
        )
    }
}

impl From<Relation> for MovementKind {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::MissingLeft => Self::MissingInBooks,
            Relation::MissingRight => Self::MissingOnChain,
            Relation::Incomparable => Self::BeyondDecimal,
            Relation::Below | Relation::Above => Self::WrongAmount,
            Relation::Unproven => Self::NodeBehind,
        }
    }
}

impl std::fmt::Display for MovementKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
