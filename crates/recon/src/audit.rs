//! The chain of events: every link's hash covers its event and the hash before (docs/adr/0022-the-life-of-a-break.md).
//!
//! The database writes the links (migration 0017), so that services of every release do; this computes them again.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A hash of the chain, written as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkHash([u8; 32]);

impl LinkHash {
    /// Before the first link.
    pub const START: Self = Self([0; 32]);

    /// Of bytes; `None` if they are not 32.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for LinkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl Serialize for LinkHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A link that somebody noted outside of the database: a chain that was rewritten from there on does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// Its number, from 1.
    pub seq: i64,
    /// Its hash.
    pub hash: LinkHash,
}

/// A text that is no anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no link of the chain: write NUMBER:HASH, as `eidosctl audit verify` prints it")]
pub struct NoAnchor(String);

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Anchor {
    type Err = NoAnchor;

    fn from_str(text: &str) -> Result<Self, NoAnchor> {
        let parsed = text.split_once(':').and_then(|(seq, hash)| {
            let seq = seq.parse().ok().filter(|seq: &i64| *seq >= 1)?;
            let hash = LinkHash::of_bytes(&hex::decode(hash).ok()?)?;
            Some(Self { seq, hash })
        });
        parsed.ok_or_else(|| NoAnchor(text.to_owned()))
    }
}

/// The number of fields of an event that a hash covers.
pub const FIELDS: usize = 11;

/// An event as the database shows its columns as text: id, break, event, instant in epoch microseconds, by, execution,
/// block, its hash, details, and the break's version and state after it.
pub type Fields = [Option<String>; FIELDS];

/// The hash of a link: SHA-256 of the hash before, and of every field with its length before it, so that no two events have
/// the same text.
#[must_use]
pub fn link_hash(seq: i64, previous: LinkHash, event: &Fields) -> LinkHash {
    let mut hasher = Sha256::new();
    hasher.update(previous.0);
    let seq = Some(seq.to_string());
    for field in std::iter::once(&seq).chain(event) {
        match field {
            Some(text) => hasher.update(format!("{}:{text};", text.len())),
            None => hasher.update("-;"),
        }
    }
    LinkHash(hasher.finalize().into())
}

/// What is wrong with the audit trail, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// Links are missing.
    LinksGone {
        /// The first one.
        first: i64,
        /// The last one.
        last: i64,
    },
    /// A link names another link before it than the one that is there.
    NotLinked {
        /// The link.
        seq: i64,
        /// Its event.
        event_id: i64,
    },
    /// A link's event is missing.
    EventGone {
        /// The link.
        seq: i64,
        /// The event.
        event_id: i64,
    },
    /// An event, or its link, is not what it was when it was written.
    Altered {
        /// The link.
        seq: i64,
        /// The event.
        event_id: i64,
        /// The break that the event names now.
        break_id: String,
    },
    /// An event that was not written the way events are written, or whose link is missing.
    NotInChain {
        /// The event.
        event_id: i64,
        /// Its break.
        break_id: String,
        /// What it says.
        event: String,
    },
    /// A break without any event.
    WithoutEvents {
        /// The break.
        break_id: String,
    },
    /// A break that was changed without an event, or whose newest events are missing.
    Unexplained {
        /// The break.
        break_id: String,
        /// Its version and state.
        is: String,
        /// Those after its newest event.
        told: String,
    },
    /// The chain does not have the link that was noted.
    NotAnchored {
        /// What was noted.
        noted: Anchor,
        /// What is there; `None`: the chain ends before.
        found: Option<LinkHash>,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinksGone { first, last } if first == last => write!(f, "link {first} is missing"),
            Self::LinksGone { first, last } => write!(f, "links {first} to {last} are missing"),
            Self::NotLinked { seq, event_id } => write!(
                f,
                "link {seq} (event {event_id}) does not follow the link before it: one of the two was altered, or links were \
                 put between, taken away or reordered"
            ),
            Self::EventGone { seq, event_id } => {
                write!(f, "event {event_id}, of link {seq}, is missing")
            }
            Self::Altered {
                seq,
                event_id,
                break_id,
            } => write!(
                f,
                "event {event_id} of break {break_id}, link {seq}, is not what it was when it was written"
            ),
            Self::NotInChain {
                event_id,
                break_id,
                event,
            } => write!(
                f,
                "event {event_id} ({event}) of break {break_id} is in no link: it was put there, or its link was deleted"
            ),
            Self::WithoutEvents { break_id } => write!(f, "break {break_id} has no event"),
            Self::Unexplained { break_id, is, told } => write!(
                f,
                "break {break_id} is {is}, and its newest event left it {told}: it was changed without an event, or events \
                 are missing"
            ),
            Self::NotAnchored { noted, found } => match found {
                Some(found) => write!(
                    f,
                    "link {} has the hash {found}, and {} was noted: the chain was rewritten",
                    noted.seq, noted.hash
                ),
                None => write!(f, "link {} was noted, and the chain ends before it", noted.seq),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(texts: [&str; FIELDS]) -> Fields {
        texts.map(|text| (text != "-").then(|| text.to_owned()))
    }

    #[test]
    fn a_hash_covers_every_field_its_place_and_what_was_before() {
        let base = event(["7", "b", "seen", "1", "ann", "-", "2", "h", "{}", "3", "open"]);
        let hash = link_hash(1, LinkHash::START, &base);
        for place in 0..FIELDS {
            let mut other = base.clone();
            other[place] = Some("x".to_owned());
            assert_ne!(link_hash(1, LinkHash::START, &other), hash, "{place}");
            other[place] = None;
            assert!(
                base[place].is_none() || link_hash(1, LinkHash::START, &other) != hash,
                "{place}"
            );
        }
        assert_ne!(link_hash(2, LinkHash::START, &base), hash);
        assert_ne!(link_hash(1, hash, &base), hash);
        // Text that moves from one field to the next is another text.
        let one = event(["1", "2;1:3", "-", "-", "-", "-", "-", "-", "-", "-", "-"]);
        let two = event(["1", "2", "3", "-", "-", "-", "-", "-", "-", "-", "-"]);
        assert_ne!(
            link_hash(1, LinkHash::START, &one),
            link_hash(1, LinkHash::START, &two)
        );
    }

    #[test]
    fn an_anchor_is_read_back_and_anything_else_is_refused() {
        let anchor = Anchor {
            seq: 12,
            hash: link_hash(1, LinkHash::START, &Fields::default()),
        };
        assert_eq!(anchor.to_string().parse(), Ok(anchor));
        for bad in ["", "12", "0:00", "12:zz", "12:0011", ":", "-1:00"] {
            assert_eq!(bad.parse::<Anchor>(), Err(NoAnchor(bad.to_owned())));
        }
    }
}
