//! What is compared, and what may be found about it.

use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The text key of a subject: what breaks, records and dust are stored under.
///
/// It is stable (the same subject has the same key in every run), it sorts by bytes, and it has 1 to
/// [`SubjectKey::MAX_BYTES`] bytes without control characters. The part before the first `/` is its *group*: subjects of a
/// group are compared together, such as all tokens of a wallet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SubjectKey(String);

/// A text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a key of a subject: it must have 1 to {max} bytes and no control characters",
    max = SubjectKey::MAX_BYTES
)]
pub struct BadKey(String);

impl SubjectKey {
    /// The longest key.
    pub const MAX_BYTES: usize = 200;

    /// Checks a text.
    ///
    /// # Errors
    /// [`BadKey`] if it is empty, too long or has a control character.
    pub fn new(text: impl Into<String>) -> Result<Self, BadKey> {
        let text = text.into();
        if text.is_empty() || text.len() > Self::MAX_BYTES || text.chars().any(char::is_control) {
            return Err(BadKey(text));
        }
        Ok(Self(text))
    }

    /// The key of a text that is a key for other reasons: a control character becomes `?`, and what is beyond
    /// [`SubjectKey::MAX_BYTES`] is cut.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        let mut key = text.replace(char::is_control, "?");
        key.truncate(key.floor_char_boundary(Self::MAX_BYTES));
        if key.is_empty() {
            key.push('?');
        }
        Self(key)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `/`; the whole key without one.
    #[must_use]
    pub fn group(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(group, _)| group)
    }
}

impl fmt::Display for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for SubjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// How a subject is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its key.
    pub key: SubjectKey,
    /// What its amounts are counted in, at most 42 bytes. Sums never cross units (ruling 25).
    pub unit: String,
    /// What a person needs to find it: a JSON object. A `wallet` and a `token_address` in it also fill the columns that
    /// have these names.
    pub detail: Value,
}

/// What is compared, as a run holds it in memory: small, ordered as its sources are.
pub trait Subject: Clone + Ord + fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// What kinds of difference it may have.
    type Kind: Kind;
    /// What rolls the left side to the cut of the right one, as evidence; `()` where nothing does.
    type Line: fmt::Debug + Clone + PartialEq + Eq + Send + Sync + Serialize + DeserializeOwned + 'static;

    /// What people call the left and the right side.
    const SIDES: (&'static str, &'static str);
}

/// The kinds of difference of a dimension; part of a break's stable identity.
pub trait Kind:
    fmt::Debug + fmt::Display + Copy + Ord + Send + Sync + Serialize + DeserializeOwned + From<Relation> + 'static
{
    /// The name in tables, metrics and alerts: at most 40 bytes.
    fn as_str(self) -> &'static str;

    /// True if no threshold makes it dust: a subject on one side only (ruling 25), a value that cannot be compared.
    fn is_never_small(self) -> bool;

    /// True if the right side lacks something, whatever the sign of the difference says.
    fn is_always_short(self) -> bool {
        false
    }
}

/// How two sides relate that are not equal. Every dimension names each of these; it may have further kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The right side has a value, the left one does not know the subject.
    MissingLeft,
    /// The left side has a value, the right one does not know the subject.
    MissingRight,
    /// A side has a value that is not an amount.
    Incomparable,
    /// The right side is less than the left one.
    Below,
    /// The right side is more than the left one.
    Above,
    /// An answer is missing, which proves nothing.
    Unproven,
}

impl Relation {
    /// The name in tables, metrics and alerts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingLeft => "missing_left",
            Self::MissingRight => "missing_right",
            Self::Incomparable => "incomparable",
            Self::Below => "below",
            Self::Above => "above",
            Self::Unproven => "unproven",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kinds of a dimension that has none of its own.
impl Kind for Relation {
    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn is_never_small(self) -> bool {
        !matches!(self, Self::Below | Self::Above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bounded_and_has_a_group() {
        let key = SubjectKey::new("0xab/USDC/x").unwrap();
        assert_eq!((key.group(), key.as_str()), ("0xab", "0xab/USDC/x"));
        assert_eq!(SubjectKey::new("requests").unwrap().group(), "requests");
        for bad in [String::new(), "a\nb".to_owned(), "x".repeat(201)] {
            assert_eq!(SubjectKey::new(bad.clone()), Err(BadKey(bad.clone())));
            assert!(serde_json::from_value::<SubjectKey>(bad.into()).is_err());
        }
        assert!(SubjectKey::new("x".repeat(200)).is_ok());
        for text in [String::new(), "a\nb".to_owned(), "ä".repeat(150)] {
            let key = SubjectKey::lossy(&text);
            assert_eq!(SubjectKey::new(key.as_str()), Ok(key));
        }
    }
}
