-- Owner: recon-svc (crate eidos-recon). Locks: ACCESS EXCLUSIVE on eidos_jobs_breaks and eidos_jobs_break_history until it
-- commits: it rewrites the breaks, builds their indexes, and hashes every event that is there (about 20 s per million). A
-- run that wants to write meanwhile waits, and is tried again if it waited too long.
--
-- The life of a break (docs/adr/0022-the-life-of-a-break.md): open, acknowledged, resolved, written_off, auto_closed. `state`
-- says which; `status` stays what it was, open for the first two and resolved for the others: replicas of the release before
-- read and write it, and so does everything that asks only whether a difference still counts. The triggers carry what such
-- replicas write over to `state` and `version`.
--
-- Every event of a break is a link of one chain (eidos_jobs_break_chain). A link is written when its transaction commits,
-- under a lock that is held until then and by nobody who still wants another one: the order of the chain is the order of
-- commits, whichever release wrote the event.

ALTER TABLE eidos_jobs_breaks
    ADD COLUMN state VARCHAR(20) NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'acknowledged', 'resolved', 'written_off', 'auto_closed')),
    -- What is seen next belongs to this break; false once a reading of both sides found nothing, or another break followed.
    ADD COLUMN live BOOLEAN NOT NULL DEFAULT TRUE,
    -- Of what a person decides upon: state, severity, size, assignee, comments. An edit names the version it saw.
    ADD COLUMN version BIGINT NOT NULL DEFAULT 1 CHECK (version >= 1),
    ADD COLUMN assignee TEXT,
    ADD COLUMN escalated_at TIMESTAMPTZ,        -- when its age made it critical
    ADD COLUMN previous_id UUID REFERENCES eidos_jobs_breaks (break_id),  -- the break before of the same identity
    -- The place in lists, smallest first: critical before warning before info, shortfalls before surpluses.
    ADD COLUMN place SMALLINT NOT NULL GENERATED ALWAYS AS (
        (CASE severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 2 ELSE 4 END)
        + (CASE direction WHEN 'shortfall' THEN 0 ELSE 1 END)) STORED;

-- Until now only a later reading of both sides ended a break.
UPDATE eidos_jobs_breaks SET live = FALSE,
    state = CASE status WHEN 'ignored' THEN 'written_off' ELSE 'auto_closed' END
    WHERE status <> 'open';

ALTER TABLE eidos_jobs_breaks
    ADD CHECK ((status = 'open') = (state IN ('open', 'acknowledged'))),
    ADD CHECK (live OR status <> 'open'),
    ADD CHECK (NOT (live AND state = 'auto_closed'));

-- Lists ask by state, in the order of place and first_seen; each of these ends with that order, so that whatever else is
-- asked for, a page reads about as many entries as it shows.
DROP INDEX idx_breaks_status_seen;
DROP INDEX idx_breaks_wallet;
DROP INDEX idx_breaks_subject;
CREATE INDEX idx_breaks_list ON eidos_jobs_breaks (state, place, first_seen, break_id);
CREATE INDEX idx_breaks_dimension ON eidos_jobs_breaks (dimension, state, place, first_seen, break_id);
CREATE INDEX idx_breaks_token ON eidos_jobs_breaks (token, state, place, first_seen, break_id);
CREATE INDEX idx_breaks_dimension_token ON eidos_jobs_breaks (dimension, token, state, place, first_seen, break_id);
CREATE INDEX idx_breaks_wallet ON eidos_jobs_breaks (wallet_address, state, place, first_seen, break_id);
CREATE INDEX idx_breaks_assignee ON eidos_jobs_breaks (assignee, state, place, first_seen, break_id)
    WHERE assignee IS NOT NULL;
CREATE INDEX idx_breaks_assignee_token ON eidos_jobs_breaks (assignee, token, state, place, first_seen, break_id)
    WHERE assignee IS NOT NULL;
CREATE INDEX idx_breaks_subject ON eidos_jobs_breaks (subject, dimension);
CREATE UNIQUE INDEX uq_breaks_live ON eidos_jobs_breaks (dimension, subject, kind) WHERE live;

-- A new break follows the one before of its identity, and takes over what is seen next.
CREATE FUNCTION eidos_jobs_link_break() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> 'open' AND NEW.state = 'open' THEN  -- written by status alone
        NEW.state := CASE NEW.status WHEN 'ignored' THEN 'written_off' ELSE 'auto_closed' END;
        NEW.live := FALSE;
    END IF;
    SELECT break_id INTO NEW.previous_id FROM eidos_jobs_breaks
        WHERE dimension = NEW.dimension AND subject = NEW.subject AND kind = NEW.kind
        ORDER BY first_seen DESC, break_id DESC LIMIT 1;
    UPDATE eidos_jobs_breaks SET live = FALSE
        WHERE dimension = NEW.dimension AND subject = NEW.subject AND kind = NEW.kind AND live AND status <> 'open';
    RETURN NEW;
END;
$$;
-- By name after fill_subject, which gives the rows of the release before their subject.
CREATE TRIGGER link_previous BEFORE INSERT ON eidos_jobs_breaks
    FOR EACH ROW EXECUTE FUNCTION eidos_jobs_link_break();

