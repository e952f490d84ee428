//! The comparison of trades against a naive model: every fault that a reader of the two lists would name, tried one after the
//! other.

use eidos_recon::{Kind as _, Verdict};
use eidos_types::{Address, Amount, BaseUnits, Hash32};
use proptest::prelude::*;

use super::on_chain::{OnChain, Settled};
use super::verdict::{Reading, Row, State, judge};
use crate::dimensions::balance::account::{Token, TokenIndex, TokenList};
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

/// Mostly the same few, so that both sides often agree.
fn amount() -> impl Strategy<Value = Result<Amount, String>> {
    prop_oneof![
        12 => (1_i128..3).prop_map(|units| Amount::from_scaled(units * 10_i128.pow(12)).map_err(|error| error.to_string())),
        1 => Just(Err("amount is NULL".to_owned())),
    ]
}

fn wallet(byte: u8) -> impl Strategy<Value = Result<Address, String>> {
    prop_oneof![
        14 => Just(Ok(Address::new([byte; 20]))),
        1 => Just(Ok(Address::new([9; 20]))),
        1 => Just(Err("nobody".to_owned())),
    ]
}

fn token(index: u16) -> impl Strategy<Value = Result<TokenIndex, String>> {
    prop_oneof![
        14 => Just(Ok(TokenIndex(index))),
        1 => Just(Ok(TokenIndex(1 - index))),
        1 => Just(Err("DOGE".to_owned())),
    ]
}

