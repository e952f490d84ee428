//! The outer merge: two ascending sides as one ascending list of subjects. A subject that only one side knows is in the
//! result: a check that starts from one side cannot see what exists only on the other.

use std::fmt::{Debug, Display};

/// A side delivered keys that are not ascending: it sorts by another rule than bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a side is not ascending: {got} came after {after}")]
pub struct OutOfOrder<K: Debug + Display> {
    /// What came before.
    pub after: K,
    /// What came too late.
    pub got: K,
}

/// Checks that `keys` ascend (equal ones may follow each other) and lie behind `after`.
///
/// # Errors
/// [`OutOfOrder`] with the first two that do not.
pub fn check_order<K: Ord + Clone + Debug + Display>(
    after: Option<&K>,
    keys: impl Iterator<Item = K>,
) -> Result<(), OutOfOrder<K>> {
    let mut last: Option<K> = None;
    for got in keys {
        let behind = match &last {
            Some(last) => got < *last,
            None => after.is_some_and(|after| got <= *after),
        };
        if behind {
            let after = last.or_else(|| after.cloned()).unwrap_or_else(|| got.clone());
            return Err(OutOfOrder { after, got });
        }
        last = Some(got);
    }
    Ok(())
}

/// One subject of a page with what each side has of it; `None`: the side does not know it.
pub type Merged<K, L, R> = (K, Option<L>, Option<R>);

/// Merges a page of two sides. Each has a key at most once.
///
/// # Errors
/// [`OutOfOrder`] if a side does not ascend or begins before `after`.
pub fn merge<K: Ord + Clone + Debug + Display, L, R>(
    after: Option<&K>,
    left: Vec<(K, L)>,
    right: Vec<(K, R)>,
) -> Result<Vec<Merged<K, L, R>>, OutOfOrder<K>> {
    check_order(after, left.iter().map(|(key, _)| key.clone()))?;
    check_order(after, right.iter().map(|(key, _)| key.clone()))?;
    let mut merged = Vec::with_capacity(left.len().max(right.len()));
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let Some(key) = [left.peek().map(|(key, _)| key), right.peek().map(|(key, _)| key)]
        .into_iter()
        .flatten()
        .min()
        .cloned()
    {
        let of_left = left.next_if(|(next, _)| *next == key).map(|(_, value)| value);
        let of_right = right.next_if(|(next, _)| *next == key).map(|(_, value)| value);
        merged.push((key, of_left, of_right));
    }
    Ok(merged)
}
