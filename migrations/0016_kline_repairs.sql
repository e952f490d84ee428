-- Owner: aggregator. Locks: creates new tables only.
--
-- What the proof-read of candles of one minute finds and does. A difference leaves its table when the candle says the same
-- as its trades, or when its trades may be deleted by now. Repairs are only added to: they are the evidence of what was
-- changed in another service's table. A repair is planned before the candle is written, and done or not done after.

CREATE TABLE eidos_jobs_kline_differences (
    market         VARCHAR(64) NOT NULL,
    open_ms        BIGINT      NOT NULL,        -- the minute
    -- missing: trades and no candle; extra: a candle with a volume and no trade; differs: not what the trades make;
    -- unusable: a trade cannot be true.
    kind           VARCHAR(16) NOT NULL CHECK (kind IN ('missing', 'extra', 'differs', 'unusable')),
    fields         TEXT[]      NOT NULL,        -- of differs: the columns
    stored         JSONB,                       -- the candle; NULL: none
    traded         JSONB,                       -- what the trades make; NULL: nothing
    found_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    checked_ms     BIGINT      NOT NULL,        -- the slot of the run that looked last
    execution_id   UUID        NOT NULL,        -- that run
    PRIMARY KEY (market, open_ms)
);

CREATE TABLE eidos_jobs_kline_repairs (
    execution_id   UUID        NOT NULL,        -- the run
    market         VARCHAR(64) NOT NULL,
    open_ms        BIGINT      NOT NULL,
    kind           VARCHAR(16) NOT NULL CHECK (kind IN ('missing', 'extra', 'differs')),
    before         JSONB,                       -- the candle as it was read; NULL: none
    after          JSONB       NOT NULL,        -- as the trades make it
    -- planned: nothing is known yet; done: written; not_done: the candle or its trades had changed, or could be deleted.
    state          VARCHAR(16) NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'done', 'not_done')),
    requested_by   VARCHAR(200),                -- NULL: the schedule
    planned_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    decided_at     TIMESTAMPTZ,
    PRIMARY KEY (execution_id, market, open_ms),
    CHECK ((state = 'planned') = (decided_at IS NULL))
);
-- What a run that died has left.
CREATE INDEX idx_kline_repairs_planned ON eidos_jobs_kline_repairs (execution_id) WHERE state = 'planned';
