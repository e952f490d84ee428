//! `eidos_jobs_order_expiries`: what was asked, and what is known about it. Every change names the state and epoch that it
//! expects, so that a change by an event and one by a run never undo each other.

use std::time::Duration;

use eidos_telemetry::metric;
use sqlx::{PgConnection, PgPool};

use super::orders::Candidate;
use crate::domain::life::{Facts, Outcome, Reason, State, Verdict};

macro_rules! request_columns {
    () => {
        "SELECT order_id, market, wallet, expire_at, reason, state, attempt_epoch, sends, verdict, next_attempt_at \
         FROM eidos_jobs_order_expiries "
    };
}

const OPEN: &str = concat!(
    request_columns!(),
    "WHERE state <> 'closed' AND order_id > $1 ORDER BY order_id LIMIT $2"
);
const DUE: &str = concat!(
    request_columns!(),
    "WHERE state = 'requested' AND next_attempt_at <= $1 ORDER BY next_attempt_at, order_id LIMIT $2"
);
const KNOWN: &str = concat!(request_columns!(), "WHERE order_id = ANY ($1)");
/// A new request, due at once.
const ADD: &str = "\
    INSERT INTO eidos_jobs_order_expiries \
        (order_id, market, wallet, expire_at, reason, state, first_requested_at, next_attempt_at) \
    SELECT o.order_id, o.market, o.wallet, o.expire_at, $5, 'requested', $6, $7 \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS o (order_id, market, wallet, expire_at) \
    ON CONFLICT (order_id) DO NOTHING";
/// The order is about to be asked for: the next time is known before the request is sent.
const SENT: &str = "\
    UPDATE eidos_jobs_order_expiries r SET sends = r.sends + 1, requested_at = $4, next_attempt_at = s.next_attempt_at \
    FROM unnest($1::text[], $2::int[], $3::bigint[]) AS s (order_id, attempt_epoch, next_attempt_at) \
    WHERE r.order_id = s.order_id AND r.attempt_epoch = s.attempt_epoch AND r.state = 'requested'";
/// The engine's event may be here before the brokers' acknowledgement: what the engine said is kept.
const ANSWER: &str = "\
    UPDATE eidos_jobs_order_expiries r SET state = a.state, next_attempt_at = a.next_attempt_at, \
        verdict = CASE WHEN a.verdict = 'delivered' AND r.verdict IN ('removed', 'not_found', 'already_terminal', 'refused') \
            THEN r.verdict ELSE a.verdict END, \
        verdict_reason = CASE WHEN a.verdict = 'delivered' AND r.verdict IN ('removed', 'not_found', 'already_terminal', 'refused') \
            THEN r.verdict_reason ELSE a.reason END \
    FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::bigint[]) \
        AS a (order_id, attempt_epoch, state, verdict, reason, next_attempt_at) \
    WHERE r.order_id = a.order_id AND r.attempt_epoch = a.attempt_epoch AND r.state = 'requested'";
/// What the engine said on a topic, about a request of which only the delivery is known, or not even that. It names no attempt,
/// so it changes neither the state nor a time.
const NOTE: &str = "\
    UPDATE eidos_jobs_order_expiries r SET verdict = n.verdict, verdict_reason = n.reason \
    FROM unnest($1::text[], $2::text[], $3::text[]) AS n (order_id, verdict, reason) \
    WHERE r.order_id = n.order_id AND r.sends > 0 \
        AND (r.state = 'requested' OR (r.state = 'answered' AND r.verdict = 'delivered'))";
/// Those of the requests that nobody else is changing: who takes several rows and waits for none can be in no deadlock.
const FREE: &str = "\
    SELECT order_id FROM eidos_jobs_order_expiries WHERE order_id = ANY ($1) FOR UPDATE SKIP LOCKED";
const UNSETTLED: &str = "\
    SELECT count(*) FROM (SELECT FROM eidos_jobs_order_expiries WHERE state = 'answered' AND verdict = 'delivered' LIMIT $1) AS w";
