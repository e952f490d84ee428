-- The trading service's tables as a reconciler meets them: names of the documents (eidos_*), columns and indexes of its
-- migrations. Money is DECIMAL(36,18) in whole tokens, times are BIGINT epoch milliseconds, tokens are symbols.

CREATE TABLE eidos_trading_balances (
    id                BIGSERIAL PRIMARY KEY,
    wallet            VARCHAR(42)    NOT NULL,
    token             VARCHAR(20)    NOT NULL,
    settled_available DECIMAL(36,18) NOT NULL DEFAULT 0,
    settled_frozen    DECIMAL(36,18) NOT NULL DEFAULT 0,
    pending_available DECIMAL(36,18) NOT NULL DEFAULT 0,
    pending_frozen    DECIMAL(36,18) NOT NULL DEFAULT 0,
    pending_total     DECIMAL(36,18) NOT NULL DEFAULT 0,
    version           BIGINT         NOT NULL DEFAULT 1,
    created_at        BIGINT         NOT NULL,
    updated_at        BIGINT         NOT NULL
);
CREATE UNIQUE INDEX uk_eidos_trading_balances_wallet_token ON eidos_trading_balances (wallet, token);
CREATE INDEX idx_eidos_trading_balances_wallet ON eidos_trading_balances (wallet);

-- type: 1 deposit 2 withdraw 3 freeze 4 unfreeze 5 trade 6 fee 7 settlement 8 rollback 9 withdraw refund
CREATE TABLE eidos_trading_balance_logs (
    id             BIGSERIAL PRIMARY KEY,
    wallet         VARCHAR(42)    NOT NULL,
    token          VARCHAR(20)    NOT NULL,
    type           SMALLINT       NOT NULL,
    amount         DECIMAL(36,18) NOT NULL,
    balance_before DECIMAL(36,18) NOT NULL DEFAULT 0,
    balance_after  DECIMAL(36,18) NOT NULL DEFAULT 0,
    order_id       VARCHAR(64),
    trade_id       VARCHAR(64),
    tx_hash        VARCHAR(66),
    remark         VARCHAR(255),
    created_at     BIGINT         NOT NULL
);
CREATE UNIQUE INDEX uk_eidos_trading_balance_logs_trade
    ON eidos_trading_balance_logs (trade_id, wallet, token) WHERE trade_id IS NOT NULL;
CREATE INDEX idx_eidos_trading_balance_logs_wallet ON eidos_trading_balance_logs (wallet);
CREATE INDEX idx_eidos_trading_balance_logs_type ON eidos_trading_balance_logs (type);
CREATE INDEX idx_eidos_trading_balance_logs_order ON eidos_trading_balance_logs (order_id);
CREATE INDEX idx_eidos_trading_balance_logs_created ON eidos_trading_balance_logs (created_at);

-- The platform's fee liability, spread over 16 buckets per token to keep the row locks apart.
CREATE TABLE eidos_trading_fee_accounts (
    id         BIGSERIAL PRIMARY KEY,
    bucket_id  INT            NOT NULL CHECK (bucket_id BETWEEN 0 AND 15),
    token      VARCHAR(20)    NOT NULL,
    balance    DECIMAL(36,18) NOT NULL DEFAULT 0,
    version    BIGINT         NOT NULL DEFAULT 1,
    updated_at BIGINT         NOT NULL,
    UNIQUE (bucket_id, token)
);

