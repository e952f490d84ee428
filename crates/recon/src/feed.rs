//! A sorted source, taken group by group with bounded memory.

use std::collections::VecDeque;

use tokio::sync::mpsc;

/// Something that belongs to a group of subjects.
pub trait Keyed {
    /// What the source is sorted by.
    type Group: Ord + Clone;

    /// Which group it belongs to.
    fn group(&self) -> &Self::Group;
}

/// Reads ahead of the page only as far as the page needs; the producer waits on a full channel.
#[derive(Debug)]
pub struct Feed<T, E> {
    ahead: VecDeque<T>,
    batches: mpsc::Receiver<Result<Vec<T>, E>>,
    ended: bool,
}

impl<T: Keyed, E> Feed<T, E> {
    /// A feed from a producer's batches; the producer ends it by dropping its sender.
    #[must_use]
    pub const fn new(batches: mpsc::Receiver<Result<Vec<T>, E>>) -> Self {
        Self {
            ahead: VecDeque::new(),
            batches,
            ended: false,
        }
    }

    /// Reads until more than `rows` rows and more than one group are ahead, or the source ended. Returns the
    /// last group that is certainly complete; `None` if everything is (the source ended).
    ///
    /// # Errors
    /// That of the producer.
    pub async fn fill(&mut self, rows: usize) -> Result<Option<T::Group>, E> {
        while !self.ended && (self.ahead.len() <= rows || self.complete_upto().is_none()) {
            match self.batches.recv().await {
                Some(batch) => self.ahead.extend(batch?),
                None => self.ended = true,
            }
        }
        Ok(if self.ended { None } else { self.complete_upto() })
    }

    /// Takes every row up to and including `upto`.
    pub fn take_upto(&mut self, upto: &T::Group) -> Vec<T> {
        let count = self.ahead.partition_point(|item| item.group() <= upto);
        self.ahead.drain(..count).collect()
    }

    /// True if nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ended && self.ahead.is_empty()
    }

    /// The last group before the one that may still get rows.
    fn complete_upto(&self) -> Option<T::Group> {
        let last = self.ahead.back()?.group();
        let first_of_last = self.ahead.partition_point(|item| item.group() < last);
        let before = first_of_last.checked_sub(1)?;
        self.ahead.get(before).map(|item| item.group().clone())
    }
}
