-- Owner: aggregator. Locks: creates a new table only.
--
-- The windows of candles that have to be looked at again: those that could not be published as whole, and those whose
-- source changed after they were published. A window leaves the table when it is whole; whole windows have a candle in
-- the market service's table and no row here.

CREATE TABLE eidos_jobs_kline_windows (
    market         VARCHAR(64) NOT NULL,
    interval_name  VARCHAR(5)  NOT NULL,        -- of the window, such as 4h
    open_ms        BIGINT      NOT NULL,
    -- missing: no source candle; partial: fewer than expected; unusable: a source candle cannot be true;
    -- dirty: to be built again; abandoned: not whole within the time in which it could become so.
    state          VARCHAR(16) NOT NULL CHECK (state IN ('missing', 'partial', 'unusable', 'dirty', 'abandoned')),
    reason         VARCHAR(32) NOT NULL,        -- incomplete, late_trade, source_changed
    found_rows     INT         NOT NULL DEFAULT 0,
    expected_rows  INT         NOT NULL DEFAULT 0,
    published      BOOLEAN     NOT NULL DEFAULT FALSE,  -- a candle was written although the window is not whole
    noted_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    checked_ms     BIGINT      NOT NULL,        -- the slot of the run that looked last
    execution_id   UUID        NOT NULL,        -- that run
    PRIMARY KEY (market, interval_name, open_ms)
);
-- What a run takes up next: those that were looked at least recently.
CREATE INDEX idx_kline_windows_open ON eidos_jobs_kline_windows (interval_name, checked_ms) WHERE state <> 'abandoned';
