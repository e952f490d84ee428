//! The decisions against a naive model: events with one planted mistake among many that agree, and what a person with the
//! whole list in front of him would say.

use eidos_types::Amount;
use proptest::prelude::*;

use super::{Cause, Event, History, Known, Opposite, Posting, Searched, explain};

const SIDES: (&str, &str) = ("books", "chain");

fn amount(scaled: i128) -> Amount {
    Amount::from_scaled(scaled).unwrap()
}

fn posting(scaled: i128) -> Posting {
    Posting {
        what: "entry".into(),
        reference: format!("{scaled}"),
        amount: Ok(amount(scaled)),
        detail: String::new(),
    }
}

fn event(place: u64, right: Option<i128>, left: &[i128]) -> Event {
    Event {
        what: "deposit".into(),
        name: format!("e{place}"),
        place: (place, 0),
        right: right.map(posting),
        left: left.iter().copied().map(posting).collect(),
        records: Vec::new(),
        elsewhere: None,
        fee: None,
        known: Known::Plain,
    }
}

/// A mistake as it is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    Lost,
    Invented,
    Twice,
    Slip(u32),
    Off(i128),
    Fee(i128),
    Elsewhere,
    Waiting,
    Gone,
    GivenBack,
    Edit(i128),
    Nothing,
}

fn plants() -> impl Strategy<Value = Plant> {
    prop_oneof![
        Just(Plant::Lost),
        Just(Plant::Invented),
        Just(Plant::Twice),
        (1..=6_u32).prop_map(Plant::Slip),
        (1..9_i128).prop_map(Plant::Off),
        (11..99_i128).prop_map(Plant::Fee),
        Just(Plant::Elsewhere),
        Just(Plant::Waiting),
        Just(Plant::Gone),
        Just(Plant::GivenBack),
        (1..1_000_i128).prop_map(Plant::Edit),
        Just(Plant::Nothing),
    ]
}

/// What the books hold for an event of `right` after the mistake, and what a person calls it.
fn planted(place: u64, right: i128, plant: Plant) -> (Event, Cause) {
    let plain = |left: &[i128]| event(place, Some(right), left);
    let with = |event: Event, known| Event { known, ..event };
    match plant {
        Plant::Lost => (plain(&[]), Cause::Missing),
        Plant::Invented => (event(place, None, &[right]), Cause::Missing),
        Plant::Twice => (plain(&[right, right]), Cause::Duplicate),
        Plant::Slip(k) => (plain(&[right * 10_i128.pow(k)]), Cause::Decimals),
        Plant::Off(by) => (plain(&[right - by]), Cause::WrongAmount),
        Plant::Fee(fee) => {
            let event = Event {
                fee: Some(amount(fee)),
                ..plain(&[right + fee])
            };
            (event, Cause::FeeNotBooked)
        }
        Plant::Elsewhere => {
            let event = Event {
                elsewhere: Some("other".into()),
                ..plain(&[])
            };
            (event, Cause::WrongAccount)
        }
        Plant::Waiting => (with(plain(&[]), Known::Late), Cause::Late),
        Plant::Gone => (with(event(place, None, &[right]), Known::Orphaned), Cause::Reorg),
        Plant::GivenBack => (with(plain(&[]), Known::Refunded), Cause::Refunded),
        Plant::Edit(_) => (plain(&[right]), Cause::ManualEdit),
        Plant::Nothing => (plain(&[right]), Cause::Agreed),
    }
}

/// The naive books: every posting added up, and what was edited on top.
fn naive(events: &[Event], edit: i128) -> (i128, i128) {
    let of = |posting: &Posting| posting.amount.as_ref().unwrap().scaled();
    let right = events
        .iter()
        .filter_map(|event| event.right.as_ref())
        .map(of)
        .sum();
    let left: i128 = events.iter().flat_map(|event| &event.left).map(of).sum();
    (left + edit, right)
}

/// Neither ten times nor a fee from what it stands beside: mistakes that look like another one are another test's.
fn clear_of(right: i128) -> i128 {
    right * 1_000 + 137
}

