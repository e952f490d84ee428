//! [`Judge`]: what must be open after a run, what is, and since when.

use std::collections::{BTreeMap, BTreeSet};

use eidos_devnet::{Fault, KeptCredit, Manifest, Planted, cause_of};
use eidos_types::Amount;
use sqlx::PgPool;

use crate::report::{FalseBreak, Missed, WrongExplanation};

/// The class of [`KeptCredit`].
const KEPT_CREDIT: &str = "credit_of_a_lost_block";
/// Runs that may pass until a break of what was put right is closed.
const RUNS_TO_CLOSE: u32 = 2;

/// Dimension and subject of a break.
pub(crate) type Key = (String, String);

/// A break that must be found.
#[derive(Debug, Clone)]
struct Expected {
    class: String,
    kind: String,
    difference: String,
    /// Hours of the world: planted, and found with kind and difference.
    planted: u32,
    found: Option<u32>,
    /// It was put right in this hour.
    ended: Option<u32>,
    /// What it was taken for last.
    seen_as: Option<String>,
    is_open: bool,
    break_id: Option<String>,
    is_explained: bool,
}

/// An open break.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Open {
    id: String,
    dimension: String,
    subject: String,
    kind: String,
    difference: Option<String>,
}

const OPEN: &str = "SELECT break_id::text AS id, dimension::text AS dimension, subject::text AS subject, kind::text AS kind, \
        coalesce(diff_value::text, diff_exact, onchain_exact) AS difference \
    FROM eidos_jobs_breaks WHERE status = 'open' ORDER BY break_id";

/// Follows what was planted and found.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    expected: BTreeMap<Key, Expected>,
    /// Runs since the end of an expectation, by its key.
    since_end: BTreeMap<Key, u32>,
    false_ids: BTreeSet<String>,
    pub(crate) false_breaks: Vec<FalseBreak>,
    pub(crate) explained: usize,
    pub(crate) wrong_explanations: Vec<WrongExplanation>,
}

/// A number without the zeros that its column adds; other text as it is.
fn plain(text: &str) -> String {
    text.parse::<Amount>()
        .map_or_else(|_not_an_amount| text.to_owned(), |amount| amount.to_string())
}

fn key_of(planted: &Planted) -> Key {
    planted.wallet.map_or_else(
        || ("solvency".to_owned(), planted.token.clone()),
        |wallet| ("balance".to_owned(), format!("{wallet}/{}", planted.token)),
    )
}

impl Judge {
    /// Takes over what was planted until this hour. Dust is no break.
    pub(crate) fn follow(&mut self, manifest: &Manifest, hour: u32) {
        let breaks = manifest.faults.iter().filter(|fault| fault.class != Fault::Dust);
        let accounts = breaks.map(|fault| {
            let class = fault.class.as_str().to_owned();
            (key_of(fault), class, fault.kind.clone(), fault.difference.clone())
        });
        let movements = manifest.movements.iter().map(|fault| {
            let key = (fault.dimension.clone(), fault.subject.clone());
            (
                key,
                fault.class.clone(),
                fault.kind.clone(),
                fault.difference.clone(),
            )
        });
        let now: Vec<(Key, String, String, String)> = accounts.chain(movements).collect();
        for (key, class, kind, difference) in &now {
            self.expect(key.clone(), class, kind, difference, hour);
        }
        let still: BTreeSet<&Key> = now.iter().map(|(key, ..)| key).collect();
        for (key, expected) in &mut self.expected {
            if !still.contains(key) && expected.class != KEPT_CREDIT && expected.ended.is_none() {
                expected.ended = Some(hour);
            }
        }
    }

    fn expect(&mut self, key: Key, class: &str, kind: &str, difference: &str, hour: u32) {
        let expected = self.expected.entry(key).or_insert_with(|| Expected {
            class: class.to_owned(),
            kind: String::new(),
            difference: String::new(),
            planted: hour,
            found: None,
            ended: None,
            seen_as: None,
            is_open: false,
            break_id: None,
            is_explained: false,
        });
        expected.ended = None;
        kind.clone_into(&mut expected.kind);
        difference.clone_into(&mut expected.difference);
    }

    /// The books kept a credit whose block is gone.
    pub(crate) fn expect_kept(&mut self, kept: &KeptCredit, hour: u32) {
        let lost = kept.amount.negated().to_string();
        let account = ("balance".to_owned(), format!("{}/{}", kept.wallet, kept.token));
        self.expect(account, KEPT_CREDIT, "shortfall", &lost, hour);
        let movement = ("deposit".to_owned(), kept.subject.clone());
        self.expect(movement, KEPT_CREDIT, "orphaned", &lost, hour);
    }