CREATE FUNCTION eidos_jobs_keep_break() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status AND NEW.state = OLD.state THEN  -- a replica of the release before
        NEW.state := CASE NEW.status WHEN 'open' THEN 'open' WHEN 'ignored' THEN 'written_off' ELSE 'auto_closed' END;
        NEW.live := NEW.status = 'open';
    END IF;
    IF NEW.version = OLD.version
       AND (NEW.state, NEW.severity, NEW.direction, NEW.diff_value, NEW.onchain_exact, NEW.assignee) IS DISTINCT FROM
           (OLD.state, OLD.severity, OLD.direction, OLD.diff_value, OLD.onchain_exact, OLD.assignee) THEN
        NEW.version := OLD.version + 1;
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER keep_break BEFORE UPDATE ON eidos_jobs_breaks
    FOR EACH ROW EXECUTE FUNCTION eidos_jobs_keep_break();

-- What the break was after the event; NULL for events of before.
ALTER TABLE eidos_jobs_break_history ADD COLUMN version BIGINT, ADD COLUMN state VARCHAR(20);

CREATE FUNCTION eidos_jobs_fill_break_event() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    SELECT version, state INTO NEW.version, NEW.state FROM eidos_jobs_breaks WHERE break_id = NEW.break_id;
    RETURN NEW;
END;
$$;
CREATE TRIGGER fill_event BEFORE INSERT ON eidos_jobs_break_history
    FOR EACH ROW EXECUTE FUNCTION eidos_jobs_fill_break_event();

CREATE TABLE eidos_jobs_break_chain (
    seq       BIGINT PRIMARY KEY CHECK (seq >= 1),  -- without gaps
    event_id  BIGINT NOT NULL UNIQUE REFERENCES eidos_jobs_break_history (id),
    previous  BYTEA NOT NULL CHECK (length(previous) = 32),  -- hash of the link before; zeros before the first
    hash      BYTEA NOT NULL CHECK (length(hash) = 32)
);

-- A value with its length before it, so that no two rows have the same text.
CREATE FUNCTION eidos_jobs_audit_field(value TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN value IS NULL THEN '-' ELSE octet_length(value) || ':' || value END || ';'
$$;
-- crates/recon/src/audit.rs computes the same.
CREATE FUNCTION eidos_jobs_break_event_hash(seq BIGINT, previous BYTEA, event eidos_jobs_break_history)
RETURNS BYTEA LANGUAGE sql STABLE AS $$
    SELECT sha256(previous || convert_to(
        eidos_jobs_audit_field(seq::text)
        || eidos_jobs_audit_field(event.id::text)
        || eidos_jobs_audit_field(event.break_id::text)
        || eidos_jobs_audit_field(event.event)
        || eidos_jobs_audit_field((extract(epoch FROM event.at) * 1000000)::bigint::text)
        || eidos_jobs_audit_field(event.by)
        || eidos_jobs_audit_field(event.execution_id::text)
        || eidos_jobs_audit_field(event.block_number::text)
        || eidos_jobs_audit_field(event.block_hash)
        || eidos_jobs_audit_field(event.details::text)
        || eidos_jobs_audit_field(event.version::text)
        || eidos_jobs_audit_field(event.state), 'UTF8'))
$$;

-- The events of before, in the order of their ids.
DO $$
DECLARE
    event eidos_jobs_break_history;
    seq BIGINT := 0;
    previous BYTEA := decode(repeat('00', 32), 'hex');
    hash BYTEA;
BEGIN
    FOR event IN SELECT * FROM eidos_jobs_break_history ORDER BY id LOOP
        seq := seq + 1;
        hash := eidos_jobs_break_event_hash(seq, previous, event);
        INSERT INTO eidos_jobs_break_chain VALUES (seq, event.id, previous, hash);
        previous := hash;
    END LOOP;
END;
$$;

-- With the rights of the owner: services may read the chain and never write it.
CREATE FUNCTION eidos_jobs_chain_event() RETURNS TRIGGER LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    last_seq BIGINT;
    last_hash BYTEA;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('eidos_jobs_break_chain', 0));
    SELECT seq, hash INTO last_seq, last_hash FROM eidos_jobs_break_chain ORDER BY seq DESC LIMIT 1;
    last_seq := coalesce(last_seq, 0);
    last_hash := coalesce(last_hash, decode(repeat('00', 32), 'hex'));
    INSERT INTO eidos_jobs_break_chain VALUES (
        last_seq + 1, NEW.id, last_hash, eidos_jobs_break_event_hash(last_seq + 1, last_hash, NEW));
    RETURN NULL;
END;
$$;
-- Temporary tables last: nobody puts one of his own before the chain.
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION eidos_jobs_chain_event() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END $$;
CREATE CONSTRAINT TRIGGER chain_event AFTER INSERT ON eidos_jobs_break_history
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION eidos_jobs_chain_event();

CREATE TRIGGER break_history_is_not_deleted BEFORE DELETE ON eidos_jobs_break_history
    FOR EACH ROW EXECUTE FUNCTION eidos_jobs_refuse_change();
CREATE TRIGGER break_history_is_not_truncated BEFORE TRUNCATE ON eidos_jobs_break_history
    FOR EACH STATEMENT EXECUTE FUNCTION eidos_jobs_refuse_change();
CREATE TRIGGER break_chain_is_append_only BEFORE UPDATE OR DELETE ON eidos_jobs_break_chain
    FOR EACH ROW EXECUTE FUNCTION eidos_jobs_refuse_change();
CREATE TRIGGER break_chain_is_not_truncated BEFORE TRUNCATE ON eidos_jobs_break_chain
    FOR EACH STATEMENT EXECUTE FUNCTION eidos_jobs_refuse_change();