const CLOSE: &str = "\
    UPDATE eidos_jobs_order_expiries r SET state = 'closed', outcome = c.outcome, closed_at = $3, confirmed_by = $4, \
        contradicted = false \
    FROM unnest($1::text[], $2::text[]) AS c (order_id, outcome) \
    WHERE r.order_id = c.order_id AND r.state <> 'closed' RETURNING r.order_id, r.outcome, r.expire_at";
const NEXT_EPOCH: &str = "\
    UPDATE eidos_jobs_order_expiries r SET state = 'requested', attempt_epoch = r.attempt_epoch + 1, sends = 0, \
        verdict = NULL, verdict_reason = NULL, next_attempt_at = $4, contradicted = r.contradicted OR n.contradicted \
    FROM unnest($1::text[], $2::int[], $3::bool[]) AS n (order_id, attempt_epoch, contradicted) \
    WHERE r.order_id = n.order_id AND r.attempt_epoch = n.attempt_epoch AND r.state = 'answered'";
const GIVE_UP: &str = "\
    UPDATE eidos_jobs_order_expiries r SET state = 'given_up', contradicted = r.contradicted OR n.contradicted \
    FROM unnest($1::text[], $2::int[], $3::bool[]) AS n (order_id, attempt_epoch, contradicted) \
    WHERE r.order_id = n.order_id AND r.attempt_epoch = n.attempt_epoch AND r.state = 'answered'";
/// The order is due again, or was taken for ended while it was open.
const REOPEN: &str = "\
    UPDATE eidos_jobs_order_expiries SET state = 'requested', attempt_epoch = attempt_epoch + 1, sends = 0, \
        verdict = NULL, verdict_reason = NULL, outcome = NULL, confirmed_by = NULL, closed_at = NULL, \
        contradicted = outcome <> 'not_due', expire_at = $3, next_attempt_at = $2 \
    WHERE order_id = $1 AND state = 'closed'";
const RETRY_GIVEN_UP: &str = "\
    UPDATE eidos_jobs_order_expiries SET state = 'requested', attempt_epoch = attempt_epoch + 1, sends = 0, \
        verdict = NULL, verdict_reason = NULL, next_attempt_at = $1 \
    WHERE order_id IN (SELECT order_id FROM eidos_jobs_order_expiries WHERE state = 'given_up' ORDER BY order_id LIMIT $2)";
const PRUNE: &str = "\
    DELETE FROM eidos_jobs_order_expiries WHERE order_id IN ( \
        SELECT order_id FROM eidos_jobs_order_expiries WHERE state = 'closed' AND closed_at < $1 \
        ORDER BY closed_at LIMIT $2)";
const TOTALS: &str = "\
    SELECT state::text, count(*), count(*) FILTER (WHERE contradicted), min(first_requested_at) \
    FROM eidos_jobs_order_expiries WHERE state <> 'closed' GROUP BY state";

pub(super) const ALL: &[(&str, &str)] = &[
    ("requests::OPEN", OPEN),
    ("requests::DUE", DUE),
    ("requests::KNOWN", KNOWN),
    ("requests::ADD", ADD),
    ("requests::SENT", SENT),
    ("requests::ANSWER", ANSWER),
    ("requests::NOTE", NOTE),
    ("requests::FREE", FREE),
    ("requests::UNSETTLED", UNSETTLED),
    ("requests::CLOSE", CLOSE),
    ("requests::NEXT_EPOCH", NEXT_EPOCH),
    ("requests::GIVE_UP", GIVE_UP),
    ("requests::REOPEN", REOPEN),
    ("requests::RETRY_GIVEN_UP", RETRY_GIVEN_UP),
    ("requests::PRUNE", PRUNE),
    ("requests::TOTALS", TOTALS),
];

/// A stored request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The order.
    pub order_id: String,
    /// Its market.
    pub market: String,
    /// Its owner.
    pub wallet: String,
    /// When it expired, epoch ms; 0 for another reason.
    pub expire_at: i64,
    /// Why it is to be removed.
    pub reason: Reason,
    /// What is known about the request.
    pub facts: Facts,
    /// Requests under this epoch.
    pub sends: u32,
}

