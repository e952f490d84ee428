//! [`Piece`]: one piece of work, and what a look at one table gives.

use eidos_disposal::partition::PartitionIdentity;
use eidos_disposal::rows::{RowIdentity, Staying};
use eidos_disposal::unit::Unit;

use super::candles::CandleWork;
use super::rules::{PartitionRule, PlainRule};
use eidos_plan::PlanItem;

/// One piece of work.
pub(super) struct Piece {
    pub(super) item: PlanItem,
    pub(super) task: Task,
    /// Whether its rule reserves it for a person.
    pub(super) approval: bool,
    /// Why a run would refuse it, if it would: a metric's label. The sentence is in `item.blocked`.
    pub(super) refused: Option<&'static str>,
    /// The unit it is continued as.
    pub(super) unit: Option<Unit>,
}

/// What kind of work, with what it needs. In the order of a run.
pub(super) enum Task {
    /// A partition whose quarantine is over.
    Drop(Box<PartitionRule>),
    /// An expired partition.
    Partition(Box<PartitionRule>, Box<PartitionIdentity>),
    /// A month of rows; without an identity no row is left and only its unit remains to be closed.
    Rows(Box<PlainRule>, Option<Box<RowIdentity>>),
    /// Candles of one interval.
    Candles(Box<CandleWork>),
}

impl Task {
    pub(super) const fn order(&self) -> u8 {
        match self {
            Self::Drop(_) => 0,
            Self::Partition(..) => 1,
            Self::Rows(..) => 2,
            Self::Candles(_) => 3,
        }
    }
}

/// A unit whose partition stays after all: its freeze is taken away.
pub(super) struct Release {
    pub(super) rule: PartitionRule,
    pub(super) unit: Unit,
    pub(super) reason: String,
}

/// What one table has.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) pieces: Vec<Piece>,
    pub(super) releases: Vec<Release>,
    pub(super) notes: Vec<String>,
    /// What a person must settle.
    pub(super) problems: Vec<String>,
    pub(super) cutoff_ms: Option<i64>,
    /// Expired rows that stay, by reason.
    pub(super) staying: Option<Vec<Staying>>,
    /// Units that rest in quarantine and are not due.
    pub(super) resting: Vec<Unit>,
}
