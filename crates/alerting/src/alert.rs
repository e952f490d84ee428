//! [`Alert`]: what is wrong, in words that stay the same while it lasts.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How soon an operator must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Today.
    Warning,
    /// Now.
    Critical,
}

impl Severity {
    /// The word of labels, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One alert of one episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The name, such as `TargetDown`.
    pub name: String,
    /// What tells this alert from others of the same name. No value that changes while the episode lasts: neither a time
    /// nor a measurement, and nothing of the process that found it.
    pub labels: BTreeMap<String, String>,
    /// What a person reads; may change.
    pub annotations: BTreeMap<String, String>,
    /// How bad it is now.
    pub severity: Severity,
    /// When the episode began, epoch milliseconds.
    pub starts_at_ms: i64,
    /// The episode.
    pub episode: EpisodeId,
}

impl Alert {
    /// Returns what is the same for every episode of this alert, in every process.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.name, &self.labels)
    }
}

/// The identity of an alert over all its episodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Hashes the name and the labels, which are sorted.
    #[must_use]
    pub fn of(name: &str, labels: &BTreeMap<String, String>) -> Self {
        let mut hash = Sha256::new();
        let parts = labels.iter().flat_map(|(label, value)| [label, value]);
        for part in std::iter::once(name).chain(parts.map(String::as_str)) {
            // With its length, so that no two lists of parts run together into one text.
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Self(short(hash))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The identity of one episode. It follows from the alert and the begin, so that it needs no source of randomness.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EpisodeId(String);

impl EpisodeId {
    /// Returns the episode of this alert that begins at `starts_at_ms`.
    #[must_use]
    pub fn of(fingerprint: &Fingerprint, starts_at_ms: i64) -> Self {
        let mut hash = Sha256::new();
        hash.update(&fingerprint.0);
        hash.update(starts_at_ms.to_le_bytes());
        Self(short(hash))
    }
}

impl fmt::Display for EpisodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The first half of a hash: 128 bits are more than enough for names.
fn short(hash: Sha256) -> String {
    let mut text = hex::encode(hash.finalize());
    text.truncate(32);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn fingerprints_follow_from_name_and_labels_alone() {
        let one = Fingerprint::of("Down", &labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(one, Fingerprint::of("Down", &labels(&[("b", "2"), ("a", "1")])));
        for other in [
            Fingerprint::of("Up", &labels(&[("a", "1"), ("b", "2")])),
            Fingerprint::of("Down", &labels(&[("a", "1"), ("b", "3")])),
            Fingerprint::of("Down", &labels(&[("a", "1b"), ("", "2")])),
            Fingerprint::of("Down", &labels(&[("a", "1")])),
        ] {
            assert_ne!(one, other);
        }
        assert_ne!(EpisodeId::of(&one, 1), EpisodeId::of(&one, 2));
        assert_eq!(EpisodeId::of(&one, 1).to_string().len(), 32);
    }
}
