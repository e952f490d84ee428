// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @dev The part of ERC-20 that the vaults use.
interface IERC20 {
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// @dev Moves that fail loudly: a token that answers `false` reverts like one that reverts.
library TokenMoves {
    error TransferFailed();

    /// Takes `amount` of `token` from a user who approved it.
    function pull(IERC20 token, address from, uint256 amount) internal {
        if (!token.transferFrom(from, address(this), amount)) revert TransferFailed();
    }

    /// Pays `amount` out; `token` zero is the native coin.
    function push(address token, address to, uint256 amount) internal {
        if (token == address(0)) {
            (bool paid,) = to.call{value: amount}("");
            if (!paid) revert TransferFailed();
        } else if (!IERC20(token).transfer(to, amount)) {
            revert TransferFailed();
        }
    }
}
