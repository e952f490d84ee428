-- Owner: every service (crate eidos-core). Locks: creates new tables only, none on existing ones.
--
-- One plain row per job carries what the partitioned history cannot: a slot runs once (last_slot_ms moves
-- forward by compare-and-set) and a stale node cannot write (epoch, checked with a share lock in every step).

CREATE TABLE eidos_jobs_state (
    job_name          VARCHAR(100) PRIMARY KEY,
    epoch             BIGINT NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    last_slot_ms      BIGINT,               -- the newest claimed slot; never moves back
    previous_slot_ms  BIGINT,               -- the one before: the winner of a claim owns (previous, last]
    claimed_by        UUID,                 -- node of the last claim
    claimed_at        BIGINT,               -- database clock, epoch ms
    paused            BOOLEAN NOT NULL DEFAULT FALSE,
    paused_by         TEXT,
    paused_reason     TEXT,
    paused_at         BIGINT,
    holder            UUID,                 -- node that minted the current epoch
    holder_execution  UUID,                 -- and the execution it did so for
    holder_since      BIGINT,
    CHECK (previous_slot_ms IS NULL OR previous_slot_ms < last_slot_ms)
);

-- What a run must remember to continue after a crash. Written only inside a step.
CREATE TABLE eidos_jobs_checkpoints (
    job_name        VARCHAR(100) NOT NULL,
    checkpoint_key  VARCHAR(200) NOT NULL,
    value           JSONB NOT NULL,
    epoch           BIGINT NOT NULL,        -- of the run that wrote it
    updated_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (job_name, checkpoint_key)
);
