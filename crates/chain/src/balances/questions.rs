//! What each rung asks, and how its answer is read: pure, so that it can be tested without a node.

use std::collections::HashMap;

use alloy_primitives::{Address as EvmAddress, B256, Bytes, U64};
use alloy_rpc_types_eth::state::{AccountOverride, StateOverride};
use alloy_sol_types::SolCall;
use eidos_types::{Address, BaseUnits, Hash32};
use serde::Serialize;

use crate::AbiProfile;
use crate::contracts::{Call3, IMulticall3, ISeedVault, IVault, evm};
use crate::layout::nested_slot;

/// The first parameter of `eth_call`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallRequest {
    pub(crate) to: EvmAddress,
    /// `data` and not the newer `input`: every client knows it.
    pub(crate) data: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gas: Option<U64>,
}

/// An address to which no contract can be deployed without breaking Keccak: where the view reader is put for the time
/// of one call.
pub(crate) const SCRATCH: EvmAddress = EvmAddress::new(*b"eidos-scratch-reader");

/// The plain question: one wallet, one token, the profile's own view.
pub(crate) fn total_view(profile: AbiProfile, wallet: &Address, token: &Address) -> Bytes {
    let (user, token) = (evm(wallet), evm(token));
    match profile {
        AbiProfile::EidosVault => IVault::getTotalBalanceCall { user, token }.abi_encode(),
        AbiProfile::Seed => ISeedVault::balanceOfCall { user, token }.abi_encode(),
    }
    .into()
}

/// The profile's name, and each of its views with a question that a contract of the profile answers.
pub(crate) fn profile_views(profile: AbiProfile) -> (&'static str, Vec<(&'static str, Bytes)>) {
    let (user, token) = (EvmAddress::ZERO, EvmAddress::ZERO);
    let total = total_view(profile, &Address::ZERO, &Address::ZERO);
    match profile {
        AbiProfile::EidosVault => {
            let available = IVault::getAvailableBalanceCall { user, token }.abi_encode();
            let locked = IVault::getLockedBalanceCall { user, token }.abi_encode();
            let supported = IVault::isTokenSupportedCall { token }.abi_encode();
            let views = vec![
                ("getTotalBalance", total),
                ("getAvailableBalance", available.into()),
                ("getLockedBalance", locked.into()),
                ("isTokenSupported", supported.into()),
            ];
            ("eidos-vault", views)
        }
        AbiProfile::Seed => {
            let deposited = ISeedVault::depositedCall { user, token }.abi_encode();
            let withdrawn = ISeedVault::withdrawnCall { user, token }.abi_encode();
            let views = vec![
                ("balanceOf", total),
                ("deposited", deposited.into()),
                ("withdrawn", withdrawn.into()),
            ];
            ("seed", views)
        }
    }
}

const fn total_selector(profile: AbiProfile) -> [u8; 4] {
    match profile {
        AbiProfile::EidosVault => IVault::getTotalBalanceCall::SELECTOR,
        AbiProfile::Seed => ISeedVault::balanceOfCall::SELECTOR,
    }
}

/// Calldata of `StorageReader`: token, slot of the mapping, packed wallets.
pub(crate) fn storage_reader_data(token: &Address, slot: u64, wallets: &[Address]) -> Bytes {
    let mut data = Vec::with_capacity(64 + wallets.len() * 20);
    data.extend_from_slice(&[0; 12]);
    data.extend_from_slice(token.as_bytes());
    data.extend_from_slice(&[0; 24]);
    data.extend_from_slice(&slot.to_be_bytes());
    pack(&mut data, wallets);
    data.into()
}

/// Calldata of `ViewReader`: vault, token, selector, packed wallets.
pub(crate) fn view_reader_data(
    profile: AbiProfile,
    vault: &Address,
    token: &Address,
    wallets: &[Address],
) -> Bytes {
    let mut data = Vec::with_capacity(96 + wallets.len() * 20);
    for address in [vault, token] {
        data.extend_from_slice(&[0; 12]);
        data.extend_from_slice(address.as_bytes());
    }
    data.extend_from_slice(&total_selector(profile));
    data.extend_from_slice(&[0; 28]);
    pack(&mut data, wallets);
    data.into()
}

fn pack(data: &mut Vec<u8>, wallets: &[Address]) {
    for wallet in wallets {
        data.extend_from_slice(wallet.as_bytes());
    }
}

/// The override that gives `address` the code `code` and leaves its storage and balance alone.
pub(crate) fn code_override(address: EvmAddress, code: &Bytes) -> StateOverride {
    let account = AccountOverride {
        code: Some(code.clone()),
        ..AccountOverride::default()
    };
    StateOverride::from_iter([(address, account)])
}

