//! Which events diverge, and whether they explain the difference.

use eidos_types::Amount;
use serde::Serialize;

use super::cause::{self, Cause};
use super::event::{Event, Evidence, History, Known, Searched, sum};

/// Diverging events that are shown; the others are counted.
const SHOWN: usize = 20;

/// An event on which the sides part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diverging {
    /// What kind of event.
    pub what: String,
    /// What names it.
    pub name: String,
    /// Where it is: a block.
    pub place: u64,
    /// The mistake.
    pub cause: Cause,
    /// What the left side did, exactly; `None`: nothing.
    pub left: Option<String>,
    /// What the right side did, exactly; `None`: nothing.
    pub right: Option<String>,
    /// Right − left; `None`: not an amount.
    pub gap: Option<Amount>,
    /// Under which subject the left side has it.
    pub elsewhere: Option<String>,
    /// What shows it.
    pub evidence: Vec<Evidence>,
}

/// Why a subject differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The mistake.
    pub cause: Cause,
    /// In one or two sentences.
    pub summary: String,
    /// The difference that was explained, without what is in flight; `None`: not an amount.
    pub difference: Option<Amount>,
    /// What of it no event explains; zero if all is; `None`: not known.
    pub unexplained: Option<Amount>,
    /// True if what was found adds up to the difference.
    pub is_conclusive: bool,
    /// The first event on which the sides part.
    pub first: Option<Diverging>,
    /// Further ones, in their order.
    pub others: Vec<Diverging>,
    /// Further ones that are not shown.
    pub more: usize,
    /// What shows it beyond the events.
    pub evidence: Vec<Evidence>,
    /// What to do about it.
    pub next_step: &'static str,
    /// How far was read.
    pub searched: Searched,
}

/// Explains a subject; `sides` are the names of the left and the right one.
#[must_use]
pub fn explain(history: &History, sides: (&'static str, &'static str)) -> Explanation {
    let mut diverging: Vec<&Event> = history
        .events
        .iter()
        .filter(|event| event.known != Known::InFlight && !event.agrees())
        .collect();
    diverging.sort_by_key(|event| event.place);
    let difference = without_in_flight(history);
    let untold = history.untold.filter(|untold| !untold.is_zero());
    // Postings that were pruned look like an edit: only what adds up is believed.
    let untold = untold.filter(|_| rest(difference, &diverging, untold).is_some_and(Amount::is_zero));
    let unexplained = rest(difference, &diverging, untold);
    let first = culprit(&diverging, difference);
    let mut shown: Vec<Diverging> = diverging.iter().map(|event| of(event, sides)).collect();
    let first = first.map(|index| shown.remove(index));
    let more = shown.len().saturating_sub(SHOWN);
    shown.truncate(SHOWN);
    let mut explanation = Explanation {
        cause: Cause::Unknown,
        summary: String::new(),
        difference,
        unexplained,
        is_conclusive: unexplained.is_some_and(Amount::is_zero),
        first,
        others: shown,
        more,
        evidence: Vec::new(),
        next_step: "",
        searched: history.searched.clone(),
    };
    explanation.cause = decide(&explanation, history, untold);
    if explanation.cause == Cause::WrongAccount && explanation.first.is_none() {
        // The equal and opposite break is all that shows it: likely, and not proven.
        explanation.is_conclusive = false;
    }
    explanation.next_step = explanation.cause.next_step();
    explanation.evidence = further_evidence(history, untold, sides);
    explanation.summary = super::render::summary(&explanation, history, sides);
    explanation
}

impl Explanation {
    /// What a comparison found out about a single event by itself.
    #[must_use]
    pub fn of_event(event: &Event, sides: (&'static str, &'static str), searched: Searched) -> Self {
        let history = History {
            difference: event.gap(),
            events: vec![event.clone()],
            searched,
            ..History::default()
        };
        explain(&history, sides)
    }
}

/// The difference without what is in flight: a delay explains itself.
fn without_in_flight(history: &History) -> Option<Amount> {
    let in_flight = history
        .events
        .iter()
        .filter(|event| event.known == Known::InFlight);
    let in_flight = sum(in_flight.map(Event::gap))?;
    history.difference?.checked_sub(in_flight).ok()
}

/// What is left of the difference: an edit of the left value by `untold` makes the right one so much less.
fn rest(difference: Option<Amount>, diverging: &[&Event], untold: Option<Amount>) -> Option<Amount> {
    let gaps = sum(diverging.iter().map(|event| event.gap()))?;
    let explained = gaps.checked_sub(untold.unwrap_or(Amount::ZERO)).ok()?;
    difference?.checked_sub(explained).ok()
}

/// The event that is shown first: the only one that is the difference by itself, else the first in order. Others cancel
/// each other, or add up with it.
fn culprit(diverging: &[&Event], difference: Option<Amount>) -> Option<usize> {
    let mut alone = diverging
        .iter()
        .enumerate()
        .filter(|(_, event)| difference.is_some() && event.gap() == difference);
    match (alone.next(), alone.next()) {
        (Some((index, _)), None) => Some(index),
        _ => (!diverging.is_empty()).then_some(0),
    }
}

fn decide(explanation: &Explanation, history: &History, untold: Option<Amount>) -> Cause {
    let is_edit = untold.is_some_and(|untold| Some(untold.negated()) == explanation.difference);
    match &explanation.first {
        _ if is_edit => Cause::ManualEdit,
        Some(first) => first.cause,
        None if untold.is_some() => Cause::ManualEdit,
        None if explanation.difference.is_some_and(Amount::is_zero) => Cause::Agreed,
        None if history.opposite.is_some() => Cause::WrongAccount,
        None => Cause::Unknown,
    }
}

fn of(event: &Event, sides: (&'static str, &'static str)) -> Diverging {
    let digits = |amount: &Result<Amount, String>| match amount {
        Ok(amount) => amount.to_string(),
        Err(digits) => digits.clone(),
    };
    let left = match event.left_sum() {
        _ if event.left.is_empty() => None,
        Some(sum) => Some(sum.to_string()),
        None => event
            .left
            .iter()
            .find(|posting| posting.amount.is_err())
            .map(|posting| digits(&posting.amount)),
    };
    let right = event
        .right
        .iter()
        .map(|posting| Evidence::of(sides.1, posting, true));
    let postings = event
        .left
        .iter()
        .map(|posting| Evidence::of(sides.0, posting, true));
    let records = event
        .records
        .iter()
        .map(|posting| Evidence::of(sides.0, posting, false));
    Diverging {
        what: event.what.clone(),
        name: event.name.clone(),
        place: event.place.0,
        cause: cause::of_event(event),
        left,
        right: event.right.as_ref().map(|posting| digits(&posting.amount)),
        gap: event.gap(),
        elsewhere: event.elsewhere.clone(),
        evidence: right.chain(postings).chain(records).collect(),
    }
}

fn further_evidence(
    history: &History,
    untold: Option<Amount>,
    sides: (&'static str, &'static str),
) -> Vec<Evidence> {
    let edit = untold.map(|untold| Evidence {
        side: sides.0,
        what: "value without a posting".to_owned(),
        reference: String::new(),
        amount: untold.to_string(),
        detail: format!(
            "the value in the {} is so much more than the sum of its postings",
            sides.0
        ),
    });
    let opposite = history.opposite.as_ref().map(|opposite| Evidence {
        side: "",
        what: "equal and opposite break".to_owned(),
        reference: opposite.break_id.clone(),
        amount: String::new(),
        detail: opposite.subject.clone(),
    });
    edit.into_iter().chain(opposite).collect()
}
