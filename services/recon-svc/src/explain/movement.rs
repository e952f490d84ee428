//! A break of a single movement: the comparison named its event already. Pure.

use eidos_recon::explain::{Cause, Event, Explanation, Known, Posting, Searched};
use eidos_recon::store::listing::BreakRow;
use eidos_types::Amount;

use super::explainer::{SIDES, plain};
use super::movements_of::blank;
use crate::dimensions::movements::kind::MovementKind;

/// What a person would say about it.
pub(super) fn explain(row: &BreakRow) -> Explanation {
    let event = event(row);
    let searched = Searched {
        places: "blocks".to_owned(),
        from: event.place.0,
        upto: event.place.0,
        is_complete: true,
        events: usize::from(event.right.is_some()),
        postings: event.left.len(),
        bounds: Vec::new(),
    };
    Explanation::of_event(&event, SIDES, searched)
}

fn event(row: &BreakRow) -> Event {
    let block = row
        .last_block
        .and_then(|block| u64::try_from(block).ok())
        .unwrap_or_default();
    let amount = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Amount>().ok());
    let (left, right) = (amount(&row.offchain_value), amount(&row.onchain_value));
    let exact = row.evidence["onchain_exact"].as_str().unwrap_or("?");
    let note = row.evidence["note"].as_str().unwrap_or_default();
    let kind = MovementKind::named(&row.kind);
    let mut event = blank(&row.dimension, row.subject.clone(), (block, 0));
    let wallet = if row.wallet_address.is_empty() {
        String::new()
    } else {
        format!("wallet {}", row.wallet_address)
    };
    let posting = |what: &str, amount: Result<Amount, String>| Posting {
        what: what.to_owned(),
        reference: row.subject.clone(),
        amount,
        detail: if note.is_empty() {
            wallet.clone()
        } else {
            format!("{wallet} {note}").trim().to_owned()
        },
    };
    if kind.is_some_and(on_chain) {
        event.right = Some(posting("event", right.ok_or_else(|| exact.to_owned())));
    }
    if kind.is_some_and(in_books) {
        let known = left.ok_or_else(|| plain(row.offchain_value.as_deref().unwrap_or("?")).to_owned());
        event.left.push(posting("record", known));
    }
    if kind == Some(MovementKind::WrongAmount) {
        // The amounts say themselves whether it is a power of ten.
        return event;
    }
    event.known = Known::As(kind.map_or(Cause::Unknown, cause));
    event
}

/// True if there is an event.
const fn on_chain(kind: MovementKind) -> bool {
    !matches!(
        kind,
        MovementKind::MissingOnChain
            | MovementKind::Orphaned
            | MovementKind::Stuck
            | MovementKind::PartlySettled
            | MovementKind::UnreadableRow
            | MovementKind::NodeBehind
    )
}

/// True if the books posted something for it.
fn in_books(kind: MovementKind) -> bool {
    !matches!(
        kind,
        MovementKind::MissingInBooks
            | MovementKind::NotCredited
            | MovementKind::RefundedYetMined
            | MovementKind::NodeBehind
    )
}

/// The mistake that a kind of difference is.
const fn cause(kind: MovementKind) -> Cause {
    match kind {
        MovementKind::MissingInBooks
        | MovementKind::MissingOnChain
        | MovementKind::PartlySettled
        | MovementKind::FeeWithoutTrade => Cause::Missing,
        MovementKind::DuplicateCredit | MovementKind::IdCollision => Cause::Duplicate,
        MovementKind::WrongAmount | MovementKind::WrongFee | MovementKind::BeyondDecimal => {
            Cause::WrongAmount
        }
        MovementKind::WrongWallet | MovementKind::WrongSide => Cause::WrongAccount,
        MovementKind::WrongToken => Cause::WrongUnit,
        MovementKind::Orphaned => Cause::Reorg,
        MovementKind::NotCredited
        | MovementKind::MinedYetPending
        | MovementKind::SettledYetPending
        | MovementKind::Stuck => Cause::Late,
        MovementKind::RefundedYetMined | MovementKind::UndoneYetSettled => Cause::Refunded,
        MovementKind::FeeNotBooked => Cause::FeeNotBooked,
        MovementKind::UnreadableRow | MovementKind::UnreadableEvent => Cause::Unreadable,
        MovementKind::NodeBehind => Cause::Unknown,
    }
}
