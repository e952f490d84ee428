//! [`Watermark`]: how far the statistics are.

use serde::{Deserialize, Serialize};

/// How far the statistics are: a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Beginning of the first hour that was ever added up, epoch ms.
    pub began_ms: i64,
    /// Every hour that ended by this instant was added up, epoch ms.
    pub until_ms: i64,
}

impl Watermark {
    /// The key of the checkpoint.
    pub const KEY: &'static str = "watermark";
}
