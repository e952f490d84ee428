//! Where the Vault keeps its balances: the slots of `mapping(user => mapping(token => uint256))`.

use alloy_primitives::keccak256;
use eidos_types::{Address, Hash32};

use crate::contracts;

/// The slots behind one wallet's balance of one token in our Vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceSlots {
    /// The slot of the total (locked part included), a `uint256`.
    pub total: Hash32,
    /// The slot of the locked part, a `uint256`; available = total − locked.
    pub locked: Hash32,
}

/// Returns the slots of `wallet`'s balance of `token` in the Vault of `contracts/Vault.sol`. A genesis file that
/// places a value there has deposited it, as far as the contract can tell.
///
/// # Errors
/// Only if the committed artifact is broken.
pub fn vault_balance_slots(wallet: &Address, token: &Address) -> Result<BalanceSlots, serde_json::Error> {
    let artifact = contracts::vault_artifact()?;
    let slot = |label: &str| {
        artifact.slot_of(label).ok_or_else(|| {
            serde::de::Error::custom(format!("contracts/out/Vault.json has no state variable {label}"))
        })
    };
    Ok(BalanceSlots {
        total: nested_slot(slot(TOTALS)?, wallet, token),
        locked: nested_slot(slot(LOCKED)?, wallet, token),
    })
}

/// Returns the slot of `mapping[outer][inner]` for the mapping in `mapping_slot`.
pub fn nested_slot(mapping_slot: u64, outer: &Address, inner: &Address) -> Hash32 {
    let mut words = [0_u8; 64];
    words[12..32].copy_from_slice(outer.as_bytes());
    words[56..64].copy_from_slice(&mapping_slot.to_be_bytes());
    let base = keccak256(words);
    words[12..32].copy_from_slice(inner.as_bytes());
    words[32..].copy_from_slice(base.as_slice());
    Hash32::new(keccak256(words).0)
}

/// The state variable of the totals in `contracts/Vault.sol`.
pub(crate) const TOTALS: &str = "_totals";
const LOCKED: &str = "_locked";
