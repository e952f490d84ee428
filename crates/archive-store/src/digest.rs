//! [`ContentDigest`]: one number for the rows of a table, whatever their order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// The sum modulo 2^256 of the SHA-256 of every row's COPY BINARY tuple (field count, then length and bytes of each
/// field). A sum does not depend on the order of rows, counts duplicates (a XOR would let two equal rows vanish) and
/// can be merged. Displayed as 64 hexadecimal digits, the most significant first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ContentDigest {
    /// Least significant first.
    limbs: [u64; 4],
}

impl ContentDigest {
    /// Of no rows.
    pub const ZERO: Self = Self { limbs: [0; 4] };

    /// Of one row.
    #[must_use]
    pub fn of_row(tuple: &[u8]) -> Self {
        Self::from_be_bytes(Sha256::digest(tuple).into())
    }

    /// Adds one row.
    pub fn add(&mut self, tuple: &[u8]) {
        self.merge(&Self::of_row(tuple));
    }

    /// Adds the rows of another digest.
    pub fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, add) in self.limbs.iter_mut().zip(other.limbs) {
            let (sum, over) = limb.overflowing_add(add);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over || over_carry;
        }
    }

    fn from_be_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.chunks_exact(8)) {
            *limb = chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
        }
        Self { limbs }
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limbs
            .iter()
            .rev()
            .try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDigest({self})")
    }
}

/// The text is not a content digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content digest is 64 lower-case hexadecimal digits")]
pub struct DigestTextError;

impl FromStr for ContentDigest {
    type Err = DigestTextError;

    fn from_str(text: &str) -> Result<Self, DigestTextError> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let mut bytes = [0; 32];
        if !text.bytes().all(digit) || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(DigestTextError);
        }
        Ok(Self::from_be_bytes(bytes))
    }
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
