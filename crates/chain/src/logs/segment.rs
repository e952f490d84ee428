//! The checks on one answer of `eth_getLogs`: pure.

use std::collections::{HashMap, HashSet};

use alloy_rpc_types_eth::Log;
use eidos_types::{Address, Hash32};
use serde_json::{Value, json};

use super::Argument;
use super::event::{EventBody, EventKind, LogPosition, VaultEvent, decode};

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) vault: Address,
    pub(super) settlement: Option<Address>,
    pub(super) kinds: Vec<EventKind>,
    pub(super) keep_unreadable: bool,
    /// Only these trades; empty: all.
    pub(super) trades: Vec<Hash32>,
    pub(super) about: Option<Argument>,
}

impl Asked {
    fn address_of(&self, kind: EventKind) -> Option<Address> {
        if kind.is_of_settlement() {
            self.settlement
        } else {
            Some(self.vault)
        }
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        let mut all: Vec<Address> = self
            .kinds
            .iter()
            .filter_map(|kind| self.address_of(*kind))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn topics(&self) -> Vec<Hash32> {
        self.kinds.iter().map(|kind| kind.topic()).collect()
    }

    /// The place among a log's topics and the value that it must have there.
    pub(super) fn argument(&self) -> Option<(usize, Hash32)> {
        let (place, address) = match self.about? {
            Argument::First(address) => (1, address),
            Argument::Second(address) => (2, address),
        };
        let mut word = [0; 32];
        word[12..].copy_from_slice(address.as_bytes());
        Some((place, Hash32::new(word)))
    }

    /// The `topics` of a filter.
    pub(super) fn filter(&self) -> Value {
        let kinds = self.topics();
        if !self.trades.is_empty() {
            return json!([kinds, Value::Null, self.trades]);
        }
        match self.argument() {
            None => json!([kinds]),
            Some((1, word)) => json!([kinds, word]),
            Some((_, word)) => json!([kinds, null, word]),
        }
    }

    fn is_about(&self, log: &Log) -> bool {
        self.argument().is_none_or(|(place, word)| {
            let topic = log.topics().get(place);
            topic.is_some_and(|topic| word.as_bytes() == &topic.0)
        })
    }

    /// Checks whether a log is of a contract, a topic and an argument that were asked for.
    pub(super) fn matches(&self, log: &Log) -> bool {
        let is_ours = |ours: &Address| ours.as_bytes() == log.address().0.as_slice();
        self.addresses().iter().any(is_ours)
            && log
                .topic0()
                .is_some_and(|topic| self.topics().iter().any(|ours| ours.as_bytes() == &topic.0))
            && self.is_about(log)
    }
}

/// Turns the logs of blocks `from..=to` into events in chain order.
///
/// Refused: a log that was not asked for, outside the range, removed by a reorganisation, without a position,
/// twice in a transaction, or in a block whose hash is not `known` (or not the same as that of another log of the block).
pub(super) fn events(
    asked: &Asked,
    from: u64,
    to: u64,
    known: &HashMap<u64, Hash32>,
    logs: &[Log],
) -> Result<Vec<VaultEvent>, String> {
    let mut hashes = known.clone();
    let mut events = Vec::with_capacity(logs.len());
    for log in logs {
        let at = position(log)?;
        if !(from..=to).contains(&at.block_number) {
            return Err(format!(
                "a log of block {} in an answer for {from} to {to}",
                at.block_number
            ));
        }
        let hash = hashes.entry(at.block_number).or_insert(at.block_hash);
        if *hash != at.block_hash {
            return Err(format!(
                "block {} is {hash}, but a log says {}",
                at.block_number, at.block_hash
            ));
        }
        if let Some(kind) = kind_of(asked, log)? {
            let body = match decode(kind, log) {
                Err(_reason) if asked.keep_unreadable => EventBody::Unreadable { kind },
                decoded => decoded?,
            };
            // The index alone is not enough on chains that count logs anew in each transaction.
            let order = (at.block_number, log.transaction_index, at.log_index);
            events.push((order, VaultEvent { at, body }));
        }
    }
    events.sort_unstable_by_key(|(order, event)| (*order, event.at));
    let events: Vec<VaultEvent> = events.into_iter().map(|(_order, event)| event).collect();
    let mut seen = HashSet::with_capacity(events.len());
    match events
        .iter()
        .find(|event| !seen.insert((event.at.tx_hash, event.at.log_index)))
    {
        Some(event) => Err(format!(
            "two logs with index {} in transaction {} of block {}",
            event.at.log_index, event.at.tx_hash, event.at.block_number
        )),
        None => Ok(events),
    }
}

fn position(log: &Log) -> Result<LogPosition, String> {
    if log.removed {
        return Err("a log that a reorganisation removed".to_owned());
    }
    match (
        log.block_number,
        log.log_index,
        log.block_hash,
        log.transaction_hash,
    ) {
        (Some(block_number), Some(log_index), Some(block_hash), Some(tx_hash)) => Ok(LogPosition {
            block_number,
            log_index,
            block_hash: Hash32::new(block_hash.0),
            tx_hash: Hash32::new(tx_hash.0),
        }),
        _ => Err("a log without block, index or transaction (pending?)".to_owned()),
    }
}

/// Returns the kind of a log. `None`: its pair of contract and topic was not asked for, but the combined filter lets it
/// through, because the Settlement contract may emit an event with a Vault topic.
fn kind_of(asked: &Asked, log: &Log) -> Result<Option<EventKind>, String> {
    let address = Address::new(log.address().into_array());
    if !asked.addresses().contains(&address) {
        return Err(format!("a log of {address}, which was not asked for"));
    }
    let topic = log
        .topic0()
        .ok_or_else(|| format!("a log of {address} without a topic"))?;
    let kind = EventKind::of_topic(topic)
        .filter(|kind| asked.kinds.contains(kind))
        .ok_or_else(|| format!("a log with topic {topic}, which was not asked for"))?;
    if !asked.is_about(log) {
        return Err(format!(
            "a log of {address} about another account than was asked for"
        ));
    }
    Ok((asked.address_of(kind) == Some(address)).then_some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, LogData, U256};
    use alloy_sol_types::SolEvent;
    use eidos_types::BaseUnits;

    const VAULT: Address = Address::new([0xaa; 20]);

    fn asked() -> Asked {
        Asked {
            vault: VAULT,
            settlement: None,
            kinds: vec![EventKind::Deposit],
            keep_unreadable: false,
            trades: Vec::new(),
            about: None,
        }
    }

    fn deposit(block: u64, index: u64) -> Log {
        let event = crate::contracts::IVault::Deposit {
            user: alloy_primitives::Address::repeat_byte(1),
            token: alloy_primitives::Address::repeat_byte(2),
            amount: U256::from(5),
        };
        let data: LogData = event.encode_log_data();
        Log {
            inner: alloy_primitives::Log {
                address: alloy_primitives::Address::repeat_byte(0xaa),
                data,
            },
            block_hash: Some(B256::with_last_byte(u8::try_from(block).unwrap())),
            block_number: Some(block),
            block_timestamp: None,
            transaction_hash: Some(B256::with_last_byte(u8::try_from(index).unwrap())),
            transaction_index: Some(0),
            log_index: Some(index),
            removed: false,
        }
    }

    fn checked(logs: &[Log]) -> Result<Vec<VaultEvent>, String> {
        events(&asked(), 5, 9, &HashMap::new(), logs)
    }

    #[test]
    fn logs_become_events_in_chain_order() {
        let events = checked(&[deposit(9, 1), deposit(5, 3), deposit(9, 0)]).unwrap();
        let order: Vec<_> = events
            .iter()
            .map(|event| (event.at.block_number, event.at.log_index))
            .collect();
        assert_eq!(order, [(5, 3), (9, 0), (9, 1)]);
        let body = EventBody::Deposit {
            user: Address::new([1; 20]),
            token: Address::new([2; 20]),
            amount: BaseUnits::from(5),
        };
        assert_eq!(events[0].body, body);
    }

    #[test]
    fn a_log_of_another_account_is_refused_where_one_was_asked_for() {
        let of = |about| Asked {
            about: Some(about),
            ..asked()
        };
        let (user, token, other) = (
            Address::new([1; 20]),
            Address::new([2; 20]),
            Address::new([9; 20]),
        );
        let read = |asked: &Asked| events(asked, 5, 9, &HashMap::new(), &[deposit(6, 0)]);
        for about in [Argument::First(user), Argument::Second(token)] {
            assert_eq!(read(&of(about)).unwrap().len(), 1);
            assert!(of(about).matches(&deposit(6, 0)));
        }
        for about in [Argument::First(other), Argument::Second(user)] {
            assert!(read(&of(about)).unwrap_err().contains("another account"));
            assert!(!of(about).matches(&deposit(6, 0)));
        }
        let word = format!("0x{}{}", "0".repeat(24), "01".repeat(20));
        assert_eq!(of(Argument::First(user)).filter()[1], word);
        assert_eq!(of(Argument::Second(user)).filter()[1], Value::Null);
        assert_eq!(of(Argument::Second(user)).filter()[2], word);
    }

    #[test]
    fn every_kind_of_wrong_log_is_refused() {
        let spoil = |change: fn(&mut Log)| {
            let mut log = deposit(6, 0);
            change(&mut log);
            checked(&[log]).unwrap_err()
        };
        assert!(spoil(|log| log.removed = true).contains("removed"));
        assert!(spoil(|log| log.block_number = None).contains("without block"));
        assert!(spoil(|log| log.inner.address = alloy_primitives::Address::ZERO).contains("not asked for"));
        assert!(
            spoil(|log| log.inner.data = LogData::new_unchecked(vec![], [].into()))
                .contains("without a topic")
        );
        assert!(
            spoil(|log| log.inner.data = LogData::new_unchecked(vec![B256::ZERO], [].into()))
                .contains("topic")
        );
        assert!(
            spoil(|log| {
                let topics = log.inner.data.topics().to_vec();
                log.inner.data = LogData::new_unchecked(topics, [1, 2].into());
            })
            .contains("not a Deposit")
        );
        assert!(
            checked(&[deposit(4, 0)])
                .unwrap_err()
                .contains("in an answer for 5 to 9")
        );
        assert!(
            checked(&[deposit(6, 0), deposit(6, 0)])
                .unwrap_err()
                .contains("two logs")
        );
    }

    #[test]
    fn an_unreadable_log_is_kept_where_that_was_asked() {
        let asked = Asked {
            keep_unreadable: true,
            ..asked()
        };
        let (mut cut, mut topics) = (deposit(6, 0), deposit(6, 1));
        let two = topics.inner.data.topics()[..2].to_vec();
        topics.inner.data = LogData::new_unchecked(two, topics.inner.data.data.clone());
        cut.inner.data = LogData::new_unchecked(cut.inner.data.topics().to_vec(), [1, 2].into());
        let found = events(&asked, 5, 9, &HashMap::new(), &[cut, topics, deposit(6, 2)]).unwrap();
        let unreadable = EventBody::Unreadable {
            kind: EventKind::Deposit,
        };
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].body, found[1].body), (unreadable, unreadable));
        assert_ne!(found[2].body, unreadable);
    }

    #[test]
    fn a_block_has_one_hash() {
        let mut fork = deposit(6, 1);
        fork.block_hash = Some(B256::repeat_byte(0xee));
        assert!(
            checked(&[deposit(6, 0), fork.clone()])
                .unwrap_err()
                .contains("but a log says")
        );
        let known = HashMap::from([(6, Hash32::new([1; 32]))]);
        assert!(
            events(&asked(), 5, 9, &known, &[fork])
                .unwrap_err()
                .contains("but a log says")
        );
    }
}