-- status: 0 pending 1 open 2 partial 3 filled 4 cancelled 5 expired 6 rejected 7 cancelling
CREATE TABLE eidos_trading_orders (
    id               BIGSERIAL PRIMARY KEY,
    order_id         VARCHAR(64)    NOT NULL UNIQUE,
    wallet           VARCHAR(42)    NOT NULL,
    market           VARCHAR(20)    NOT NULL,
    side             SMALLINT       NOT NULL,
    order_type       SMALLINT       NOT NULL,
    price            DECIMAL(36,18),
    amount           DECIMAL(36,18) NOT NULL,
    filled_amount    DECIMAL(36,18) NOT NULL DEFAULT 0,
    filled_quote     DECIMAL(36,18) NOT NULL DEFAULT 0,
    remaining_amount DECIMAL(36,18) NOT NULL,
    avg_price        DECIMAL(36,18) NOT NULL DEFAULT 0,
    status           SMALLINT       NOT NULL DEFAULT 0,
    time_in_force    SMALLINT       NOT NULL DEFAULT 1,
    nonce            BIGINT         NOT NULL,
    client_order_id  VARCHAR(64),
    expire_at        BIGINT         NOT NULL DEFAULT 0,
    signature        BYTEA,
    reject_reason    VARCHAR(255),
    freeze_token     VARCHAR(20)    NOT NULL,
    freeze_amount    DECIMAL(36,18) NOT NULL DEFAULT 0,
    accepted_at      BIGINT         NOT NULL DEFAULT 0,
    created_at       BIGINT         NOT NULL,
    updated_at       BIGINT         NOT NULL,
    created_by       VARCHAR(64),
    updated_by       VARCHAR(64)
);
CREATE INDEX idx_eidos_trading_orders_wallet ON eidos_trading_orders (wallet);
CREATE INDEX idx_eidos_trading_orders_market ON eidos_trading_orders (market);
CREATE INDEX idx_eidos_trading_orders_status ON eidos_trading_orders (status);
CREATE INDEX idx_eidos_trading_orders_client ON eidos_trading_orders (wallet, client_order_id);
CREATE INDEX idx_eidos_trading_orders_created ON eidos_trading_orders (created_at);
CREATE INDEX idx_eidos_trading_orders_expiry ON eidos_trading_orders (expire_at, status) WHERE status IN (0, 1, 2);
-- What the archiver reads by: finished rows in the order in which they finished.
CREATE INDEX idx_eidos_trading_orders_finished ON eidos_trading_orders (updated_at, id) WHERE status IN (3, 4, 5, 6);

-- settlement_status: 0 matched off chain 1 pending 2 submitted 3 settled on chain 4 failed 5 rolled back
CREATE TABLE eidos_trading_trades (
    id                BIGSERIAL PRIMARY KEY,
    trade_id          VARCHAR(64)    NOT NULL UNIQUE,
    market            VARCHAR(20)    NOT NULL,
    maker_order_id    VARCHAR(64)    NOT NULL,
    taker_order_id    VARCHAR(64)    NOT NULL,
    maker_wallet      VARCHAR(42)    NOT NULL,
    taker_wallet      VARCHAR(42)    NOT NULL,
    price             DECIMAL(36,18) NOT NULL,
    amount            DECIMAL(36,18) NOT NULL,
    quote_amount      DECIMAL(36,18) NOT NULL,
    maker_fee         DECIMAL(36,18) NOT NULL DEFAULT 0,
    taker_fee         DECIMAL(36,18) NOT NULL DEFAULT 0,
    fee_token         VARCHAR(20)    NOT NULL,
    maker_side        SMALLINT       NOT NULL,
    settlement_status SMALLINT       NOT NULL DEFAULT 0,
    batch_id          VARCHAR(64),
    tx_hash           VARCHAR(66),
    matched_at        BIGINT         NOT NULL,
    settled_at        BIGINT,
    created_at        BIGINT         NOT NULL,
    updated_at        BIGINT         NOT NULL
);
CREATE INDEX idx_eidos_trading_trades_market ON eidos_trading_trades (market);
CREATE INDEX idx_eidos_trading_trades_maker_order ON eidos_trading_trades (maker_order_id);
CREATE INDEX idx_eidos_trading_trades_taker_order ON eidos_trading_trades (taker_order_id);
CREATE INDEX idx_eidos_trading_trades_maker ON eidos_trading_trades (maker_wallet);
CREATE INDEX idx_eidos_trading_trades_taker ON eidos_trading_trades (taker_wallet);
CREATE INDEX idx_eidos_trading_trades_status ON eidos_trading_trades (settlement_status);
CREATE INDEX idx_eidos_trading_trades_batch ON eidos_trading_trades (batch_id);
CREATE INDEX idx_eidos_trading_trades_matched ON eidos_trading_trades (matched_at);
CREATE INDEX idx_eidos_trading_trades_finished ON eidos_trading_trades ((coalesce(settled_at, updated_at)), id)
    WHERE settlement_status IN (3, 5);

