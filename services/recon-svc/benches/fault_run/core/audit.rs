//! The judge's own record: every write a job makes is noted with the epoch it was made under and the epoch that was
//! in force, by a trigger, in the same transaction.

use sqlx::PgPool;

/// Rows carrying an epoch of their own are noted with it; rows naming their execution, with that execution's epoch.
/// The step's share lock on the state row keeps the epoch in force from moving until the write commits, so under a
/// working fence the two are always equal.
const AUDIT: &str = "
CREATE TABLE audit_writes (
    seq          BIGSERIAL PRIMARY KEY,
    table_name   TEXT NOT NULL,
    made_under   BIGINT,
    in_force     BIGINT,
    at           TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION audit_epoch() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_writes (table_name, made_under, in_force)
    SELECT TG_TABLE_NAME, NEW.epoch, epoch FROM eidos_jobs_state WHERE job_name = 'reconciliation';
    RETURN NEW;
END $$;
CREATE FUNCTION audit_execution() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_writes (table_name, made_under, in_force)
    SELECT TG_TABLE_NAME, (SELECT max(epoch) FROM eidos_jobs_executions e WHERE e.execution_id = NEW.execution_id), epoch
    FROM eidos_jobs_state WHERE job_name = 'reconciliation';
    RETURN NEW;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON eidos_jobs_reconciliation_checkpoints
    FOR EACH ROW EXECUTE FUNCTION audit_epoch();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON eidos_jobs_checkpoints
    FOR EACH ROW EXECUTE FUNCTION audit_epoch();
CREATE TRIGGER audit AFTER INSERT ON eidos_jobs_reconciliation_records
    FOR EACH ROW EXECUTE FUNCTION audit_execution();
CREATE TRIGGER audit AFTER INSERT ON eidos_jobs_break_history
    FOR EACH ROW WHEN (NEW.execution_id IS NOT NULL) EXECUTE FUNCTION audit_execution();
GRANT ALL ON audit_writes, audit_writes_seq_seq TO PUBLIC;
";

/// Installs the audit into a migrated database.
pub(crate) async fn install(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::raw_sql(AUDIT).execute(pool).await?;
    Ok(())
}
