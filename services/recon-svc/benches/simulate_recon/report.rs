//! What a run showed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Explanations that must be right, of a hundred.
const RIGHT_OF_A_HUNDRED: usize = 95;

/// A break of nothing that was planted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FalseBreak {
    pub(crate) hour: u32,
    pub(crate) dimension: String,
    pub(crate) subject: String,
    pub(crate) seen: String,
    pub(crate) why: String,
}

/// Something planted that is not an open break.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Missed {
    pub(crate) class: String,
    pub(crate) dimension: String,
    pub(crate) subject: String,
    pub(crate) expected: String,
    pub(crate) because: String,
}

/// An explanation that names another cause.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WrongExplanation {
    pub(crate) class: String,
    pub(crate) subject: String,
    pub(crate) expected: String,
    pub(crate) cause: String,
}

/// What happened in the world, by name.
pub(crate) type Happened = BTreeMap<&'static str, u32>;

/// The whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) days: u32,
    pub(crate) happened: Happened,
    /// Breaks that had to be found, by class.
    pub(crate) planted: BTreeMap<String, usize>,
    pub(crate) found: usize,
    pub(crate) put_right: usize,
    /// Runs that failed although the node was honest.
    pub(crate) failures: Vec<String>,
    pub(crate) missed: Vec<Missed>,
    pub(crate) false_breaks: Vec<FalseBreak>,
    /// From planting to finding, ascending.
    pub(crate) hours_to_find: Vec<u32>,
    pub(crate) explained: usize,
    pub(crate) wrong_explanations: Vec<WrongExplanation>,
}

impl Report {
    fn all_planted(&self) -> usize {
        self.planted.values().sum()
    }

    fn is_explained(&self) -> bool {
        let right = self.explained - self.wrong_explanations.len();
        right * 100 >= self.explained * RIGHT_OF_A_HUNDRED
    }

    /// True if everything was found, nothing else, and explained as it has to be.
    pub(crate) fn is_clean(&self) -> bool {
        self.all_planted() > 0
            && self.failures.is_empty()
            && self.missed.is_empty()
            && self.false_breaks.is_empty()
            && self.explained > 0
            && self.is_explained()
    }

    /// The hours within which so many of a hundred were found.
    fn hours(&self, of_a_hundred: usize) -> u32 {
        let last = self.hours_to_find.len().saturating_sub(1);
        self.hours_to_find
            .get(last * of_a_hundred / 100)
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "what happened")?;
        for (what, count) in &self.happened {
            writeln!(f, "  {what:<44} {count:>5}")?;
        }
        writeln!(f, "planted")?;
        for (class, count) in &self.planted {
            writeln!(f, "  {class:<44} {count:>5}")?;
        }
        writeln!(f, "found")?;
        let planted = self.all_planted();
        writeln!(
            f,
            "  {} of {planted} breaks, {} missed, {} false; {} were put right and closed",
            self.found,
            self.missed.len(),
            self.false_breaks.len(),
            self.put_right
        )?;
        writeln!(
            f,
            "  hours from planting to finding: median {}, p99 {}, longest {}",
            self.hours(50),
            self.hours(99),
            self.hours(100)
        )?;
        let right = self.explained - self.wrong_explanations.len();
        writeln!(f, "  explanations: {right} of {} right", self.explained)?;
        for failure in &self.failures {
            writeln!(f, "  FAILED THOUGH THE NODE WAS HONEST: {failure}")?;
        }
        for missed in &self.missed {
            writeln!(f, "  MISSED {missed:?}")?;
        }
        for found in &self.false_breaks {
            writeln!(f, "  FALSE {found:?}")?;
        }
        for wrong in &self.wrong_explanations {
            writeln!(f, "  WRONG EXPLANATION {wrong:?}")?;
        }
        let verdict = if self.is_clean() {
            "everything held"
        } else {
            "NOT EVERYTHING HELD"
        };
        write!(f, "{verdict}")
    }
}
