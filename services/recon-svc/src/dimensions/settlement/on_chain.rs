//! A trade as the chain settled it, from the events of its transaction. Pure.
//!
//! `TradeSettled` has both amounts and neither fee nor side. Those are in the Vault's transfers, which the contract makes
//! before it emits the trade: a transfer belongs to the first trade of its batch that follows it.

use eidos_chain::{EventBody, EventKind, VaultEvent};
use eidos_types::{Address, BaseUnits, Hash32};

/// The chain's side of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "almost every event is a settled trade, so a box would only add an allocation to each"
)]
pub enum OnChain {
    /// Settled so.
    Settled(Settled),
    /// The topic of the event with other arguments.
    Unreadable,
}

/// What was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Whose order rested.
    pub maker: Address,
    /// Whose order came in.
    pub taker: Address,
    /// The base token's contract.
    pub base: Address,
    /// The quote token's contract.
    pub quote: Address,
    /// In base units of the base token.
    pub base_units: BaseUnits,
    /// In base units of the quote token.
    pub quote_units: BaseUnits,
    /// What somebody other than maker and taker got of the quote token; `None`: more than 2^256.
    pub fee: Option<BaseUnits>,
    /// Who got the base token; `None`: no transfer says so.
    pub buyer: Option<Address>,
}

/// A settled trade, where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradeEvent {
    /// Its transaction.
    pub tx: Hash32,
    /// Its log's index in the block.
    pub log_index: u64,
    /// Its block.
    pub block: u64,
    /// Its id on the chain; `None`: it is unreadable.
    pub id: Option<Hash32>,
    /// What the chain says.
    pub body: OnChain,
}

/// The events that [`trades_of`] needs.
pub const KINDS: [EventKind; 2] = [EventKind::SettlementTransfer, EventKind::TradeSettled];

/// A transfer that waits for its trade.
struct Transfer {
    tx: Hash32,
    to: Address,
    token: Address,
    amount: BaseUnits,
    batch: Hash32,
}

/// The trades among some events, which are in chain order and have whole transactions.
#[must_use]
pub fn trades_of(events: &[VaultEvent]) -> Vec<TradeEvent> {
    let mut waiting: Vec<Transfer> = Vec::new();
    let mut trades = Vec::new();
    for event in events {
        let tx = event.at.tx_hash;
        waiting.retain(|transfer| transfer.tx == tx);
        match event.body {
            EventBody::SettlementTransfer {
                to,
                token,
                amount,
                settlement_id,
                ..
            } => waiting.push(Transfer {
                tx,
                to,
                token,
                amount,
                batch: settlement_id,
            }),
            EventBody::TradeSettled { trade_id, .. } => {
                let body = settled(&event.body, &waiting).map_or(OnChain::Unreadable, OnChain::Settled);
                trades.push(located(event, Some(trade_id), body));
                waiting.clear();
            }
            EventBody::Unreadable {
                kind: EventKind::TradeSettled,
            } => {
                trades.push(located(event, None, OnChain::Unreadable));
                waiting.clear();
            }
            _ => {}
        }
    }
    trades
}

const fn located(event: &VaultEvent, id: Option<Hash32>, body: OnChain) -> TradeEvent {
    TradeEvent {
        tx: event.at.tx_hash,
        log_index: event.at.log_index,
        block: event.at.block_number,
        id,
        body,
    }
}

