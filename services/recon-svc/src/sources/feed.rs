//! A sorted source, taken wallet by wallet with bounded memory.

use std::collections::VecDeque;

use eidos_types::Address;
use tokio::sync::mpsc;

use super::SourceError;
use crate::domain::account::AccountKey;
use crate::domain::merge::BooksRow;

/// Something that belongs to an account.
pub trait Keyed {
    /// Whose.
    fn wallet(&self) -> Address;
}

impl Keyed for BooksRow {
    fn wallet(&self) -> Address {
        self.key.wallet
    }
}

impl Keyed for AccountKey {
    fn wallet(&self) -> Address {
        self.wallet
    }
}

/// Reads ahead of the page only as far as the page needs; the producer waits on a full channel.
#[derive(Debug)]
pub struct Feed<T> {
    ahead: VecDeque<T>,
    batches: mpsc::Receiver<Result<Vec<T>, SourceError>>,
    ended: bool,
}

impl<T: Keyed> Feed<T> {
    /// A feed from a producer's batches; the producer ends it by dropping its sender.
    #[must_use]
    pub const fn new(batches: mpsc::Receiver<Result<Vec<T>, SourceError>>) -> Self {
        Self {
            ahead: VecDeque::new(),
            batches,
            ended: false,
        }
    }

    /// Reads until more than `rows` rows and more than one wallet are ahead, or the source ended. Returns the
    /// last wallet that is certainly complete; `None` if everything is (the source ended).
    pub async fn fill(&mut self, rows: usize) -> Result<Option<Address>, SourceError> {
        while !self.ended && (self.ahead.len() <= rows || self.complete_upto().is_none()) {
            match self.batches.recv().await {
                Some(batch) => self.ahead.extend(batch?),
                None => self.ended = true,
            }
        }
        Ok(if self.ended { None } else { self.complete_upto() })
    }

    /// Takes every row up to and including `upto`.
    pub fn take_upto(&mut self, upto: Address) -> Vec<T> {
        let count = self.ahead.partition_point(|item| item.wallet() <= upto);
        self.ahead.drain(..count).collect()
    }

    /// True if nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ended && self.ahead.is_empty()
    }

    /// The last wallet before the one that may still get rows.
    fn complete_upto(&self) -> Option<Address> {
        let last = self.ahead.back()?.wallet();
        let first_of_last = self.ahead.partition_point(|item| item.wallet() < last);
        let before = first_of_last.checked_sub(1)?;
        self.ahead.get(before).map(Keyed::wallet)
    }
}
