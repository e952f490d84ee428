//! In-flight lines: what the books say at their snapshot and the chain does not yet (or no longer) say at the cut.
//!
//! The books are read in one snapshot, the chain at one block B that is never newer than what the books' indexer
//! has seen. Each line rolls one known movement so that both sides speak about B:
//!
//! | books | chain at B | line |
//! |---|---|---|
//! | withdrawal debited | not mined | + amount |
//! | withdrawal confirmed in a block after B | not mined | + amount |
//! | deposit credited, block after B | not there | − amount |
//! | deposit seen, not yet credited, young | there | + amount |
//! | batch submitted | settled | + each trade's deltas |
//! | batch settled in a block after B | not settled | − each trade's deltas |
//!
//! What a node does not know proves nothing about blocks that it has not reached. A line for a movement that the books
//! name in a block above the node's head rests on the books' word alone: it is *unproven*, and an account with such a
//! line is not judged until the node has passed that block.
//!
//! A line never explains away a fault: a refunded withdrawal that was mined, a credit that is late beyond its
//! age limit and a failed batch that settled get no line and surface as differences.

use eidos_types::{Address, Amount, AmountError};
use serde::{Deserialize, Serialize};

/// Why a line exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// Debited in the books, not mined at the cut.
    WithdrawalNotMined,
    /// Credited in the books from a block after the cut.
    DepositAheadOfCut,
    /// On chain at the cut, known to the books, not credited yet.
    DepositNotCredited,
    /// Settled on chain at the cut, not yet in the books.
    BatchNotBooked,
    /// In the books, not settled on chain at the cut.
    BatchAheadOfCut,
}

/// One movement added to the books so that they speak about the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Why.
    pub kind: LineKind,
    /// Which withdrawal, deposit or trade: evidence to find the row again.
    pub reference: String,
    /// Signed; added to the books' value.
    pub amount: Amount,
    /// True if the node has not reached the block that would prove it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

/// Where a transaction stands on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mined {
    /// No transaction, or a reverted one: nothing moved.
    No,
    /// No receipt from a node whose newest block is `head`: not mined up to there, unknown above.
    Unseen {
        /// The node's newest block.
        head: u64,
    },
    /// Executed successfully in this block.
    At(u64),
}

/// What the books did with a withdrawal. Never cast from the database's integer: the schema profile maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithdrawalState {
    /// Requested, processing or submitted: already debited.
    Debited,
    /// The books saw it mined.
    Confirmed,
    /// Failed, cancelled or rejected: the debit was given back.
    Refunded,
}

/// The line of one withdrawal, if it needs one. `named_block` is the block in which the books say it was mined (their
/// newest block, if they name none).
#[must_use]
pub fn withdrawal_line(
    reference: &str,
    amount: Amount,
    state: WithdrawalState,
    mined: Mined,
    cut_block: u64,
    named_block: u64,
) -> Option<Line> {
    let unproven = match (state, mined) {
        (WithdrawalState::Refunded, _) => return None,
        (_, Mined::At(block)) if block <= cut_block => return None,
        (_, Mined::At(_)) | (WithdrawalState::Debited, Mined::No) => false,
        (WithdrawalState::Debited, Mined::Unseen { head }) => head < cut_block,
        (WithdrawalState::Confirmed, Mined::Unseen { head }) if head < named_block.max(cut_block) => true,
        // Confirmed, and a node that has passed the block does not know it: a fault, not a delay.
        (WithdrawalState::Confirmed, Mined::Unseen { .. } | Mined::No) => return None,
    };
    Some(Line {
        kind: LineKind::WithdrawalNotMined,
        reference: reference.to_owned(),
        amount,
        unproven,
    })
}

/// A deposit as the books know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepositState {
    /// Seen or confirmed, not yet in the balance; with its age at the snapshot.
    Waiting {
        /// Milliseconds since the books first saw it.
        age_ms: i64,
    },
    /// In the balance.
    Credited,
}

/// The line of one deposit, if it needs one. `block` is its transaction's block by the books, `mined` what the chain
/// says about it.
#[must_use]
pub fn deposit_line(
    reference: &str,
    amount: Amount,
    state: DepositState,
    block: u64,
    mined: Mined,
    cut_block: u64,
    max_age_ms: i64,
) -> Option<Line> {
    let head_below = |block: u64| matches!(mined, Mined::Unseen { head } if head < block);
    let on_chain = matches!(mined, Mined::At(block) if block <= cut_block);
    let (kind, amount, unproven) = match state {
        DepositState::Credited if block > cut_block => {
            (LineKind::DepositAheadOfCut, amount.negated(), head_below(block))
        }
        DepositState::Waiting { age_ms }
            if block <= cut_block && age_ms < max_age_ms && (on_chain || head_below(cut_block)) =>
        {
            (LineKind::DepositNotCredited, amount, !on_chain)
        }
        DepositState::Credited | DepositState::Waiting { .. } => return None,
    };
    Some(Line {
        kind,
        reference: reference.to_owned(),
        amount,
        unproven,
    })
}

