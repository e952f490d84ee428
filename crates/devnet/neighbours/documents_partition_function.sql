-- The documents' function, word for word (requirements/eidos-jobs.md §3.7). Its bounds depend on the session's time
-- zone, and only one of the two does: docs of the trap are in src/history/traps.rs. Nothing but that trap calls it.
CREATE OR REPLACE FUNCTION create_monthly_partition(
    table_name TEXT,
    year INT,
    month INT
) RETURNS VOID AS $$
DECLARE
    partition_name TEXT;
    start_ts BIGINT;
    end_ts BIGINT;
BEGIN
    partition_name := table_name || '_' || year || '_' || LPAD(month::TEXT, 2, '0');

    -- 计算月份的起止时间戳 (毫秒)
    start_ts := EXTRACT(EPOCH FROM DATE_TRUNC('month', make_date(year, month, 1))) * 1000;
    end_ts := EXTRACT(EPOCH FROM DATE_TRUNC('month', make_date(year, month, 1) + INTERVAL '1 month')) * 1000;

    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)',
        partition_name, table_name, start_ts, end_ts
    );
END;
$$ LANGUAGE plpgsql;
