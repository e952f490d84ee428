-- Owner: recon-svc. Locks: creates new tables only, none on existing ones.
--
-- A break is one confirmed difference. While it is open its identity is (dimension, wallet, token, kind,
-- reference), so that seeing it again updates one row instead of raising another alarm.

CREATE TABLE eidos_jobs_breaks (
    break_id              UUID PRIMARY KEY,
    dimension             VARCHAR(50) NOT NULL,
    wallet_address        VARCHAR(42) NOT NULL DEFAULT '',   -- '': the vault as a whole
    token                 VARCHAR(42) NOT NULL,
    token_address         VARCHAR(42),
    kind                  VARCHAR(40) NOT NULL,
    reference             VARCHAR(200) NOT NULL DEFAULT '',  -- tx_hash:log_index, trade id; '' for a balance
    status                VARCHAR(20) NOT NULL DEFAULT 'open'
                          CHECK (status IN ('open', 'resolved', 'ignored')),
    severity              VARCHAR(20) NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    direction             VARCHAR(20) NOT NULL CHECK (direction IN ('shortfall', 'surplus')),
    first_seen            TIMESTAMPTZ NOT NULL,
    last_seen             TIMESTAMPTZ NOT NULL,
    first_block           BIGINT,
    last_block            BIGINT,
    last_run_id           UUID,
    occurrences           BIGINT NOT NULL DEFAULT 1 CHECK (occurrences >= 1),
    -- Readings at distinct finalized blocks in a row; a critical action waits for several (ruling 24).
    confirmations         INT NOT NULL DEFAULT 0 CHECK (confirmations >= 0),
    confirmed_block       BIGINT,
    confirmed_block_hash  VARCHAR(66),
    offchain_value        NUMERIC(36, 18),
    onchain_value         NUMERIC(36, 18),
    diff_value            NUMERIC(36, 18),      -- on-chain minus off-chain; negative is a shortfall
    offchain_exact        TEXT,                 -- digits of a value beyond NUMERIC(36,18)
    onchain_exact         TEXT,
    diff_exact            TEXT,
    usdc_value            NUMERIC(36, 18),      -- of the absolute difference, NULL when no price was known
    price                 NUMERIC(36, 18),
    price_time            TIMESTAMPTZ,
    evidence              JSONB NOT NULL,       -- what reproduces the difference
    acknowledged_by       TEXT,
    acknowledged_at       TIMESTAMPTZ,
    resolved_by           TEXT,
    resolved_at           TIMESTAMPTZ,
    resolved_reason       TEXT,
    CHECK ((status = 'open') = (resolved_at IS NULL))
);
CREATE UNIQUE INDEX uq_breaks_open ON eidos_jobs_breaks (dimension, wallet_address, token, kind, reference)
    WHERE status = 'open';
CREATE INDEX idx_breaks_status_seen ON eidos_jobs_breaks (status, last_seen DESC);
CREATE INDEX idx_breaks_wallet ON eidos_jobs_breaks (wallet_address);

-- Append-only: what happened to a break and who did it.
CREATE TABLE eidos_jobs_break_history (
    id            BIGSERIAL PRIMARY KEY,
    break_id      UUID NOT NULL REFERENCES eidos_jobs_breaks (break_id),
    event         VARCHAR(40) NOT NULL,         -- opened, seen, confirmed, severity_changed, paused, resolved, ...
    at            TIMESTAMPTZ NOT NULL,
    by            TEXT NOT NULL,                -- a person's name, or the job's
    execution_id  UUID,
    block_number  BIGINT,
    block_hash    VARCHAR(66),
    details       JSONB
);
CREATE INDEX idx_break_history_break ON eidos_jobs_break_history (break_id, id);

CREATE FUNCTION eidos_jobs_refuse_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: write a further event instead', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END;
$$;
CREATE TRIGGER break_history_is_append_only BEFORE UPDATE ON eidos_jobs_break_history
    FOR EACH ROW EXECUTE FUNCTION eidos_jobs_refuse_change();

-- Operations that are stopped for a token. A machine may set one; only a person lifts it (ruling 26).
CREATE TABLE eidos_jobs_operation_pauses (
    id           BIGSERIAL PRIMARY KEY,
    operation    VARCHAR(40) NOT NULL,          -- withdrawal, deposit, settlement
    token        VARCHAR(42) NOT NULL,
    break_id     UUID REFERENCES eidos_jobs_breaks (break_id),
    reason       TEXT NOT NULL,
    set_by       TEXT NOT NULL,
    set_at       TIMESTAMPTZ NOT NULL,
    lifted_by    TEXT,
    lifted_at    TIMESTAMPTZ,
    lift_reason  TEXT,
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
CREATE UNIQUE INDEX uq_operation_pauses_active ON eidos_jobs_operation_pauses (operation, token)
    WHERE lifted_at IS NULL;
