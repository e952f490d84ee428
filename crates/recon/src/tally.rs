//! What a run counted, stored with each page's checkpoint: a resumed run ends with the sums of an undisturbed one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::compare::{Difference, Verdict};
use crate::dust::Dust;
use crate::subject::Subject;

/// Counts and sums of a run, a shard or a page.
pub trait Tally:
    Default + Clone + std::fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static
{
    /// Adds another one.
    fn merge(&mut self, other: &Self);

    /// How many subjects were compared.
    fn checked(&self) -> u64;
}

/// What a difference turned out to be when it was weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighed {
    /// Ignored: it goes to the dust.
    Dust,
    /// To be read again.
    Suspect,
}

/// The counts of one unit; never summed across units (ruling 25).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Subjects compared.
    pub checked: u64,
    /// Subjects that agreed.
    pub matched: u64,
    /// Subjects that went to a second reading.
    pub suspects: u64,
    /// What was too small.
    pub dust: Dust,
}

impl Counts {
    /// Counts one compared subject. `weighed` says what became of a difference; it is not read for a match.
    pub fn note<S: Subject>(&mut self, verdict: &Verdict<S>, weighed: Weighed) {
        self.checked += 1;
        match verdict {
            Verdict::Matched => self.matched += 1,
            Verdict::Differs(difference) | Verdict::Unproven(difference) => {
                self.note_difference(difference, weighed);
            }
        }
    }

    fn note_difference<S: Subject>(&mut self, difference: &Difference<S>, weighed: Weighed) {
        match (weighed, difference.diff) {
            (Weighed::Dust, Some(diff)) => self.dust.add(diff),
            _ => self.suspects += 1,
        }
    }
}

/// A dimension with one unit needs nothing else.
impl Tally for Counts {
    fn merge(&mut self, other: &Self) {
        self.checked += other.checked;
        self.matched += other.matched;
        self.suspects += other.suspects;
        self.dust.merge(&other.dust);
    }

    fn checked(&self) -> u64 {
        self.checked
    }
}
