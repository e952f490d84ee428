//! The register of accounts the chain has shown: whoever ever got a token in the Vault, from its events.
//!
//! The books cannot say which accounts they lack. The Vault's events can: every account with a balance once
//! appeared in a `Deposit` or as the receiver of a `SettlementTransfer`. The events are read once, from the
//! Vault's deployment on, only up to final blocks, and kept as 256 checkpoints (by the wallet's first byte), so a
//! full run reads the register in key order with the memory of one bucket. The union is idempotent: a crash
//! between two steps repeats work and changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use eidos_chain::{BlockRef, EventBody, EventKind, LogFilter, VaultEvent};
use eidos_core::checkpoint;
use eidos_core::db::JobsDb;
use eidos_core::fence::Step;
use eidos_recon::feed::Feed;
use eidos_types::{Address, Hash32, JobName};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::dimensions::balance::account::{AccountKey, TokenIndex, TokenList};
use crate::dimensions::balance::shard::Shard;

/// How far the register is, and its own token numbering (the run's may change with the settings).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterHead {
    /// The next block to read.
    pub next_block: u64,
    /// The first block whose events no closed run has controlled: they are read again. `None`: all up to `next_block` are.
    #[serde(default)]
    pub unproven_from: Option<u64>,
    /// The hash of the last block read: a different one now means that final blocks changed.
    pub last_hash: Option<Hash32>,
    /// The Vault it belongs to.
    pub vault: Address,
    /// Its token numbering.
    pub tokens: Vec<Address>,
}

/// One bucket as it is stored: wallet (20 bytes) and token number (2 bytes) of each account, ascending, in hex.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    accounts: String,
}

/// An account: wallet, and the register's number of the token.
pub type Entry = (Address, u16);

impl Bucket {
    fn of(entries: &BTreeSet<Entry>) -> Self {
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        for (wallet, token) in entries {
            bytes.extend_from_slice(wallet.as_bytes());
            bytes.extend_from_slice(&token.to_be_bytes());
        }
        Self {
            accounts: hex::encode(bytes),
        }
    }

    fn entries(&self) -> BTreeSet<Entry> {
        let bytes = hex::decode(&self.accounts).unwrap_or_default();
        bytes.chunks_exact(ENTRY_BYTES).map(entry).collect()
    }
}

const ENTRY_BYTES: usize = 22;

fn entry(bytes: &[u8]) -> Entry {
    let mut wallet = [0; 20];
    wallet.copy_from_slice(&bytes[..20]);
    (Address::new(wallet), u16::from_be_bytes([bytes[20], bytes[21]]))
}

/// The events that show accounts or touch them.
#[must_use]
pub fn filter() -> LogFilter {
    LogFilter {
        kinds: Some(vec![
            EventKind::Deposit,
            EventKind::Withdraw,
            EventKind::SettlementTransfer,
        ]),
        // Nobody's account is in one; the dimension of deposits makes it a break.
        keep_unreadable: true,
        ..LogFilter::default()
    }
}

/// The accounts an event gives tokens to.
#[must_use]
pub const fn receiver(event: &VaultEvent) -> Option<(Address, Address)> {
    match event.body {
        EventBody::Deposit { user, token, .. } => Some((user, token)),
        EventBody::SettlementTransfer { to, token, .. } => Some((to, token)),
        _ => None,
    }
}

/// The wallets an event touches.
pub fn touched(event: &VaultEvent) -> impl Iterator<Item = Address> {
    let (one, other) = match event.body {
        EventBody::Deposit { user, .. } | EventBody::Withdraw { user, .. } => (Some(user), None),
        EventBody::SettlementTransfer { from, to, .. } => (Some(from), Some(to)),
        _ => (None, None),
    };
    one.into_iter().chain(other)
}

/// The register as a run reads it.
#[derive(Debug, Clone)]
pub struct Register {
    db: JobsDb,
    job: JobName,
    prefix: String,
    /// How far it is.
    pub head: RegisterHead,
    /// Accounts that were read in a dry run and not stored.
    unsaved: BTreeMap<u8, BTreeSet<Entry>>,
    /// What a dry run found to be of a lost branch.
    gone: Gone,
}

/// What a dry run does not read of the stored accounts.
#[derive(Debug, Clone)]
enum Gone {
    These(BTreeSet<Entry>),
    All,
}

impl Register {
    /// How the names of the checkpoints of a Vault's register begin.
    #[must_use]
    pub fn prefix(vault: Address) -> String {
        format!("known/{vault}")
    }

