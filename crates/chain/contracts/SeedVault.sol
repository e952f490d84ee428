// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20, TokenMoves} from "./TokenMoves.sol";

/// @title SeedVault
/// @notice The smallest vault with the views of the `seed` ABI profile: `balanceOf`, `deposited` and
///         `withdrawn` per user and token. It exists so that the profile is tested against a real contract.
contract SeedVault {
    event Deposit(address indexed user, address indexed token, uint256 amount);
    event Withdraw(address indexed user, address indexed token, uint256 amount);

    error InsufficientBalance();

    /// user => token => amount ever deposited
    mapping(address => mapping(address => uint256)) public deposited;
    /// user => token => amount ever withdrawn
    mapping(address => mapping(address => uint256)) public withdrawn;

    function balanceOf(address user, address token) public view returns (uint256) {
        return deposited[user][token] - withdrawn[user][token];
    }

    function deposit(address token, uint256 amount) external {
        TokenMoves.pull(IERC20(token), msg.sender, amount);
        deposited[msg.sender][token] += amount;
        emit Deposit(msg.sender, token, amount);
    }

    function withdraw(address token, uint256 amount) external {
        if (balanceOf(msg.sender, token) < amount) revert InsufficientBalance();
        withdrawn[msg.sender][token] += amount;
        TokenMoves.push(token, msg.sender, amount);
        emit Withdraw(msg.sender, token, amount);
    }
}
