//! [`Segment`]: a run of rows in the order of an export, which a deletion repeats and compares.

use serde::{Deserialize, Serialize};

use crate::digest::ContentDigest;

/// `segment_rows` consecutive rows of an export (the last one may have fewer).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// How many, never 0.
    pub rows: u64,
    /// Of these rows.
    pub digest: ContentDigest,
    /// The first row's key as PostgreSQL prints it: the values of [`crate::KeyColumns::names`], which are the time
    /// column and then the primary key without it.
    pub first: Vec<String>,
    /// The last row's key, likewise.
    pub last: Vec<String>,
}