    /// Looks at the open breaks after a run of this hour. `has_read`: the run ended with a report.
    pub(crate) async fn look(&mut self, jobs: &PgPool, hour: u32, has_read: bool) -> anyhow::Result<()> {
        let open: Vec<Open> = sqlx::query_as(OPEN).fetch_all(jobs).await?;
        for expected in self.expected.values_mut() {
            expected.is_open = false;
        }
        for found in &open {
            self.compare(found, hour);
        }
        if has_read {
            for (key, expected) in &self.expected {
                if expected.ended.is_some() {
                    *self.since_end.entry(key.clone()).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, found: &Open, hour: u32) {
        let difference = plain(found.difference.as_deref().unwrap_or("?"));
        let seen = format!("{} {difference}", found.kind);
        let key = (found.dimension.clone(), found.subject.clone());
        let too_late = self.since_end.get(&key).copied().unwrap_or_default() > RUNS_TO_CLOSE;
        let why = match self.expected.get_mut(&key) {
            None => "nothing was planted",
            Some(expected) if expected.ended.is_some() => {
                if !too_late {
                    return;
                }
                "it was put right and is still open"
            }
            Some(expected) => {
                let is_it = (expected.kind == found.kind) && (expected.difference == difference);
                if is_it {
                    expected.is_open = true;
                    expected.found.get_or_insert(hour);
                    expected.break_id = Some(found.id.clone());
                }
                expected.seen_as = Some(seen);
                return;
            }
        };
        if self.false_ids.insert(found.id.clone()) {
            let wrong = FalseBreak {
                hour,
                dimension: found.dimension.clone(),
                subject: found.subject.clone(),
                seen,
                why: why.to_owned(),
            };
            println!("hour {hour}: {wrong:?}");
            self.false_breaks.push(wrong);
        }
    }

    /// Breaks that were found and have not been explained yet.
    pub(crate) fn unexplained(&self) -> Vec<String> {
        let new = self
            .expected
            .values()
            .filter(|expected| expected.is_open && expected.ended.is_none() && !expected.is_explained);
        new.filter_map(|expected| expected.break_id.clone()).collect()
    }

    /// Compares an explanation with what was planted.
    pub(crate) fn explain(&mut self, key: &Key, cause: &str) {
        let Some(expected) = self.expected.get_mut(key) else {
            return;
        };
        expected.is_explained = true;
        self.explained += 1;
        let right = if expected.class == KEPT_CREDIT {
            "reorg"
        } else {
            cause_of(&expected.class).unwrap_or("nothing")
        };
        if right != cause {
            self.wrong_explanations.push(WrongExplanation {
                class: expected.class.clone(),
                subject: key.1.clone(),
                expected: right.to_owned(),
                cause: cause.to_owned(),
            });
        }
    }

    /// How many were planted and found until now.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let found = self.expected.values().filter(|expected| expected.found.is_some());
        (self.expected.len(), found.count())
    }

    /// An edit by hand that was found and not put right.
    pub(crate) fn is_found(&self, planted: &Planted) -> bool {
        self.expected
            .get(&key_of(planted))
            .is_some_and(|expected| expected.found.is_some())
    }

    /// What was put right.
    pub(crate) fn ended(&self) -> usize {
        self.expected
            .values()
            .filter(|expected| expected.ended.is_some())
            .count()
    }

    /// Planted by class.
    pub(crate) fn classes(&self) -> BTreeMap<String, usize> {
        let mut classes = BTreeMap::new();
        for expected in self.expected.values() {
            *classes.entry(expected.class.clone()).or_default() += 1;
        }
        classes
    }

    /// What was not found, or was lost again.
    pub(crate) fn missed(&self) -> Vec<Missed> {
        let missed = self.expected.iter().filter_map(|(key, expected)| {
            let why = match (expected.found, expected.ended) {
                (None, Some(_)) => "it was put right before any run found it",
                (None, None) => "it was never found as it is",
                (Some(_), None) if !expected.is_open => "it was found, and is open no more",
                _ => return None,
            };
            let seen = expected.seen_as.as_deref().unwrap_or("nothing");
            Some(Missed {
                class: expected.class.clone(),
                dimension: key.0.clone(),
                subject: key.1.clone(),
                expected: format!("{} {}", expected.kind, expected.difference),
                because: format!("{why}; it was last seen as {seen}"),
            })
        });
        missed.collect()
    }

    /// Hours from planting to finding, ascending.
    pub(crate) fn hours_to_find(&self) -> Vec<u32> {
        let mut hours: Vec<u32> = self
            .expected
            .values()
            .filter_map(|expected| Some(expected.found? - expected.planted))
            .collect();
        hours.sort_unstable();
        hours
    }
}
