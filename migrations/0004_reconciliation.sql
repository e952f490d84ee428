-- Owner: recon-svc. Locks: creates new tables only, none on existing ones.
--
-- A value beyond NUMERIC(36,18) has NULL in the numeric column and its exact digits in the *_exact column
-- (ruling 19): it is a finding, never an insert error. Otherwise *_exact is NULL.

CREATE TABLE eidos_jobs_reconciliation_records (
    id              BIGSERIAL PRIMARY KEY,
    job_type        VARCHAR(50) NOT NULL,       -- dimension: balance/deposit/withdrawal/settlement/solvency
    reconcile_type  VARCHAR(20) NOT NULL CHECK (reconcile_type IN ('incremental', 'full')),
    status          VARCHAR(20) NOT NULL CHECK (status IN ('matched', 'mismatched', 'ignored')),
    wallet_address  VARCHAR(42),
    token           VARCHAR(42),
    offchain_value  NUMERIC(36, 18),
    onchain_value   NUMERIC(36, 18),
    diff_value      NUMERIC(36, 18),
    details         JSONB,
    created_at      BIGINT NOT NULL,            -- epoch ms
    run_id          UUID NOT NULL,              -- the logical run: the same after a crash and resume
    execution_id    UUID,                       -- the execution that wrote the row
    kind            VARCHAR(40),                -- class of the difference
    reference       VARCHAR(200) NOT NULL DEFAULT '',  -- tx_hash:log_index, trade id; '' for a balance
    token_address   VARCHAR(42),
    block_number    BIGINT,                     -- the cut both sides were read at
    block_hash      VARCHAR(66),
    break_id        UUID,
    offchain_exact  TEXT,
    onchain_exact   TEXT,
    diff_exact      TEXT,
    -- Writing a batch again after a crash gives the same rows.
    CONSTRAINT uq_reconciliation_records UNIQUE NULLS NOT DISTINCT
        (run_id, job_type, wallet_address, token, kind, reference)
);
CREATE INDEX idx_reconciliation_records_type ON eidos_jobs_reconciliation_records (job_type);
CREATE INDEX idx_reconciliation_records_status ON eidos_jobs_reconciliation_records (status)
    WHERE status = 'mismatched';
CREATE INDEX idx_reconciliation_records_created ON eidos_jobs_reconciliation_records (created_at DESC);
CREATE INDEX idx_reconciliation_records_break ON eidos_jobs_reconciliation_records (break_id)
    WHERE break_id IS NOT NULL;

-- One per (dimension, mode, shard) (ruling 28). Moves only in the step that makes its batch durable.
CREATE TABLE eidos_jobs_reconciliation_checkpoints (
    id               SERIAL PRIMARY KEY,
    job_type         VARCHAR(50) NOT NULL,      -- dimension
    mode             VARCHAR(20) NOT NULL CHECK (mode IN ('incremental', 'full')),
    shard            INT NOT NULL DEFAULT 0 CHECK (shard >= 0),
    last_time        TIMESTAMPTZ NOT NULL,      -- both sides are verified up to here
    last_block       BIGINT,
    block_hash       VARCHAR(66),
    settings_digest  VARCHAR(64) NOT NULL,      -- hex SHA-256; a resume with other settings is refused
    run_id           UUID,                      -- the unfinished logical run, NULL when none
    next_key         TEXT,                      -- first key the unfinished run has not made durable
    state            JSONB,                     -- partial sums and counts of the unfinished run
    epoch            BIGINT NOT NULL DEFAULT 0,
    updated_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (job_type, mode, shard)
);

-- Differences below the threshold, summed so that many small ones do not stay invisible (ruling 25).
CREATE TABLE eidos_jobs_dust (
    run_id        UUID NOT NULL,
    dimension     VARCHAR(50) NOT NULL,
    token         VARCHAR(42) NOT NULL,
    shard         INT NOT NULL DEFAULT 0,
    entries       BIGINT NOT NULL CHECK (entries >= 0),
    net           NUMERIC(78, 18) NOT NULL,     -- on-chain minus off-chain, signed
    gross         NUMERIC(78, 18) NOT NULL CHECK (gross >= 0),  -- sum of absolute differences
    usdc_value    NUMERIC(36, 18),              -- of gross, NULL when no price was known
    block_number  BIGINT,
    updated_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, dimension, token, shard)
);
