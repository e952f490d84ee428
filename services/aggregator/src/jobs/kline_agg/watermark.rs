//! [`Watermark`]: how far a level is.

use eidos_market::Interval;
use serde::{Deserialize, Serialize};

/// How far a level is: a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Beginning of the first window that was ever judged, epoch ms.
    pub began_ms: i64,
    /// Every window that ended by this instant was judged, epoch ms.
    pub until_ms: i64,
    /// End of the newest whole window of any market, epoch ms; `None`: there was none.
    pub newest_whole_ms: Option<i64>,
}

impl Watermark {
    /// Returns the key of the checkpoint.
    #[must_use]
    pub fn key(interval: Interval) -> String {
        format!("watermark/{interval}")
    }

    /// Checks whether a window with this beginning was judged.
    pub(super) const fn has_passed(&self, open_ms: i64) -> bool {
        self.began_ms <= open_ms && open_ms < self.until_ms
    }
}
