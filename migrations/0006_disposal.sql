-- Owner: retention-manager and archiver (crate eidos-disposal). Locks: creates new tables only.
--
-- What leaves a database, piece by piece. A unit is one monthly partition, or the rows of one month of a plain table.
-- Its row says how far it is; the catalogue of the source database and the object store are the evidence, and
-- recovery believes them, not this row (docs/adr/0008-disposal-of-a-unit.md).
CREATE TABLE eidos_jobs_disposal_units (
    unit_id              UUID PRIMARY KEY,      -- v7; also the folder of its export in the object store
    job_name             VARCHAR(100) NOT NULL,
    source               VARCHAR(20) NOT NULL,  -- databases.<source>
    schema_name          VARCHAR(63) NOT NULL,
    table_name           VARCHAR(63) NOT NULL,  -- the parent of a partition, or the plain table
    unit_name            VARCHAR(80) NOT NULL,  -- the partition's name, or table@2024-03
    unit_kind            VARCHAR(20) NOT NULL CHECK (unit_kind IN ('partition', 'rows')),
    table_oid            BIGINT NOT NULL,       -- of the partition or plain table, against a namesake
    lower_ms             BIGINT NOT NULL,       -- [lower, upper) of the time key, epoch ms
    upper_ms             BIGINT NOT NULL CHECK (upper_ms > lower_ms),
    state                VARCHAR(20) NOT NULL CHECK (state IN
                         ('planned', 'frozen', 'exporting', 'verified', 'quarantined', 'dropping', 'deleting',
                          'dropped', 'deleted', 'abandoned')),
    archived             BOOLEAN NOT NULL,      -- whether a verified copy is demanded before anything is destroyed
    format               VARCHAR(10) CHECK (format IN ('parquet', 'csv')),
    manifest_key         TEXT,
    manifest_sha256      TEXT,
    content_digest       TEXT,
    row_count            BIGINT,
    stored_bytes         BIGINT,
    columns_fingerprint  TEXT NOT NULL,
    plan_digest          TEXT NOT NULL,
    approved_by          TEXT NOT NULL,         -- 'policy', or the person who applied the plan
    quarantine_table     VARCHAR(130),          -- schema.table while it rests there
    drop_after_ms        BIGINT,
    reason               TEXT,                  -- why it was abandoned
    execution_id         UUID NOT NULL,         -- the last run that moved it on
    epoch                BIGINT NOT NULL,
    created_at           TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at           TIMESTAMPTZ NOT NULL DEFAULT now(),
    checked_at           TIMESTAMPTZ,           -- when verify-archive last re-read the export
    rot                  TEXT,                  -- what it found wrong, NULL if sound
    CHECK (NOT archived OR state IN ('planned', 'frozen', 'exporting', 'abandoned')
           OR (manifest_sha256 IS NOT NULL AND content_digest IS NOT NULL))
);
-- One unit is disposed of once at a time.
CREATE UNIQUE INDEX uq_disposal_units_open ON eidos_jobs_disposal_units (source, schema_name, table_name, unit_name)
    WHERE state NOT IN ('dropped', 'deleted', 'abandoned');
CREATE INDEX idx_disposal_units_table ON eidos_jobs_disposal_units (source, table_name, lower_ms);

-- Every act on somebody's data, only ever added to.
CREATE TABLE eidos_jobs_disposals (
    id            BIGSERIAL PRIMARY KEY,
    at            TIMESTAMPTZ NOT NULL DEFAULT now(),
    job_name      VARCHAR(100) NOT NULL,
    execution_id  UUID NOT NULL,
    epoch         BIGINT NOT NULL,
    unit_id       UUID,
    source        VARCHAR(20) NOT NULL,
    table_name    VARCHAR(130) NOT NULL,        -- schema.table
    object_name   VARCHAR(130) NOT NULL,        -- the partition, or the table again
    action        VARCHAR(30) NOT NULL,         -- create, freeze, export, verify, quarantine, drop, delete, move, drain, restore, ...
    row_count     BIGINT,
    byte_count    BIGINT,
    plan_digest   TEXT,
    approved_by   TEXT NOT NULL,
    reason        TEXT NOT NULL,
    evidence      JSONB NOT NULL DEFAULT '{}'
);
CREATE INDEX idx_disposals_table ON eidos_jobs_disposals (source, table_name, at DESC);
CREATE INDEX idx_disposals_unit ON eidos_jobs_disposals (unit_id) WHERE unit_id IS NOT NULL;

-- A hold stops every deletion of the table or range it covers (ruling 37). Lifted, never deleted.
CREATE TABLE eidos_jobs_legal_holds (
    hold_id      UUID PRIMARY KEY,
    source       VARCHAR(20) NOT NULL,
    schema_name  VARCHAR(63) NOT NULL,
    table_name   VARCHAR(63) NOT NULL,
    from_ms      BIGINT,                        -- NULL: since ever
    to_ms        BIGINT,                        -- exclusive; NULL: for ever
    reason       TEXT NOT NULL,
    placed_by    TEXT NOT NULL,
    placed_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    lifted_by    TEXT,
    lifted_at    TIMESTAMPTZ,
    lift_reason  TEXT,
    CHECK (from_ms IS NULL OR to_ms IS NULL OR from_ms < to_ms),
    CHECK ((lifted_by IS NULL) = (lifted_at IS NULL))
);
CREATE INDEX idx_legal_holds_active ON eidos_jobs_legal_holds (source, table_name) WHERE lifted_at IS NULL;

-- The jobs database is also one whose tables these services dispose of: it carries the same fence and freeze
-- objects as everybody else's (migrations/foreign).
CREATE TABLE IF NOT EXISTS eidos_jobs_fence (
    job_name    VARCHAR(100) PRIMARY KEY,
    epoch       BIGINT NOT NULL CHECK (epoch >= 0),
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE SCHEMA IF NOT EXISTS eidos_quarantine;
CREATE OR REPLACE FUNCTION eidos_jobs_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is frozen: its rows are being archived', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Rows this old should not change. See docs/runbooks/data-cleanup.md, "A write was refused".';
END
$$;
