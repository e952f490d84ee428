-- Owner: every service that publishes events (crate eidos-core). Locks: creates new tables only; moves the pending
-- announcements of recon-svc out of eidos_jobs_checkpoints, which locks those rows.
--
-- An event is written in the transaction that makes its fact true. One delivery for each destination (Kafka, a webhook)
-- is derived from it later, so that a destination that fails delays no other. `seq` gives the order of events with the
-- same topic and key.

CREATE TABLE eidos_jobs_outbox (
    seq          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     UUID NOT NULL UNIQUE,          -- never changes, however often the event is sent
    source       VARCHAR(100) NOT NULL,         -- the service that writes and delivers it
    topic        VARCHAR(249) NOT NULL,
    kind         VARCHAR(100) NOT NULL,         -- such as break.opened
    event_key    VARCHAR(200) NOT NULL,         -- events of one topic and key keep their order
    occurred_at  TIMESTAMPTZ NOT NULL,
    payload      JSONB NOT NULL,
    recorded_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    routed_at    TIMESTAMPTZ                    -- when its deliveries were created; NULL: not yet
);
CREATE INDEX idx_outbox_unrouted ON eidos_jobs_outbox (source, seq) WHERE routed_at IS NULL;
CREATE INDEX idx_outbox_routed ON eidos_jobs_outbox (source, routed_at) WHERE routed_at IS NOT NULL;

CREATE TABLE eidos_jobs_outbox_deliveries (
    seq              BIGINT NOT NULL REFERENCES eidos_jobs_outbox (seq) ON DELETE CASCADE,
    destination      VARCHAR(200) NOT NULL,     -- kafka, or webhook:<host>#<digest of its URL>
    source           VARCHAR(100) NOT NULL,
    topic            VARCHAR(249) NOT NULL,
    event_key        VARCHAR(200) NOT NULL,
    state            VARCHAR(20) NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts         INT NOT NULL DEFAULT 0,
    -- While an attempt is running: when it counts as lost and another replica may repeat it.
    next_attempt_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    created_at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    last_error       TEXT,                      -- without credentials
    delivered_at     TIMESTAMPTZ,
    PRIMARY KEY (seq, destination),
    CHECK ((state = 'delivered') = (delivered_at IS NOT NULL))
);
CREATE INDEX idx_outbox_deliveries_pending ON eidos_jobs_outbox_deliveries (source, destination, topic, event_key, seq)
    WHERE state = 'pending';
CREATE INDEX idx_outbox_deliveries_dead ON eidos_jobs_outbox_deliveries (source, destination) WHERE state = 'dead';

-- Before this version recon-svc kept what it had not yet published as checkpoints of its job.
INSERT INTO eidos_jobs_outbox (event_id, source, topic, kind, event_key, occurred_at, payload)
SELECT (value ->> 'event_id')::uuid, 'recon-svc', value ->> 'topic', value ->> 'kind', value ->> 'key',
       (value ->> 'occurred_at')::timestamptz, value -> 'payload'
FROM eidos_jobs_checkpoints
WHERE job_name = 'reconciliation' AND starts_with(checkpoint_key, 'announce/')
ORDER BY (value ->> 'occurred_at')::timestamptz, checkpoint_key;
DELETE FROM eidos_jobs_checkpoints WHERE job_name = 'reconciliation' AND starts_with(checkpoint_key, 'announce/');
