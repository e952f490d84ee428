//! The column order that a footer states for floats.
//!
//! Parquet's 2.x readers know one order, "as the type defines". The `parquet` crate states another one for floats since
//! version 60 (IEEE 754 total order, of 2026), and offers no choice. Readers from before refuse the whole file, also for
//! its other columns. Our files have no minimum and maximum of floats, so that either order is true of them, and an
//! archive is read by whatever tools there are: we state the old one.
//!
//! A footer is a `FileMetaData` in Thrift's compact protocol, then its length and `PAR1`. Both orders are empty structs
//! in a union: only the field's number differs, in four bits of a byte.

use crate::codec_error::CodecError;

const MAGIC: &[u8; 4] = b"PAR1";
/// `FileMetaData.column_orders`.
const COLUMN_ORDERS: i64 = 7;
/// A header of a field that is a struct: number 1 (as the type defines) and number 2 (IEEE 754 total order).
const AS_TYPE_DEFINES: u8 = 0x1c;
const IEEE_754_TOTAL: u8 = 0x2c;

/// Thrift's compact types.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const STRUCT: u8 = 12;
}

/// Makes every column of this file state the order that its type defines.
///
/// # Errors
/// [`CodecError::Part`] when the footer is not one that the `parquet` crate writes.
pub(super) fn state_type_defined_order(file: &mut [u8]) -> Result<(), CodecError> {
    let unknown = || CodecError::Part("its footer cannot be read again".to_owned());
    let footer = footer_of(file).ok_or_else(unknown)?;
    let orders = Thrift { bytes: footer, at: 0 }
        .column_orders()
        .ok_or_else(unknown)?;
    for at in orders {
        match footer.get_mut(at) {
            Some(order) if *order == AS_TYPE_DEFINES || *order == IEEE_754_TOTAL => *order = AS_TYPE_DEFINES,
            _ => return Err(unknown()),
        }
    }
    Ok(())
}

fn footer_of(file: &mut [u8]) -> Option<&mut [u8]> {
    let rest = file.len().checked_sub(MAGIC.len())?;
    let (rest, magic) = file.split_at_mut_checked(rest)?;
    let (rest, length) = rest.split_last_chunk_mut::<4>()?;
    let start = rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?;
    if *magic != *MAGIC {
        return None;
    }
    rest.get_mut(start..)
}

/// Reads on from `at`; `None` where the bytes are not Thrift.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    /// Where the field header of each column's order is.
    fn column_orders(mut self) -> Option<Vec<usize>> {
        let mut number = 0;
        loop {
            let kind = self.field(&mut number)?;
            if kind == 0 {
                return None;
            }
            if number == COLUMN_ORDERS && kind == kind::LIST {
                break;
            }
            self.skip(kind)?;
        }
        let (kind, count) = self.list()?;
        let mut orders = Vec::new();
        for _column in 0..count {
            orders.push(self.at);
            self.skip(kind)?;
        }
        (kind == kind::STRUCT).then_some(orders)
    }

    /// The next field's type, 0 at the end of its struct; adds to the number of the field before.
    fn field(&mut self, number: &mut i64) -> Option<u8> {
        let header = self.byte()?;
        if header == 0 {
            return Some(0);
        }
        match header >> 4 {
            0 => {
                let zigzag = self.varint()?;
                *number = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
            }
            delta => *number += i64::from(delta),
        }
        Some(header & 0x0f)
    }

    fn list(&mut self) -> Option<(u8, u64)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        Some((header & 0x0f, count))
    }

    fn skip(&mut self, kind: u8) -> Option<()> {
        match kind {
            kind::TRUE | kind::FALSE => Some(()),
            kind::BYTE => self.byte().map(|_| ()),
            kind::I16..=kind::I64 => self.varint().map(|_| ()),
            kind::DOUBLE => self.forward(8),
            kind::BINARY => {
                let length = self.varint()?;
                self.forward(length)
            }
            kind::LIST | kind::SET => {
                let (kind, count) = self.list()?;
                for _element in 0..count {
                    // A truth value is a byte of its own here; in a struct it is in the field's header.
                    match kind {
                        kind::TRUE | kind::FALSE => self.forward(1)?,
                        _ => self.skip(kind)?,
                    }
                }
                Some(())
            }
            kind::STRUCT => {
                let mut number = 0;
                loop {
                    match self.field(&mut number)? {
                        0 => return Some(()),
                        kind => self.skip(kind)?,
                    }
                }
            }
            _ => None,
        }
    }

    fn forward(&mut self, bytes: u64) -> Option<()> {
        self.at = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
