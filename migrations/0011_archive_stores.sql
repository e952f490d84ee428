-- Owner: retention-manager and archiver (crate eidos-disposal). Locks: none on existing tables.
--
-- The archive stores that a person named and confirmed, each once. An export goes to no other: some stores make a bucket
-- that does not exist, so a misspelt one would take an export that is then believed. Only ever added to.
CREATE TABLE eidos_jobs_archive_stores (
    location      TEXT PRIMARY KEY CHECK (location <> '' AND octet_length(location) <= 2000),
    accepted_by   TEXT NOT NULL,
    accepted_at   TIMESTAMPTZ NOT NULL,
    reason        TEXT NOT NULL,
    -- The job that found its earlier exports there when it was upgraded; NULL: a person accepted the location.
    adopted_for   VARCHAR(100),
    execution_id  UUID NOT NULL,
    epoch         BIGINT NOT NULL
);
-- A job adopts one location at most: where its exports were before locations were recorded.
CREATE UNIQUE INDEX idx_archive_stores_adopted ON eidos_jobs_archive_stores (adopted_for) WHERE adopted_for IS NOT NULL;