-- status: the integers of settlement_status
CREATE TABLE eidos_trading_settlement_batches (
    id           BIGSERIAL PRIMARY KEY,
    batch_id     VARCHAR(64)    NOT NULL UNIQUE,
    trade_count  INT            NOT NULL,
    total_amount DECIMAL(36,18) NOT NULL,
    status       SMALLINT       NOT NULL DEFAULT 0,
    tx_hash      VARCHAR(66),
    gas_price    VARCHAR(36),
    gas_used     BIGINT,
    retry_count  INT            NOT NULL DEFAULT 0,
    last_error   TEXT,
    submitted_at BIGINT,
    confirmed_at BIGINT,
    created_at   BIGINT         NOT NULL,
    updated_at   BIGINT         NOT NULL
);
CREATE INDEX idx_eidos_trading_settlement_batches_status ON eidos_trading_settlement_batches (status);
CREATE INDEX idx_eidos_trading_settlement_batches_created ON eidos_trading_settlement_batches (created_at);

-- status: 0 pending 1 confirmed 2 credited
CREATE TABLE eidos_trading_deposits (
    id           BIGSERIAL PRIMARY KEY,
    deposit_id   VARCHAR(64)    NOT NULL UNIQUE,
    wallet       VARCHAR(42)    NOT NULL,
    token        VARCHAR(20)    NOT NULL,
    amount       DECIMAL(36,18) NOT NULL,
    tx_hash      VARCHAR(66)    NOT NULL,
    log_index    INT            NOT NULL,
    block_num    BIGINT         NOT NULL,
    status       SMALLINT       NOT NULL DEFAULT 0,
    detected_at  BIGINT         NOT NULL,
    confirmed_at BIGINT,
    credited_at  BIGINT,
    created_at   BIGINT         NOT NULL,
    updated_at   BIGINT         NOT NULL,
    UNIQUE (tx_hash, log_index)
);
CREATE INDEX idx_eidos_trading_deposits_wallet ON eidos_trading_deposits (wallet);
CREATE INDEX idx_eidos_trading_deposits_status ON eidos_trading_deposits (status);
CREATE INDEX idx_eidos_trading_deposits_created ON eidos_trading_deposits (created_at);

-- status: 0 pending 1 processing 2 submitted 3 confirmed 4 failed 5 cancelled 6 rejected. The debit happens at 0.
CREATE TABLE eidos_trading_withdrawals (
    id            BIGSERIAL PRIMARY KEY,
    withdraw_id   VARCHAR(64)    NOT NULL UNIQUE,
    wallet        VARCHAR(42)    NOT NULL,
    token         VARCHAR(20)    NOT NULL,
    amount        DECIMAL(36,18) NOT NULL,
    to_address    VARCHAR(42)    NOT NULL,
    nonce         BIGINT         NOT NULL,
    signature     BYTEA,
    status        SMALLINT       NOT NULL DEFAULT 0,
    tx_hash       VARCHAR(66),
    reject_reason VARCHAR(255),
    refunded_at   BIGINT,
    submitted_at  BIGINT,
    confirmed_at  BIGINT,
    created_at    BIGINT         NOT NULL,
    updated_at    BIGINT         NOT NULL,
    UNIQUE (wallet, nonce)
);
CREATE INDEX idx_eidos_trading_withdrawals_status ON eidos_trading_withdrawals (status);
CREATE INDEX idx_eidos_trading_withdrawals_created ON eidos_trading_withdrawals (created_at);

