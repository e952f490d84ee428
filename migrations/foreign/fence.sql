-- Installed by the owner of a database that Eidos jobs write to and that is not the jobs database.
-- Locks: creates a new table only.
--
-- Every step of a job first raises its own epoch here and then holds a share lock on the row, so that a node
-- that was replaced cannot write to this database either.
CREATE TABLE IF NOT EXISTS eidos_jobs_fence (
    job_name    VARCHAR(100) PRIMARY KEY,
    epoch       BIGINT NOT NULL CHECK (epoch >= 0),
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