/// One 32-byte word per wallet, nothing more and nothing less.
pub(crate) fn words(answer: &[u8], wallets: usize) -> Result<Vec<BaseUnits>, String> {
    let (whole, rest) = answer.as_chunks::<32>();
    if !rest.is_empty() || whole.len() != wallets {
        return Err(format!(
            "{} bytes for {wallets} wallets, not {}",
            answer.len(),
            wallets * 32
        ));
    }
    Ok(whole.iter().map(|word| BaseUnits::from_be_bytes(*word)).collect())
}

/// One word: the answer to a plain question.
pub(crate) fn word(answer: &[u8]) -> Result<BaseUnits, String> {
    words(answer, 1)?.pop().ok_or_else(|| "no word".to_owned())
}

/// The slots `eth_getStorageValues` is asked for.
pub(crate) fn storage_slots(token: &Address, slot: u64, wallets: &[Address]) -> Vec<Hash32> {
    wallets
        .iter()
        .map(|wallet| nested_slot(slot, wallet, token))
        .collect()
}

/// The answer of `eth_getStorageValues`: the vault's values in the order of the slots.
pub(crate) fn storage_values(
    answer: &HashMap<EvmAddress, Vec<B256>>,
    vault: &Address,
    wallets: usize,
) -> Result<Vec<BaseUnits>, String> {
    let values = answer
        .get(&evm(vault))
        .ok_or_else(|| format!("no values for {vault}"))?;
    if values.len() != wallets || answer.len() != 1 {
        return Err(format!(
            "{} values of {} accounts for {wallets} slots of one",
            values.len(),
            answer.len()
        ));
    }
    Ok(values
        .iter()
        .map(|value| BaseUnits::from_be_bytes(value.0))
        .collect())
}

/// Calldata of `aggregate3`: one view call per wallet, none of which may fail.
pub(crate) fn multicall_data(
    profile: AbiProfile,
    vault: &Address,
    token: &Address,
    wallets: &[Address],
) -> Bytes {
    let calls = wallets
        .iter()
        .map(|wallet| Call3 {
            target: evm(vault),
            allowFailure: false,
            callData: total_view(profile, wallet, token),
        })
        .collect();
    IMulticall3::aggregate3Call { calls }.abi_encode().into()
}

/// The answer of `aggregate3`.
pub(crate) fn multicall_words(answer: &[u8], wallets: usize) -> Result<Vec<BaseUnits>, String> {
    let results =
        IMulticall3::aggregate3Call::abi_decode_returns(answer).map_err(|error| error.to_string())?;
    if results.len() != wallets {
        return Err(format!("{} results for {wallets} wallets", results.len()));
    }
    results
        .iter()
        .map(|result| {
            if result.success {
                word(&result.returnData)
            } else {
                Err("a call failed".to_owned())
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_get_fixed_words_and_packed_wallets() {
        let (token, wallets) = (
            Address::new([7; 20]),
            [Address::new([1; 20]), Address::new([2; 20])],
        );
        let data = storage_reader_data(&token, 3, &wallets);
        assert_eq!(data.len(), 64 + 40);
        assert_eq!(data[12..32], [7; 20]);
        assert_eq!(data[63], 3);
        assert_eq!(data[84..], [2; 20]);
        let data = view_reader_data(AbiProfile::Seed, &Address::new([9; 20]), &token, &wallets);
        assert_eq!(data.len(), 96 + 40);
        assert_eq!(data[64..68], [0xf7, 0x88, 0x8a, 0xec]);
    }

    #[test]
    fn answers_of_another_length_are_refused() {
        assert_eq!(words(&[0; 64], 2).unwrap(), [BaseUnits::ZERO; 2]);
        for (bytes, wallets) in [(0, 1), (31, 1), (33, 1), (64, 1), (64, 3)] {
            assert!(
                words(&vec![0; bytes], wallets).is_err(),
                "{bytes} bytes for {wallets}"
            );
        }
        let vault = Address::new([9; 20]);
        let answer = HashMap::from([(evm(&vault), vec![B256::ZERO; 2])]);
        assert!(storage_values(&answer, &vault, 2).is_ok());
        assert!(storage_values(&answer, &vault, 3).is_err());
        assert!(storage_values(&answer, &Address::new([8; 20]), 2).is_err());
        assert!(multicall_words(&[0; 31], 1).is_err());
        assert!(multicall_words(&[], 1).is_err());
    }
}
