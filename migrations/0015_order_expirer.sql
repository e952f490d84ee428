-- Owner: order-expirer. Locks: creates a new table only.
--
-- One row for each order that the service asks the matching engine to remove. The row is committed before the request is
-- sent: a crash in between repeats the same request, under the same id (order_id:attempt_epoch). The engine and the trading
-- service decide what becomes of the order; `state` says only what is known about it here.
--
-- All times are epoch milliseconds. Closed rows are deleted by expiry-sweep after expiry.keep_closed.

CREATE TABLE eidos_jobs_order_expiries (
    order_id         VARCHAR(64) PRIMARY KEY,
    market           VARCHAR(32) NOT NULL,
    wallet           VARCHAR(64) NOT NULL,
    expire_at        BIGINT NOT NULL,           -- 0 for zero_quantity
    reason           VARCHAR(20) NOT NULL CHECK (reason IN ('expired', 'zero_quantity')),
    -- requested: asked, or to be asked, without an answer; answered: waits until the order's row says the same;
    -- closed: the order ended; given_up: asked under every epoch, and still open.
    state            VARCHAR(20) NOT NULL CHECK (state IN ('requested', 'answered', 'closed', 'given_up')),
    attempt_epoch    INT NOT NULL DEFAULT 1 CHECK (attempt_epoch >= 1),
    sends            INT NOT NULL DEFAULT 0,    -- requests under this epoch
    verdict          VARCHAR(20),               -- the newest answer under this epoch; NULL: none
    verdict_reason   VARCHAR(500),
    -- The engine said that it does not have the order, and the order's row stayed open.
    contradicted     BOOLEAN NOT NULL DEFAULT false,
    first_requested_at BIGINT NOT NULL,
    requested_at     BIGINT,                    -- of the newest request; NULL: not sent yet
    next_attempt_at  BIGINT NOT NULL,           -- requested: when it is asked (again); answered: when a new epoch begins
    outcome          VARCHAR(20),               -- how the order ended: expired, cancelled, filled, rejected, missing, not_due
    confirmed_by     VARCHAR(10) CHECK (confirmed_by IN ('row', 'event')),
    closed_at        BIGINT,
    CHECK ((state = 'closed') = (outcome IS NOT NULL)),
    CHECK ((state = 'closed') = (closed_at IS NOT NULL)),
    CHECK (state <> 'answered' OR verdict IS NOT NULL)
);
CREATE INDEX idx_order_expiries_open ON eidos_jobs_order_expiries (order_id) WHERE state <> 'closed';
CREATE INDEX idx_order_expiries_due ON eidos_jobs_order_expiries (next_attempt_at, order_id) WHERE state = 'requested';
CREATE INDEX idx_order_expiries_closed ON eidos_jobs_order_expiries (closed_at) WHERE state = 'closed';
