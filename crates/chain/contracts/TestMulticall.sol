// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title TestMulticall
/// @notice `aggregate3` as the well-known Multicall3 offers it, for tests on a fresh node, which has none.
contract TestMulticall {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }

    struct Result {
        bool success;
        bytes returnData;
    }

    error CallFailed();

    function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory results) {
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; i++) {
            (bool success, bytes memory returnData) = calls[i].target.call(calls[i].callData);
            if (!success && !calls[i].allowFailure) revert CallFailed();
            results[i] = Result(success, returnData);
        }
    }
}
