//! Which tables and columns are read, under their logical names.

use super::{Home, TableId};

/// One table: its home and its columns' logical names.
pub(super) struct Definition {
    pub(super) id: TableId,
    pub(super) home: Home,
    /// The logical name in the settings.
    pub(super) key: &'static str,
    /// Without the generation's prefix.
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
}

/// The columns of trades, archived or not.
const TRADE_COLUMNS: &[&str] = &[
    "id",
    "trade_id",
    "market",
    "maker_wallet",
    "taker_wallet",
    "amount",
    "quote_amount",
    "maker_fee",
    "taker_fee",
    "fee_token",
    "maker_side",
    "settlement_status",
    "batch_id",
    "tx_hash",
    "matched_at",
    "updated_at",
];

/// Every table that is read.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        id: TableId::Balances,
        home: Home::Trading,
        key: "balances",
        name: "trading_balances",
        columns: &[
            "wallet",
            "token",
            "settled_available",
            "settled_frozen",
            "updated_at",
        ],
    },
    Definition {
        id: TableId::BalanceLogs,
        home: Home::Trading,
        key: "balance_logs",
        name: "trading_balance_logs",
        columns: &[
            "id",
            "wallet",
            "token",
            "type",
            "amount",
            "trade_id",
            "tx_hash",
            "created_at",
        ],
    },
    Definition {
        id: TableId::SubaccountBalances,
        home: Home::Trading,
        key: "subaccount_balances",
        name: "trading_subaccount_balances",
        columns: &["wallet", "token", "available", "frozen", "updated_at"],
    },
    Definition {
        id: TableId::Deposits,
        home: Home::Trading,
        key: "deposits",
        name: "trading_deposits",
        columns: &[
            "id",
            "deposit_id",
            "wallet",
            "token",
            "amount",
            "tx_hash",
            "log_index",
            "block_num",
            "status",
            "detected_at",
            "updated_at",
        ],
    },
    Definition {
        id: TableId::Withdrawals,
        home: Home::Trading,
        key: "withdrawals",
        name: "trading_withdrawals",
        columns: &[
            "id",
            "withdraw_id",
            "wallet",
            "token",
            "amount",
            "status",
            "tx_hash",
            "submitted_at",
            "updated_at",
        ],
    },
    Definition {
        id: TableId::Trades,
        home: Home::Trading,
        key: "trades",
        name: "trading_trades",
        columns: TRADE_COLUMNS,
    },
    Definition {
        id: TableId::TradesArchive,
        home: Home::Trading,
        key: "trades_archive",
        name: "trading_trades_archive",
        columns: TRADE_COLUMNS,
    },
    Definition {
        id: TableId::SettlementBatches,
        home: Home::Trading,
        key: "settlement_batches",
        name: "trading_settlement_batches",
        columns: &["batch_id", "status"],
    },
    Definition {
        id: TableId::FeeAccounts,
        home: Home::Trading,
        key: "fee_accounts",
        name: "trading_fee_accounts",
        columns: &["token", "balance"],
    },
    Definition {
        id: TableId::ChainWithdrawals,
        home: Home::Chain,
        key: "chain_withdrawal_txs",
        name: "chain_withdrawal_txs",
        columns: &["withdraw_id", "tx_hash", "block_number", "chain_id", "status"],
    },
    Definition {
        id: TableId::ChainBatches,
        home: Home::Chain,
        key: "chain_settlement_batches",
        name: "chain_settlement_batches",
        columns: &["batch_id", "trade_count", "tx_hash", "block_number", "chain_id"],
    },
    Definition {
        id: TableId::ChainDeposits,
        home: Home::Chain,
        key: "chain_deposit_records",
        name: "chain_deposit_records",
        columns: &[
            "wallet_address",
            "token",
            "amount",
            "chain_id",
            "tx_hash",
            "log_index",
            "block_number",
            "block_hash",
        ],
    },
    Definition {
        id: TableId::BlockCheckpoints,
        home: Home::Chain,
        key: "block_checkpoints",
        name: "chain_block_checkpoints",
        columns: &["chain_id", "block_number", "block_hash"],
    },
    Definition {
        id: TableId::TokenConfigs,
        home: Home::Admin,
        key: "token_configs",
        name: "admin_token_configs",
        columns: &["symbol", "contract_address", "decimals", "chain_id"],
    },
];
