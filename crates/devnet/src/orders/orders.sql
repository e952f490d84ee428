-- $1 seed, $2 prefix, $3 kind, $4 count, $5 markets, $6 wallets, $7 now, $8 youngest expiry's age, $9 mark of orders in no book.
WITH drawn AS (
    SELECT n, ('x' || substr(md5($1::bigint || ':' || $2::text || ':' || $3::text || ':' || n), 1, 8))::bit(32)::bigint AS h
    FROM generate_series(1, $4::bigint) AS n),
placed AS (
    SELECT n, h, $2 || '-' || $3 || '-' || n AS order_id,
           '0x' || md5($1 || 'orders' || h % $6::bigint) || substr(md5(h % $6 || 'orders'), 1, 8) AS wallet,
           ($5::text[])[1 + n % cardinality($5)] AS market, (1 + h / 7 % 2)::smallint AS side,
           100 + h % 100000 * 0.01 AS price, 0.001 + h % 977 * 0.0004 AS amount,
           CASE WHEN $3 = 'expired' THEN n % 3 WHEN $3 IN ('live', 'unlimited') THEN 1 + n % 2 WHEN $3 = 'zero' THEN 2
                WHEN $3 = 'cancelling' THEN 7 WHEN $3 IN ('cancelled', 'recent') THEN 4 WHEN $3 = 'filled' THEN 3 ELSE 1 END AS status,
           CASE WHEN $3 IN ('expired', 'bookless') THEN $7::bigint - $8::bigint - h % (129600001 - $8)
                WHEN $3 = 'live' THEN $7 + 3600000 + h % 43200000 WHEN $3 = 'cancelling' THEN $7 - 86400000 - h % 3600000
                WHEN $3 = 'cancelled' THEN $7 - 288000000 WHEN $3 = 'filled' THEN $7 - 3600000 ELSE 0 END AS expire_at,
           $7 - 345600000 - h % 86400000 AS created_at,
           CASE WHEN $3 = 'cancelling' THEN $7 - 86400000 WHEN $3 = 'cancelled' THEN $7 - 90000000 - h % 169200000
                WHEN $3 = 'recent' THEN $7 - h % 3600000 WHEN $3 = 'filled' THEN $7 - 7200000 - h % 3600000
                ELSE $7 - 345600000 END AS updated_at
    FROM drawn),
matched AS (
    SELECT *, CASE WHEN $3 IN ('zero', 'filled') THEN amount WHEN status = 2 THEN amount / 4 ELSE 0 END AS filled FROM placed)
INSERT INTO eidos_trading_orders (
    order_id, wallet, market, side, order_type, price, amount, filled_amount, filled_quote, remaining_amount, avg_price, status,
    nonce, expire_at, freeze_token, freeze_amount, accepted_at, created_at, updated_at, created_by)
SELECT order_id, wallet, market, side, 1, price, amount, filled, filled * price, amount - filled, CASE WHEN filled > 0 THEN price ELSE 0 END,
       status, n, expire_at, split_part(market, '-', CASE side WHEN 1 THEN 2 ELSE 1 END),
       (amount - filled) * CASE side WHEN 1 THEN price ELSE 1 END, created_at, created_at, updated_at,
       CASE WHEN $3 = 'bookless' THEN $9::text END
FROM matched
