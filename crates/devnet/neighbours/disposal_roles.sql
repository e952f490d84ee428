-- What retention-manager and archiver are in a neighbour's database: members of the role that owns the tables, since
-- only an owner may attach, detach and drop partitions. No superuser, no other right. Roles belong to the cluster, so
-- this survives a second database and a race between two of them. Run again after tables were added.
DO $$
DECLARE
    wanted RECORD;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('eidos_exchange_owner', 'NOLOGIN'),
            ('eidos_retention', 'LOGIN PASSWORD ''eidos-retention-local'''),
            ('eidos_archiver', 'LOGIN PASSWORD ''eidos-archiver-local''')) AS roles (name, options)
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE', wanted.name, wanted.options);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- created by a test that runs beside this one
        END;
    END LOOP;
END
$$;
DO $$
BEGIN
    -- Two databases of one cluster may be prepared at once: both write the same rows of pg_auth_members.
    PERFORM pg_advisory_xact_lock(4271905);
    IF NOT pg_has_role('eidos_retention', 'eidos_exchange_owner', 'MEMBER') THEN
        GRANT eidos_exchange_owner TO eidos_retention;
    END IF;
    IF NOT pg_has_role('eidos_archiver', 'eidos_exchange_owner', 'MEMBER') THEN
        GRANT eidos_exchange_owner TO eidos_archiver;
    END IF;
EXCEPTION WHEN unique_violation THEN
    NULL; -- granted from another database in this moment
END
$$;
GRANT USAGE, CREATE ON SCHEMA public TO eidos_exchange_owner;
ALTER SCHEMA eidos_quarantine OWNER TO eidos_exchange_owner;
DO $$
DECLARE
    relation RECORD;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND c.relowner <> 'eidos_exchange_owner'::regrole AND c.relowner <> 'eidos_archiver'::regrole
          -- PostgreSQL refuses this for a partition whose detach was interrupted; its parent's owner may finish it.
          AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhdetachpending)
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO eidos_exchange_owner', relation.name);
    END LOOP;
END
$$;
