//! The comparison of deposits against a naive model: every fault that a reader of the two lists would name, tried one after
//! the other.

use eidos_recon::{Kind as _, Verdict};
use eidos_types::{Address, Amount, BaseUnits, Hash32};
use proptest::prelude::*;

use super::verdict::{Reading, Row, Stage, judge};
use crate::dimensions::balance::account::{Token, TokenIndex, TokenList};
use crate::dimensions::movements::event::OnChain;
use crate::dimensions::movements::key::MovementKey;
use crate::dimensions::movements::kind::MovementKind;

const LIMIT_MS: i64 = 1_000;

fn tokens() -> TokenList {
    let token = |symbol: &str, byte, decimals| Token {
        symbol: symbol.to_owned(),
        address: Address::new([byte; 20]),
        decimals,
    };
    TokenList::new(vec![token("USDC", 0xa0, 6), token("WETH", 0xa1, 18)])
}

fn amount() -> impl Strategy<Value = Result<Amount, String>> {
    prop_oneof![
        8 => (0_i128..4).prop_map(|units| Amount::from_scaled(units * 10_i128.pow(12)).map_err(|error| error.to_string())),
        1 => Just(Ok(Amount::from_scaled(-1).unwrap())),
        1 => Just(Ok(Amount::from_scaled(10_i128.pow(36) - 1).unwrap())),
        1 => Just(Err("amount is NULL".to_owned())),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let wallet = prop_oneof![
        6 => (1_u8..3).prop_map(|byte| Ok(Address::new([byte; 20]))),
        1 => Just(Err("nobody".to_owned()))
    ];
    let token = prop_oneof![
        6 => (0_u16..2).prop_map(|index| Ok(TokenIndex(index))),
        1 => Just(Err("DOGE".to_owned()))
    ];
    let stage = prop_oneof![
        2 => Just(Stage::Credited),
        1 => prop_oneof![Just(0), Just(LIMIT_MS), Just(LIMIT_MS + 1), Just(i64::MAX)].prop_map(|age_ms| Stage::Waiting { age_ms })
    ];
    (wallet, token, amount(), stage).prop_map(|(wallet, token, amount, stage)| Row {
        id: "7".to_owned(),
        wallet,
        token,
        amount,
        stage,
    })
}

fn event() -> impl Strategy<Value = OnChain> {
    let units = prop_oneof![
        6 => (0_u128..4).prop_map(BaseUnits::from),
        1 => Just(BaseUnits::from_be_bytes([0xff; 32])),
    ];
    let moved = (1_u8..3, 0xa0_u8..0xa3, units).prop_map(|(user, token, units)| OnChain::Moved {
        user: Address::new([user; 20]),
        token: Address::new([token; 20]),
        units,
    });
    prop_oneof![8 => moved, 1 => Just(OnChain::Unreadable)]
}

fn reading() -> impl Strategy<Value = Reading> {
    let rows = proptest::collection::vec(row(), 0..4);
    let unnamed = prop_oneof![6 => Just(String::new()), 1 => Just("its transaction".to_owned())];
    let unproven = prop_oneof![4 => Just(None), 1 => Just(Some("behind".to_owned()))];
    (
        rows,
        proptest::option::of(event()),
        any::<bool>(),
        any::<bool>(),
        unnamed,
        unproven,
    )
        .prop_map(|(rows, event, is_young, is_orphaned, unnamed, unproven)| {
            // A row that names no event has none.
            let event = event.filter(|_| unnamed.is_empty());
            Reading {
                key: MovementKey::Event {
                    tx: Hash32::new([1; 32]),
                    index: 0,
                },
                unnamed,
                rows,
                event,
                is_young,
                is_orphaned,
                unproven,
            }
        })
}

/// What a person with both lists would say; `None`: nothing is wrong.
fn naive(reading: &Reading) -> Option<MovementKind> {
    let credited = reading
        .rows
        .iter()
        .filter(|row| row.stage == Stage::Credited)
        .count();
    let is_late = |row: &Row| matches!(row.stage, Stage::Waiting { age_ms } if age_ms > LIMIT_MS);
    let Some(event) = reading.event else {
        return match () {
            () if !reading.unnamed.is_empty() => Some(MovementKind::UnreadableRow),
            () if credited == 0 && !reading.rows.iter().any(is_late) => None,
            () if reading.unproven.is_some() => Some(MovementKind::NodeBehind),
            () if reading.is_orphaned => Some(MovementKind::Orphaned),
            () => Some(MovementKind::MissingOnChain),
        };
    };
    let OnChain::Moved { user, token, units } = event else {
        return Some(MovementKind::UnreadableEvent);
    };
    let Some(row) = reading
        .rows
        .iter()
        .min_by_key(|row| u8::from(row.stage != Stage::Credited))
    else {
        return (!reading.is_young).then_some(MovementKind::MissingInBooks);
    };
    if credited > 1 {
        return Some(MovementKind::DuplicateCredit);
    }
    if row.wallet != Ok(user) {
        return Some(MovementKind::WrongWallet);
    }
    let decimals = match (token.as_bytes()[0], &row.token) {
        (0xa0, Ok(TokenIndex(0))) => 6,
        (0xa1, Ok(TokenIndex(1))) => 18,
        _ => return Some(MovementKind::WrongToken),
    };
    match (&row.amount, units.to_amount(decimals)) {
        (Ok(booked), Ok(there)) if *booked != there => return Some(MovementKind::WrongAmount),
        (Ok(_), Ok(_)) => {}
        _ => return Some(MovementKind::BeyondDecimal),
    }
    is_late(row).then_some(MovementKind::NotCredited)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_judge_says_what_a_person_would(reading in reading()) {
        let judged = judge(&reading, &tokens(), LIMIT_MS);
        let kind = match &judged.verdict {
            Verdict::Matched => None,
            Verdict::Differs(difference) | Verdict::Unproven(difference) => Some(difference.kind),
        };
        prop_assert_eq!(kind, naive(&reading));
        if judged.in_flight {
            prop_assert!(kind.is_none(), "what is in flight is no difference");
        }
    }

    /// Nothing is netted: a difference is never smaller than it is, and one side's absence is never small.
    #[test]
    fn a_difference_is_the_chain_less_the_books(reading in reading()) {
        let judged = judge(&reading, &tokens(), LIMIT_MS);
        if let Verdict::Differs(difference) = &judged.verdict {
            match (difference.left, difference.right) {
                (Some(left), Some(right)) => {
                    prop_assert_eq!(difference.diff, right.checked_sub(left).ok());
                }
                _ => prop_assert!(difference.diff.is_none() && !difference.note.is_empty()),
            }
            prop_assert!(difference.kind.is_never_small() || difference.kind == MovementKind::WrongAmount);
        }
    }

    /// The order of the rows does not matter where one of them is the credited one.
    #[test]
    fn a_shuffle_changes_nothing(mut reading in reading()) {
        for (i, row) in reading.rows.iter_mut().enumerate() {
            row.stage = if i == 0 { Stage::Credited } else { Stage::Waiting { age_ms: 0 } };
        }
        let before = judge(&reading, &tokens(), LIMIT_MS);
        reading.rows.reverse();
        prop_assert_eq!(judge(&reading, &tokens(), LIMIT_MS).verdict, before.verdict);
    }
}
