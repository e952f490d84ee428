//! [`Segment`]: a run of rows in the order of an export, which a deletion repeats and compares.

use serde::{Deserialize, Serialize};

use crate::digest::ContentDigest;

/// `segment_rows` consecutive rows of an export (the last one may have fewer).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// How many, never 0.
    pub rows: u64,
    /// Of these rows.
    pub digest: ContentDigest,
    /// The first row's key as PostgreSQL prints it: the values of [`crate::KeyColumns::names`], which are the time
    /// column and then the primary key without it.
    pub first: Vec<String>,
    /// The last row's key, likewise.
    pub last: Vec<String>,
}

/// Cuts the rows of an export into segments.
#[derive(Debug)]
pub(crate) struct SegmentCutter {
    /// 0 cuts none.
    segment_rows: u64,
    open: Option<Open>,
    done: Vec<Segment>,
}

#[derive(Debug)]
struct Open {
    rows: u64,
    digest: ContentDigest,
    first: Vec<String>,
    last: RawKey,
}

/// The key of a row as its fields' bytes, to be printed only when it is the last one of a segment.
pub(crate) type RawKey = Vec<Vec<u8>>;

impl SegmentCutter {
    pub(crate) fn new(segment_rows: Option<u32>) -> Self {
        Self {
            segment_rows: segment_rows.map_or(0, u64::from),
            open: None,
            done: Vec::new(),
        }
    }

    /// Whether no segments were asked for.
    pub(crate) const fn is_off(&self) -> bool {
        self.segment_rows == 0
    }

    /// Takes one row: its digest and the bytes of its key's fields (NULL is refused by `print`).
    pub(crate) fn take<'a, E>(
        &mut self,
        digest: &ContentDigest,
        key: impl Iterator<Item = &'a [u8]>,
        print: impl Fn(&RawKey) -> Result<Vec<String>, E>,
    ) -> Result<(), E> {
        if self.is_off() {
            return Ok(());
        }
        let open = if let Some(open) = &mut self.open {
            let mut key = key;
            for place in &mut open.last {
                key.next().unwrap_or_default().clone_into(place);
            }
            open
        } else {
            let last: RawKey = key.map(<[u8]>::to_vec).collect();
            self.open.insert(Open {
                rows: 0,
                digest: ContentDigest::ZERO,
                first: print(&last)?,
                last,
            })
        };
        open.rows += 1;
        open.digest.merge(digest);
        if open.rows == self.segment_rows {
            self.close(print)
        } else {
            Ok(())
        }
    }

    /// All segments; the last one ends here.
    pub(crate) fn finish<E>(
        mut self,
        print: impl Fn(&RawKey) -> Result<Vec<String>, E>,
    ) -> Result<Vec<Segment>, E> {
        self.close(print)?;
        Ok(self.done)
    }

    fn close<E>(&mut self, print: impl Fn(&RawKey) -> Result<Vec<String>, E>) -> Result<(), E> {
        if let Some(Open {
            rows,
            digest,
            first,
            last,
        }) = self.open.take()
        {
            self.done.push(Segment {
                rows,
                digest,
                first,
                last: print(&last)?,
            });
        }
        Ok(())
    }
}
