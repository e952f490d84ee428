-- $1 prefix, $2 now.
WITH frozen AS (
    SELECT wallet, freeze_token AS token, sum(freeze_amount) AS amount
    FROM eidos_trading_orders WHERE starts_with(order_id, $1) AND status IN (0, 1, 2, 7)
    GROUP BY wallet, freeze_token ORDER BY wallet, freeze_token),
balance AS (
    INSERT INTO eidos_trading_balances AS b (wallet, token, settled_available, settled_frozen, created_at, updated_at)
    SELECT wallet, token, amount, amount, $2, $2 FROM frozen
    ON CONFLICT (wallet, token) DO UPDATE
    SET settled_available = b.settled_available + excluded.settled_available,
        settled_frozen = b.settled_frozen + excluded.settled_frozen, version = b.version + 1, updated_at = excluded.updated_at)
INSERT INTO oracle.balances AS b (wallet, token, available, frozen)
SELECT wallet, token, amount, amount FROM frozen
ON CONFLICT (wallet, token) DO UPDATE SET available = b.available + excluded.available, frozen = b.frozen + excluded.frozen
