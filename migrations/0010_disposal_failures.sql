-- Owner: retention-manager and archiver (crate eidos-disposal). Locks: ACCESS EXCLUSIVE on eidos_jobs_disposal_units for a
-- moment, without reading or rewriting it.
--
-- A unit that was given up because of a failure that cannot heal (a value no archive can keep, a row the server cannot
-- read, a missing right) remembers what its table was like then. While that is unchanged, its partition is not tried
-- again: it would be frozen, exported and given up with every run.
ALTER TABLE eidos_jobs_disposal_units ADD COLUMN failed_as TEXT;
