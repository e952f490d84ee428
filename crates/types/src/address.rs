//! Twenty- and thirty-two-byte names of the EVM world.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An account or contract: twenty bytes, shown as lower-case hex with `0x`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address([u8; 20]);

/// A block, transaction or batch hash, or any other 32-byte word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash32([u8; 32]);

/// The text is not the hex form that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {bytes} bytes in hex with a leading 0x")]
pub struct ParseHexError {
    /// The text that was refused (at most 80 characters of it).
    text: String,
    /// How many bytes were expected.
    bytes: usize,
}

macro_rules! hex_newtype {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $bytes]);

            /// From its bytes.
            #[must_use]
            pub const fn new(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                let refuse = || ParseHexError {
                    text: text.chars().take(80).collect(),
                    bytes: $bytes,
                };
                let digits = text.strip_prefix("0x").ok_or_else(refuse)?;
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_cause| refuse())?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("0x{}", hex::encode(self.0)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_newtype!(Address, 20);
hex_newtype!(Hash32, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_in_lower_case_out() {
        let address: Address = "0xAF88d065e77c8cC2239327C5EDb3A432268e5831".parse().unwrap();
        assert_eq!(address.to_string(), "0xaf88d065e77c8cc2239327c5edb3a432268e5831");
    }

    #[test]
    fn wrong_length_or_prefix_is_refused() {
        for text in [
            "",
            "0x",
            "af88d065e77c8cc2239327c5edb3a432268e5831",
            "0xaf88",
            "0xzz88d065e77c8cc2239327c5edb3a432268e5831",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
