-- Owner: stats service (statistics), data archiver (archive progress). Locks: creates new tables only.

CREATE TABLE eidos_jobs_statistics (
    id            BIGSERIAL PRIMARY KEY,
    stat_type     VARCHAR(50) NOT NULL CHECK (stat_type IN ('hourly', 'daily')),
    stat_date     DATE NOT NULL,
    stat_hour     INT CHECK (stat_hour BETWEEN 0 AND 23),
    market        VARCHAR(32),                  -- NULL: all markets
    metric_name   VARCHAR(100) NOT NULL,
    metric_value  NUMERIC(36, 18) NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK ((stat_type = 'hourly') = (stat_hour IS NOT NULL)),
    -- Without NULLS NOT DISTINCT the upsert of a global or daily figure would hit nothing (ruling 14).
    CONSTRAINT uq_statistics UNIQUE NULLS NOT DISTINCT (stat_type, stat_date, stat_hour, market, metric_name)
);
CREATE INDEX idx_statistics_type_date ON eidos_jobs_statistics (stat_type, stat_date);
CREATE INDEX idx_statistics_market ON eidos_jobs_statistics (market, stat_date);

-- Records progress for people to see; it does not decide what is eligible (ruling 31).
CREATE TABLE eidos_jobs_archive_progress (
    id          SERIAL PRIMARY KEY,
    table_name  VARCHAR(63) NOT NULL UNIQUE,
    last_id     BIGINT NOT NULL DEFAULT 0,
    started_at  TIMESTAMPTZ,
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
