//! How each column is stored, judged by the first rows of a file.
//!
//! A dictionary stores each value of a row group once and a number for each row. It pays where values repeat within a
//! row group; where they do not, it costs the time of looking each value up and then the bytes of the numbers. So the
//! choice is made by the bytes it is expected to save, and so is its limit, at which the writer gives it up. What a value
//! takes is measured, by compressing the first rows: nothing else distinguishes text that counts up from other text.
#![expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "estimates of sizes: no value of a row is computed with"
)]

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use crate::column::Column;
use crate::pg_type::PgType;

/// A dictionary must save this share of a column's bytes to be worth its time.
const WORTH_SHARE: f64 = 0.1;
/// The sample may have missed what repeats: a dictionary that pays may grow this many times larger than expected.
const LIMIT_SLACK: f64 = 3.0;
const MIN_LIMIT_BYTES: f64 = 131_072.0;
/// A reader holds a dictionary whole.
const MAX_LIMIT_BYTES: f64 = 2_097_152.0;
/// Longer text is prose or a document: it is not looked up as a whole.
const MAX_LOOKUP_BYTES: f64 = 80.0;
/// A bloom filter, a byte for each different value, must save this many times its bytes of reading: it costs a hash of
/// every row.
const FILTER_WORTH: f64 = 4.0;
/// Readers ask a store for no less than some KiB at once: a column of a row group that is smaller needs no filter.
const MIN_FILTERED_BYTES: f64 = 4096.0;

/// How one column is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ColumnLayout {
    /// Bytes at which the dictionary of a row group is given up. `None`: no dictionary.
    pub(super) dictionary_limit: Option<usize>,
    /// Whether single values are looked up in it.
    pub(super) bloom_filter: bool,
}

/// Judges a column by a sample of its values, for row groups of `group_rows` at this level of zstd.
pub(super) fn layout(column: &Column, sample: &ArrayRef, group_rows: usize, zstd_level: i32) -> ColumnLayout {
    let Some(seen) = Sample::of(column.pg_type, sample, zstd_level) else {
        return ColumnLayout {
            dictionary_limit: None,
            bloom_filter: false,
        };
    };
    ColumnLayout {
        dictionary_limit: seen.dictionary_limit(group_rows as f64),
        bloom_filter: seen.may_be_looked_up(column) && seen.filter_pays(group_rows as f64),
    }
}

/// What is known of a column's values.
struct Sample {
    values: f64,
    /// Different ones among them.
    distinct: f64,
    /// Those seen once, and those seen twice.
    once: f64,
    twice: f64,
    /// Bytes of one value in a dictionary.
    width: f64,
    /// Bits that one value takes without a dictionary, compressed.
    plain_bits: f64,
    /// Bits that one different value takes in a dictionary, compressed.
    entry_bits: f64,
    /// The share of values that are not the value before them.
    changes: f64,
    /// Whether none is smaller than the one before. Not asked of text.
    ascending: bool,
}

impl Sample {
    /// `None`: the type has no dictionary and is not looked up. Floats never have a dictionary: it compares them as
    /// numbers, to which -0 is 0, and their bits must come back.
    fn of(pg_type: PgType, array: &ArrayRef, level: i32) -> Option<Self> {
        match pg_type {
            PgType::Bool | PgType::Float4 | PgType::Float8 | PgType::Bytea | PgType::Json | PgType::Jsonb => {
                None
            }
            PgType::Int2 => Some(Self::of_numbers::<Int16Type, 4>(array, level)),
            PgType::Int4 => Some(Self::of_numbers::<Int32Type, 4>(array, level)),
            PgType::Date => Some(Self::of_numbers::<Date32Type, 4>(array, level)),
            PgType::Int8 => Some(Self::of_deltas::<Int64Type>(array, level)),
            PgType::Timestamp | PgType::Timestamptz => {
                Some(Self::of_deltas::<TimestampMicrosecondType>(array, level))
            }
            PgType::Numeric { .. } => Some(Self::of_numbers::<Decimal128Type, 16>(array, level)),
            PgType::Varchar(_) | PgType::Char(_) | PgType::Text => {
                let text = array.as_string_opt::<i32>()?;
                // A page has the length of each before it.
                let stored =
                    |value: &str| [&(value.len() as u64).to_le_bytes()[..4], value.as_bytes()].concat();
                Some(Self::of_values(text.iter().flatten().map(stored), level))
            }
            PgType::Uuid => {
                let ids = array.as_fixed_size_binary_opt()?;
                Some(Self::of_values(ids.iter().flatten(), level))
            }
        }
    }

    /// Stored in full, in `WIDTH` bytes.
    fn of_numbers<T: ArrowPrimitiveType<Native: Into<i128>>, const WIDTH: usize>(
        array: &ArrayRef,
        level: i32,
    ) -> Self {
        let numbers = numbers::<T>(array);
        let bytes: Vec<[u8; 16]> = numbers.iter().map(|number| number.to_be_bytes()).collect();
        let stored = bytes.iter().filter_map(|bytes| bytes.last_chunk::<WIDTH>());
        let mut seen = Self::of_values(stored, level);
        seen.ascending = numbers.is_sorted();
        seen
    }

