//! Every SQL statement of this crate, in one list.
//!
//! sqlx's checked macros would need a live database, or a cache of its answers, in every build. Here a test
//! prepares each statement of [`ALL`] on a migrated server instead (ADR 3): the same check, once, in the tests.

/// The database's clock in epoch ms. Where skew between nodes would matter, it decides.
macro_rules! db_now_ms {
    () => {
        "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// Milliseconds from `started_at` to the given parameter, within what `duration_ms INT` holds.
macro_rules! duration_to {
    ($parameter:literal) => {
        concat!(
            "least(greatest(",
            $parameter,
            " - started_at, 0), 2147483647)::int"
        )
    };
}

macro_rules! execution_columns {
    () => {
        "id, execution_id, job_name, status, trigger, started_at, finished_at, duration_ms, error_message, \
         failure_kind, result, created_at, slot_ms, epoch, attempt, node_id, idempotency_key, dry_run, params, \
         progress, heartbeat_at, cancel_requested_by"
    };
}

macro_rules! statements {
    ($list:ident: $($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)*
        /// Name and text of the statements, for the test that prepares them.
        pub const $list: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

statements! { ALL:
    // ---- state -----------------------------------------------------------------------------------------
    GET_STATE = "SELECT job_name, epoch, last_slot_ms, paused, paused_by, paused_reason, paused_at, holder, \
        holder_execution, holder_since FROM eidos_jobs_state WHERE job_name = $1";
    LIST_STATES = "SELECT job_name, epoch, last_slot_ms, paused, paused_by, paused_reason, paused_at, holder, \
        holder_execution, holder_since FROM eidos_jobs_state ORDER BY job_name";
    /// First sight: the cursor starts where the caller says, and an existing row is left alone.
    REGISTER = concat!("INSERT INTO eidos_jobs_state (job_name, last_slot_ms) \
        VALUES ($1, LEAST($2::bigint, ", db_now_ms!(), ")) ON CONFLICT (job_name) DO NOTHING");
    PAUSE = concat!("INSERT INTO eidos_jobs_state AS state (job_name, paused, paused_by, paused_reason, paused_at) \
        VALUES ($1, TRUE, $2, $3, ", db_now_ms!(), ") ON CONFLICT (job_name) DO UPDATE SET paused = TRUE, \
        paused_by = EXCLUDED.paused_by, paused_reason = EXCLUDED.paused_reason, paused_at = EXCLUDED.paused_at \
        WHERE NOT state.paused");
    RESUME = "UPDATE eidos_jobs_state SET paused = FALSE, paused_by = NULL, paused_reason = NULL, \
        paused_at = NULL WHERE job_name = $1 AND paused";

    // ---- slot ------------------------------------------------------------------------------------------
    /// One statement: the cursor moves only forward, not while paused, and not beyond the database's clock.
    CLAIM_SLOT = concat!("INSERT INTO eidos_jobs_state AS state (job_name, last_slot_ms, claimed_by, claimed_at) \
        SELECT $1, $2::bigint, $3, now_ms FROM (SELECT ", db_now_ms!(), " AS now_ms) AS clock \
        WHERE $2 <= now_ms + $4::bigint \
        ON CONFLICT (job_name) DO UPDATE SET previous_slot_ms = state.last_slot_ms, \
            last_slot_ms = EXCLUDED.last_slot_ms, claimed_by = EXCLUDED.claimed_by, \
            claimed_at = EXCLUDED.claimed_at \
        WHERE NOT state.paused AND (state.last_slot_ms IS NULL OR state.last_slot_ms < EXCLUDED.last_slot_ms) \
        RETURNING previous_slot_ms");
    WHY_NOT_CLAIMED = concat!("SELECT $2::bigint > ", db_now_ms!(), " + $3::bigint AS ahead, \
        coalesce(last_slot_ms >= $2, FALSE) AS claimed, paused \
        FROM (SELECT) AS one LEFT JOIN eidos_jobs_state ON job_name = $1");

    // ---- fence -----------------------------------------------------------------------------------------
    /// The epoch only rises, and is never below the lease's token.
    MINT_EPOCH = concat!("INSERT INTO eidos_jobs_state AS state (job_name, epoch, holder, holder_execution, \
            holder_since) VALUES ($1, greatest(1, $2::bigint), $3, $4, ", db_now_ms!(), ") \
        ON CONFLICT (job_name) DO UPDATE SET epoch = greatest(state.epoch + 1, EXCLUDED.epoch), \
            holder = EXCLUDED.holder, holder_execution = EXCLUDED.holder_execution, \
            holder_since = EXCLUDED.holder_since RETURNING epoch");
    CLOSE_ORPHANS = concat!("UPDATE eidos_jobs_executions SET status = 'failed', failure_kind = 'orphaned', \
            finished_at = greatest($3::bigint, started_at), duration_ms = ", duration_to!("$3::bigint"), ", \
            error_message = 'its node stopped without finishing it; epoch ' || $2::bigint || ' took over' \
        WHERE job_name = $1 AND status = 'running' AND epoch < $2 \
        RETURNING execution_id, slot_ms, attempt, trigger, params, dry_run, idempotency_key");
    /// The share lock makes a concurrent mint wait until this transaction ends: no check-then-write gap.
    CHECK_FENCE = "SELECT epoch FROM eidos_jobs_state WHERE job_name = $1 AND epoch = $2 FOR SHARE";
    STEP_PROGRESS = concat!("UPDATE eidos_jobs_executions SET progress = $3, heartbeat_at = ", db_now_ms!(), " \
        WHERE execution_id = $1 AND epoch = $2 AND status = 'running'");

    // ---- checkpoint ------------------------------------------------------------------------------------
    LOAD_CHECKPOINT = "SELECT value FROM eidos_jobs_checkpoints WHERE job_name = $1 AND checkpoint_key = $2";
    LIST_CHECKPOINTS = "SELECT checkpoint_key, value, epoch, updated_at FROM eidos_jobs_checkpoints \
        WHERE job_name = $1 AND starts_with(checkpoint_key, $2) ORDER BY checkpoint_key LIMIT $3";
    SAVE_CHECKPOINT = "INSERT INTO eidos_jobs_checkpoints (job_name, checkpoint_key, value, epoch) \
        VALUES ($1, $2, $3, $4) ON CONFLICT (job_name, checkpoint_key) DO UPDATE SET value = EXCLUDED.value, \
        epoch = EXCLUDED.epoch, updated_at = now()";
    DELETE_CHECKPOINT = "DELETE FROM eidos_jobs_checkpoints WHERE job_name = $1 AND checkpoint_key = $2";
    DELETE_CHECKPOINTS = "DELETE FROM eidos_jobs_checkpoints WHERE job_name = $1 \
        AND starts_with(checkpoint_key, $2)";

    // ---- execution -------------------------------------------------------------------------------------
    OPEN_EXECUTION = concat!("INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, \
            execution_id, slot_ms, trigger, epoch, attempt, node_id, idempotency_key, dry_run, params, \
            heartbeat_at) \
        VALUES ($1, 'running', $2, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, ", db_now_ms!(), ")");
    OPEN_PENDING_EXECUTION = concat!("UPDATE eidos_jobs_executions SET status = 'running', started_at = $2, \
            epoch = $3, node_id = $4, heartbeat_at = ", db_now_ms!(), " \
        WHERE execution_id = $1 AND status = 'pending'");
    /// Conditional on id, epoch and status: whoever was replaced changes nothing.
    FINISH_EXECUTION = concat!("UPDATE eidos_jobs_executions SET status = $3, failure_kind = $4, \
            error_message = $5, result = $6, progress = coalesce($7, progress), \
            finished_at = greatest($8::bigint, started_at), duration_ms = ", duration_to!("$8::bigint"), " \
        WHERE execution_id = $1 AND epoch = $2 AND status = 'running' RETURNING duration_ms");
    HEARTBEAT = concat!("UPDATE eidos_jobs_executions SET heartbeat_at = ", db_now_ms!(), ", \
            progress = coalesce($3, progress) \
        WHERE execution_id = $1 AND epoch = $2 AND status = 'running' RETURNING cancel_requested_by");
    RECORD_SKIPPED = "INSERT INTO eidos_jobs_executions (job_name, status, started_at, finished_at, duration_ms, \
            created_at, execution_id, slot_ms, trigger, node_id, error_message, result) \
        SELECT $1, 'skipped', $4, $4, 0, $4, skipped.execution_id, skipped.slot_ms, 'schedule', $5, $6, $7 \
        FROM unnest($2::uuid[], $3::bigint[]) AS skipped (execution_id, slot_ms)";
    GET_EXECUTION = concat!("SELECT ", execution_columns!(), " FROM eidos_jobs_executions \
        WHERE execution_id = $1");
    LIST_EXECUTIONS = concat!("SELECT ", execution_columns!(), " FROM eidos_jobs_executions \
        WHERE ($1::text IS NULL OR job_name = $1) AND ($2::text IS NULL OR status = $2) \
          AND ($3::text IS NULL OR trigger = $3) AND ($4::bigint IS NULL OR started_at >= $4) \
          AND ($5::bigint IS NULL OR started_at < $5) AND ($6::text IS NULL OR failure_kind = $6) \
          AND ($7::bigint IS NULL OR (started_at, id) < ($7, $8::bigint)) \
        ORDER BY started_at DESC, id DESC LIMIT $9");
    /// One index probe per job and partition, newest first.
    LAST_SUCCESSES = "SELECT wanted.job_name, latest.finished_at FROM unnest($1::text[]) AS wanted (job_name) \
        CROSS JOIN LATERAL (SELECT finished_at FROM eidos_jobs_executions AS execution \
            WHERE execution.job_name = wanted.job_name AND execution.status = 'success' \
            AND NOT execution.dry_run ORDER BY execution.started_at DESC LIMIT 1) AS latest";
    /// Newest end of each kind that is not a success, and whether a later attempt for the same slot exists.
    RECENT_ENDINGS = "SELECT job_name, ended, retried, max(at_ms) FROM ( \
            SELECT e.job_name, coalesce(e.failure_kind, 'skipped') AS ended, coalesce(e.finished_at, e.started_at) AS at_ms, \
                EXISTS (SELECT FROM eidos_jobs_executions AS later WHERE later.job_name = e.job_name \
                    AND later.slot_ms = e.slot_ms AND later.attempt > e.attempt AND later.started_at >= e.started_at) AS retried \
            FROM eidos_jobs_executions AS e WHERE e.job_name = ANY($1) AND e.started_at >= $2 \
                AND e.status IN ('failed', 'skipped') AND NOT e.dry_run) AS endings \
        GROUP BY job_name, ended, retried ORDER BY job_name, ended, retried";
    /// Of a run that failed too: it says what was done before.
    LAST_REPORT = "SELECT result FROM eidos_jobs_executions WHERE job_name = $1 AND status IN ('success', 'failed') \
        AND NOT dry_run AND result IS NOT NULL ORDER BY started_at DESC, id DESC LIMIT 1";
    LAST_EXECUTION = concat!("SELECT ", execution_columns!(), " FROM eidos_jobs_executions \
        WHERE job_name = $1 AND ($2::text IS NULL OR status = $2) ORDER BY started_at DESC, id DESC LIMIT 1");
    /// Running rows whose node has not been heard of: candidates only, the lease says whether it lives.
    ABANDONED = concat!("SELECT ", execution_columns!(), " FROM eidos_jobs_executions \
        WHERE status = 'running' AND job_name = ANY($1) AND epoch > 0 \
          AND coalesce(heartbeat_at, started_at) < ", db_now_ms!(), " - $2::bigint ORDER BY started_at LIMIT 100");
    REQUEST_CANCEL = concat!("UPDATE eidos_jobs_executions SET \
            cancel_requested_by = coalesce(cancel_requested_by, $2), \
            cancel_requested_at = coalesce(cancel_requested_at, ", db_now_ms!(), ") \
        WHERE execution_id = $1 AND status = 'running'");

    // ---- trigger ---------------------------------------------------------------------------------------
    INSERT_TRIGGER = "INSERT INTO eidos_jobs_triggers (execution_id, job_name, idempotency_key, trigger, \
            requested_by, requested_at, slot_ms, params, dry_run) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
        ON CONFLICT (job_name, idempotency_key) DO NOTHING";
    EXISTING_TRIGGER = "SELECT execution_id, slot_ms IS NOT DISTINCT FROM $3 AND params IS NOT DISTINCT FROM $4 \
        AND dry_run = $5 AS same FROM eidos_jobs_triggers WHERE job_name = $1 AND idempotency_key = $2";
    INSERT_PENDING_EXECUTION = "INSERT INTO eidos_jobs_executions (job_name, status, started_at, created_at, \
            execution_id, slot_ms, trigger, idempotency_key, dry_run, params) \
        VALUES ($1, 'pending', $2, $2, $3, $4, $5, $6, $7, $8)";
    NOTIFY_TRIGGER = "SELECT pg_notify('eidos_jobs_triggers', $1)";
    PENDING_TRIGGERS = "SELECT execution_id, job_name, idempotency_key, trigger, requested_by, requested_at, \
        slot_ms, params, dry_run FROM eidos_jobs_triggers \
        WHERE state = 'pending' AND job_name = ANY($1) ORDER BY requested_at, execution_id LIMIT $2";
    START_TRIGGER = concat!("UPDATE eidos_jobs_triggers SET state = 'started', started_by = $2, settled_at = ",
        db_now_ms!(), " WHERE execution_id = $1 AND state = 'pending'");
    CANCEL_TRIGGER = concat!("UPDATE eidos_jobs_triggers SET state = 'cancelled', settled_at = ",
        db_now_ms!(), " WHERE execution_id = $1 AND state = 'pending'");
    CANCEL_PENDING_EXECUTION = concat!("UPDATE eidos_jobs_executions SET status = 'skipped', \
            failure_kind = 'cancelled', cancel_requested_by = $2, cancel_requested_at = ", db_now_ms!(), ", \
            error_message = 'cancelled by ' || $2 || ' before it started', \
            finished_at = greatest($3::bigint, started_at), duration_ms = 0 \
        WHERE execution_id = $1 AND status = 'pending'");

    // ---- outbox ----------------------------------------------------------------------------------------
    RECORD_EVENT = "INSERT INTO eidos_jobs_outbox (event_id, source, topic, kind, event_key, occurred_at, payload) \
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (event_id) DO NOTHING";
    OUTBOX_HAS_UNROUTED = "SELECT EXISTS (SELECT FROM eidos_jobs_outbox WHERE source = $1 AND routed_at IS NULL)";
    /// One router of a source at a time, so that no event gets its deliveries before an earlier one of its key.
    LOCK_OUTBOX_ROUTING = "SELECT pg_try_advisory_xact_lock(hashtextextended('eidos_jobs_outbox routing ' || $1, 0))";
    /// `$3` and `$4` are parallel: a destination and a topic that it takes, NULL for every topic.
    ROUTE_EVENTS = "WITH fresh AS (SELECT seq, source, topic, event_key FROM eidos_jobs_outbox \
            WHERE source = $1 AND routed_at IS NULL ORDER BY seq LIMIT $2), \
        created AS (INSERT INTO eidos_jobs_outbox_deliveries (seq, destination, source, topic, event_key) \
            SELECT fresh.seq, route.destination, fresh.source, fresh.topic, fresh.event_key FROM fresh \
            JOIN unnest($3::text[], $4::text[]) AS route (destination, topic) \
                ON route.topic IS NULL OR route.topic = fresh.topic \
            ON CONFLICT (seq, destination) DO NOTHING) \
        UPDATE eidos_jobs_outbox AS event SET routed_at = clock_timestamp() FROM fresh WHERE event.seq = fresh.seq";
    /// Only the oldest pending event of a key is claimed: the next one waits until it was delivered or given up.
    CLAIM_DELIVERIES = "WITH due AS (SELECT seq, destination FROM eidos_jobs_outbox_deliveries AS delivery \
            WHERE source = $1 AND destination = $2 AND state = 'pending' AND next_attempt_at <= clock_timestamp() \
              AND NOT EXISTS (SELECT FROM eidos_jobs_outbox_deliveries AS earlier \
                WHERE earlier.source = delivery.source AND earlier.destination = delivery.destination \
                  AND earlier.topic = delivery.topic AND earlier.event_key = delivery.event_key \
                  AND earlier.seq < delivery.seq AND earlier.state = 'pending') \
            ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED) \
        UPDATE eidos_jobs_outbox_deliveries AS delivery SET attempts = attempts + 1, \
            next_attempt_at = clock_timestamp() + make_interval(secs => $4) \
        FROM due JOIN eidos_jobs_outbox AS event ON event.seq = due.seq \
        WHERE delivery.seq = due.seq AND delivery.destination = due.destination \
        RETURNING event.seq, event.event_id, event.source, event.topic, event.kind, event.event_key, \
            event.occurred_at, event.payload, delivery.attempts";
    /// The number of the attempt says whose claim it is: a replica whose claim has lapsed changes nothing.
    RECORD_DELIVERED = "UPDATE eidos_jobs_outbox_deliveries AS delivery SET state = 'delivered', last_error = NULL, \
            delivered_at = clock_timestamp() FROM unnest($2::bigint[], $3::int[]) AS done (seq, attempts) \
        WHERE delivery.destination = $1 AND delivery.seq = done.seq AND delivery.attempts = done.attempts \
          AND delivery.state = 'pending'";
    RECORD_FAILED = "UPDATE eidos_jobs_outbox_deliveries AS delivery SET last_error = failed.error, \
            next_attempt_at = clock_timestamp() + make_interval(secs => failed.wait_s), \
            state = CASE WHEN created_at < clock_timestamp() - make_interval(secs => $6) THEN 'dead' ELSE state END \
        FROM unnest($2::bigint[], $3::int[], $4::text[], $5::float8[]) AS failed (seq, attempts, error, wait_s) \
        WHERE delivery.destination = $1 AND delivery.seq = failed.seq AND delivery.attempts = failed.attempts \
          AND delivery.state = 'pending' RETURNING delivery.state";
    /// Deliveries to a destination that no replica has in its settings any more.
    GIVE_UP_ORPHANS = "UPDATE eidos_jobs_outbox_deliveries SET state = 'dead', \
            last_error = coalesce(last_error, 'no replica is configured to deliver to it') \
        WHERE source = $1 AND state = 'pending' AND destination <> ALL($2) \
          AND created_at < clock_timestamp() - make_interval(secs => $3)";
    PRUNE_OUTBOX = "DELETE FROM eidos_jobs_outbox WHERE seq IN (SELECT seq FROM eidos_jobs_outbox AS event \
            WHERE source = $1 AND routed_at < clock_timestamp() - make_interval(secs => $2) \
              AND NOT EXISTS (SELECT FROM eidos_jobs_outbox_deliveries AS delivery WHERE delivery.seq = event.seq \
                AND (delivery.state <> 'delivered' \
                  OR delivery.delivered_at >= clock_timestamp() - make_interval(secs => $2))) \
            ORDER BY routed_at LIMIT $3 FOR UPDATE SKIP LOCKED)";
    OUTBOX_BACKLOG = "SELECT destination, count(*) FILTER (WHERE state = 'pending') AS pending, \
            coalesce(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE state = 'pending')), 0)::float8 \
                AS oldest_pending_s, \
            count(*) FILTER (WHERE state = 'dead') AS dead \
        FROM eidos_jobs_outbox_deliveries WHERE source = $1 AND state IN ('pending', 'dead') GROUP BY destination";

    // ---- schema ----------------------------------------------------------------------------------------
    MIGRATIONS_TABLE_EXISTS = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    APPLIED_MIGRATIONS = "SELECT version, checksum FROM _sqlx_migrations WHERE success";

    // ---- catalogue -------------------------------------------------------------------------------------
    HISTORY_PARTITIONS = "SELECT child.relname::text AS name, \
            pg_get_expr(child.relpartbound, child.oid) AS bounds \
        FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid \
        WHERE inhparent = 'eidos_jobs_executions'::regclass ORDER BY child.relname";
    LOCK_HISTORY_LAYOUT = "SELECT pg_advisory_xact_lock(hashtextextended('eidos_jobs_executions layout', 0))";
    HISTORY_TABLE = "SELECT nspname::text, pg_class.oid::bigint FROM pg_class \
        JOIN pg_namespace ON pg_namespace.oid = relnamespace \
        WHERE pg_class.oid = 'eidos_jobs_executions'::regclass";
}

statements! { EXTERNAL:
    /// Own statement, before the step's transaction, so that steps of one epoch run side by side.
    RAISE_EXTERNAL_FENCE = "INSERT INTO eidos_jobs_fence AS fence (job_name, epoch) VALUES ($1, $2) \
        ON CONFLICT (job_name) DO UPDATE SET epoch = EXCLUDED.epoch, updated_at = now() \
        WHERE fence.epoch < EXCLUDED.epoch";
    CHECK_EXTERNAL_FENCE = "SELECT epoch FROM eidos_jobs_fence WHERE job_name = $1 AND epoch = $2 FOR SHARE";
}

/// Opens the only kind of transaction that may write; sessions are read-only by default. Its limits are its own, whatever
/// becomes of the session's: they are copied from the settings that [`crate::session`] has put beside its marker, and
/// where those are missing the session is not ours and the statement fails. One message.
pub(crate) const BEGIN_READ_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
    SELECT set_config('statement_timeout', current_setting('eidos.statement_timeout'), true), \
        set_config('lock_timeout', current_setting('eidos.lock_timeout'), true), \
        set_config('idle_in_transaction_session_timeout', \
            current_setting('eidos.idle_in_transaction_session_timeout'), true)";

/// What another client has left in a session that has just been opened. By the simple protocol, as all that is said before a
/// session is known to be ours: a named statement would be one more.
pub(crate) const OTHERS_IN_SESSION: &str = "SELECT coalesce(current_setting('eidos.session', true), '') <> '' AS marked, \
    (SELECT count(*) FROM pg_prepared_statements) AS statements";

/// The server process of a session.
pub(crate) const BACKEND: &str = "SELECT pg_backend_pid()";

/// Keeps a server session for as long as a pooler in transaction mode lets one be kept.
pub(crate) const BEGIN_READ_ONLY: &str = "BEGIN READ ONLY";

/// Ends a transaction on a connection that no pool looks after.
pub(crate) const COMMIT: &str = "COMMIT";

/// Ends a step that is not to have happened.
pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// What the owner of another database installs so that our steps can be fenced there.
pub const EXTERNAL_FENCE_DDL: &str = include_str!("../../../migrations/foreign/fence.sql");

/// What that owner also installs where partitions are frozen and quarantined.
pub const EXTERNAL_FREEZE_DDL: &str = include_str!("../../../migrations/foreign/freeze.sql");
