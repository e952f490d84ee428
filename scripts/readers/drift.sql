-- After months_1 was exported.
ALTER TABLE months DROP COLUMN gone;
ALTER TABLE months ADD COLUMN extra bigint;
CREATE TABLE months_2 PARTITION OF months FOR VALUES FROM (1000) TO (2000);
INSERT INTO months_2 SELECT i, 1000 + i, i * 2.5, 'note ' || i, i * 10 FROM generate_series(1, 400) AS i;