/// What the books did with a trade's settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettlementState {
    /// Matched, pending or submitted: settled balances do not contain it yet.
    Open,
    /// Settled balances contain it.
    Settled,
    /// Failed or rolled back: settled balances never will contain it.
    Undone,
}

/// A trade of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledTrade {
    /// The books' id of the trade.
    pub reference: String,
    /// Gets base, pays quote.
    pub buyer: Address,
    /// Gets quote, pays base.
    pub seller: Address,
    /// In base token.
    pub base_amount: Amount,
    /// In quote token.
    pub quote_amount: Amount,
    /// In quote token.
    pub buyer_fee: Amount,
    /// In quote token.
    pub seller_fee: Amount,
    /// What the books did with it.
    pub state: SettlementState,
}

/// Which of a trade's two tokens a delta is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// The market's base token.
    Base,
    /// The market's quote token; fees are in it.
    Quote,
}

/// One account's share of a trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeDelta {
    /// Whose.
    pub wallet: Address,
    /// In which token.
    pub leg: Leg,
    /// The line to add.
    pub line: Line,
}

/// What the chain says about a trade's batch at the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchAtCut {
    /// Settled.
    Settled,
    /// Not settled.
    NotSettled,
    /// Not settled, and the node has not reached the block in which the books say it was.
    Unseen,
}

