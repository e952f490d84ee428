//! [`Segment`]: a run of rows in the order of an export, which a deletion repeats and compares.

use eidos_types::copy_binary::Tuple;
use serde::{Deserialize, Serialize};

use crate::column::Column;
use crate::digest::ContentDigest;
use crate::text;

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
    /// The key's columns and their positions.
    key: Vec<(usize, Column)>,
    open: Option<Open>,
    done: Vec<Segment>,
}

#[derive(Debug)]
struct Open {
    rows: u64,
    digest: ContentDigest,
    first: Vec<String>,
    /// The key's fields as bytes, to be printed only when the row is the last one of its segment.
    last: Vec<Vec<u8>>,
}

/// A value of a key that cannot be printed.
#[derive(Debug)]
pub(crate) struct Unprintable {
    pub(crate) column: String,
    pub(crate) what: String,
}

impl SegmentCutter {
    /// `key` has the positions of the key's columns.
    pub(crate) fn new(segment_rows: Option<u32>, columns: &[Column], key: &[usize]) -> Self {
        let column = |position: &usize| Some((*position, columns.get(*position)?.clone()));
        Self {
            segment_rows: segment_rows.map_or(0, u64::from),
            key: key.iter().filter_map(column).collect(),
            open: None,
            done: Vec::new(),
        }
    }

    /// Returns whether no segments were asked for.
    pub(crate) const fn is_off(&self) -> bool {
        self.segment_rows == 0
    }

    /// Takes one row with its digest. A NULL in its key counts as no bytes.
    pub(crate) fn take(&mut self, tuple: &Tuple<'_>, digest: &ContentDigest) -> Result<(), Unprintable> {
        if self.is_off() {
            return Ok(());
        }
        let fields = self
            .key
            .iter()
            .map(|(position, _)| tuple.field(*position).unwrap_or_default());
        let open = if let Some(open) = &mut self.open {
            for (last, field) in open.last.iter_mut().zip(fields) {
                field.clone_into(last);
            }
            open
        } else {
            let last: Vec<Vec<u8>> = fields.map(<[u8]>::to_vec).collect();
            self.open.insert(Open {
                rows: 0,
                digest: ContentDigest::ZERO,
                first: print(&self.key, &last)?,
                last,
            })
        };
        open.rows += 1;
        open.digest.merge(digest);
        if open.rows == self.segment_rows {
            self.close()
        } else {
            Ok(())
        }
    }

    /// Returns all segments; the last one ends here.
    pub(crate) fn finish(mut self) -> Result<Vec<Segment>, Unprintable> {
        self.close()?;
        Ok(self.done)
    }

    fn close(&mut self) -> Result<(), Unprintable> {
        if let Some(open) = self.open.take() {
            self.done.push(Segment {
                rows: open.rows,
                digest: open.digest,
                first: open.first,
                last: print(&self.key, &open.last)?,
            });
        }
        Ok(())
    }
}

fn print(key: &[(usize, Column)], raw: &[Vec<u8>]) -> Result<Vec<String>, Unprintable> {
    let print = |((_, column), raw): (&(usize, Column), &Vec<u8>)| {
        let mut printed = String::new();
        text::format(column.pg_type, raw, &mut printed).map_err(|error| Unprintable {
            column: column.name.clone(),
            what: error.what,
        })?;
        Ok(printed)
    };
    key.iter().zip(raw).map(print).collect()
}
