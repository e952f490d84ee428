//! What is deployed: the artifacts of `contracts/*.sol` (compiled by `scripts/compile-contracts`) and typed
//! bindings for them.
//!
//! The bindings are hand-written `sol!` items and not an ABI dump; a test compares their selectors and topics
//! with the artifacts, so they cannot drift from the Solidity sources.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};
use eidos_types::Address;
use serde::Deserialize;

mod bindings;

pub use bindings::{Call3, Call3Result, IMulticall3, ISeedVault, ISettlement, IToken, IVault, Trade};

/// A committed artifact: `contracts/out/<name>.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// The contract's name in its Solidity source.
    pub contract: String,
    /// The creation code, without constructor arguments.
    pub bytecode: Bytes,
    /// The code an account has once the contract is deployed. None of ours has immutables, so this is what
    /// `eth_getCode` answers, and what a genesis file may place at an address.
    pub deployed_bytecode: Bytes,
    /// Where each state variable lives.
    pub storage_layout: Vec<StateVariable>,
}

/// One state variable of an [`Artifact`].
#[derive(Debug, Clone, Deserialize)]
pub struct StateVariable {
    /// Its name.
    pub label: String,
    /// Its slot, in decimal.
    pub slot: String,
    /// Its offset inside the slot, in bytes.
    pub offset: u8,
    /// Its type in solc's notation.
    #[serde(rename = "type")]
    pub solidity_type: String,
}

impl Artifact {
    /// Returns the slot of the state variable `label`. `None`: there is no such variable.
    pub fn slot_of(&self, label: &str) -> Option<u64> {
        self.storage_layout
            .iter()
            .find(|variable| variable.label == label)
            .and_then(|variable| variable.slot.parse().ok())
    }
}

