// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC20, TokenMoves} from "./TokenMoves.sol";

/// @title Vault
/// @notice Keeps users' tokens while they trade off chain. Interface A of the data model.
/// @dev A user's total includes what is locked: available = total - locked. The native coin is address(0).
///      There are no immutables on purpose: the code on chain is then byte for byte `deployedBytecode` of
///      the committed artifact, which is how the reader knows that it may use this storage layout.
contract Vault {
    event Deposit(address indexed user, address indexed token, uint256 amount);
    event Withdraw(address indexed user, address indexed token, uint256 amount);
    event FundsLocked(address indexed user, address indexed token, uint256 amount, bytes32 indexed orderId);
    event FundsUnlocked(address indexed user, address indexed token, uint256 amount, bytes32 indexed orderId);
    event SettlementTransfer(
        address indexed from,
        address indexed to,
        address indexed token,
        uint256 amount,
        bytes32 settlementId
    );
    event OperatorUpdated(address indexed oldOperator, address indexed newOperator);
    event SettlementContractUpdated(address indexed oldContract, address indexed newContract);

    error Unauthorized();
    error InvalidAddress();
    error InvalidAmount();
    error InsufficientBalance();
    error InsufficientLockedBalance();
    error TokenNotSupported();
    error Reentered();

    address private constant NATIVE = address(0);

    address public owner;
    address public operator;
    address public settlementContract;
    bool private _entered;
    /// user => token => everything the user has here, locked or not
    mapping(address => mapping(address => uint256)) private _totals;
    /// user => token => the locked part of it
    mapping(address => mapping(address => uint256)) private _locked;
    mapping(address => bool) private _unsupported;

    modifier onlyOwner() {
        if (msg.sender != owner) revert Unauthorized();
        _;
    }

    modifier onlyOperator() {
        if (msg.sender != operator) revert Unauthorized();
        _;
    }

    modifier positive(uint256 amount) {
        if (amount == 0) revert InvalidAmount();
        _;
    }

    modifier nonReentrant() {
        if (_entered) revert Reentered();
        _entered = true;
        _;
        _entered = false;
    }

    constructor(address initialOwner, address initialOperator) {
        if (initialOwner == address(0) || initialOperator == address(0)) revert InvalidAddress();
        owner = initialOwner;
        operator = initialOperator;
    }

    receive() external payable {
        _credit(NATIVE, msg.value);
    }

    // ---- users

    function deposit(address token, uint256 amount) external nonReentrant positive(amount) {
        if (token == NATIVE) revert InvalidAddress();
        TokenMoves.pull(IERC20(token), msg.sender, amount);
        _credit(token, amount);
    }

    function depositETH() external payable positive(msg.value) {
        _credit(NATIVE, msg.value);
    }

    /// @notice Users withdraw to themselves only.
    function withdraw(address token, uint256 amount) external {
        if (token == NATIVE) revert InvalidAddress();
        _withdraw(token, amount);
    }

    function withdrawETH(uint256 amount) external {
        _withdraw(NATIVE, amount);
    }

    // ---- operator and settlement contract

    function lockFunds(address user, address token, uint256 amount, bytes32 orderId)
        external
        onlyOperator
        positive(amount)
    {
        if (getAvailableBalance(user, token) < amount) revert InsufficientBalance();
        _locked[user][token] += amount;
        emit FundsLocked(user, token, amount, orderId);
    }

    function unlockFunds(address user, address token, uint256 amount, bytes32 orderId)
        external
        onlyOperator
        positive(amount)
    {
        _unlock(user, token, amount);
        emit FundsUnlocked(user, token, amount, orderId);
    }

    /// @notice Moves locked funds of `from` to the available funds of `to`.
    function settlementTransfer(address from, address to, address token, uint256 amount, bytes32 settlementId)
        external
        positive(amount)
    {
        if (msg.sender != settlementContract) revert Unauthorized();
        if (to == address(0)) revert InvalidAddress();
        _unlock(from, token, amount);
        _totals[from][token] -= amount;
        _totals[to][token] += amount;
        emit SettlementTransfer(from, to, token, amount, settlementId);
    }

    // ---- owner

    function setOperator(address newOperator) external onlyOwner {
        if (newOperator == address(0)) revert InvalidAddress();
        emit OperatorUpdated(operator, newOperator);
        operator = newOperator;
    }

    function setSettlementContract(address newContract) external onlyOwner {
        if (newContract == address(0)) revert InvalidAddress();
        emit SettlementContractUpdated(settlementContract, newContract);
        settlementContract = newContract;
    }

    function setTokenSupported(address token, bool supported) external onlyOwner {
        _unsupported[token] = !supported;
    }

    /// @notice Takes tokens out without touching anybody's balance and without a Vault event: the reason why
    ///         solvency (token held >= sum of the users' balances) must be checked on its own.
    function emergencyWithdraw(address token, uint256 amount, address to) external onlyOwner positive(amount) {
        if (to == address(0)) revert InvalidAddress();
        TokenMoves.push(token, to, amount);
    }

    // ---- views

    function getTotalBalance(address user, address token) external view returns (uint256) {
        return _totals[user][token];
    }

    function getLockedBalance(address user, address token) external view returns (uint256) {
        return _locked[user][token];
    }

    function getAvailableBalance(address user, address token) public view returns (uint256) {
        return _totals[user][token] - _locked[user][token];
    }

    function isTokenSupported(address token) public view returns (bool) {
        return !_unsupported[token];
    }

    // ---- internals

    function _credit(address token, uint256 amount) private {
        if (!isTokenSupported(token)) revert TokenNotSupported();
        _totals[msg.sender][token] += amount;
        emit Deposit(msg.sender, token, amount);
    }

    function _withdraw(address token, uint256 amount) private nonReentrant positive(amount) {
        if (getAvailableBalance(msg.sender, token) < amount) revert InsufficientBalance();
        _totals[msg.sender][token] -= amount;
        TokenMoves.push(token, msg.sender, amount);
        emit Withdraw(msg.sender, token, amount);
    }

    function _unlock(address user, address token, uint256 amount) private {
        if (_locked[user][token] < amount) revert InsufficientLockedBalance();
        _locked[user][token] -= amount;
    }
}
