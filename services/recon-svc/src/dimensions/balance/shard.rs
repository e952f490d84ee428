//! Cutting the address space into ranges that are worked independently.

use eidos_types::Address;
use serde::{Deserialize, Serialize};

/// A range of wallets, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Position, from 0.
    pub index: u16,
    /// First wallet.
    pub first: Address,
    /// Last wallet.
    pub last: Address,
}

/// `count` shards (1–256, clamped) of equal width that cover every address once.
#[must_use]
pub fn shards(count: u16) -> Vec<Shard> {
    let count = u32::from(count.clamp(1, 256));
    let bound = |i: u32| i * 0x1_0000 / count;
    (0..count)
        .map(|i| Shard {
            index: u16::try_from(i).unwrap_or_default(),
            first: filled(bound(i), 0x00),
            last: filled(bound(i + 1) - 1, 0xff),
        })
        .collect()
}

/// The address that starts with the two bytes of `prefix` and goes on with `rest`.
fn filled(prefix: u32, rest: u8) -> Address {
    let mut bytes = [rest; 20];
    let [_, _, high, low] = prefix.to_be_bytes();
    (bytes[0], bytes[1]) = (high, low);
    Address::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_wallet_is_in_exactly_one_shard(bytes in any::<[u8; 20]>(), count in 0_u16..300) {
            let wallet = Address::new(bytes);
            let shards = shards(count);
            let holding = shards.iter().filter(|shard| shard.first <= wallet && wallet <= shard.last).count();
            prop_assert_eq!(holding, 1);
            prop_assert_eq!(shards[0].first, Address::ZERO);
            prop_assert_eq!(shards[shards.len() - 1].last, Address::new([0xff; 20]));
        }
    }
}
