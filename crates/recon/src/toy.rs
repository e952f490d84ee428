//! The subject of this crate's unit tests: a counter with a name.

use serde::{Deserialize, Serialize};

use crate::subject::{Relation, Subject};

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Counter(pub(crate) String);

impl Subject for Counter {
    type Kind = Relation;
    type Line = ();
    const SIDES: (&'static str, &'static str) = ("counted", "reported");
}
