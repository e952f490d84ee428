//! [`Plan`]: which blocks and rows one run of a dimension reads.

use std::collections::BTreeSet;

use crate::dimensions::movements::key::MovementKey;

/// What one run reads.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The first block whose events are read.
    pub first: u64,
    /// The first block whose events belong to the control sums.
    pub control_from: u64,
    /// Rows that changed since then are read whatever block they name, epoch ms; `None`: all rows are.
    pub changed_since_ms: Option<i64>,
    /// Movements that are read whatever changed: open breaks, and what the last run could not decide.
    pub carried: BTreeSet<MovementKey>,
}
