-- Owner: every service (crate eidos-core). Locks: creates new tables only, none on existing ones.
--
-- The history of executions, by month of started_at (epoch ms, UTC). Partitions are created ahead by
-- `eidosctl migrate` and by the partition job, with bounds computed in Rust. The default partition keeps a
-- run with a wrong clock, or a missed partition job, from failing: its rows move out when their month is created.

CREATE TABLE eidos_jobs_executions (
    id                   BIGSERIAL,
    job_name             VARCHAR(100) NOT NULL,
    status               VARCHAR(20) NOT NULL
                         CHECK (status IN ('pending', 'running', 'success', 'failed', 'skipped')),
    started_at           BIGINT NOT NULL,       -- epoch ms; of a pending row: when it was requested
    finished_at          BIGINT,
    duration_ms          INT,
    error_message        TEXT,                  -- of a skipped row: the reason
    result               JSONB,                 -- the job's report
    created_at           BIGINT NOT NULL,
    execution_id         UUID NOT NULL,
    slot_ms              BIGINT,                -- the scheduled instant the run works for
    trigger              VARCHAR(20) NOT NULL
                         CHECK (trigger IN ('schedule', 'manual', 'catch_up', 'cli')),
    epoch                BIGINT NOT NULL DEFAULT 0,   -- 0: the job takes no lock and has no fence
    attempt              INT NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    node_id              UUID,
    failure_kind         VARCHAR(20)
                         CHECK (failure_kind IN ('error', 'timeout', 'lease_lost', 'orphaned', 'panic',
                                                 'shutdown', 'fenced', 'cancelled')),
    idempotency_key      VARCHAR(200),
    dry_run              BOOLEAN NOT NULL DEFAULT FALSE,
    params               JSONB,
    progress             JSONB,                 -- {"done": n, "total": n|null}
    heartbeat_at         BIGINT,                -- database clock, epoch ms
    cancel_requested_by  TEXT,
    cancel_requested_at  BIGINT,
    PRIMARY KEY (started_at, id)
) PARTITION BY RANGE (started_at);

CREATE INDEX idx_executions_name_time ON eidos_jobs_executions (job_name, started_at DESC);
CREATE INDEX idx_executions_status ON eidos_jobs_executions (status) WHERE status IN ('running', 'failed');
CREATE INDEX idx_executions_execution_id ON eidos_jobs_executions (execution_id);

CREATE TABLE eidos_jobs_executions_default PARTITION OF eidos_jobs_executions DEFAULT;

-- Manual triggers: the idempotency the partitioned history cannot enforce, and the queue of pending runs.
CREATE TABLE eidos_jobs_triggers (
    execution_id     UUID PRIMARY KEY,
    job_name         VARCHAR(100) NOT NULL,
    idempotency_key  VARCHAR(200) NOT NULL,
    trigger          VARCHAR(20) NOT NULL CHECK (trigger IN ('manual', 'cli')),
    requested_by     TEXT NOT NULL,
    requested_at     BIGINT NOT NULL,           -- epoch ms
    slot_ms          BIGINT,                    -- work for this slot; never moves the job's cursor
    params           JSONB,
    dry_run          BOOLEAN NOT NULL DEFAULT FALSE,
    state            VARCHAR(20) NOT NULL DEFAULT 'pending'
                     CHECK (state IN ('pending', 'started', 'cancelled')),
    started_by       UUID,                      -- node
    settled_at       BIGINT,                    -- when it was started or cancelled
    UNIQUE (job_name, idempotency_key)
);
CREATE INDEX idx_triggers_pending ON eidos_jobs_triggers (job_name, requested_at) WHERE state = 'pending';
