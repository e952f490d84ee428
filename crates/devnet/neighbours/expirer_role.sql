-- Least privilege: order-expirer reads orders and nothing else, and cannot write anywhere. Roles belong to the cluster, not
-- to the database, so this survives a second database and a race between two of them.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'eidos_expirer_ro') THEN
        CREATE ROLE eidos_expirer_ro LOGIN PASSWORD 'eidos-expirer-read-only' NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- created by a test that runs beside this one
END
$$;
GRANT USAGE ON SCHEMA public TO eidos_expirer_ro;
GRANT SELECT ON eidos_trading_orders TO eidos_expirer_ro;