/// The lines of one trade: none if books and chain agree about it.
///
/// # Errors
/// If a delta does not fit an amount.
pub fn trade_lines(
    trade: &SettledTrade,
    batch: BatchAtCut,
    fee_recipient: Address,
) -> Result<Vec<TradeDelta>, AmountError> {
    let (kind, undo) = match (trade.state, batch) {
        (SettlementState::Open, BatchAtCut::Settled) => (LineKind::BatchNotBooked, false),
        (SettlementState::Settled, BatchAtCut::NotSettled | BatchAtCut::Unseen) => {
            (LineKind::BatchAheadOfCut, true)
        }
        _ => return Ok(Vec::new()),
    };
    let paid = trade.quote_amount.checked_add(trade.buyer_fee)?;
    let received = trade.quote_amount.checked_sub(trade.seller_fee)?;
    let fees = trade.buyer_fee.checked_add(trade.seller_fee)?;
    let deltas = [
        (trade.buyer, Leg::Base, trade.base_amount),
        (trade.buyer, Leg::Quote, paid.negated()),
        (trade.seller, Leg::Base, trade.base_amount.negated()),
        (trade.seller, Leg::Quote, received),
        (fee_recipient, Leg::Quote, fees),
    ];
    Ok(deltas
        .into_iter()
        .filter(|(_, _, amount)| !amount.is_zero())
        .map(|(wallet, leg, amount)| TradeDelta {
            wallet,
            leg,
            line: Line {
                kind,
                reference: trade.reference.clone(),
                amount: if undo { amount.negated() } else { amount },
                unproven: batch == BatchAtCut::Unseen,
            },
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    const CUT: u64 = 100;
    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn ruling_22_a_withdrawal_is_in_flight_between_debit_and_mining() {
        use WithdrawalState::{Confirmed, Debited, Refunded};
        for (state, mined, expected) in [
            (Debited, Mined::No, true),
            (Debited, Mined::At(101), true),
            (Debited, Mined::At(100), false),
            (Confirmed, Mined::At(101), true),
            (Confirmed, Mined::At(100), false),
            (Confirmed, Mined::No, false),
            (Refunded, Mined::No, false),
            (Refunded, Mined::At(90), false),
        ] {
            let line = withdrawal_line("w1", amount("5"), state, mined, CUT, CUT + 20);
            assert_eq!(line.is_some(), expected, "{state:?} {mined:?}");
            if let Some(line) = line {
                assert_eq!((line.amount, line.unproven), (amount("5"), false));
            }
        }
    }

    #[test]
    fn an_absent_receipt_proves_nothing_above_the_head_of_the_node() {
        use WithdrawalState::{Confirmed, Debited, Refunded};
        let named = CUT + 20;
        let line = |state, head| {
            let mined = Mined::Unseen { head };
            withdrawal_line("w1", amount("5"), state, mined, CUT, named).map(|line| line.unproven)
        };
        assert_eq!(
            line(Confirmed, named - 1),
            Some(true),
            "the node may not have it yet"
        );
        assert_eq!(
            line(Confirmed, named),
            None,
            "the node has passed the block: a fault"
        );
        assert_eq!(
            line(Debited, CUT - 1),
            Some(true),
            "mined by the cut, for all this node knows"
        );
        assert_eq!(line(Debited, CUT), Some(false), "not mined by the cut");
        assert_eq!(line(Refunded, 0), None);

        let deposit = |state, block, head| {
            let mined = Mined::Unseen { head };
            deposit_line("d1", amount("5"), state, block, mined, CUT, HOUR_MS).map(|line| line.unproven)
        };
        let young = DepositState::Waiting { age_ms: 0 };
        assert_eq!(deposit(young, CUT, CUT - 1), Some(true));
        assert_eq!(deposit(young, CUT, CUT), None, "reorged out");
        assert_eq!(deposit(DepositState::Credited, named, named - 1), Some(true));
        assert_eq!(deposit(DepositState::Credited, named, named), Some(false));
    }

    #[test]
    fn ruling_22_a_deposit_is_rolled_to_the_cut() {
        let line = |state, block, mined| deposit_line("d1", amount("5"), state, block, mined, CUT, HOUR_MS);
        let young = DepositState::Waiting { age_ms: HOUR_MS - 1 };
        let old = DepositState::Waiting { age_ms: HOUR_MS };
        assert_eq!(
            line(DepositState::Credited, 101, Mined::At(101)).unwrap().amount,
            amount("-5")
        );
        assert_eq!(line(DepositState::Credited, 100, Mined::At(100)), None);
        assert_eq!(line(young, 100, Mined::At(100)).unwrap().amount, amount("5"));
        assert_eq!(line(young, 101, Mined::At(101)), None);
        assert_eq!(
            line(young, 100, Mined::No),
            None,
            "reorged out: nothing to wait for"
        );
        assert_eq!(
            line(old, 100, Mined::At(100)),
            None,
            "beyond its age a missing credit is a fault"
        );
    }

    prop_compose! {
        fn any_trade()(base in 0..10_i64.pow(9), quote in 1000..10_i64.pow(9), buyer_fee in 0..500_i64,
                       seller_fee in 0..500_i64, state in 0..3_u8) -> SettledTrade {
            let whole = |tokens| Amount::from_whole(tokens).unwrap();
            SettledTrade {
                reference: "t".into(), buyer: Address::new([1; 20]), seller: Address::new([2; 20]),
                base_amount: whole(base), quote_amount: whole(quote),
                buyer_fee: whole(buyer_fee), seller_fee: whole(seller_fee),
                state: [SettlementState::Open, SettlementState::Settled, SettlementState::Undone][usize::from(state)],
            }
        }
    }

    proptest! {
        /// A settlement moves value between accounts and creates none: each leg sums to zero.
        #[test]
        fn deltas_conserve_value(trade in any_trade(), settled in any::<bool>()) {
            let at_cut = if settled { BatchAtCut::Settled } else { BatchAtCut::NotSettled };
            let deltas = trade_lines(&trade, at_cut, Address::new([9; 20])).unwrap();
            for leg in [Leg::Base, Leg::Quote] {
                let mut sum = Amount::ZERO;
                for delta in deltas.iter().filter(|delta| delta.leg == leg) {
                    sum = sum.checked_add(delta.line.amount).unwrap();
                }
                prop_assert!(sum.is_zero());
            }
            let agree = matches!(
                (trade.state, settled),
                (SettlementState::Open, false) | (SettlementState::Settled, true) | (SettlementState::Undone, _)
            );
            if agree { prop_assert!(deltas.is_empty()); }
        }

        /// Booking ahead of the cut and settling ahead of the books are exact opposites.
        #[test]
        fn the_two_directions_mirror_each_other(trade in any_trade()) {
            let fee = Address::new([9; 20]);
            let open = SettledTrade { state: SettlementState::Open, ..trade.clone() };
            let settled = SettledTrade { state: SettlementState::Settled, ..trade };
            let forward = trade_lines(&open, BatchAtCut::Settled, fee).unwrap();
            let back = trade_lines(&settled, BatchAtCut::NotSettled, fee).unwrap();
            prop_assert_eq!(forward.len(), back.len());
            for (one, other) in forward.iter().zip(&back) {
                prop_assert_eq!(one.line.amount, other.line.amount.negated());
            }
        }
    }
}
