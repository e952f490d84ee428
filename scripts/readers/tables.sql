-- The tables of scripts/test-readers: every type that an archive holds, at its edges, and what engines get wrong.

-- Every type, NULL in each column, within the years 1 to 9999 (`far` has the others).
CREATE TABLE every_type (id bigint PRIMARY KEY, created_at bigint NOT NULL, flag boolean, small smallint, whole integer,
    large bigint, real4 real, real8 double precision, amount numeric(36,18), big numeric(38,0), tiny numeric(2,5),
    code varchar(20), padded char(5), words text, raw bytea, doc json, docb jsonb, uid uuid, day date, wall timestamp,
    instant timestamptz);
INSERT INTO every_type SELECT i, 1677628800000 + i, x AND i % 2 = 0,
    CASE WHEN x THEN CASE i WHEN 1 THEN 32767 WHEN 2 THEN -32768 ELSE i % 30000 END END,
    CASE WHEN x THEN CASE i WHEN 1 THEN 2147483647 WHEN 2 THEN -2147483648 ELSE -i END END,
    CASE WHEN x THEN CASE i WHEN 1 THEN 9223372036854775807 WHEN 2 THEN -9223372036854775808 ELSE 9007199254740993 + i END END,
    CASE WHEN x THEN CASE i % 50 WHEN 1 THEN 'NaN'::real WHEN 2 THEN '-0'::real ELSE i / 7.0 END END,
    CASE WHEN x THEN CASE i % 50 WHEN 1 THEN '-Infinity'::float8 WHEN 2 THEN 'NaN'::float8 WHEN 3 THEN '-0'::float8
        ELSE i * 1e-9 END END,
    CASE WHEN x THEN CASE i WHEN 1 THEN 999999999999999999.999999999999999999 WHEN 2 THEN -0.000000000000000001
        ELSE i * 1.000000000000000001 END END,
    CASE WHEN x THEN CASE i WHEN 1 THEN 99999999999999999999999999999999999999 ELSE -i END END,
    CASE WHEN x THEN (i % 99) * 0.00001 END,
    CASE WHEN x THEN 'c' || i % 100 END, CASE WHEN x THEN left('p' || i, 1 + i % 5) END,
    CASE WHEN x THEN CASE i % 5 WHEN 0 THEN '' WHEN 1 THEN E'line\nline, "quoted"' WHEN 2 THEN 'größe 数 🚀' ELSE md5(i::text) END END,
    CASE WHEN x THEN CASE i % 3 WHEN 0 THEN ''::bytea ELSE decode(md5(i::text) || '00ff', 'hex') END END,
    CASE WHEN x THEN ('{"b": ' || i || ',  "a": [1.10, null]}')::json END,
    CASE WHEN x THEN jsonb_build_object('i', i, 'deep', jsonb_build_array(1.10, NULL, 'x')) END,
    CASE WHEN x THEN md5(i::text)::uuid END,
    CASE WHEN x THEN CASE i WHEN 1 THEN DATE '0001-01-01' WHEN 3 THEN DATE '9999-12-31' ELSE DATE '1900-01-01' + (i % 60000)::int END END,
    CASE WHEN x THEN TIMESTAMP '2023-03-01 00:00:00.000001' + i * INTERVAL '1 second' END,
    CASE WHEN x THEN TIMESTAMPTZ '1969-03-01 00:00:00.123456+00' + i * INTERVAL '1 minute' END
FROM (SELECT i, i % 11 <> 0 AS x FROM generate_series(1, 3000) AS i) AS row;

-- Wallets that repeat, hashes that do not, amounts with 8 decimals and fees that differ in the 18th. The fee that is asked for
-- has half as many rows as its neighbours: who finds another fee finds another number.
CREATE TABLE trades (id bigint PRIMARY KEY, wallet varchar(42) NOT NULL, tx_hash varchar(66) NOT NULL,
    price numeric(36,18) NOT NULL, amount numeric(36,18) NOT NULL, fee numeric(36,18) NOT NULL, filled_by bigint);
INSERT INTO trades SELECT i, '0x' || substr(md5((i * 7919 % 500)::text) || md5((i * 7919 % 500)::text), 1, 40),
    '0x' || md5(i::text) || md5((i + 7)::text), 60000 + (i * 31 % 100000) * 0.00000001, 0.001 + (i % 977) * 0.00000001,
    0.1 + (i % 1000 + CASE WHEN i % 1000 = 3 AND i > 10000 THEN 4 ELSE 0 END) * 0.000000000000000001, CASE WHEN i % 40 = 1 THEN 9007199254740993 + i END
FROM generate_series(1, 20000) AS i;

-- A sum of more than 38 digits.
CREATE TABLE whales (id bigint PRIMARY KEY, total numeric(36,18) NOT NULL);
INSERT INTO whales SELECT i, 999999999999999999.999999999999999999 - i FROM generate_series(1, 300) AS i;

-- Row groups whose floats are small, but for NaN.
CREATE TABLE floats (id bigint PRIMARY KEY, reading double precision);
INSERT INTO floats SELECT i, CASE WHEN i % 100 = 7 THEN 'NaN'::float8 ELSE (i % 10) / 4.0 END FROM generate_series(1, 5000) AS i;

-- Days beyond the years that many programs know.
CREATE TABLE far (id bigint PRIMARY KEY, day date);
INSERT INTO far VALUES (1, '2024-02-29'), (2, '10000-01-01'), (3, '0044-03-15 BC');

-- Two months of one table: between them a column was dropped, then one was added, so positions move and numbers do not.
CREATE TABLE months (id bigint NOT NULL, moment bigint NOT NULL, gone text, amount numeric(36,18), note text, PRIMARY KEY (moment, id))
    PARTITION BY RANGE (moment);
CREATE TABLE months_1 PARTITION OF months FOR VALUES FROM (0) TO (1000);
INSERT INTO months_1 SELECT i, i, 'old ' || i, i * 1.5, 'note ' || i FROM generate_series(1, 600) AS i;
