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
