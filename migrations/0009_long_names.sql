-- Owner: retention-manager and archiver. Locks: ACCESS EXCLUSIVE on eidos_jobs_disposals, eidos_jobs_disposal_units and
-- eidos_jobs_archive_progress, for a moment each: a longer VARCHAR reads and writes no row.
--
-- A table's name as people write it: schema.table, each part up to 63 bytes, in double quotes with the quotes inside
-- doubled where it is not made of letters, digits, _ and $.
ALTER TABLE eidos_jobs_disposals
    ALTER COLUMN table_name TYPE VARCHAR(260),
    ALTER COLUMN object_name TYPE VARCHAR(260);
ALTER TABLE eidos_jobs_disposal_units ALTER COLUMN quarantine_table TYPE VARCHAR(260);
ALTER TABLE eidos_jobs_archive_progress ALTER COLUMN table_name TYPE VARCHAR(260);