impl Request {
    /// Returns the id under which the engine knows this attempt.
    #[must_use]
    pub fn idempotency_id(&self) -> String {
        format!("{}:{}", self.order_id, self.facts.epoch)
    }

    /// Returns the epoch as the table has it.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        i32::try_from(self.facts.epoch).unwrap_or(i32::MAX)
    }
}

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for Request {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        let word = |column: &'static str, text: String| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: format!("'{text}' is not a word that this program knows").into(),
        };
        let state: String = row.try_get("state")?;
        let reason: String = row.try_get("reason")?;
        let verdict: Option<String> = row.try_get("verdict")?;
        Ok(Self {
            order_id: row.try_get("order_id")?,
            market: row.try_get("market")?,
            wallet: row.try_get("wallet")?,
            expire_at: row.try_get("expire_at")?,
            reason: Reason::named(&reason).ok_or_else(|| word("reason", reason))?,
            facts: Facts {
                state: State::named(&state).ok_or_else(|| word("state", state))?,
                epoch: row.try_get::<i32, _>("attempt_epoch")?.unsigned_abs(),
                verdict: verdict
                    .map(|text| Verdict::named(&text).ok_or_else(|| word("verdict", text)))
                    .transpose()?,
                next_attempt_ms: row.try_get("next_attempt_at")?,
            },
            sends: row.try_get::<i32, _>("sends")?.unsigned_abs(),
        })
    }
}

/// A request that ended.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(
    missing_docs,
    reason = "the fields are the table's columns, which the migration documents"
)]
pub struct Closed {
    pub order_id: String,
    pub outcome: String,
    pub expire_at: i64,
}

impl Closed {
    /// Counts the end in the metrics; `ended_at`: when the order's row changed, epoch ms. Returns how the order ended.
    pub fn count(&self, ended_at: Option<i64>) -> Option<Outcome> {
        let outcome = Outcome::named(&self.outcome)?;
        metric::expiry_outcomes(outcome.as_str(), 1);
        if let (Outcome::Expired, Some(ended_at)) = (outcome, ended_at)
            && self.expire_at > 0
        {
            let lag = ended_at.saturating_sub(self.expire_at).max(0);
            metric::expiry_confirmation_lag(Duration::from_millis(lag.unsigned_abs()));
        }
        Some(outcome)
    }
}

/// Requests of one state.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Total {
    /// The state.
    pub state: String,
    /// How many.
    pub count: i64,
    /// How many whose answer and row contradict each other.
    pub contradicted: i64,
    /// First request of the oldest, epoch ms.
    pub oldest_ms: i64,
}

/// An answer as it is stored.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The order.
    pub order_id: String,
    /// The epoch that was answered.
    pub epoch: i32,
    /// The state after it.
    pub state: State,
    /// What was answered.
    pub verdict: Verdict,
    /// For people; empty: none.
    pub reason: String,
    /// When the request is due again, epoch ms.
    pub next_attempt_ms: i64,
}

/// A request whose answered epoch is over.
#[derive(Debug, Clone)]
pub struct Unconfirmed {
    /// The order.
    pub order_id: String,
    /// The epoch that was not confirmed.
    pub epoch: i32,
    /// Whether the engine's answer and the row contradict each other.
    pub contradicted: bool,
}

/// Returns the next requests whose orders have not ended, after this order id.
///
/// # Errors
/// Those of the database.
pub async fn open(pool: &PgPool, after: &str, limit: i64) -> Result<Vec<Request>, sqlx::Error> {
    sqlx::query_as(OPEN).bind(after).bind(limit).fetch_all(pool).await
}

/// Returns requests that are due at `now_ms`.
///
/// # Errors
/// Those of the database.
pub async fn due(pool: &PgPool, now_ms: i64, limit: i64) -> Result<Vec<Request>, sqlx::Error> {
    sqlx::query_as(DUE).bind(now_ms).bind(limit).fetch_all(pool).await
}

