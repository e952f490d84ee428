//! An explanation as a person would tell it.

use std::fmt::Write as _;

use super::cause::Cause;
use super::decide::{Diverging, Explanation};
use super::event::{Evidence, History};

/// One or two sentences.
pub(super) fn summary(explanation: &Explanation, history: &History, sides: (&str, &str)) -> String {
    let (left, right) = sides;
    let mut text = match (explanation.cause, &explanation.first) {
        (Cause::ManualEdit, first) => edited(first.as_ref(), history, left),
        (_, Some(first)) => format!("{}.", capital(&told(first, left, right))),
        (Cause::Agreed, None) => {
            format!("The {left} and the {right} agree now: every event has its posting.")
        }
        (Cause::WrongAccount, None) => {
            let subject = history
                .opposite
                .as_ref()
                .map_or("another one", |opposite| opposite.subject.as_str());
            format!(
                "No event of this account diverges, and {subject} has a break of the same size and the other sign: \
                 the amount is probably under the wrong account."
            )
        }
        (_, None) => unknown(explanation, left, right),
    };
    let others = explanation.others.len() + explanation.more;
    if explanation.first.is_some() && others > 0 {
        let _ = write!(
            text,
            " {others} further {} diverge.",
            if others == 1 { "event does" } else { "events" }
        );
        text = text.replace("event does diverge.", "event diverges.");
    }
    match explanation.unexplained {
        Some(rest) if rest.is_zero() || explanation.cause == Cause::Unknown => {}
        Some(rest) if explanation.first.is_some() || explanation.cause == Cause::ManualEdit => {
            let _ = write!(text, " {rest} of the difference remains unexplained.");
        }
        _ => {}
    }
    text
}

fn edited(first: Option<&Diverging>, history: &History, left: &str) -> String {
    let untold = history
        .untold
        .map(|untold| untold.to_string())
        .unwrap_or_default();
    let nothing = history.events.is_empty();
    let events = if nothing {
        "no event on either side".to_owned()
    } else {
        "its events agree".to_owned()
    };
    let also = first.map_or(String::new(), |first| {
        format!(" Beside that, the {} {} diverges.", first.what, first.name)
    });
    format!(
        "The {left} hold {untold} that no posting accounts for, and {events}: the value was edited by hand, or by something that \
         leaves no posting.{also}"
    )
}

fn unknown(explanation: &Explanation, left: &str, right: &str) -> String {
    let searched = &explanation.searched;
    let mut reason = if searched.bounds.is_empty() && searched.is_complete {
        format!(
            "every event of the {right} has its posting in the {left}, and their sum is not the difference"
        )
    } else if searched.bounds.is_empty() {
        "not all of the history could be read, and what was read agrees".to_owned()
    } else {
        format!(
            "the search ended at a bound ({}), and what was read agrees",
            searched.bounds.join("; ")
        )
    };
    if explanation.difference.is_none() {
        let _ = write!(reason, "; the difference itself is not an amount");
    }
    format!("The cause is not known: {reason}.")
}

/// What happened to the event, without a full stop.
fn told(event: &Diverging, left: &str, right: &str) -> String {
    let name = format!("the {} {}", event.what, event.name);
    let nothing = "nothing".to_owned();
    let (posted, moved) = (
        event.left.as_ref().unwrap_or(&nothing),
        event.right.as_ref().unwrap_or(&nothing),
    );
    let apart = format!("the {right} moved {moved} and the {left} posted {posted}");
    match event.cause {
        Cause::Missing if event.right.is_none() => {
            format!("the {left} posted {posted} for {name}, and the {right} has no such event")
        }
        Cause::Missing => format!("the {left} have nothing for {name}, which moved {moved} on the {right}"),
        Cause::Duplicate => {
            let times = event
                .evidence
                .iter()
                .filter(|evidence| evidence.side == left && !evidence.amount.is_empty())
                .count();
            format!("the {left} posted {name} {times} times ({posted}), and it moved {moved} on the {right}")
        }
        Cause::Decimals => format!("the {left} are a power of ten off for {name}: {apart}"),
        Cause::WrongAmount => format!("the amounts of {name} differ: {apart}"),
        Cause::WrongAccount => {
            let other = event.elsewhere.as_deref().unwrap_or("another account");
            if event.right.is_some() {
                format!(
                    "the {left} posted {name} to {other}, and it moved {moved} of this account on the {right}"
                )
            } else {
                format!("the {left} posted {posted} here for {name}, which belongs to {other}")
            }
        }
        Cause::WrongUnit => format!("{name} is in another token in the {left} than on the {right}"),
        Cause::FeeNotBooked => format!("the fee of {name} is not in the {left}: {apart}"),
        Cause::Late => format!("{name} waits for longer than it may: {apart}"),
        Cause::Reorg => {
            format!("the {left} posted {posted} for {name}, whose block a reorganisation removed")
        }
        Cause::Refunded => format!("the {left} gave {name} back, and the {right} moved {moved} for it"),
        Cause::Outflow => format!("{name}: {moved} left custody without any account moving"),
        Cause::Unreadable => format!("{name} cannot be read in the {left}, so that no event belongs to it"),
        Cause::ManualEdit | Cause::Agreed | Cause::Unknown => format!("{name} is not decided: {apart}"),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The explanation as text, below a heading of the caller.
#[must_use]
pub fn text(explanation: &Explanation) -> String {
    let certainty = if explanation.is_conclusive {
        "it adds up to the difference"
    } else {
        "not conclusive"
    };
    let mut text = format!(
        "Cause: {} ({certainty})\n{}\n",
        explanation.cause, explanation.summary
    );
    if let Some(first) = &explanation.first {
        let _ = writeln!(
            text,
            "\nFirst diverging event: {} {}, {} {}",
            first.what,
            first.name,
            singular(&explanation.searched.places),
            first.place
        );
        evidence(&mut text, &first.evidence);
    }
    if !explanation.others.is_empty() {
        let _ = writeln!(text, "\nFurther ones:");
        for other in &explanation.others {
            let gap = other.gap.map_or_else(|| "?".to_owned(), |gap| gap.to_string());
            let _ = writeln!(
                text,
                "  {}  {} {}, difference {gap}",
                other.cause, other.what, other.name
            );
        }
        if explanation.more > 0 {
            let _ = writeln!(text, "  and {} more", explanation.more);
        }
    }
    if !explanation.evidence.is_empty() {
        let _ = writeln!(text, "\nBeside the events:");
        evidence(&mut text, &explanation.evidence);
    }
    let _ = writeln!(text, "\nWhat to do: {}", explanation.next_step);
    let searched = &explanation.searched;
    let extent = if searched.is_complete {
        "all there are"
    } else {
        "not all there are"
    };
    let _ = write!(
        text,
        "Searched: {} {} to {} ({extent}), {} events, {} postings and records. ",
        searched.places, searched.from, searched.upto, searched.events, searched.postings
    );
    if searched.bounds.is_empty() {
        text.push_str("No bound was reached.\n");
    } else {
        let _ = writeln!(text, "Bounds reached: {}.", searched.bounds.join("; "));
    }
    text
}

fn singular(places: &str) -> &str {
    places.strip_suffix('s').unwrap_or(places)
}

fn evidence(text: &mut String, list: &[Evidence]) {
    for item in list {
        let parts = [item.side, &item.what, &item.reference, &item.amount, &item.detail];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let _ = writeln!(text, "  {}", parts.join("  "));
    }
}
