//! What a finished run leaves for the next one, beside the engine's [`eidos_recon::run::Done`].

use eidos_types::Address;
use serde::{Deserialize, Serialize};

/// Where the rotating sample is.
pub const CURSOR_KEY: &str = "sample/cursor";

/// The wallet the last sample ended with; the next one goes on after it, or starts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SampleCursor {
    /// `None`: start over.
    pub after: Option<Address>,
}