fn settled(body: &EventBody, transfers: &[Transfer]) -> Option<Settled> {
    let EventBody::TradeSettled {
        batch_id,
        maker,
        taker,
        base_token,
        quote_token,
        base_amount,
        quote_amount,
        ..
    } = *body
    else {
        return None;
    };
    let own = || transfers.iter().filter(|transfer| transfer.batch == batch_id);
    let is_of_trade = |wallet: Address| wallet == maker || wallet == taker;
    let fees = own().filter(|transfer| transfer.token == quote_token && !is_of_trade(transfer.to));
    let mut of_base = own().filter(|transfer| transfer.token == base_token && is_of_trade(transfer.to));
    Some(Settled {
        maker,
        taker,
        base: base_token,
        quote: quote_token,
        base_units: base_amount,
        quote_units: quote_amount,
        fee: fees
            .map(|transfer| transfer.amount)
            .try_fold(BaseUnits::ZERO, BaseUnits::checked_add),
        buyer: of_base.next().map(|transfer| transfer.to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use eidos_chain::LogPosition;

    const MAKER: Address = Address::new([1; 20]);
    const TAKER: Address = Address::new([2; 20]);
    const FEES: Address = Address::new([3; 20]);
    const BASE: Address = Address::new([0xa1; 20]);
    const QUOTE: Address = Address::new([0xa0; 20]);

    fn event(tx: u8, log_index: u64, body: EventBody) -> VaultEvent {
        let at = LogPosition {
            block_number: 7,
            log_index,
            block_hash: Hash32::new([9; 32]),
            tx_hash: Hash32::new([tx; 32]),
        };
        VaultEvent { at, body }
    }

    fn transfer(batch: u8, from: Address, to: Address, token: Address, amount: u128) -> EventBody {
        EventBody::SettlementTransfer {
            from,
            to,
            token,
            amount: amount.into(),
            settlement_id: Hash32::new([batch; 32]),
        }
    }

    fn trade(batch: u8, id: u8) -> EventBody {
        EventBody::TradeSettled {
            batch_id: Hash32::new([batch; 32]),
            trade_id: Hash32::new([id; 32]),
            maker: MAKER,
            taker: TAKER,
            base_token: BASE,
            quote_token: QUOTE,
            base_amount: 5.into(),
            quote_amount: 100.into(),
        }
    }

    fn facts(events: &[EventBody]) -> Vec<(Option<BaseUnits>, Option<Address>)> {
        let numbered = events.iter().zip(0..).map(|(body, index)| event(1, index, *body));
        let trades = trades_of(&numbered.collect::<Vec<_>>());
        let fact = |trade: TradeEvent| match trade.body {
            OnChain::Settled(settled) => (settled.fee, settled.buyer),
            OnChain::Unreadable => panic!("{trade:?}"),
        };
        trades.into_iter().map(fact).collect()
    }

    #[test]
    fn each_trade_has_the_transfers_before_it_and_no_other() {
        let found = facts(&[
            transfer(8, TAKER, MAKER, BASE, 5),
            transfer(8, MAKER, TAKER, QUOTE, 100),
            transfer(8, MAKER, FEES, QUOTE, 2),
            transfer(8, TAKER, FEES, QUOTE, 1),
            trade(8, 1),
            transfer(8, MAKER, TAKER, BASE, 5),
            transfer(8, TAKER, MAKER, QUOTE, 100),
            trade(8, 2),
            transfer(7, MAKER, TAKER, BASE, 5),
            transfer(7, MAKER, FEES, QUOTE, 9),
            trade(8, 3),
        ]);
        assert_eq!(
            found,
            [
                (Some(3.into()), Some(MAKER)),
                (Some(0.into()), Some(TAKER)),
                (Some(0.into()), None)
            ],
            "a transfer of another batch belongs to no trade of this one"
        );
    }

    #[test]
    fn a_transfer_of_another_transaction_belongs_to_no_trade() {
        let events = [
            event(1, 0, transfer(8, MAKER, FEES, QUOTE, 2)),
            event(2, 1, trade(8, 1)),
        ];
        let trades = trades_of(&events);
        assert!(matches!(trades[0].body, OnChain::Settled(Settled { fee, .. }) if fee == Some(0.into())));
    }

    #[test]
    fn fees_beyond_what_a_token_can_have_are_no_number() {
        let most = BaseUnits::from_be_bytes([0xff; 32]);
        let much = EventBody::SettlementTransfer {
            from: MAKER,
            to: FEES,
            token: QUOTE,
            amount: most,
            settlement_id: Hash32::new([8; 32]),
        };
        assert_eq!(facts(&[much, much, trade(8, 1)]), [(None, None)]);
    }

    #[test]
    fn a_log_that_no_trade_has_is_kept_with_its_place() {
        let unreadable = EventBody::Unreadable {
            kind: EventKind::TradeSettled,
        };
        let trades = trades_of(&[event(1, 4, unreadable)]);
        assert_eq!(trades.len(), 1);
        assert_eq!((trades[0].id, trades[0].log_index), (None, 4));
    }
}
