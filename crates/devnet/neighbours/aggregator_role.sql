-- Least privilege: aggregator writes candles and its fence, and reads what it adds up. With the indexes that its runbooks ask
-- for (docs/runbooks/kline-agg.md, stats-agg.md). The fence (migrations/foreign/fence.sql) is installed before. Roles belong
-- to the cluster, not to the database, so this survives a second database and a race between two of them.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'eidos_aggregator') THEN
        CREATE ROLE eidos_aggregator LOGIN PASSWORD 'eidos-aggregator-local' NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- created by a test that runs beside this one
END
$$;
GRANT USAGE ON SCHEMA public TO eidos_aggregator;
GRANT SELECT ON
    eidos_market_klines, eidos_market_trades, eidos_market_markets, eidos_trading_trades, eidos_trading_orders,
    eidos_trading_deposits, eidos_trading_withdrawals, eidos_trading_balances
TO eidos_aggregator;
GRANT INSERT, UPDATE ON eidos_market_klines TO eidos_aggregator;
GRANT SELECT, INSERT, UPDATE ON eidos_jobs_fence TO eidos_aggregator;
CREATE INDEX IF NOT EXISTS idx_eidos_market_trades_created ON eidos_market_trades (created_at);
CREATE INDEX IF NOT EXISTS idx_eidos_trading_deposits_credited ON eidos_trading_deposits (credited_at);
CREATE INDEX IF NOT EXISTS idx_eidos_trading_withdrawals_confirmed ON eidos_trading_withdrawals (confirmed_at);
