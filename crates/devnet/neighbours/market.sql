-- The market service's tables. status of a market: 0 inactive 1 active 2 suspended.

CREATE TABLE eidos_market_markets (
    id              BIGSERIAL PRIMARY KEY,
    symbol          VARCHAR(20)    NOT NULL UNIQUE,
    base_token      VARCHAR(20)    NOT NULL,
    quote_token     VARCHAR(20)    NOT NULL,
    price_decimals  INT            NOT NULL DEFAULT 2,
    size_decimals   INT            NOT NULL DEFAULT 6,
    min_size        DECIMAL(36,18) NOT NULL,
    max_size        DECIMAL(36,18) NOT NULL,
    min_notional    DECIMAL(36,18) NOT NULL,
    tick_size       DECIMAL(36,18) NOT NULL,
    maker_fee       DECIMAL(10,6)  NOT NULL DEFAULT 0.001,
    taker_fee       DECIMAL(10,6)  NOT NULL DEFAULT 0.001,
    status          SMALLINT       NOT NULL DEFAULT 1,
    trading_enabled BOOLEAN        NOT NULL DEFAULT TRUE,
    created_at      BIGINT         NOT NULL,
    updated_at      BIGINT         NOT NULL
);

CREATE TABLE eidos_market_klines (
    market       VARCHAR(20)    NOT NULL,
    interval     VARCHAR(5)     NOT NULL,
    open_time    BIGINT         NOT NULL,
    open         DECIMAL(36,18) NOT NULL,
    high         DECIMAL(36,18) NOT NULL,
    low          DECIMAL(36,18) NOT NULL,
    close        DECIMAL(36,18) NOT NULL,
    volume       DECIMAL(36,18) NOT NULL DEFAULT 0,
    quote_volume DECIMAL(36,18) NOT NULL DEFAULT 0,
    trade_count  INT            NOT NULL DEFAULT 0,
    close_time   BIGINT         NOT NULL,
    PRIMARY KEY (market, interval, open_time)
);
CREATE INDEX idx_eidos_market_klines_market ON eidos_market_klines (market, interval, open_time DESC);
CREATE INDEX idx_eidos_market_klines_open ON eidos_market_klines (open_time DESC);

CREATE TABLE eidos_market_trades (
    trade_id     VARCHAR(64) PRIMARY KEY,
    market       VARCHAR(20)    NOT NULL,
    price        DECIMAL(36,18) NOT NULL,
    amount       DECIMAL(36,18) NOT NULL,
    quote_amount DECIMAL(36,18) NOT NULL,
    side         SMALLINT       NOT NULL,
    timestamp    BIGINT         NOT NULL,
    created_at   BIGINT         NOT NULL
);
CREATE INDEX idx_eidos_market_trades_market ON eidos_market_trades (market, timestamp DESC);
CREATE INDEX idx_eidos_market_trades_time ON eidos_market_trades (timestamp DESC);

CREATE TABLE eidos_market_trade_history (
    id           BIGSERIAL,
    trade_id     VARCHAR(64)    NOT NULL,
    market       VARCHAR(20)    NOT NULL,
    price        DECIMAL(36,18) NOT NULL,
    size         DECIMAL(36,18) NOT NULL,
    quote_amount DECIMAL(36,18) NOT NULL,
    side         SMALLINT       NOT NULL,
    traded_at    BIGINT         NOT NULL,
    PRIMARY KEY (traded_at, id),
    UNIQUE (trade_id, traded_at)
) PARTITION BY RANGE (traded_at);

-- Monthly partitions, bounds in UTC epoch milliseconds, from 2025-01 to at least three months ahead.
DO $$
DECLARE
    month TIMESTAMP;
BEGIN
    FOR month IN
        SELECT generate_series(TIMESTAMP '2025-01-01',
                               greatest(TIMESTAMP '2026-12-01', (now() AT TIME ZONE 'UTC') + INTERVAL '3 months'),
                               INTERVAL '1 month')
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF eidos_market_trade_history FOR VALUES FROM (%s) TO (%s)',
                       'eidos_market_trade_history_' || to_char(month, 'YYYY_MM'),
                       (extract(epoch FROM month AT TIME ZONE 'UTC') * 1000)::BIGINT,
                       (extract(epoch FROM (month + INTERVAL '1 month') AT TIME ZONE 'UTC') * 1000)::BIGINT);
    END LOOP;
END
$$;