fn state() -> impl Strategy<Value = State> {
    let age = prop_oneof![Just(0), Just(LIMIT_MS), Just(LIMIT_MS + 1), Just(i64::MAX)];
    prop_oneof![
        2 => Just(State::Settled),
        1 => age.prop_map(|age_ms| State::Open { age_ms }),
        1 => Just(State::Undone),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let sides = (
        wallet(1),
        wallet(2),
        prop_oneof![9 => Just(true), 1 => Just(false)],
    );
    let amounts = (amount(), amount(), amount());
    ("[a-z]{1,4}", sides, token(1), token(0), amounts, state()).prop_map(
        |(id, (maker, taker, maker_buys), base, quote, (base_amount, quote_amount, fee), state)| Row {
            id,
            maker,
            taker,
            maker_buys,
            base,
            quote,
            base_amount,
            quote_amount,
            fee,
            state,
        },
    )
}

fn event() -> impl Strategy<Value = OnChain> {
    let units = |of: u128| {
        prop_oneof![
            14 => (1_u128..3).prop_map(move |units| BaseUnits::from(units * of)),
            1 => Just(BaseUnits::from_be_bytes([0xff; 32])),
        ]
    };
    let contract = |byte: u8| {
        prop_oneof![14 => Just(byte), 1 => 0xa0_u8..0xa3].prop_map(|byte| Address::new([byte; 20]))
    };
    let buyer = prop_oneof![2 => Just(None), 6 => Just(Some(1_u8)), 1 => Just(Some(2_u8))];
    let fee = proptest::option::weighted(0.9, units(1));
    let settled = (
        contract(0xa1),
        contract(0xa0),
        units(10_u128.pow(12)),
        units(1),
        fee,
        buyer,
    )
        .prop_map(|(base, quote, base_units, quote_units, fee, buyer)| {
            OnChain::Settled(Settled {
                maker: Address::new([1; 20]),
                taker: Address::new([2; 20]),
                base,
                quote,
                base_units,
                quote_units,
                fee,
                buyer: buyer.map(|byte| Address::new([byte; 20])),
            })
        });
    prop_oneof![14 => settled, 1 => Just(OnChain::Unreadable)]
}

fn reading() -> impl Strategy<Value = Reading> {
    let rows = prop_oneof![
        6 => proptest::collection::vec(row(), 1..2),
        1 => proptest::collection::vec(row(), 0..4),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let unproven = prop_oneof![4 => Just(None), 1 => Just(Some("behind".to_owned()))];
    (rows, proptest::option::of(event()), flags, unproven).prop_map(|(rows, event, flags, unproven)| {
        let (is_young, is_above, is_batch_settled, is_fee_unknown) = flags;
        Reading {
            key: MovementKey::Trade(Hash32::new([1; 32])),
            rows,
            event,
            is_young,
            is_above,
            is_batch_settled,
            is_fee_unknown,
            unproven,
        }
    })
}

/// The amount of a leg that both sides should have; `Err`: it is none.
fn there(units: Option<BaseUnits>, decimals: u8) -> Result<Amount, ()> {
    units.ok_or(())?.to_amount(decimals).map_err(|_beyond| ())
}

/// What a person with both lists would say; `None`: nothing is wrong.
fn naive(reading: &Reading) -> Option<MovementKind> {
    let alive: Vec<&Row> = reading
        .rows
        .iter()
        .filter(|row| row.state != State::Undone)
        .collect();
    if reading.event == Some(OnChain::Unreadable) {
        return Some(MovementKind::UnreadableEvent);
    }
    if alive.len() > 1 {
        return Some(MovementKind::IdCollision);
    }
    let row = alive.first().copied().or(reading.rows.first());
    match (row, reading.event) {
        (None, None | Some(OnChain::Unreadable)) => None,
        (None, Some(OnChain::Settled(_))) => (!reading.is_young).then_some(MovementKind::MissingInBooks),
        (Some(row), Some(OnChain::Settled(settled))) => naive_both(reading, row, &settled),
        (Some(row), _) => naive_alone(reading, row),
    }
}

fn naive_alone(reading: &Reading, row: &Row) -> Option<MovementKind> {
    let is_late = match row.state {
        State::Undone => return None,
        State::Settled => true,
        State::Open { age_ms } => age_ms > LIMIT_MS,
    };
    match () {
        () if reading.is_above || !is_late => None,
        () if reading.unproven.is_some() => Some(MovementKind::NodeBehind),
        () if reading.is_batch_settled => Some(MovementKind::PartlySettled),
        () if row.state == State::Settled => Some(MovementKind::MissingOnChain),
        () => Some(MovementKind::Stuck),
    }
}

fn naive_both(reading: &Reading, row: &Row, settled: &Settled) -> Option<MovementKind> {
    let decimals = |contract: Address| if contract.as_bytes()[0] == 0xa1 { 18 } else { 6 };
    let legs = [
        (
            &row.quote_amount,
            there(Some(settled.quote_units), decimals(settled.quote)),
            MovementKind::WrongAmount,
        ),
        (
            &row.base_amount,
            there(Some(settled.base_units), decimals(settled.base)),
            MovementKind::WrongAmount,
        ),
        (
            &row.fee,
            there(settled.fee, decimals(settled.quote)),
            MovementKind::WrongFee,
        ),
    ];
    let wrong_leg = legs
        .into_iter()
        .filter(|leg| !(reading.is_fee_unknown && leg.2 == MovementKind::WrongFee))
        .find_map(|(booked, there, kind)| match (booked, there) {
            (Ok(booked), Ok(there)) => (*booked != there).then_some(kind),
            _ => Some(MovementKind::BeyondDecimal),
        });
    let is_token = |token: &Result<TokenIndex, String>, contract: Address| match contract.as_bytes()[0] {
        0xa0 => *token == Ok(TokenIndex(0)),
        0xa1 => *token == Ok(TokenIndex(1)),
        _ => false,
    };
    let buyer = if row.maker_buys { &row.maker } else { &row.taker };
    match () {
        () if row.state == State::Undone => Some(MovementKind::UndoneYetSettled),
        () if row.maker != Ok(settled.maker) || row.taker != Ok(settled.taker) => {
            Some(MovementKind::WrongWallet)
        }
        () if settled.buyer.is_some_and(|there| *buyer != Ok(there)) => Some(MovementKind::WrongSide),
        () if !is_token(&row.base, settled.base) || !is_token(&row.quote, settled.quote) => {
            Some(MovementKind::WrongToken)
        }
        () if wrong_leg.is_some() => wrong_leg,
        () if matches!(row.state, State::Open { .. }) && !reading.is_young => {
            Some(MovementKind::SettledYetPending)
        }
        () => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn the_judge_says_what_a_person_would(reading in reading()) {
        let judged = judge(&reading, &tokens(), LIMIT_MS);
        let kind = match &judged.verdict {
            Verdict::Matched => None,
            Verdict::Differs(difference) | Verdict::Unproven(difference) => Some(difference.kind),
        };
        prop_assert_eq!(kind, naive(&reading));
        prop_assert!(!judged.in_flight || kind.is_none(), "what is in flight is no difference");
    }

    /// Nothing is netted, and what is never small has a side that says so.
    #[test]
    fn a_difference_is_the_chain_less_the_books(reading in reading()) {
        let judged = judge(&reading, &tokens(), LIMIT_MS);
        if let Verdict::Differs(difference) = &judged.verdict {
            match (difference.left, difference.right) {
                (Some(left), Some(right)) => prop_assert_eq!(difference.diff, right.checked_sub(left).ok()),
                _ => prop_assert!(difference.diff.is_none() && !difference.note.is_empty()),
            }
            let may_be_dust = matches!(difference.kind, MovementKind::WrongAmount | MovementKind::WrongFee);
            prop_assert!(difference.kind.is_never_small() != may_be_dust);
        }
    }

    /// A trade that was given back changes nothing about the one that was not.
    #[test]
    fn rows_that_were_given_back_do_not_count(mut reading in reading(), undone in row(), first in any::<bool>()) {
        match reading.rows.first_mut() {
            Some(row) if row.state == State::Undone => row.state = State::Settled,
            Some(_) => {}
            None => return Ok(()),
        }
        let before = judge(&reading, &tokens(), LIMIT_MS);
        let place = if first { 0 } else { reading.rows.len() };
        reading.rows.insert(place, Row { state: State::Undone, ..undone });
        prop_assert_eq!(judge(&reading, &tokens(), LIMIT_MS), before);
    }

    /// Both sides equal, whatever the numbers: nothing is reported.
    #[test]
    fn a_trade_that_was_settled_as_it_was_booked_is_matched(row in row(), young in any::<bool>()) {
        let (Ok(base), Ok(quote), Ok(fee)) = (&row.base_amount, &row.quote_amount, &row.fee) else { return Ok(()); };
        let row = Row {
            maker: Ok(Address::new([1; 20])), taker: Ok(Address::new([2; 20])), base: Ok(TokenIndex(1)), quote: Ok(TokenIndex(0)),
            state: State::Settled, ..row.clone()
        };
        let settled = Settled {
            maker: Address::new([1; 20]),
            taker: Address::new([2; 20]),
            base: Address::new([0xa1; 20]),
            quote: Address::new([0xa0; 20]),
            base_units: BaseUnits::from_amount(*base, 18).unwrap(),
            quote_units: BaseUnits::from_amount(*quote, 6).unwrap(),
            fee: BaseUnits::from_amount(*fee, 6).ok(),
            buyer: Some(Address::new([if row.maker_buys { 1 } else { 2 }; 20])),
        };
        let reading = Reading {
            key: MovementKey::Trade(Hash32::new([1; 32])), rows: vec![row], event: Some(OnChain::Settled(settled)),
            is_young: young, is_above: false, is_batch_settled: true, is_fee_unknown: false, unproven: None,
        };
        let judged = judge(&reading, &tokens(), LIMIT_MS);
        prop_assert_eq!(judged.verdict, Verdict::Matched);
        prop_assert!(!judged.in_flight);
    }
}