/// Returns the stored requests of these orders.
///
/// # Errors
/// Those of the database.
pub async fn known(pool: &PgPool, order_ids: &[&str]) -> Result<Vec<Request>, sqlx::Error> {
    sqlx::query_as(KNOWN).bind(order_ids).fetch_all(pool).await
}

/// Adds requests that are due at `due_ms`; an order that has one already keeps it. Returns how many are new.
///
/// # Errors
/// Those of the database.
pub async fn add(
    conn: &mut PgConnection,
    orders: &[&Candidate],
    reason: Reason,
    now_ms: i64,
    due_ms: i64,
) -> Result<u64, sqlx::Error> {
    let column = |of: fn(&Candidate) -> &str| orders.iter().map(|order| of(order)).collect::<Vec<_>>();
    // Removal for another reason has no expiry.
    let expiries: Vec<i64> = orders
        .iter()
        .map(|order| {
            if reason == Reason::Expired {
                order.expire_at
            } else {
                0
            }
        })
        .collect();
    let added = sqlx::query(ADD)
        .bind(column(|order| &order.order_id))
        .bind(column(|order| &order.market))
        .bind(column(|order| &order.wallet))
        .bind(expiries)
        .bind(reason.as_str())
        .bind(now_ms)
        .bind(due_ms)
        .execute(conn)
        .await?;
    Ok(added.rows_affected())
}

/// Records that these requests are about to be sent, each with the time at which it is due again without an answer.
///
/// # Errors
/// Those of the database.
pub async fn sent(
    conn: &mut PgConnection,
    requests: &[Request],
    again_at_ms: &[i64],
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = requests.iter().map(|request| request.order_id.as_str()).collect();
    let epochs: Vec<i32> = requests.iter().map(Request::epoch).collect();
    sqlx::query(SENT)
        .bind(ids)
        .bind(epochs)
        .bind(again_at_ms)
        .bind(now_ms)
        .execute(conn)
        .await?;
    Ok(())
}

/// Records answers.
///
/// # Errors
/// Those of the database.
pub async fn answer(conn: &mut PgConnection, answers: &[Answer]) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = answers.iter().map(|answer| answer.order_id.as_str()).collect();
    let epochs: Vec<i32> = answers.iter().map(|answer| answer.epoch).collect();
    let states: Vec<&str> = answers.iter().map(|answer| answer.state.as_str()).collect();
    let verdicts: Vec<&str> = answers.iter().map(|answer| answer.verdict.as_str()).collect();
    let reasons: Vec<Option<&str>> = answers
        .iter()
        .map(|answer| Some(answer.reason.as_str()).filter(|reason| !reason.is_empty()))
        .collect();
    let next: Vec<i64> = answers.iter().map(|answer| answer.next_attempt_ms).collect();
    sqlx::query(ANSWER)
        .bind(ids)
        .bind(epochs)
        .bind(states)
        .bind(verdicts)
        .bind(reasons)
        .bind(next)
        .execute(conn)
        .await?;
    Ok(())
}

/// What the engine said about an order on a topic.
#[derive(Debug, Clone)]
pub struct Note {
    /// The order.
    pub order_id: String,
    /// What.
    pub verdict: Verdict,
    /// For people; empty: none.
    pub reason: String,
}

/// Records what the engine said about requests of which nothing is known but their delivery.
///
/// # Errors
/// Those of the database.
pub async fn note(conn: &mut PgConnection, notes: &[Note]) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = notes.iter().map(|note| note.order_id.as_str()).collect();
    let verdicts: Vec<&str> = notes.iter().map(|note| note.verdict.as_str()).collect();
    let reasons: Vec<Option<&str>> = notes
        .iter()
        .map(|note| Some(note.reason.as_str()).filter(|reason| !reason.is_empty()))
        .collect();
    sqlx::query(NOTE)
        .bind(ids)
        .bind(verdicts)
        .bind(reasons)
        .execute(conn)
        .await?;
    Ok(())
}

