-- The logins of order-expirer and aggregator in the jobs database, after migrations/roles/roles.sql: they write like every
-- service.
DO $$
DECLARE
    wanted RECORD;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('eidos_expirer', 'eidos-expirer-local'),
            ('eidos_aggregator', 'eidos-aggregator-local')) AS roles (name, password)
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L NOSUPERUSER NOCREATEDB NOCREATEROLE', wanted.name, wanted.password);
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
    GRANT eidos_jobs_writer TO eidos_expirer, eidos_aggregator;
EXCEPTION WHEN unique_violation THEN
    NULL; -- granted from another database in this moment
END
$$;
