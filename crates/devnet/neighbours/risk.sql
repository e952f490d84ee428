-- The risk service's tables. Partitioned ones have the key order (created_at, id), unlike the chain service's.

CREATE TABLE eidos_risk_events (
    id             BIGSERIAL,
    event_id       VARCHAR(64)  NOT NULL,
    event_type     VARCHAR(50)  NOT NULL,
    risk_level     VARCHAR(20)  NOT NULL,
    wallet_address VARCHAR(42)  NOT NULL,
    ref_type       VARCHAR(50),
    ref_id         VARCHAR(64),
    details        JSONB,
    status         VARCHAR(20)  NOT NULL DEFAULT 'pending',
    resolved_by    VARCHAR(64),
    resolved_at    BIGINT,
    resolution     TEXT,
    created_at     BIGINT       NOT NULL,
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);

CREATE TABLE eidos_risk_audit_logs (
    id             BIGSERIAL,
    action         VARCHAR(50)  NOT NULL,
    wallet_address VARCHAR(42)  NOT NULL,
    request        JSONB,
    result         VARCHAR(20)  NOT NULL,
    reason         TEXT,
    duration_ms    INT,
    created_at     BIGINT       NOT NULL,
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);

CREATE TABLE eidos_risk_withdrawal_reviews (
    id             BIGSERIAL PRIMARY KEY,
    review_id      VARCHAR(64)    NOT NULL UNIQUE,
    withdrawal_id  VARCHAR(64)    NOT NULL UNIQUE,
    wallet_address VARCHAR(42)    NOT NULL,
    token          VARCHAR(42)    NOT NULL,
    amount         DECIMAL(36,18) NOT NULL,
    to_address     VARCHAR(42)    NOT NULL,
    risk_score     INT            NOT NULL DEFAULT 0,
    risk_factors   JSONB,
    auto_decision  VARCHAR(20),
    status         VARCHAR(20)    NOT NULL DEFAULT 'pending',
    reviewer       VARCHAR(64),
    review_comment TEXT,
    reviewed_at    BIGINT,
    created_at     BIGINT         NOT NULL,
    expires_at     BIGINT         NOT NULL
);

-- Monthly partitions, bounds in UTC epoch milliseconds, from 2025-01 to at least three months ahead.
DO $$
DECLARE
    parent TEXT;
    month  TIMESTAMP;
BEGIN
    FOREACH parent IN ARRAY ARRAY['eidos_risk_events', 'eidos_risk_audit_logs'] LOOP
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
