-- Owner: recon-svc (crate eidos-recon). Locks: ACCESS EXCLUSIVE on eidos_jobs_breaks, eidos_jobs_reconciliation_records,
-- eidos_jobs_dust and eidos_jobs_reconciliation_checkpoints until it commits: it fills the new columns of every row that
-- is there. Records are the many (six months of them; some seconds per million rows), the others are few. A run that
-- wants to write meanwhile waits, and is tried again if it waited too long.
--
-- A break, a record and dust are stored by dimension and subject, a text of the dimension's own: wallet/token for a
-- balance, the token for the vault as a whole, the name of a metric. The part before the first '/' is the subject's group.
-- Keys are compared by bytes.
--
-- The columns of wallets and tokens stay for one release. Replicas of the release before go on to write them only; the
-- triggers fill the new columns for them. The next release drops the triggers and those columns.

ALTER TABLE eidos_jobs_breaks
    ADD COLUMN subject VARCHAR(300) COLLATE "C",
    ADD COLUMN subject_detail JSONB;            -- what a person needs to find the subject
ALTER TABLE eidos_jobs_reconciliation_records
    ADD COLUMN dimension VARCHAR(50),           -- replaces job_type
    ADD COLUMN subject VARCHAR(300) COLLATE "C";
ALTER TABLE eidos_jobs_dust
    ADD COLUMN subject VARCHAR(300) COLLATE "C";
-- How far a shard is says next_key, which is a subject or a group already.
ALTER TABLE eidos_jobs_reconciliation_checkpoints
    ADD COLUMN dimension VARCHAR(50);           -- replaces job_type

UPDATE eidos_jobs_breaks SET
    subject = concat_ws('/', nullif(wallet_address, ''), token, nullif(reference, '')),
    subject_detail = jsonb_strip_nulls(jsonb_build_object(
        'wallet', nullif(wallet_address, ''), 'token', token, 'token_address', token_address));
UPDATE eidos_jobs_reconciliation_records SET
    dimension = job_type,
    subject = concat_ws('/', nullif(wallet_address, ''), token, nullif(reference, ''));
UPDATE eidos_jobs_dust SET subject = token;
UPDATE eidos_jobs_reconciliation_checkpoints SET dimension = job_type;

CREATE FUNCTION eidos_jobs_fill_break_subject() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.subject := concat_ws('/', nullif(NEW.wallet_address, ''), NEW.token, nullif(NEW.reference, ''));
    NEW.subject_detail := jsonb_strip_nulls(jsonb_build_object(
        'wallet', nullif(NEW.wallet_address, ''), 'token', NEW.token, 'token_address', NEW.token_address));
    RETURN NEW;
END;
$$;
CREATE TRIGGER fill_subject BEFORE INSERT ON eidos_jobs_breaks
    FOR EACH ROW WHEN (NEW.subject IS NULL) EXECUTE FUNCTION eidos_jobs_fill_break_subject();

CREATE FUNCTION eidos_jobs_fill_record_subject() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.dimension := NEW.job_type;
    NEW.subject := concat_ws('/', nullif(NEW.wallet_address, ''), NEW.token, nullif(NEW.reference, ''));
    RETURN NEW;
END;
$$;
CREATE TRIGGER fill_subject BEFORE INSERT ON eidos_jobs_reconciliation_records
    FOR EACH ROW WHEN (NEW.subject IS NULL) EXECUTE FUNCTION eidos_jobs_fill_record_subject();

CREATE FUNCTION eidos_jobs_fill_dust_subject() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.subject := NEW.token;
    RETURN NEW;
END;
$$;
CREATE TRIGGER fill_subject BEFORE INSERT ON eidos_jobs_dust
    FOR EACH ROW WHEN (NEW.subject IS NULL) EXECUTE FUNCTION eidos_jobs_fill_dust_subject();

CREATE FUNCTION eidos_jobs_fill_dimension() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.dimension := NEW.job_type;
    RETURN NEW;
END;
$$;
CREATE TRIGGER fill_dimension BEFORE INSERT ON eidos_jobs_reconciliation_checkpoints
    FOR EACH ROW WHEN (NEW.dimension IS NULL) EXECUTE FUNCTION eidos_jobs_fill_dimension();

ALTER TABLE eidos_jobs_breaks ALTER COLUMN subject SET NOT NULL, ALTER COLUMN subject_detail SET NOT NULL;
ALTER TABLE eidos_jobs_reconciliation_records ALTER COLUMN dimension SET NOT NULL, ALTER COLUMN subject SET NOT NULL;
ALTER TABLE eidos_jobs_dust ALTER COLUMN subject SET NOT NULL;
ALTER TABLE eidos_jobs_reconciliation_checkpoints ALTER COLUMN dimension SET NOT NULL;

-- One open break of a dimension, subject and kind; seeing it again updates one row.
CREATE UNIQUE INDEX uq_breaks_open_subject ON eidos_jobs_breaks (dimension, subject, kind) WHERE status = 'open';
CREATE INDEX idx_breaks_subject ON eidos_jobs_breaks (dimension, subject);