    /// Loads the head. A register of another Vault is left alone and a new one is begun.
    pub async fn open(
        db: &JobsDb,
        job: &JobName,
        vault: Address,
        first_block: u64,
    ) -> Result<Self, eidos_core::CoreError> {
        let prefix = Self::prefix(vault);
        let head = checkpoint::load(db.control(), job, &format!("{prefix}/head")).await?;
        let fresh = RegisterHead {
            next_block: first_block,
            vault,
            ..RegisterHead::default()
        };
        Ok(Self {
            db: db.clone(),
            job: job.clone(),
            prefix,
            head: head.unwrap_or(fresh),
            unsaved: BTreeMap::new(),
            gone: Gone::These(BTreeSet::new()),
        })
    }

    /// The first block that a run has to read.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.head.unproven_from.unwrap_or(self.head.next_block)
    }

    /// Notes that the events up to block `upto` were controlled: a run that read them is closed.
    pub async fn prove(&self, upto: u64, step: &mut Step<'_>) -> Result<(), eidos_core::CoreError> {
        if self.head.unproven_from.is_none() || upto + 1 < self.head.next_block {
            return Ok(());
        }
        let proven = RegisterHead {
            unproven_from: None,
            ..self.head.clone()
        };
        step.save_checkpoint(&self.head_key(), &proven).await
    }

    /// Adds the accounts of `events`, which end with block `upto`. With a step they are stored with the moved
    /// head; without one (dry run) they are only remembered. Returns the accounts that are new, with the block that showed
    /// each first.
    pub async fn add(
        &mut self,
        events: &[VaultEvent],
        upto: u64,
        upto_hash: Hash32,
        step: Option<&mut Step<'_>>,
    ) -> Result<BTreeMap<Entry, u64>, eidos_core::CoreError> {
        let mut fresh: BTreeMap<u8, BTreeMap<Entry, u64>> = BTreeMap::new();
        for event in events {
            let Some((wallet, token)) = receiver(event) else {
                continue;
            };
            let token = self.token_number(token);
            fresh
                .entry(wallet.as_bytes()[0])
                .or_default()
                .entry((wallet, token))
                .or_insert(event.at.block_number);
        }
        self.head.unproven_from.get_or_insert(self.head.next_block);
        if upto + 1 >= self.head.next_block {
            self.head.next_block = upto + 1;
            self.head.last_hash = Some(upto_hash);
        }
        let Some(step) = step else {
            for (byte, entries) in fresh {
                self.unsaved.entry(byte).or_default().extend(entries.keys());
            }
            return Ok(BTreeMap::new());
        };
        let mut shown = BTreeMap::new();
        for (byte, mut entries) in fresh {
            let mut before = self.stored(byte).await?;
            entries.retain(|entry, _| !before.contains(entry));
            if entries.is_empty() {
                continue;
            }
            before.extend(entries.keys());
            step.save_checkpoint(&self.bucket_key(byte), &Bucket::of(&before))
                .await?;
            shown.extend(entries);
        }
        step.save_checkpoint(&self.head_key(), &self.head).await?;
        Ok(shown)
    }

    /// Goes back to the newest block of both branches, and forgets the accounts that only the lost one has shown: an account
    /// that the chain has never shown is another break than one that it knows. Without a step (dry run) nothing is stored.
    pub async fn rewind(
        &mut self,
        common: &BlockRef,
        shown: &BTreeSet<Entry>,
        step: Option<&mut Step<'_>>,
    ) -> Result<(), eidos_core::CoreError> {
        if self.head.next_block > common.number + 1 {
            self.head.next_block = common.number + 1;
            self.head.last_hash = Some(common.hash);
        }
        self.head.unproven_from = self
            .head
            .unproven_from
            .map(|unproven| unproven.min(self.head.next_block));
        let Some(step) = step else {
            self.gone = Gone::These(shown.clone());
            return Ok(());
        };
        let bytes: BTreeSet<u8> = shown.iter().map(|(wallet, _)| wallet.as_bytes()[0]).collect();
        for byte in bytes {
            let mut entries = self.stored(byte).await?;
            entries.retain(|entry| !shown.contains(entry));
            step.save_checkpoint(&self.bucket_key(byte), &Bucket::of(&entries))
                .await?;
        }
        step.save_checkpoint(&self.head_key(), &self.head).await
    }

    /// Starts over in memory: a dry run deletes nothing.
    pub fn start_over(&mut self, first_block: u64) {
        self.head.next_block = first_block;
        (self.head.unproven_from, self.head.last_hash) = (None, None);
        self.gone = Gone::All;
    }

    async fn stored(&self, byte: u8) -> Result<BTreeSet<Entry>, eidos_core::CoreError> {
        let stored: Option<Bucket> =
            checkpoint::load(self.db.control(), &self.job, &self.bucket_key(byte)).await?;
        Ok(stored.unwrap_or_default().entries())
    }

    /// The accounts of a shard after `after`, ascending, one bucket in memory at a time.
    #[must_use]
    pub fn stream(
        &self,
        tokens: &TokenList,
        shard: Shard,
        after: Option<Address>,
    ) -> Feed<AccountKey, super::SourceError> {
        let (sender, receiver) = mpsc::channel(1);
        let (register, numbers) = (self.clone(), self.numbers(tokens));
        tokio::spawn(async move {
            for byte in shard.first.as_bytes()[0]..=shard.last.as_bytes()[0] {
                let keys = register.bucket(byte, &numbers).await.map(|keys| {
                    keys.into_iter()
                        .filter(|key| shard.first <= key.wallet && key.wallet <= shard.last)
                        .filter(|key| after.is_none_or(|after| key.wallet > after))
                        .collect()
                });
                let failed = keys.is_err();
                if sender.send(keys.map_err(register_error)).await.is_err() || failed {
                    return;
                }
            }
        });
        Feed::new(receiver)
    }

    /// The accounts of some wallets.
    pub async fn of_wallets(
        &self,
        tokens: &TokenList,
        wallets: &[Address],
    ) -> Result<Vec<AccountKey>, super::SourceError> {
        let numbers = self.numbers(tokens);
        let wallets: BTreeSet<Address> = wallets.iter().copied().collect();
        let bytes: BTreeSet<u8> = wallets.iter().map(|wallet| wallet.as_bytes()[0]).collect();
        let mut found = Vec::new();
        for byte in bytes {
            let keys = self.bucket(byte, &numbers).await.map_err(register_error)?;
            found.extend(keys.into_iter().filter(|key| wallets.contains(&key.wallet)));
        }
        Ok(found)
    }

    async fn bucket(
        &self,
        byte: u8,
        numbers: &BTreeMap<u16, TokenIndex>,
    ) -> Result<Vec<AccountKey>, eidos_core::CoreError> {
        let mut entries = self.stored(byte).await?;
        match &self.gone {
            Gone::These(gone) => entries.retain(|entry| !gone.contains(entry)),
            Gone::All => entries.clear(),
        }
        if let Some(unsaved) = self.unsaved.get(&byte) {
            entries.extend(unsaved.iter().copied());
        }
        let key = |(wallet, number): Entry| {
            Some(AccountKey {
                wallet,
                token: *numbers.get(&number)?,
            })
        };
        Ok(entries.into_iter().filter_map(key).collect())
    }

    fn head_key(&self) -> String {
        format!("{}/head", self.prefix)
    }

    fn bucket_key(&self, byte: u8) -> String {
        format!("{}/{byte:02x}", self.prefix)
    }

    /// The register's token numbers in the run's numbering; tokens the run does not know are left out.
    fn numbers(&self, tokens: &TokenList) -> BTreeMap<u16, TokenIndex> {
        let index = |(number, address): (usize, &Address)| {
            Some((u16::try_from(number).ok()?, tokens.by_address(*address)?))
        };
        self.head.tokens.iter().enumerate().filter_map(index).collect()
    }

    fn token_number(&mut self, token: Address) -> u16 {
        let number = self
            .head
            .tokens
            .iter()
            .position(|known| *known == token)
            .unwrap_or_else(|| {
                self.head.tokens.push(token);
                self.head.tokens.len() - 1
            });
        u16::try_from(number).unwrap_or(u16::MAX)
    }
}

fn register_error(error: eidos_core::CoreError) -> super::SourceError {
    super::SourceError::Register(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buckets_survive_storage(entries in proptest::collection::btree_set((any::<[u8; 20]>(), any::<u16>()), 0..40)) {
            let entries: BTreeSet<Entry> =
                entries.into_iter().map(|(wallet, token)| (Address::new(wallet), token)).collect();
            let stored = serde_json::to_string(&Bucket::of(&entries)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Bucket>(&stored).unwrap().entries(), entries);
        }
    }
}
