-- Installed, after fence.sql, by the owner of a database whose tables retention-manager or archiver disposes of.
-- Locks: creates a new schema and a new function only.
--
-- A frozen partition carries a trigger that calls this function: it can be read, also through its parent, and not
-- written until its copy is proved and it rests in eidos_quarantine.
CREATE SCHEMA IF NOT EXISTS eidos_quarantine;
CREATE OR REPLACE FUNCTION eidos_jobs_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is frozen: its rows are being archived', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Rows this old should not change. See docs/runbooks/data-cleanup.md, "A write was refused".';
END
$$;
