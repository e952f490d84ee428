// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @dev The part of the Vault that settles.
interface IVault {
    function settlementTransfer(address from, address to, address token, uint256 amount, bytes32 settlementId)
        external;
}

/// @title Settlement
/// @notice Settles batches of trades that were matched off chain. Interface A of the data model, with
///         `settleBatch(batchId, trades)` authorised by the operator's own transaction.
/// @dev Effects of one trade on the Vault: the buyer gets base and pays quote and his fee; the seller gives
///      base and gets quote less his fee; both fees (in quote) go to the fee recipient's Vault balance. The
///      buyer must have quote + fee locked, the seller base.
contract Settlement {
    struct Trade {
        bytes32 tradeId;
        address maker;
        address taker;
        address baseToken;
        address quoteToken;
        uint256 baseAmount;
        uint256 quoteAmount;
        uint256 makerFee;
        uint256 takerFee;
        /// true if the maker buys the base token
        bool isBuy;
    }

    event BatchSettled(bytes32 indexed batchId, uint256 tradeCount, uint256 timestamp);
    event TradeSettled(
        bytes32 indexed batchId,
        bytes32 indexed tradeId,
        address indexed maker,
        address taker,
        address baseToken,
        address quoteToken,
        uint256 baseAmount,
        uint256 quoteAmount
    );
    event OperatorUpdated(address indexed oldOperator, address indexed newOperator);
    event FeeRecipientUpdated(address indexed oldRecipient, address indexed newRecipient);

    error Unauthorized();
    error InvalidAddress();
    error InvalidTradeData();
    error EmptyBatch();
    error BatchAlreadySettled();
    error TradeAlreadySettled();

    address public owner;
    IVault public vault;
    address public operator;
    address public feeRecipient;
    /// token => fees ever paid to fee recipients
    mapping(address => uint256) public totalFeesCollected;
    mapping(bytes32 => bool) public isBatchSettled;
    mapping(bytes32 => bool) public isTradeSettled;

    modifier onlyOwner() {
        if (msg.sender != owner) revert Unauthorized();
        _;
    }

    constructor(address initialOwner, address initialOperator, IVault initialVault, address initialFeeRecipient) {
        if (initialOwner == address(0) || initialOperator == address(0)) revert InvalidAddress();
        if (address(initialVault) == address(0) || initialFeeRecipient == address(0)) revert InvalidAddress();
        owner = initialOwner;
        operator = initialOperator;
        vault = initialVault;
        feeRecipient = initialFeeRecipient;
    }

    function settleBatch(bytes32 batchId, Trade[] calldata trades) external {
        if (msg.sender != operator) revert Unauthorized();
        if (trades.length == 0) revert EmptyBatch();
        if (isBatchSettled[batchId]) revert BatchAlreadySettled();
        isBatchSettled[batchId] = true;
        for (uint256 i = 0; i < trades.length; i++) {
            _settle(batchId, trades[i]);
        }
        emit BatchSettled(batchId, trades.length, block.timestamp);
    }

    function setOperator(address newOperator) external onlyOwner {
        if (newOperator == address(0)) revert InvalidAddress();
        emit OperatorUpdated(operator, newOperator);
        operator = newOperator;
    }

    function setFeeRecipient(address newRecipient) external onlyOwner {
        if (newRecipient == address(0)) revert InvalidAddress();
        emit FeeRecipientUpdated(feeRecipient, newRecipient);
        feeRecipient = newRecipient;
    }

    function _settle(bytes32 batchId, Trade calldata trade) private {
        if (isTradeSettled[trade.tradeId]) revert TradeAlreadySettled();
        isTradeSettled[trade.tradeId] = true;

        (address buyer, address seller) =
            trade.isBuy ? (trade.maker, trade.taker) : (trade.taker, trade.maker);
        uint256 sellerFee = trade.isBuy ? trade.takerFee : trade.makerFee;
        uint256 fees = trade.makerFee + trade.takerFee;
        if (buyer == seller || sellerFee > trade.quoteAmount) revert InvalidTradeData();

        _transfer(seller, buyer, trade.baseToken, trade.baseAmount, batchId);
        _transfer(buyer, seller, trade.quoteToken, trade.quoteAmount - sellerFee, batchId);
        _transfer(buyer, feeRecipient, trade.quoteToken, fees, batchId);
        totalFeesCollected[trade.quoteToken] += fees;

        emit TradeSettled(
            batchId,
            trade.tradeId,
            trade.maker,
            trade.taker,
            trade.baseToken,
            trade.quoteToken,
            trade.baseAmount,
            trade.quoteAmount
        );
    }

    function _transfer(address from, address to, address token, uint256 amount, bytes32 batchId) private {
        if (amount > 0) vault.settlementTransfer(from, to, token, amount, batchId);
    }
}