macro_rules! artifacts {
    ($($(#[$doc:meta])* $name:ident => $file:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// Only if the committed file is not an artifact, which a test rules out.
            pub fn $name() -> Result<Artifact, serde_json::Error> {
                serde_json::from_str(include_str!(concat!("../contracts/out/", $file, ".json")))
            }
        )*
    };
}

artifacts! {
    /// The Vault of interface A.
    vault_artifact => "Vault";
    /// The Settlement contract of interface A.
    settlement_artifact => "Settlement";
    /// An ERC-20 with chosen decimals and an open mint.
    test_token_artifact => "TestToken";
    /// The vault of the `seed` profile.
    seed_vault_artifact => "SeedVault";
    /// The reader that takes the place of the Vault's code.
    storage_reader_artifact => "StorageReader";
    /// The reader that asks the vault's view.
    view_reader_artifact => "ViewReader";
    /// `aggregate3` for nodes without Multicall3.
    test_multicall_artifact => "TestMulticall";
}

/// Our address as alloy's.
pub const fn evm(address: &Address) -> alloy_primitives::Address {
    alloy_primitives::Address::new(*address.as_bytes())
}

/// The creation code of a Vault owned by `owner` and operated by `operator`.
///
/// # Errors
/// Only if the committed artifact is broken.
pub fn vault_deployment(owner: &Address, operator: &Address) -> Result<Bytes, serde_json::Error> {
    Ok(with_arguments(
        &vault_artifact()?,
        &(evm(owner), evm(operator)).abi_encode_params(),
    ))
}

/// The creation code of a Settlement contract.
///
/// # Errors
/// Only if the committed artifact is broken.
pub fn settlement_deployment(
    owner: &Address,
    operator: &Address,
    vault: &Address,
    fee_recipient: &Address,
) -> Result<Bytes, serde_json::Error> {
    let arguments = (evm(owner), evm(operator), evm(vault), evm(fee_recipient)).abi_encode_params();
    Ok(with_arguments(&settlement_artifact()?, &arguments))
}

/// The creation code of a test token.
///
/// # Errors
/// Only if the committed artifact is broken.
pub fn test_token_deployment(name: &str, symbol: &str, decimals: u8) -> Result<Bytes, serde_json::Error> {
    let arguments = (name.to_owned(), symbol.to_owned(), U256::from(decimals)).abi_encode_params();
    Ok(with_arguments(&test_token_artifact()?, &arguments))
}

/// The creation code of a `seed` vault.
///
/// # Errors
/// Only if the committed artifact is broken.
pub fn seed_vault_deployment() -> Result<Bytes, serde_json::Error> {
    Ok(seed_vault_artifact()?.bytecode)
}

/// The calldata of a call: `encode(IVault::depositETHCall {})`.
pub fn encode(call: &impl SolCall) -> Bytes {
    call.abi_encode().into()
}

fn with_arguments(artifact: &Artifact, arguments: &[u8]) -> Bytes {
    [artifact.bytecode.as_ref(), arguments].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use alloy_sol_types::SolEvent;

    /// Signatures of the functions or events in an artifact's ABI, in canonical form.
    fn signatures(json: &str, kind: &str) -> Vec<String> {
        fn type_of(input: &serde_json::Value) -> String {
            let name = input["type"].as_str().unwrap();
            let Some(array) = name.strip_prefix("tuple") else {
                return name.to_owned();
            };
            let parts: Vec<_> = input["components"]
                .as_array()
                .unwrap()
                .iter()
                .map(type_of)
                .collect();
            format!("({}){array}", parts.join(","))
        }
        let artifact: serde_json::Value = serde_json::from_str(json).unwrap();
        artifact["abi"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["type"] == kind)
            .map(|item| {
                let inputs: Vec<_> = item["inputs"].as_array().unwrap().iter().map(type_of).collect();
                format!("{}({})", item["name"].as_str().unwrap(), inputs.join(","))
            })
            .collect()
    }

    fn assert_in_abi(ours: &[&str], json: &str, kind: &str) {
        let theirs = signatures(json, kind);
        for signature in ours {
            assert!(
                theirs.iter().any(|have| have == signature),
                "{signature} is not in {theirs:?}"
            );
        }
    }

    #[test]
    fn bindings_match_the_compiled_contracts() {
        let vault = include_str!("../contracts/out/Vault.json");
        let settlement = include_str!("../contracts/out/Settlement.json");
        assert_in_abi(IVault::IVaultCalls::SIGNATURES, vault, "function");
        assert_in_abi(IVault::IVaultEvents::SIGNATURES, vault, "event");
        assert_in_abi(ISettlement::ISettlementCalls::SIGNATURES, settlement, "function");
        assert_in_abi(ISettlement::ISettlementEvents::SIGNATURES, settlement, "event");
        assert_in_abi(
            ISeedVault::ISeedVaultCalls::SIGNATURES,
            include_str!("../contracts/out/SeedVault.json"),
            "function",
        );
        assert_in_abi(
            IToken::ITokenCalls::SIGNATURES,
            include_str!("../contracts/out/TestToken.json"),
            "function",
        );
        assert_in_abi(
            IMulticall3::IMulticall3Calls::SIGNATURES,
            include_str!("../contracts/out/TestMulticall.json"),
            "function",
        );
    }

    #[test]
    fn topics_and_selectors_are_those_of_the_data_model() {
        let topic = |hex: &str| hex.parse::<alloy_primitives::B256>().unwrap();
        for (ours, theirs) in [
            (
                IVault::Deposit::SIGNATURE_HASH,
                "0x5548c837ab068cf56a2c2479df0882a4922fd203edb7517321831d95078c5f62",
            ),
            (
                IVault::Withdraw::SIGNATURE_HASH,
                "0x9b1bfa7fa9ee420a16e124f794c35ac9f90472acc99140eb2f6447c714cad8eb",
            ),
            (
                IVault::SettlementTransfer::SIGNATURE_HASH,
                "0x7295fa473e4dedd05c383016aaa929b0c2e4e560e5021e431e4eea80c86ccf29",
            ),
            (
                ISettlement::BatchSettled::SIGNATURE_HASH,
                "0x5904095e03bb06c45ce8e4e6184b1f4190e644f54353c5e1009a45286f1fdd58",
            ),
            (
                ISettlement::TradeSettled::SIGNATURE_HASH,
                "0x25baf94ae5f3e160d26bfb808b81e74c15c812d3d5fdec7699b8cbf97343b86b",
            ),
            (
                IVault::FundsLocked::SIGNATURE_HASH,
                "0xff6ce676f8df5392e01814fa71c577d0eb0846848d4ad13520db93d209c302f6",
            ),
            (
                IVault::FundsUnlocked::SIGNATURE_HASH,
                "0x86cd70ad3c9ac26858b491575ae55a4a3bddc33e4bd136d3c87a6c8a79a4b9be",
            ),
        ] {
            assert_eq!(ours, topic(theirs));
        }
        assert_eq!(IVault::getTotalBalanceCall::SELECTOR, [0x51, 0xbd, 0x55, 0x1f]);
        assert_eq!(
            ISettlement::isBatchSettledCall::SELECTOR,
            [0x15, 0x16, 0xa8, 0xc8]
        );
        assert_eq!(ISeedVault::balanceOfCall::SELECTOR, [0xf7, 0x88, 0x8a, 0xec]);
    }

    #[test]
    fn every_artifact_loads_and_has_code() {
        for artifact in [
            vault_artifact(),
            settlement_artifact(),
            test_token_artifact(),
            seed_vault_artifact(),
            storage_reader_artifact(),
            view_reader_artifact(),
            test_multicall_artifact(),
        ] {
            let artifact = artifact.unwrap();
            assert!(!artifact.bytecode.is_empty(), "{}", artifact.contract);
            assert_ne!(keccak256(&artifact.deployed_bytecode), keccak256([]));
        }
    }
}
