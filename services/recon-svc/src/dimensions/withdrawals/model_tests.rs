//! Pairing and comparison of withdrawals against naive models.

use eidos_recon::Verdict;
use eidos_types::{Address, Amount, BaseUnits, Hash32};
use proptest::prelude::*;

use super::pairing::{Claim, Fact, pair};
use super::verdict::{Reading, Row, State, judge};
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

fn claim() -> impl Strategy<Value = Claim> {
    let txs = proptest::collection::vec((0_u8..3).prop_map(|byte| Hash32::new([byte; 32])), 0..3);
    let address = || proptest::option::weighted(0.9, (0_u8..3).prop_map(|byte| Address::new([byte; 20])));
    let units = proptest::option::weighted(0.9, (0_u128..3).prop_map(BaseUnits::from));
    (txs, address(), address(), units, any::<bool>()).prop_map(|(txs, wallet, token, units, is_undone)| {
        Claim {
            txs,
            wallet,
            token,
            units,
            is_undone,
        }
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    claim().prop_map(|claim| Fact {
        tx: claim.txs.first().copied().unwrap_or_default(),
        user: claim.wallet,
        token: claim.token,
        units: claim.units,
    })
}

fn is_whole(claim: &Claim, fact: &Fact) -> bool {
    let same = claim.wallet == fact.user && claim.token == fact.token && claim.units == fact.units;
    let readable = claim.wallet.is_some() && claim.token.is_some() && claim.units.is_some();
    claim.txs.contains(&fact.tx) && same && readable
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No event twice, none of another transaction, none left over that somebody claims, and nobody with a whole claim
    /// goes without while one with less has the event.
    #[test]
    fn pairs_are_what_a_person_would_make(
        claims in proptest::collection::vec(claim(), 0..6),
        facts in proptest::collection::vec(fact(), 0..6),
    ) {
        let paired = pair(&claims, &facts);
        prop_assert_eq!(paired.len(), claims.len());
        let mut taken: Vec<usize> = paired.iter().flatten().copied().collect();
        taken.sort_unstable();
        let count = taken.len();
        taken.dedup();
        prop_assert_eq!(taken.len(), count, "an event was given twice");
        for (claim, own) in claims.iter().zip(&paired) {
            if let Some(fact) = own {
                prop_assert!(claim.txs.contains(&facts[*fact].tx));
            } else {
                let left = (0..facts.len()).filter(|fact| !taken.contains(fact));
                let mine = left.filter(|fact| claim.txs.contains(&facts[*fact].tx)).count();
                prop_assert_eq!(mine, 0, "an event is left that this row claims");
                for (other, theirs) in claims.iter().zip(&paired) {
                    if let Some(fact) = theirs && is_whole(claim, &facts[*fact]) {
                        prop_assert!(is_whole(other, &facts[*fact]), "a lesser claim won");
                    }
                }
            }
        }
    }

    /// Of two rows with the same claim the one that was not given back has the event.
    #[test]
    fn a_retried_withdrawal_is_not_taken_for_the_refunded_one(claim in claim(), undone_first in any::<bool>()) {
        let claim = Claim {
            txs: vec![Hash32::new([1; 32])],
            wallet: Some(Address::new([1; 20])),
            ..claim
        };
        let (retried, undone) = (
            Claim { is_undone: false, ..claim.clone() },
            Claim { is_undone: true, ..claim.clone() },
        );
        let fact = Fact { tx: claim.txs[0], user: claim.wallet, token: claim.token, units: claim.units };
        let claims = if undone_first { [undone, retried] } else { [retried, undone] };
        let paired = pair(&claims, &[fact]);
        prop_assert_eq!(paired[usize::from(undone_first)], Some(0));
    }
}

fn amount() -> impl Strategy<Value = Result<Amount, String>> {
    prop_oneof![
        8 => (0_i128..3).prop_map(|units| Amount::from_scaled(units * 10_i128.pow(12)).map_err(|error| error.to_string())),
        1 => Just(Err("amount is NaN".to_owned())),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let wallet = prop_oneof![
        6 => (1_u8..3).prop_map(|byte| Ok(Address::new([byte; 20]))),
        1 => Just(Err(String::new()))
    ];
    let token = prop_oneof![
        6 => (0_u16..2).prop_map(|index| Ok(TokenIndex(index))),
        1 => Just(Err("DOGE".to_owned()))
    ];
    let age = prop_oneof![Just(0), Just(LIMIT_MS), Just(LIMIT_MS + 1), Just(i64::MAX)];
    let state = prop_oneof![
        proptest::option::of(age).prop_map(|submitted_ms| State::Open { submitted_ms }),
        Just(State::Confirmed),
        Just(State::Undone)
    ];
    (wallet, token, amount(), state).prop_map(|(wallet, token, amount, state)| Row {
        id: "w".to_owned(),
        wallet,
        token,
        amount,
        state,
    })
}

fn reading() -> impl Strategy<Value = Reading> {
    let units = prop_oneof![6 => (0_u128..3).prop_map(BaseUnits::from), 1 => Just(BaseUnits::from_be_bytes([0xff; 32]))];
    let moved = (1_u8..3, 0xa0_u8..0xa3, units).prop_map(|(user, token, units)| OnChain::Moved {
        user: Address::new([user; 20]),
        token: Address::new([token; 20]),
        units,
    });
    let event = prop_oneof![8 => moved, 1 => Just(OnChain::Unreadable)];
    (
        proptest::option::weighted(0.9, row()),
        proptest::option::of(event),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![4 => Just(None), 1 => Just(Some("behind".to_owned()))],
    )
        .prop_map(|(row, event, is_young, is_above, unproven)| Reading {
            key: MovementKey::Row("w".to_owned()),
            row,
            event,
            is_young,
            is_above,
            unproven,
        })
}

/// What a person with both lists would say; `None`: nothing is wrong.
fn naive(reading: &Reading) -> Option<MovementKind> {
    let state = reading.row.as_ref().map(|row| row.state);
    let Some(event) = reading.event else {
        let is_late = match state {
            None | Some(State::Undone) => return None,
            Some(State::Confirmed) => true,
            Some(State::Open { submitted_ms }) => submitted_ms.unwrap_or_default() > LIMIT_MS,
        };
        return match () {
            () if reading.is_above || !is_late => None,
            () if reading.unproven.is_some() => Some(MovementKind::NodeBehind),
            () if state == Some(State::Confirmed) => Some(MovementKind::MissingOnChain),
            () => Some(MovementKind::Stuck),
        };
    };
    let OnChain::Moved { user, token, units } = event else {
        return Some(MovementKind::UnreadableEvent);
    };
    let Some(row) = &reading.row else {
        return (!reading.is_young).then_some(MovementKind::MissingInBooks);
    };
    let decimals = match (token.as_bytes()[0], &row.token) {
        (0xa0, Ok(TokenIndex(0))) => Some(6),
        (0xa1, Ok(TokenIndex(1))) => Some(18),
        _ => None,
    };
    let there = decimals.map(|decimals| units.to_amount(decimals));
    match () {
        () if row.state == State::Undone => Some(MovementKind::RefundedYetMined),
        () if row.wallet != Ok(user) => Some(MovementKind::WrongWallet),
        () if decimals.is_none() => Some(MovementKind::WrongToken),
        () if row.amount.is_err() || there.as_ref().is_none_or(Result::is_err) => {
            Some(MovementKind::BeyondDecimal)
        }
        () if row.amount.as_ref().ok() != there.and_then(Result::ok).as_ref() => {
            Some(MovementKind::WrongAmount)
        }
        () if row.state != State::Confirmed && !reading.is_young => Some(MovementKind::MinedYetPending),
        () => None,
    }
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
        prop_assert!(!judged.in_flight || kind.is_none(), "what is in flight is no difference");
    }
}