CREATE TABLE eidos_trading_used_nonces (
    id         BIGSERIAL PRIMARY KEY,
    wallet     VARCHAR(42) NOT NULL,
    usage      SMALLINT    NOT NULL,
    nonce      BIGINT      NOT NULL,
    created_at BIGINT      NOT NULL,
    UNIQUE (wallet, usage, nonce)
);

CREATE TABLE eidos_trading_outbox_messages (
    id             BIGSERIAL PRIMARY KEY,
    message_id     VARCHAR(64)  NOT NULL UNIQUE,
    topic          VARCHAR(100) NOT NULL,
    partition_key  VARCHAR(100) NOT NULL,
    payload        JSONB        NOT NULL,
    aggregate_type VARCHAR(50)  NOT NULL,
    aggregate_id   VARCHAR(64)  NOT NULL,
    status         VARCHAR(20)  NOT NULL DEFAULT 'pending',
    retry_count    INT          NOT NULL DEFAULT 0,
    max_retries    INT          NOT NULL DEFAULT 5,
    last_error     TEXT,
    created_at     BIGINT       NOT NULL,
    sent_at        BIGINT
);

CREATE TABLE eidos_trading_subaccounts (
    id             BIGSERIAL PRIMARY KEY,
    sub_account_id VARCHAR(64)  NOT NULL UNIQUE,
    wallet         VARCHAR(42)  NOT NULL,
    name           VARCHAR(100) NOT NULL,
    status         SMALLINT     NOT NULL DEFAULT 1,
    created_at     BIGINT       NOT NULL,
    updated_at     BIGINT       NOT NULL
);
CREATE INDEX idx_eidos_trading_subaccounts_wallet ON eidos_trading_subaccounts (wallet);

-- NUMERIC without a scale: what is stored as 1.50 comes back as 1.50, so equal values differ in their display scale.
CREATE TABLE eidos_trading_subaccount_balances (
    id             BIGSERIAL PRIMARY KEY,
    sub_account_id VARCHAR(64) NOT NULL,
    wallet         VARCHAR(42) NOT NULL,
    token          VARCHAR(20) NOT NULL,
    available      NUMERIC     NOT NULL DEFAULT 0,
    frozen         NUMERIC     NOT NULL DEFAULT 0,
    version        BIGINT      NOT NULL DEFAULT 1,
    created_at     BIGINT      NOT NULL,
    updated_at     BIGINT      NOT NULL,
    UNIQUE (sub_account_id, token)
);
CREATE INDEX idx_eidos_trading_subaccount_balances_wallet ON eidos_trading_subaccount_balances (wallet, token);

-- direction: 1 main to sub-account, 2 sub-account to main
CREATE TABLE eidos_trading_subaccount_transfers (
    id             BIGSERIAL PRIMARY KEY,
    transfer_id    VARCHAR(64)    NOT NULL UNIQUE,
    wallet         VARCHAR(42)    NOT NULL,
    sub_account_id VARCHAR(64)    NOT NULL,
    token          VARCHAR(20)    NOT NULL,
    amount         DECIMAL(36,18) NOT NULL,
    direction      SMALLINT       NOT NULL,
    created_at     BIGINT         NOT NULL
);
CREATE INDEX idx_eidos_trading_subaccount_transfers_wallet ON eidos_trading_subaccount_transfers (wallet);
CREATE INDEX idx_eidos_trading_subaccount_transfers_created ON eidos_trading_subaccount_transfers (created_at);

CREATE TABLE eidos_trading_subaccount_balance_logs (
    id             BIGSERIAL PRIMARY KEY,
    sub_account_id VARCHAR(64)    NOT NULL,
    wallet         VARCHAR(42)    NOT NULL,
    token          VARCHAR(20)    NOT NULL,
    type           SMALLINT       NOT NULL,
    amount         DECIMAL(36,18) NOT NULL,
    created_at     BIGINT         NOT NULL
);
CREATE INDEX idx_eidos_trading_subaccount_balance_logs_created ON eidos_trading_subaccount_balance_logs (created_at);
