//! The comparison of fee accounts against a naive model.

use eidos_recon::{Kind as _, Verdict};
use eidos_types::Amount;
use proptest::prelude::*;

use super::verdict::{Fees, judge};
use crate::dimensions::movements::key::MovementKey;
use crate::dimensions::movements::kind::MovementKind;

fn amount() -> impl Strategy<Value = Result<Amount, String>> {
    prop_oneof![
        8 => (-3_i128..4).prop_map(|units| Amount::from_scaled(units).map_err(|error| error.to_string())),
        1 => Just(Ok(Amount::from_scaled(10_i128.pow(36) - 1).unwrap())),
        1 => Just(Ok(Amount::from_scaled(1 - 10_i128.pow(36)).unwrap())),
        1 => Just(Err("balance is NaN".to_owned())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_judge_says_what_a_person_would(booked in amount(), paid in amount(), withdrawn in amount()) {
        let fees = Fees { token: "USDC".to_owned(), booked, paid, withdrawn };
        let judged = judge(&fees, None);
        prop_assert_eq!(&judged.movement.key, &MovementKey::Fees("USDC".to_owned()));
        let scaled = [&fees.booked, &fees.paid, &fees.withdrawn].map(|side| side.as_ref().ok().map(|amount| amount.scaled()));
        let expected = match scaled {
            [Some(_), Some(paid), Some(withdrawn)] if (paid - withdrawn).abs() >= 10_i128.pow(36) => Some(MovementKind::BeyondDecimal),
            [Some(booked), Some(paid), Some(withdrawn)] => match (paid - withdrawn) - booked {
                0 => None,
                more if more > 0 => Some(MovementKind::FeeNotBooked),
                _ => Some(MovementKind::FeeWithoutTrade),
            },
            _ => Some(MovementKind::BeyondDecimal),
        };
        match judged.verdict {
            Verdict::Matched => prop_assert_eq!(None, expected),
            Verdict::Differs(difference) => {
                prop_assert_eq!(Some(difference.kind), expected);
                if difference.kind == MovementKind::BeyondDecimal {
                    prop_assert!(difference.kind.is_never_small());
                } else if let [Some(booked), Some(paid), Some(withdrawn)] = scaled
                    && (paid - withdrawn - booked).abs() < 10_i128.pow(36)
                {
                    prop_assert_eq!(difference.diff.map(Amount::scaled), Some(paid - withdrawn - booked));
                }
            }
            Verdict::Unproven(_) => prop_assert!(false, "sums of one snapshot are always proven"),
        }
    }
}
