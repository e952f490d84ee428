//! One server session: what it must keep, and the proof that it is ours and keeps it.
//!
//! Limits sent as start-up options do not survive a pooler: `PgBouncer` and managed proxies refuse them, or drop them
//! without a word where an operator told them to ignore `options`. So a session is opened without any, and then:
//!
//! 1. at start, two sessions are compared ([`are_private`]): a pooler in transaction or statement mode gives one
//!    server session to several clients, so nothing set in it would hold and named statements would be mixed up. A pooler
//!    that resets a session after each transaction may still be at it when the other client asks, and give it another
//!    one: then the next two refuse it;
//! 2. each new session is looked at before anything is set in it: one that carries another client's statements or
//!    marker is not new;
//! 3. the limits are set, and read back in a message of its own ([`Guards::establish`]);
//! 4. each acquire looks for the marker ([`Guards::is_usable`]), in the statement that it sends anyway;
//! 5. each writable transaction begins with `SET LOCAL` of its limits, copied from the marker's companions: in a session
//!    without them `BEGIN` itself fails ([`crate::sql::BEGIN_READ_WRITE`]).

use std::time::Duration;

use eidos_pg::{Sql, sql};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use crate::db::DatabaseSettings;
use crate::{CoreError, sql};

/// How often two sessions are compared at start. Once suffices on a pooler that nobody else uses.
const COMPARISONS: u32 = 3;

/// Where a database is, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The logical source (`jobs`, `trading`, ...).
    pub(crate) source_name: String,
    /// `user@host:port/database`.
    pub(crate) address: String,
}

/// What the sessions of one pool keep.
#[derive(Debug, Clone)]
pub(crate) struct Guards {
    target: Target,
    marker: Uuid,
    /// Setting and value as `pg_settings` shows it.
    asked: Vec<(&'static str, String)>,
}

impl Guards {
    /// The limits of `settings`; where `read_only` is not set, the server's own default decides.
    pub(crate) fn new(settings: &DatabaseSettings, read_only: bool, target: Target) -> Self {
        let mut asked = vec![
            ("statement_timeout", millis(settings.statement_timeout)),
            ("lock_timeout", millis(settings.lock_timeout)),
            (
                "idle_in_transaction_session_timeout",
                millis(settings.idle_in_transaction_timeout),
            ),
            ("TimeZone", "UTC".to_owned()),
        ];
        if read_only {
            asked.push(("default_transaction_read_only", "on".to_owned()));
        }
        Self::keeping(asked, target)
    }

    /// No limits: a session of the schema's owner, whose lock must last from one statement to the next.
    pub(crate) fn of_owner(target: Target) -> Self {
        Self::keeping(vec![("TimeZone", "UTC".to_owned())], target)
    }

    fn keeping(asked: Vec<(&'static str, String)>, target: Target) -> Self {
        Self {
            target,
            marker: Uuid::now_v7(),
            asked,
        }
    }

    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }

    /// Makes a session ours: refuses one that others use, sets the limits, reads them back.
    ///
    /// # Errors
    /// [`CoreError::SharedSession`], [`CoreError::Guards`], [`CoreError::Connect`].
    pub(crate) async fn establish(&self, conn: &mut PgConnection) -> Result<(), CoreError> {
        let look = sqlx::raw_sql(sql::OTHERS_IN_SESSION);
        let seen = look.fetch_one(&mut *conn).await.map_err(self.failed())?;
        let marked: bool = seen.try_get("marked").map_err(self.failed())?;
        let statements: i64 = seen.try_get("statements").map_err(self.failed())?;
        if marked || statements > 0 {
            return Err(self.shared(if marked {
                "a session that has just been opened was set up by another client".to_owned()
            } else {
                format!(
                    "a session that has just been opened has {statements} named statements of other clients"
                )
            }));
        }
        sqlx::raw_sql(self.set_all())
            .execute(&mut *conn)
            .await
            .map_err(self.failed())?;
        self.read_back(conn).await
    }

    /// A connection that comes back from the pool: `false` closes it. It must be between transactions (when a future is
    /// dropped while `BEGIN` is on its way, sqlx 0.9 does not know that there will be one, and rolls nothing back) and
    /// still be the session that [`Self::establish`] set up.
    pub(crate) async fn is_usable(&self, conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // In the first statement of a transaction both times are the same, so long as the statement is one message.
        let look = sql!(
            "SELECT now() = statement_timestamp(), current_setting('eidos.session', true) IS NOT DISTINCT FROM {}",
            self.marker()
        );
        let row = sqlx::raw_sql(look).fetch_one(conn).await?;
        let ours: bool = row.try_get(1)?;
        if !ours {
            let error = self.shared("a pooled connection has come to another server session".to_owned());
            tracing::warn!(%error, "connection closed");
        }
        Ok(ours && row.try_get(0)?)
    }

    /// Limits and marker of the session. `eidos.<limit>` are read by [`crate::sql::BEGIN_READ_WRITE`].
    fn set_all(&self) -> Sql {
        let limits = self
            .asked
            .iter()
            .map(|(name, value)| sql!("SET {name} = {}", literal(value); name));
        let companions = self
            .asked
            .iter()
            .filter(|(name, _)| name.ends_with("_timeout"))
            .map(|(name, value)| sql!("SET eidos.{name} = {}", literal(value); name));
        // The server notices a peer that vanished, and ends its transactions and locks. Behind a pooler the peer is
        // the pooler, and on a socket file there is nothing to keep alive: not compared.
        let keepalives = [
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "15000"),
        ];
        let statements = limits
            .chain(companions)
            .chain(keepalives.map(|(name, value)| sql!("SET {name} = {value}"; name, value)))
            // Of a role whose search path finds nothing, what is named without a schema is in `public`. With
            // quote_all_identifiers the catalogue prints types in quotes, which would be other types to us.
            .chain([
                Sql::constant("SET quote_all_identifiers = off"),
                Sql::constant(
                    "SELECT set_config('search_path', 'public', false) WHERE current_schema() IS NULL",
                ),
                sql!("SET eidos.session = {}", self.marker()),
            ]);
        Sql::join(statements, "; ")
    }

