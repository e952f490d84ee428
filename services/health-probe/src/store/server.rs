//! What a PostgreSQL server says of itself, in one statement.

use std::time::Duration;

use sqlx::{PgConnection, Row};

use crate::domain::postgres::Facts;

/// The server ends what nobody waits for any more.
const LIMIT: &str = "SELECT set_config('statement_timeout', $1, FALSE)";

/// A role that does not see the receiver's columns still sees its row.
const FACTS: &str = "\
    SELECT pg_is_in_recovery(), \
        EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status IS NULL OR status = 'streaming'), \
        CASE WHEN NOT pg_is_in_recovery() \
            THEN (SELECT max((extract(epoch FROM replay_lag) * 1000)::bigint) FROM pg_stat_replication) \
            WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
            ELSE (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint END, \
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
        current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
            - coalesce(current_setting('reserved_connections', TRUE), '0')::bigint, \
        (SELECT max((extract(epoch FROM clock_timestamp() - state_change) * 1000)::bigint) FROM pg_stat_activity \
         WHERE state LIKE 'idle in transaction%'), \
        pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')";

pub(super) const ALL: &[(&str, &str)] = &[("server::LIMIT", LIMIT), ("server::FACTS", FACTS)];

/// Reads the facts, within `limit` on the server.
///
/// # Errors
/// Those of the database.
pub async fn facts(session: &mut PgConnection, limit: Duration) -> Result<Facts, sqlx::Error> {
    sqlx::query(LIMIT)
        .bind(limit.as_millis().to_string())
        .persistent(false)
        .execute(&mut *session)
        .await?;
    let row = sqlx::query(FACTS).persistent(false).fetch_one(session).await?;
    let span = |ms: Option<i64>| ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    Ok(Facts {
        in_recovery: row.try_get(0)?,
        is_streaming: row.try_get(1)?,
        lag: span(row.try_get(2)?),
        connections: count(row.try_get(3)?),
        connections_allowed: count(row.try_get(4)?),
        idle_in_transaction: span(row.try_get(5)?),
        sees_others: row.try_get(6)?,
    })
}
