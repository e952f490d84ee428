//! [`Deck`]: every kind once, in a random order, before any comes again.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// Kinds that are dealt out.
#[derive(Debug)]
pub(crate) struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy + PartialEq> Deck<T> {
    pub(crate) const fn of(all: Vec<T>) -> Self {
        Self {
            all,
            left: Vec::new(),
        }
    }

    /// The next one; `None`: there is none at all.
    pub(crate) fn draw(&mut self, rng: &mut StdRng) -> Option<T> {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(rng);
        }
        self.left.pop()
    }

    /// It does not come again.
    pub(crate) fn retire(&mut self, kind: T) {
        self.all.retain(|known| *known != kind);
    }
}
