// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

// These two are never deployed. Their runtime code is put in place by the state override of one `eth_call`,
// reads as many balances as the gas allows, and is gone. Wallets travel packed, 20 bytes each; the answer is
// one 32-byte word per wallet in the same order.

/// @notice Takes the place of the Vault's own code, so that the Vault's storage is its own: it derives the
///         slot of `balances[wallet][token]` and reads it. About 2.6k gas per wallet, most of it the SLOAD.
/// @dev Calldata: token (32 bytes), slot of the balances mapping (32 bytes), wallets (20 bytes each).
contract StorageReader {
    fallback() external {
        assembly {
            let token := calldataload(0)
            let mappingSlot := calldataload(32)
            let out := 0x80
            for { let at := 64 } lt(at, calldatasize()) { at := add(at, 20) } {
                mstore(0, shr(96, calldataload(at)))
                mstore(32, mappingSlot)
                let inner := keccak256(0, 64)
                mstore(0, token)
                mstore(32, inner)
                mstore(out, sload(keccak256(0, 64)))
                out := add(out, 32)
            }
            return(0x80, sub(out, 0x80))
        }
    }
}

/// @notice Stands at an unused address and asks the vault's public view once per wallet: needs no knowledge of
///         the storage layout. A view that fails or answers short fails the whole call.
/// @dev Calldata: vault (32 bytes), token (32 bytes), selector (32 bytes, left-aligned), wallets (20 each).
contract ViewReader {
    error ViewFailed();

    fallback() external {
        bytes4 failed = ViewFailed.selector;
        assembly {
            let vault := calldataload(0)
            let question := 0x80
            mstore(question, calldataload(64))
            mstore(add(question, 36), calldataload(32))
            let out := 0x100
            for { let at := 96 } lt(at, calldatasize()) { at := add(at, 20) } {
                mstore(add(question, 4), shr(96, calldataload(at)))
                let answered := staticcall(gas(), vault, question, 68, out, 32)
                if or(iszero(answered), lt(returndatasize(), 32)) {
                    mstore(0, failed)
                    revert(0, 4)
                }
                out := add(out, 32)
            }
            return(0x100, sub(out, 0x100))
        }
    }
}