/// Locks the requests of these orders that nobody else has locked, and returns their orders.
///
/// # Errors
/// Those of the database.
pub async fn free(conn: &mut PgConnection, order_ids: &[&str]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(FREE).bind(order_ids).fetch_all(conn).await
}

/// Counts, up to `limit`, the requests that Kafka has and about which neither the engine nor the order's row said anything.
///
/// # Errors
/// Those of the database.
pub async fn unsettled(pool: &PgPool, limit: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(UNSETTLED).bind(limit).fetch_one(pool).await
}

/// Closes requests whose orders ended; `by` is `row` or `event`. Returns those that were not closed before.
///
/// # Errors
/// Those of the database.
pub async fn close(
    conn: &mut PgConnection,
    ended: &[(&str, Outcome)],
    now_ms: i64,
    by: &'static str,
) -> Result<Vec<Closed>, sqlx::Error> {
    let ids: Vec<&str> = ended.iter().map(|(id, _)| *id).collect();
    let outcomes: Vec<&str> = ended.iter().map(|(_, outcome)| outcome.as_str()).collect();
    sqlx::query_as(CLOSE)
        .bind(ids)
        .bind(outcomes)
        .bind(now_ms)
        .bind(by)
        .fetch_all(conn)
        .await
}

/// Begins the next epoch of requests, due at `due_ms`.
///
/// # Errors
/// Those of the database.
pub async fn next_epoch(
    conn: &mut PgConnection,
    requests: &[Unconfirmed],
    due_ms: i64,
) -> Result<(), sqlx::Error> {
    unconfirmed(NEXT_EPOCH, requests)
        .bind(due_ms)
        .execute(conn)
        .await?;
    Ok(())
}

/// Gives requests up.
///
/// # Errors
/// Those of the database.
pub async fn give_up(conn: &mut PgConnection, requests: &[Unconfirmed]) -> Result<(), sqlx::Error> {
    unconfirmed(GIVE_UP, requests).execute(conn).await?;
    Ok(())
}

fn unconfirmed<'q>(
    statement: &'static str,
    requests: &'q [Unconfirmed],
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let ids: Vec<&str> = requests.iter().map(|one| one.order_id.as_str()).collect();
    let epochs: Vec<i32> = requests.iter().map(|one| one.epoch).collect();
    let contradicted: Vec<bool> = requests.iter().map(|one| one.contradicted).collect();
    sqlx::query(statement).bind(ids).bind(epochs).bind(contradicted)
}

/// Opens a closed request again, under the next epoch.
///
/// # Errors
/// Those of the database.
pub async fn reopen(
    conn: &mut PgConnection,
    order_id: &str,
    expire_at: i64,
    due_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(REOPEN)
        .bind(order_id)
        .bind(due_ms)
        .bind(expire_at)
        .execute(conn)
        .await?;
    Ok(())
}

/// Begins the next epoch of at most `limit` given-up requests. Returns how many there were.
///
/// # Errors
/// Those of the database.
pub async fn retry_given_up(conn: &mut PgConnection, due_ms: i64, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(RETRY_GIVEN_UP)
        .bind(due_ms)
        .bind(limit)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Deletes at most `limit` requests that were closed before `before_ms`. Returns how many there were.
///
/// # Errors
/// Those of the database.
pub async fn prune(conn: &mut PgConnection, before_ms: i64, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(PRUNE)
        .bind(before_ms)
        .bind(limit)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Returns the requests that have not ended, by state.
///
/// # Errors
/// Those of the database.
pub async fn totals(pool: &PgPool) -> Result<Vec<Total>, sqlx::Error> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(TOTALS).fetch_all(pool).await?;
    let total = |(state, count, contradicted, oldest_ms)| Total {
        state,
        count,
        contradicted,
        oldest_ms,
    };
    Ok(rows.into_iter().map(total).collect())
}
