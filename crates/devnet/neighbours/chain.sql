-- The chain service's tables: what its indexer saw and what it sent. Tokens carry both symbol and contract address.

-- status: 0 to submit 1 submitted 2 confirmed 3 failed
CREATE TABLE eidos_chain_settlement_batches (
    id            BIGSERIAL PRIMARY KEY,
    batch_id      VARCHAR(64) NOT NULL UNIQUE,
    trade_count   INT         NOT NULL,
    trade_ids     TEXT        NOT NULL,
    chain_id      INT         NOT NULL,
    tx_hash       VARCHAR(66),
    block_number  BIGINT,
    gas_used      BIGINT,
    gas_price     VARCHAR(36),
    status        SMALLINT    NOT NULL DEFAULT 0,
    error_message VARCHAR(500),
    retry_count   INT         NOT NULL DEFAULT 0,
    submitted_at  BIGINT,
    confirmed_at  BIGINT,
    created_at    BIGINT      NOT NULL,
    updated_at    BIGINT      NOT NULL
);
CREATE INDEX idx_eidos_chain_settlement_batches_status ON eidos_chain_settlement_batches (status);
CREATE INDEX idx_eidos_chain_settlement_batches_created ON eidos_chain_settlement_batches (created_at);

-- status: the integers of eidos_chain_settlement_batches
CREATE TABLE eidos_chain_withdrawal_txs (
    id             BIGSERIAL PRIMARY KEY,
    withdraw_id    VARCHAR(64)    NOT NULL UNIQUE,
    wallet_address VARCHAR(42)    NOT NULL,
    to_address     VARCHAR(42)    NOT NULL,
    token          VARCHAR(20)    NOT NULL,
    token_address  VARCHAR(42)    NOT NULL,
    amount         DECIMAL(36,18) NOT NULL,
    chain_id       INT            NOT NULL,
    tx_hash        VARCHAR(66),
    block_number   BIGINT,
    gas_used       BIGINT,
    status         SMALLINT       NOT NULL DEFAULT 0,
    error_message  VARCHAR(500),
    retry_count    INT            NOT NULL DEFAULT 0,
    submitted_at   BIGINT,
    confirmed_at   BIGINT,
    created_at     BIGINT         NOT NULL,
    updated_at     BIGINT         NOT NULL
);
CREATE INDEX idx_eidos_chain_withdrawal_txs_status ON eidos_chain_withdrawal_txs (status);
CREATE INDEX idx_eidos_chain_withdrawal_txs_tx ON eidos_chain_withdrawal_txs (tx_hash);

-- status: 0 pending 1 confirmed 2 credited. The natural key is (chain_id, tx_hash, log_index); nothing enforces it.
CREATE TABLE eidos_chain_deposit_records (
    id                     BIGSERIAL,
    deposit_id             VARCHAR(64)    NOT NULL,
    wallet_address         VARCHAR(42)    NOT NULL,
    token                  VARCHAR(20)    NOT NULL,
    token_address          VARCHAR(42)    NOT NULL,
    amount                 DECIMAL(36,18) NOT NULL,
    chain_id               INT            NOT NULL,
    tx_hash                VARCHAR(66)    NOT NULL,
    block_number           BIGINT         NOT NULL,
    block_hash             VARCHAR(66)    NOT NULL,
    log_index              INT            NOT NULL,
    confirmations          INT            NOT NULL DEFAULT 0,
    required_confirmations INT            NOT NULL DEFAULT 12,
    status                 SMALLINT       NOT NULL DEFAULT 0,
    credited_at            BIGINT,
    created_at             BIGINT         NOT NULL,
    updated_at             BIGINT         NOT NULL,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX idx_eidos_chain_deposit_records_deposit ON eidos_chain_deposit_records (deposit_id);
CREATE INDEX idx_eidos_chain_deposit_records_tx ON eidos_chain_deposit_records (tx_hash);
CREATE INDEX idx_eidos_chain_deposit_records_wallet ON eidos_chain_deposit_records (wallet_address, created_at);
CREATE INDEX idx_eidos_chain_deposit_records_open ON eidos_chain_deposit_records (status) WHERE status < 2;
CREATE INDEX idx_eidos_chain_deposit_records_block ON eidos_chain_deposit_records (chain_id, block_number);

-- event_data is the raw log: {"topics": [...], "data": "0x..."}
CREATE TABLE eidos_chain_events (
    id           BIGSERIAL,
    chain_id     INT         NOT NULL,
    block_number BIGINT      NOT NULL,
    tx_hash      VARCHAR(66) NOT NULL,
    log_index    INT         NOT NULL,
    event_type   VARCHAR(50) NOT NULL,
    event_data   JSONB       NOT NULL,
    processed    BOOLEAN     NOT NULL DEFAULT FALSE,
    created_at   BIGINT      NOT NULL,
    updated_at   BIGINT      NOT NULL,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX idx_eidos_chain_events_block ON eidos_chain_events (chain_id, block_number);
CREATE INDEX idx_eidos_chain_events_tx ON eidos_chain_events (tx_hash);

CREATE TABLE eidos_chain_block_checkpoints (
    id           BIGSERIAL PRIMARY KEY,
    chain_id     INT         NOT NULL UNIQUE,
    block_number BIGINT      NOT NULL,
    block_hash   VARCHAR(66) NOT NULL,
    processed_at BIGINT      NOT NULL,
    created_at   BIGINT      NOT NULL,
    updated_at   BIGINT      NOT NULL
);

-- Monthly partitions, bounds in UTC epoch milliseconds, from 2025-01 to at least three months ahead.
DO $$
DECLARE
    parent TEXT;
    month  TIMESTAMP;
BEGIN
    FOREACH parent IN ARRAY ARRAY['eidos_chain_deposit_records', 'eidos_chain_events'] LOOP
        FOR month IN
            SELECT generate_series(TIMESTAMP '2025-01-01',
                                   greatest(TIMESTAMP '2026-12-01', (now() AT TIME ZONE 'UTC') + INTERVAL '3 months'),
                                   INTERVAL '1 month')
        LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)',
                           parent || '_' || to_char(month, 'YYYY_MM'), parent,
                           (extract(epoch FROM month AT TIME ZONE 'UTC') * 1000)::BIGINT,
                           (extract(epoch FROM (month + INTERVAL '1 month') AT TIME ZONE 'UTC') * 1000)::BIGINT);
        END LOOP;
    END LOOP;
END
$$;
