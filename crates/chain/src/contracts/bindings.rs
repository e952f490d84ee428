//! Typed bindings: only what is used, in Solidity's own words.
#![expect(
    clippy::too_many_arguments,
    reason = "the events have the fields that the contracts give them"
)]

use alloy_sol_types::sol;

sol! {
    /// The Vault: interface A of the data model.
    interface IVault {
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

        function getTotalBalance(address user, address token) external view returns (uint256);
        function getAvailableBalance(address user, address token) external view returns (uint256);
        function getLockedBalance(address user, address token) external view returns (uint256);
        function isTokenSupported(address token) external view returns (bool);
        function operator() external view returns (address);
        function settlementContract() external view returns (address);

        function deposit(address token, uint256 amount) external;
        function depositETH() external payable;
        function withdraw(address token, uint256 amount) external;
        function withdrawETH(uint256 amount) external;
        function lockFunds(address user, address token, uint256 amount, bytes32 orderId) external;
        function unlockFunds(address user, address token, uint256 amount, bytes32 orderId) external;
        function setOperator(address newOperator) external;
        function setSettlementContract(address newContract) external;
        function setTokenSupported(address token, bool supported) external;
        function emergencyWithdraw(address token, uint256 amount, address to) external;
    }

    /// One matched trade, as `settleBatch` takes it.
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
        bool isBuy;
    }

    /// The Settlement contract: interface A of the data model.
    interface ISettlement {
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

        function settleBatch(bytes32 batchId, Trade[] calldata trades) external;
        function isBatchSettled(bytes32 batchId) external view returns (bool);
        function isTradeSettled(bytes32 tradeId) external view returns (bool);
        function feeRecipient() external view returns (address);
        function totalFeesCollected(address token) external view returns (uint256);
        function vault() external view returns (address);
        function operator() external view returns (address);
        function setFeeRecipient(address newRecipient) external;
    }

    /// The vault of the `seed` profile.
    interface ISeedVault {
        function balanceOf(address user, address token) external view returns (uint256);
        function deposited(address user, address token) external view returns (uint256);
        function withdrawn(address user, address token) external view returns (uint256);
        function deposit(address token, uint256 amount) external;
        function withdraw(address token, uint256 amount) external;
    }

    /// The parts of ERC-20 (and of the test token) that are used here.
    interface IToken {
        function decimals() external view returns (uint8);
        function balanceOf(address owner) external view returns (uint256);
        function approve(address spender, uint256 amount) external returns (bool);
        function transfer(address to, uint256 amount) external returns (bool);
        function mint(address to, uint256 amount) external;
    }

    /// One call of `aggregate3`.
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }

    /// One answer of `aggregate3`.
    struct Call3Result {
        bool success;
        bytes returnData;
    }

    /// Multicall3.
    interface IMulticall3 {
        function aggregate3(Call3[] calldata calls) external payable returns (Call3Result[] memory returnData);
    }
}
