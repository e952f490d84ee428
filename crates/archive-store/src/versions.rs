//! [`Versions`]: whether what is removed from a store stays there as an older version.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a bucket does with an object that is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "versions", content = "cause")]
pub enum Versions {
    /// It is gone. Also a local folder.
    NotKept,
    /// It remains as an older version until a lifecycle rule ends it.
    Kept,
    /// As [`Self::Kept`], and no version can be removed before its retention ends.
    Locked,
    /// New objects have one version; those that were put while versions were kept have more.
    Suspended,
    /// The store did not say, or was not allowed to; the text says why.
    Unknown(String),
}

impl Versions {
    /// Returns what to add to "removed", as a sentence. `None`: nothing remains.
    #[must_use]
    pub fn after_removal(&self) -> Option<String> {
        match self {
            Self::NotKept => None,
            remaining => Some(remaining.to_string()),
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKept => f.write_str("the store keeps no versions: what is removed is gone"),
            Self::Kept => f.write_str(
                "the bucket keeps versions: what is removed remains there as an older version until a lifecycle rule \
                 ends it",
            ),
            Self::Locked => f.write_str(
                "the bucket keeps versions under object lock: what is removed remains there as an older version, at \
                 least until its retention ends",
            ),
            Self::Suspended => f.write_str(
                "the bucket's versioning is suspended: what was put before that remains there as an older version after \
                 it is removed",
            ),
            Self::Unknown(cause) => write!(
                f,
                "whether the store keeps versions of what is removed is unknown ({cause})"
            ),
        }
    }
}