    /// Stored as differences in blocks of 32, all of a block as wide as its widest.
    fn of_deltas<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &ArrayRef, level: i32) -> Self {
        let mut seen = Self::of_numbers::<T, 8>(array, level);
        let deltas: Vec<i128> = numbers::<T>(array)
            .windows(2)
            .map(|pair| pair.last().unwrap_or(&0) - pair.first().unwrap_or(&0))
            .collect();
        let block_bits = |block: &[i128]| {
            let (least, most) = (block.iter().min(), block.iter().max());
            let widest = most.unwrap_or(&0) - least.unwrap_or(&0);
            f64::from(bits_of(widest.unsigned_abs())) * block.len() as f64
        };
        let bits: f64 = deltas.chunks(32).map(block_bits).sum();
        seen.plain_bits = bits / seen.values.max(1.0);
        seen
    }

    /// Of values as a page stores them.
    fn of_values<V: AsRef<[u8]>>(values: impl Iterator<Item = V>, level: i32) -> Self {
        let mut counts: HashMap<u64, u32> = HashMap::new();
        let (mut page, mut dictionary) = (Vec::new(), Vec::new());
        let (mut total, mut changes, mut before) = (0.0, 0.0, None);
        for value in values {
            let value = value.as_ref();
            let mut hasher = DefaultHasher::new();
            hasher.write(value);
            let hash = hasher.finish();
            let times = counts.entry(hash).or_default();
            if *times == 0 {
                dictionary.extend_from_slice(value);
            }
            *times += 1;
            page.extend_from_slice(value);
            total += 1.0;
            changes += f64::from(u8::from(before != Some(hash)));
            before = Some(hash);
        }
        let times = |wanted: u32| counts.values().filter(|count| **count == wanted).count() as f64;
        let distinct = counts.len() as f64;
        Self {
            values: total,
            distinct,
            once: times(1),
            twice: times(2),
            width: dictionary.len() as f64 / distinct.max(1.0),
            plain_bits: compressed_bits(&page, level) / f64::max(total, 1.0),
            entry_bits: compressed_bits(&dictionary, level) / distinct.max(1.0),
            changes: changes / f64::max(total, 1.0),
            ascending: false,
        }
    }

    /// Returns about how many different values a row group has: the estimate of a population from how often its members
    /// were seen (Chao 1984), then what a row group draws from it.
    fn distinct_of(&self, rows: f64) -> f64 {
        let unseen = self.once * (self.once - 1.0).max(0.0) / (2.0 * (self.twice + 1.0));
        let all = (self.distinct + unseen).max(1.0);
        let drawn = all * (1.0 - (-rows / all).exp());
        drawn.max(self.distinct.min(rows))
    }

    fn dictionary_limit(&self, group_rows: f64) -> Option<usize> {
        if self.values < 1.0 {
            return None;
        }
        let distinct = self.distinct_of(group_rows);
        let plain = self.plain_bits * group_rows;
        let numbers = distinct.log2().max(0.0).ceil() * group_rows;
        let saved = plain - (self.entry_bits * distinct + numbers);
        let limit = (distinct * self.width * LIMIT_SLACK).clamp(MIN_LIMIT_BYTES, MAX_LIMIT_BYTES);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 128 KiB and 2 MiB"
        )]
        let limit_bytes = limit as usize;
        (saved > plain * WORTH_SHARE && distinct * self.width < MAX_LIMIT_BYTES).then_some(limit_bytes)
    }

    /// Returns whether a filter that says that a value is absent spares a reader much: what the column of a row group
    /// takes, with or without a dictionary, whichever is less.
    fn filter_pays(&self, group_rows: f64) -> bool {
        let distinct = self.distinct_of(group_rows);
        let numbers = distinct.log2().max(0.0).ceil() * group_rows * self.changes;
        let with_dictionary = distinct * self.entry_bits + numbers;
        let bytes = with_dictionary.min(self.plain_bits * group_rows) / 8.0;
        bytes > MIN_FILTERED_BYTES && bytes > FILTER_WORTH * distinct
    }

    /// Wallets, tokens, hashes and ids are text or uuid. Integers are looked up when they are ids; where they ascend,
    /// minimum and maximum say as much.
    fn may_be_looked_up(&self, column: &Column) -> bool {
        match column.pg_type {
            PgType::Varchar(_) | PgType::Char(_) | PgType::Text => self.width <= MAX_LOOKUP_BYTES,
            PgType::Uuid => true,
            PgType::Int4 | PgType::Int8 => {
                (column.name == "id" || column.name.ends_with("_id")) && !self.ascending
            }
            _ => false,
        }
    }
}

fn compressed_bits(page: &[u8], level: i32) -> f64 {
    let bytes = zstd::bulk::compress(page, level).map_or(page.len(), |compressed| compressed.len());
    bytes as f64 * 8.0
}

fn numbers<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &ArrayRef) -> Vec<i128> {
    let array = array.as_primitive_opt::<T>();
    array.into_iter().flatten().flatten().map(Into::into).collect()
}

const fn bits_of(number: u128) -> u32 {
    u128::BITS - number.leading_zeros()
}
