-- The same two roles in the jobs database, after migrations/roles/roles.sql: they write like every service, and
-- retention-manager is a member of the role that owns the tables of ours it disposes of. Nothing else of ours changes
-- its owner.
DO $$
BEGIN
    CREATE ROLE eidos_jobs_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
DO $$
BEGIN
    PERFORM pg_advisory_xact_lock(4271905);
    GRANT eidos_jobs_writer TO eidos_retention, eidos_archiver;
    GRANT eidos_jobs_owner TO eidos_retention;
EXCEPTION WHEN unique_violation THEN
    NULL;
END
$$;
GRANT USAGE, CREATE ON SCHEMA public TO eidos_jobs_owner;
ALTER SCHEMA eidos_quarantine OWNER TO eidos_jobs_owner;
ALTER TABLE eidos_jobs_reconciliation_records OWNER TO eidos_jobs_owner;
DO $$
DECLARE
    relation RECORD;
BEGIN
    FOR relation IN SELECT relid::regclass AS name FROM pg_partition_tree('eidos_jobs_executions') LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO eidos_jobs_owner', relation.name);
    END LOOP;
END
$$;
