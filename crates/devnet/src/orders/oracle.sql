-- What must happen to each order, beside the exchange's tables. May be applied again.
CREATE SCHEMA IF NOT EXISTS oracle;
CREATE TABLE IF NOT EXISTS oracle.orders (
    order_id TEXT PRIMARY KEY,
    fate     TEXT NOT NULL CHECK (fate IN ('expires', 'ends', 'stays')),
    before   eidos_trading_orders NOT NULL
);
CREATE TABLE IF NOT EXISTS oracle.balances (
    wallet    TEXT NOT NULL,
    token     TEXT NOT NULL,
    available NUMERIC NOT NULL,
    frozen    NUMERIC NOT NULL,
    PRIMARY KEY (wallet, token)
);
CREATE TABLE IF NOT EXISTS oracle.changes (
    id          BIGSERIAL PRIMARY KEY,
    order_id    TEXT NOT NULL,
    from_status SMALLINT NOT NULL,
    to_status   SMALLINT NOT NULL,
    who         TEXT NOT NULL DEFAULT current_user,
    at          TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS changes_order ON oracle.changes (order_id);
CREATE OR REPLACE FUNCTION oracle.record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO oracle.changes (order_id, from_status, to_status, who) VALUES (old.order_id, old.status, new.status, session_user);
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER record_change AFTER UPDATE OF status ON eidos_trading_orders
    FOR EACH ROW EXECUTE FUNCTION oracle.record_change();
