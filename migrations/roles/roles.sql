-- Least privilege roles of the jobs database. `eidosctl migrate --roles` applies this file after the migrations, as the owner of
-- the tables or a superuser; the first time the login needs CREATEROLE. It can be repeated. By hand:
--   psql "$JOBS_DATABASE_URL" -v ON_ERROR_STOP=1 -f migrations/roles/roles.sql
-- Then: CREATE ROLE recon LOGIN PASSWORD '…' IN ROLE eidos_jobs_writer. The owner (who migrates) stays separate:
-- a service can neither change the schema nor rewrite what happened.

-- A role that exists needs no CREATEROLE of the login that runs this again; two that run it at once do not fail.
DO $$ BEGIN
    IF to_regrole('eidos_jobs_reader') IS NULL THEN CREATE ROLE eidos_jobs_reader NOLOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN
    IF to_regrole('eidos_jobs_writer') IS NULL THEN CREATE ROLE eidos_jobs_writer NOLOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO eidos_jobs_reader, eidos_jobs_writer;

GRANT SELECT ON
    _sqlx_migrations, eidos_jobs_state, eidos_jobs_checkpoints, eidos_jobs_executions, eidos_jobs_triggers,
    eidos_jobs_statistics, eidos_jobs_archive_progress, eidos_jobs_reconciliation_records,
    eidos_jobs_reconciliation_checkpoints, eidos_jobs_dust, eidos_jobs_breaks, eidos_jobs_break_history,
    eidos_jobs_operation_pauses, eidos_jobs_disposal_units, eidos_jobs_disposals, eidos_jobs_legal_holds,
    eidos_jobs_fence, eidos_jobs_chain_limits, eidos_jobs_chain_blocks, eidos_jobs_archive_stores, eidos_jobs_outbox,
    eidos_jobs_outbox_deliveries, eidos_jobs_order_expiries, eidos_jobs_kline_windows,
    eidos_jobs_kline_differences, eidos_jobs_kline_repairs, eidos_jobs_break_chain
    TO eidos_jobs_reader, eidos_jobs_writer;

GRANT INSERT, UPDATE ON
    eidos_jobs_state, eidos_jobs_checkpoints, eidos_jobs_executions, eidos_jobs_triggers,
    eidos_jobs_statistics, eidos_jobs_archive_progress, eidos_jobs_reconciliation_checkpoints,
    eidos_jobs_reconciliation_records, eidos_jobs_dust, eidos_jobs_breaks, eidos_jobs_operation_pauses,
    eidos_jobs_disposal_units, eidos_jobs_legal_holds, eidos_jobs_fence,
    eidos_jobs_chain_limits, eidos_jobs_chain_blocks, eidos_jobs_outbox, eidos_jobs_outbox_deliveries, eidos_jobs_order_expiries,
    eidos_jobs_kline_windows, eidos_jobs_kline_differences, eidos_jobs_kline_repairs
    TO eidos_jobs_writer;
-- The chain of a break's history is written by its trigger, with the rights of the owner: a service cannot forge a link.
-- A break's history, what was done to whose data, and which archive stores were accepted are only ever added to.
GRANT INSERT ON eidos_jobs_break_history, eidos_jobs_disposals, eidos_jobs_archive_stores TO eidos_jobs_writer;
-- Checkpoints end with their run, kept blocks with their age, events after their delivery, windows and differences of candles when they are whole; records and closed
-- expiries have a retention. Everything else is kept or dropped by the owner.
GRANT DELETE ON eidos_jobs_checkpoints, eidos_jobs_chain_blocks, eidos_jobs_reconciliation_records, eidos_jobs_dust, eidos_jobs_outbox,
    eidos_jobs_outbox_deliveries, eidos_jobs_order_expiries, eidos_jobs_kline_windows, eidos_jobs_kline_differences
    TO eidos_jobs_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO eidos_jobs_writer;

-- retention-manager creates and drops partitions of eidos_jobs_executions: for that its login is also a member of the
-- role that owns that table, here and in every neighbour's database it looks after (GRANT <owner> TO retention). It
-- needs no superuser and no ownership of anything else.
