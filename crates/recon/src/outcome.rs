//! What a page gave: differences sorted into suspects and dust.

use serde::{Deserialize, Serialize};

use crate::compare::{CutPoint, Difference, Verdict};
use crate::severity::{Severity, Weight};
use crate::store::breaks::Stored;
use crate::subject::{Kind, Relation, Subject};
use crate::tally::Weighed;

/// A subject that differed, to be read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Suspect<S: Subject> {
    /// What differed.
    pub subject: S,
    /// How.
    pub difference: Difference<S>,
    /// How bad that is.
    pub weight: Weight,
    /// Where it was read.
    pub point: CutPoint,
}

impl<S: Subject> Suspect<S> {
    /// True if it differed; false if it could not be judged.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.difference.kind != Relation::Unproven.into()
    }

    /// The verdict that made it a suspect.
    #[must_use]
    pub fn verdict(&self) -> Verdict<S> {
        let difference = Box::new(self.difference.clone());
        if self.is_judged() {
            Verdict::Differs(difference)
        } else {
            Verdict::Unproven(difference)
        }
    }
}

/// A break that was found, with a first guess at its cause.
#[derive(Debug, Clone)]
pub struct Found<S: Subject, H> {
    /// What differed, as the second reading saw it.
    pub suspect: Suspect<S>,
    /// The cut of the first reading.
    pub first: CutPoint,
    /// The guess.
    pub hint: H,
    /// How it is stored; `None` in a dry run.
    pub stored: Option<Stored>,
}

impl<S: Subject, H> Found<S, H> {
    /// Readings at distinct cuts that saw it; none for a break that a person has ended, so that nothing is paused for it.
    #[must_use]
    pub fn confirmations(&self) -> u32 {
        match self.stored {
            Some(stored) if stored.accepted => 0,
            Some(stored) => stored.confirmations.count,
            None => 1,
        }
    }

    /// Whether it is there and gives no reason to act.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.stored.is_some_and(|stored| stored.accepted)
    }
}

/// What a page gave.
#[derive(Debug)]
pub struct PageOutcome<S: Subject, T> {
    /// Counts and sums.
    pub tally: T,
    /// Differences to read again.
    pub suspects: Vec<Suspect<S>>,
    /// Differences below the threshold.
    pub dust: Vec<(S, Difference<S>)>,
}

impl<S: Subject, T: Default> Default for PageOutcome<S, T> {
    fn default() -> Self {
        Self {
            tally: T::default(),
            suspects: Vec::new(),
            dust: Vec::new(),
        }
    }
}

impl<S: Subject, T> PageOutcome<S, T> {
    /// How many subjects differed; those that could not be judged are not counted.
    #[must_use]
    pub fn judged_suspects(&self) -> usize {
        self.suspects.iter().filter(|suspect| suspect.is_judged()).count()
    }

    /// Sorts a verdict into suspects and dust; `weigh` says how bad a difference is.
    pub fn sort(
        &mut self,
        subject: S,
        verdict: &Verdict<S>,
        weigh: impl FnOnce(&Difference<S>) -> Weight,
        point: &CutPoint,
    ) -> Weighed {
        let (difference, weight) = match verdict {
            Verdict::Matched => return Weighed::Dust,
            Verdict::Differs(difference) => (difference, weigh(difference)),
            Verdict::Unproven(difference) => (difference, Weight::undecided(&difference.note)),
        };
        if weight.severity == Severity::Ignored {
            self.dust.push((subject, (**difference).clone()));
            return Weighed::Dust;
        }
        self.suspects.push(Suspect {
            subject,
            difference: (**difference).clone(),
            weight,
            point: point.clone(),
        });
        Weighed::Suspect
    }
}

/// The right side below the left one is a shortfall; what cannot be subtracted is judged by the side that is unreadable.
#[must_use]
pub fn is_shortfall<S: Subject>(difference: &Difference<S>) -> bool {
    let below = match difference.diff {
        Some(diff) => diff.is_negative(),
        None => difference.right.is_some(),
    };
    below || difference.kind.is_always_short()
}
