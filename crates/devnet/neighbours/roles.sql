-- Least privilege: the reconciler reads what it compares and nothing else, and cannot write anywhere. Roles belong to the
-- cluster, not to the database, so this survives a second database and a race between two of them.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'eidos_recon_ro') THEN
        CREATE ROLE eidos_recon_ro LOGIN PASSWORD 'eidos-recon-read-only' NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- created by a test that runs beside this one
END
$$;
GRANT USAGE ON SCHEMA public TO eidos_recon_ro;
GRANT SELECT ON
    eidos_trading_balances, eidos_trading_balance_logs, eidos_trading_deposits, eidos_trading_withdrawals,
    eidos_trading_trades, eidos_trading_settlement_batches, eidos_trading_fee_accounts, eidos_trading_subaccounts,
    eidos_trading_subaccount_balances, eidos_trading_subaccount_transfers, eidos_trading_subaccount_balance_logs,
    eidos_chain_events, eidos_chain_deposit_records, eidos_chain_withdrawal_txs, eidos_chain_settlement_batches,
    eidos_chain_block_checkpoints, eidos_admin_token_configs, eidos_market_markets
TO eidos_recon_ro;