    fn marker(&self) -> Sql {
        literal(&self.marker.to_string())
    }

    async fn read_back(&self, conn: &mut PgConnection) -> Result<(), CoreError> {
        let names = self.asked.iter().map(|(name, _)| *name).chain(["eidos.session"]);
        let select = names.map(|name| sql!("SELECT '{name}' AS name, {} AS setting", shown(name); name));
        let rows = sqlx::raw_sql(Sql::join(select, " UNION ALL "))
            .fetch_all(conn)
            .await
            .map_err(self.failed())?;
        let found = |name: &str| -> Option<String> {
            let row_of_name = |row: &&PgRow| row.try_get::<&str, _>("name").is_ok_and(|found| found == name);
            rows.iter().find(row_of_name)?.try_get("setting").ok()
        };
        if found("eidos.session").as_deref() != Some(&self.marker.to_string()) {
            return Err(self.shared("what was set in a session is gone in its next statement".to_owned()));
        }
        let lost: Vec<String> = self
            .asked
            .iter()
            .filter_map(|(name, asked)| {
                let found = found(name).unwrap_or_default();
                (found != *asked).then(|| format!("{name} is '{found}' instead of '{asked}'"))
            })
            .collect();
        if lost.is_empty() {
            Ok(())
        } else {
            Err(CoreError::Guards {
                source_name: self.target.source_name.clone(),
                target: self.target.address.clone(),
                lost: lost.join(", "),
            })
        }
    }

    fn shared(&self, evidence: String) -> CoreError {
        self.target.shared(evidence)
    }

    fn failed(&self) -> impl Fn(sqlx::Error) -> CoreError {
        move |cause| self.target.failed(cause)
    }
}

/// The expression for a setting as `pg_settings` shows it, a time in milliseconds. The view itself lists every setting of
/// the server for each question, which took a seventh of what a short run costs the database.
fn shown(name: &'static str) -> Sql {
    let setting = sql!("current_setting('{name}', true)"; name);
    if name.ends_with("_timeout") {
        sql!("(extract(epoch FROM {setting}::interval) * 1000)::bigint::text"; setting)
    } else {
        setting
    }
}

/// A setting's value; ours never hold NUL.
fn literal(value: &str) -> Sql {
    Sql::literal(value).unwrap_or_default()
}

impl Target {
    pub(crate) fn failed(&self, cause: sqlx::Error) -> CoreError {
        CoreError::Connect {
            source_name: self.source_name.clone(),
            target: self.address.clone(),
            cause,
        }
    }

    fn shared(&self, evidence: String) -> CoreError {
        CoreError::SharedSession {
            source_name: self.source_name.clone(),
            target: self.address.clone(),
            evidence,
        }
    }
}

/// Refuses a pooler that gives one server session to several clients: a client must have the same session in each of its
/// statements, also while another one is inside a transaction, and that other one must have a session of its own. Whether
/// a pooler hands out the session that rested longest or shortest, one of the three differs. Sets nothing, for it would be
/// set for everybody.
///
/// # Errors
/// [`CoreError::SharedSession`], [`CoreError::Connect`].
pub(crate) async fn are_private(
    resting: &mut PgConnection,
    options: &PgConnectOptions,
    target: &Target,
) -> Result<(), CoreError> {
    let failed = |cause| target.failed(cause);
    let mut working = PgConnection::connect_with(options).await.map_err(failed)?;
    let own = backend(resting).await.map_err(failed)?;
    for _ in 0..COMPARISONS {
        keeps(resting, own, target).await?;
        if let Err(cause) = sqlx::raw_sql(sql::BEGIN_READ_ONLY).execute(&mut working).await {
            return Err(match &cause {
                // `PgBouncer`: "transaction blocks not allowed in statement pooling mode".
                sqlx::Error::Database(said) if said.message().contains("statement pooling") => {
                    target.shared(said.message().to_owned())
                }
                _ => failed(cause),
            });
        }
        let others = backend(&mut working).await.map_err(failed)?;
        let meets = others == own;
        let kept = if meets {
            Ok(())
        } else {
            keeps(resting, own, target).await
        };
        sqlx::raw_sql(sql::ROLLBACK)
            .execute(&mut working)
            .await
            .map_err(failed)?;
        kept?;
        if meets {
            return Err(target.shared(format!("two clients at once were given the server process {own}")));
        }
    }
    // It has nothing left to lose.
    let _closed = working.close().await;
    Ok(())
}

async fn keeps(resting: &mut PgConnection, own: i32, target: &Target) -> Result<(), CoreError> {
    let found = backend(resting).await.map_err(|cause| target.failed(cause))?;
    if found == own {
        return Ok(());
    }
    Err(target.shared(format!(
        "one client had the server process {own} in one statement and {found} in another"
    )))
}

/// The server process of a session, without a named statement.
async fn backend(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql(sql::BACKEND).fetch_one(conn).await?.try_get(0)
}

/// PostgreSQL reads 0 as "no limit": a limit below a millisecond becomes one.
fn millis(limit: Duration) -> String {
    limit.as_millis().max(1).to_string()
}
