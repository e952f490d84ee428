//! What a finished run leaves for the next one.

use chrono::{DateTime, Utc};
use eidos_chain::BlockRef;
use eidos_types::Address;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the last finished run of a mode left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// When its books were read.
    pub at: DateTime<Utc>,
    /// Where the chain was read.
    pub block: BlockRef,
    /// Which run.
    pub run_id: Uuid,
}

/// Where the rotating sample is.
pub const CURSOR_KEY: &str = "sample/cursor";

/// The wallet the last sample ended with; the next one goes on after it, or starts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SampleCursor {
    /// `None`: start over.
    pub after: Option<Address>,
}