proptest! {
    #[test]
    fn one_mistake_among_many_events_is_named_and_adds_up(
        around in prop::collection::vec((1..1_000_000_i128, any::<bool>(), any::<bool>()), 0..30),
        at in any::<prop::sample::Index>(),
        size in 1_000..1_000_000_i128,
        plant in plants(),
        swap in any::<bool>(),
    ) {
        let mut events: Vec<Event> = around.iter().enumerate().map(|(i, (size, is_out, in_flight))| {
            let moved = if *is_out { -size } else { *size };
            let place = u64::try_from(i).unwrap();
            if *in_flight {
                Event { known: Known::InFlight, ..event(place, Some(moved), &[]) }
            } else {
                event(place, Some(moved), &[moved])
            }
        }).collect();
        let place = at.index(events.len() + 1);
        let (wrong, expected) = planted(100, clear_of(size), plant);
        events.insert(place, wrong);
        if swap {
            events.reverse();
        }
        let edit = if let Plant::Edit(by) = plant { by } else { 0 };
        let (left, right) = naive(&events, edit);
        let posted = naive(&events, 0).0;
        let history = History {
            difference: Some(amount(right - left)),
            events,
            untold: Some(amount(left - posted)),
            opposite: None,
            searched: Searched { is_complete: true, ..Searched::default() },
        };
        let found = explain(&history, SIDES);
        prop_assert_eq!(found.cause, expected, "{:?}", found);
        prop_assert!(found.is_conclusive, "{:?}", found);
        prop_assert_eq!(found.unexplained, Some(Amount::ZERO));
        prop_assert!(found.others.is_empty(), "what agrees or is in flight does not diverge");
        let names_it = matches!(plant, Plant::Edit(_) | Plant::Nothing) || found.first.as_ref().is_some_and(|first| first.name == "e100");
        prop_assert!(names_it, "{:?}", found);
        prop_assert!(!found.summary.is_empty() && !found.next_step.is_empty());
        prop_assert!(super::render::text(&found).contains(found.cause.as_str()));
    }

    #[test]
    fn what_is_left_is_the_difference_less_every_gap(
        pairs in prop::collection::vec((-1_000..1_000_i128, -1_000..1_000_i128), 0..40),
        hidden in -50..50_i128,
    ) {
        let events: Vec<Event> = pairs.iter().enumerate().map(|(i, (right, left))| {
            event(u64::try_from(i).unwrap(), Some(*right), &[*left])
        }).collect();
        let gaps: i128 = pairs.iter().map(|(right, left)| right - left).sum();
        let diverging = pairs.iter().filter(|(right, left)| right != left).count();
        let history = History { difference: Some(amount(gaps + hidden)), events, ..History::default() };
        let found = explain(&history, SIDES);
        prop_assert_eq!(found.unexplained, Some(amount(hidden)));
        prop_assert_eq!(found.is_conclusive, hidden == 0);
        let shown = usize::from(found.first.is_some()) + found.others.len() + found.more;
        prop_assert_eq!(shown, diverging);
        let names: Vec<u64> = found.others.iter().map(|other| other.place).collect();
        prop_assert!(names.is_sorted(), "the first one comes first: {:?}", names);
    }
}

#[test]
fn the_event_that_is_the_difference_by_itself_comes_before_earlier_ones_that_cancel() {
    let events = vec![
        event(1, Some(5), &[]),
        event(2, None, &[5]),
        event(3, Some(70), &[]),
    ];
    let history = History {
        difference: Some(amount(70)),
        events,
        ..History::default()
    };
    let found = explain(&history, SIDES);
    assert_eq!(found.first.unwrap().name, "e3");
    assert_eq!(found.others.len(), 2);
}

#[test]
fn nothing_is_claimed_that_was_not_read() {
    let history = History {
        difference: Some(amount(9)),
        untold: None,
        searched: Searched {
            bounds: vec!["3 blocks".into()],
            ..Searched::default()
        },
        ..History::default()
    };
    let found = explain(&history, SIDES);
    assert_eq!((found.cause, found.is_conclusive), (Cause::Unknown, false));
    assert!(found.summary.contains("3 blocks"), "{}", found.summary);
    let opposite = Opposite {
        break_id: "b".into(),
        subject: "0xab".into(),
    };
    let found = explain(
        &History {
            opposite: Some(opposite),
            ..history
        },
        SIDES,
    );
    assert_eq!(
        (found.cause, found.is_conclusive),
        (Cause::WrongAccount, false),
        "likely, not proven"
    );
}

#[test]
fn digits_that_are_no_amount_are_shown_and_add_up_to_nothing() {
    let huge = Posting {
        amount: Err("1".repeat(60)),
        ..posting(1)
    };
    let beyond = Event {
        right: Some(huge),
        ..event(4, None, &[])
    };
    let history = History {
        events: vec![beyond],
        ..History::default()
    };
    let found = explain(&history, SIDES);
    assert_eq!(
        (found.cause, found.is_conclusive, found.unexplained),
        (Cause::Missing, false, None)
    );
    assert!(found.summary.contains(&"1".repeat(60)), "{}", found.summary);
}

#[test]
fn names_are_the_serialised_names() {
    for cause in Cause::ALL {
        assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
    }
}
