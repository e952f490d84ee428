-- Owner: recon-svc (crate eidos-recon). Locks: SHARE on eidos_jobs_reconciliation_records and eidos_jobs_breaks while the indexes
-- are built: nothing can be written to them meanwhile, everything can be read. A run that wants to write waits for some seconds.
--
-- Reports: the runs in the order in which they ended, and the breaks that began or ended in a period.

CREATE INDEX idx_reconciliation_records_runs ON eidos_jobs_reconciliation_records (created_at, id) WHERE kind = 'totals';
CREATE INDEX idx_reconciliation_records_of_run ON eidos_jobs_reconciliation_records (run_id, status);
-- Of an expression that no list is ordered by: an index of first_seen itself would tempt the planner to read a list of breaks in
-- its order and to leave out most of what it reads.
CREATE INDEX idx_breaks_first_seen ON eidos_jobs_breaks ((first_seen AT TIME ZONE 'UTC'));
CREATE INDEX idx_breaks_resolved ON eidos_jobs_breaks (resolved_at) WHERE resolved_at IS NOT NULL;
