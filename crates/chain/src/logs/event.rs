//! Events of the Vault and the Settlement contract, decoded.

use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::SolEvent;
use eidos_types::{Address, BaseUnits, Hash32};

use crate::contracts::{ISettlement, IVault};

/// Where an event is on the chain. The block's hash is part of its identity: after a reorganisation the same
/// transaction may be in another block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition {
    /// Number of the block.
    pub block_number: u64,
    /// Index of the log in its block.
    pub log_index: u64,
    /// Hash of the block.
    pub block_hash: Hash32,
    /// The transaction.
    pub tx_hash: Hash32,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultEvent {
    /// Where it is.
    pub at: LogPosition,
    /// What happened.
    pub body: EventBody,
}

/// What happened. Amounts are in base units of their token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the Solidity events, which contracts/*.sol documents"
)]
pub enum EventBody {
    /// A user paid in.
    Deposit {
        user: Address,
        token: Address,
        amount: BaseUnits,
    },
    /// A user was paid out.
    Withdraw {
        user: Address,
        token: Address,
        amount: BaseUnits,
    },
    /// Part of a user's balance was locked for an order.
    FundsLocked {
        user: Address,
        token: Address,
        amount: BaseUnits,
        order_id: Hash32,
    },
    /// It was unlocked.
    FundsUnlocked {
        user: Address,
        token: Address,
        amount: BaseUnits,
        order_id: Hash32,
    },
    /// A settlement moved balance from one user to another.
    SettlementTransfer {
        from: Address,
        to: Address,
        token: Address,
        amount: BaseUnits,
        settlement_id: Hash32,
    },
    /// A batch of trades was settled.
    BatchSettled {
        batch_id: Hash32,
        trade_count: u64,
        timestamp_s: u64,
    },
    /// The contract emitted the topic of this kind with other arguments. Only with [`super::LogFilter::keep_unreadable`].
    Unreadable { kind: EventKind },
    /// One trade of a batch was settled.
    TradeSettled {
        batch_id: Hash32,
        trade_id: Hash32,
        maker: Address,
        taker: Address,
        base_token: Address,
        quote_token: Address,
        base_amount: BaseUnits,
        quote_amount: BaseUnits,
    },
}

impl EventBody {
    /// Its kind; of an unreadable one, the kind that its topic names.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Deposit { .. } => EventKind::Deposit,
            Self::Withdraw { .. } => EventKind::Withdraw,
            Self::FundsLocked { .. } => EventKind::FundsLocked,
            Self::FundsUnlocked { .. } => EventKind::FundsUnlocked,
            Self::SettlementTransfer { .. } => EventKind::SettlementTransfer,
            Self::BatchSettled { .. } => EventKind::BatchSettled,
            Self::TradeSettled { .. } => EventKind::TradeSettled,
            Self::Unreadable { kind } => *kind,
        }
    }
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are those of EventBody")]
pub enum EventKind {
    Deposit,
    Withdraw,
    FundsLocked,
    FundsUnlocked,
    SettlementTransfer,
    BatchSettled,
    TradeSettled,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Deposit,
        Self::Withdraw,
        Self::FundsLocked,
        Self::FundsUnlocked,
        Self::SettlementTransfer,
        Self::BatchSettled,
        Self::TradeSettled,
    ];

    /// The first topic of its logs.
    pub const fn topic(self) -> Hash32 {
        Hash32::new(match self {
            Self::Deposit => IVault::Deposit::SIGNATURE_HASH.0,
            Self::Withdraw => IVault::Withdraw::SIGNATURE_HASH.0,
            Self::FundsLocked => IVault::FundsLocked::SIGNATURE_HASH.0,
            Self::FundsUnlocked => IVault::FundsUnlocked::SIGNATURE_HASH.0,
            Self::SettlementTransfer => IVault::SettlementTransfer::SIGNATURE_HASH.0,
            Self::BatchSettled => ISettlement::BatchSettled::SIGNATURE_HASH.0,
            Self::TradeSettled => ISettlement::TradeSettled::SIGNATURE_HASH.0,
        })
    }

    /// True if the Settlement contract emits it, false if the Vault does.
    pub const fn is_of_settlement(self) -> bool {
        matches!(self, Self::BatchSettled | Self::TradeSettled)
    }

    pub(super) fn of_topic(topic: &B256) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.topic().as_bytes() == &topic.0)
    }
}

/// Decodes a log of `kind`; the error says what does not fit.
pub(super) fn decode(kind: EventKind, log: &Log) -> Result<EventBody, String> {
    fn read<E: SolEvent>(log: &Log) -> Result<E, String> {
        E::decode_log_data_validate(&log.inner.data)
            .map_err(|error| format!("not a {}: {error}", E::SIGNATURE))
    }
    Ok(match kind {
        EventKind::Deposit => {
            let event: IVault::Deposit = read(log)?;
            EventBody::Deposit {
                user: ours(event.user),
                token: ours(event.token),
                amount: units(event.amount),
            }
        }
        EventKind::Withdraw => {
            let event: IVault::Withdraw = read(log)?;
            EventBody::Withdraw {
                user: ours(event.user),
                token: ours(event.token),
                amount: units(event.amount),
            }
        }
        EventKind::FundsLocked => {
            let event: IVault::FundsLocked = read(log)?;
            let (user, token, order_id) = (ours(event.user), ours(event.token), Hash32::new(event.orderId.0));
            EventBody::FundsLocked {
                user,
                token,
                amount: units(event.amount),
                order_id,
            }
        }
        EventKind::FundsUnlocked => {
            let event: IVault::FundsUnlocked = read(log)?;
            let (user, token, order_id) = (ours(event.user), ours(event.token), Hash32::new(event.orderId.0));
            EventBody::FundsUnlocked {
                user,
                token,
                amount: units(event.amount),
                order_id,
            }
        }
        EventKind::SettlementTransfer => {
            let event: IVault::SettlementTransfer = read(log)?;
            EventBody::SettlementTransfer {
                from: ours(event.from),
                to: ours(event.to),
                token: ours(event.token),
                amount: units(event.amount),
                settlement_id: Hash32::new(event.settlementId.0),
            }
        }
        EventKind::BatchSettled => {
            let event: ISettlement::BatchSettled = read(log)?;
            EventBody::BatchSettled {
                batch_id: Hash32::new(event.batchId.0),
                trade_count: small(event.tradeCount)?,
                timestamp_s: small(event.timestamp)?,
            }
        }
        EventKind::TradeSettled => trade_settled(&read(log)?),
    })
}

fn trade_settled(event: &ISettlement::TradeSettled) -> EventBody {
    EventBody::TradeSettled {
        batch_id: Hash32::new(event.batchId.0),
        trade_id: Hash32::new(event.tradeId.0),
        maker: ours(event.maker),
        taker: ours(event.taker),
        base_token: ours(event.baseToken),
        quote_token: ours(event.quoteToken),
        base_amount: units(event.baseAmount),
        quote_amount: units(event.quoteAmount),
    }
}

fn ours(address: alloy_primitives::Address) -> Address {
    Address::new(address.into_array())
}

fn units(amount: U256) -> BaseUnits {
    BaseUnits::from_be_bytes(amount.to_be_bytes())
}

fn small(number: U256) -> Result<u64, String> {
    u64::try_from(number).map_err(|_beyond| format!("{number} where a count or a time was expected"))
}
