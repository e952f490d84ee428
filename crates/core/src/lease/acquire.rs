//! Taking a lease, including what to do when nobody knows whether it was taken.

use std::sync::Arc;
use std::time::Duration;

use eidos_telemetry::metric;
use redis::RedisError;
use uuid::Uuid;

use super::error::LeaseError;
use super::link::{Failed, Link};
use super::request::LeaseRequest;
use super::scripts::{self, Found, Keys};
use super::term::{Deadline, Moment, Term};

/// A lease as Redis granted it.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) token: u64,
    pub(super) term: Term,
    pub(super) deadline: Deadline,
    pub(super) cap: Deadline,
    pub(super) holder: Holder,
}

/// One attempt to hold one job's lock. The nonce makes it distinct from every other attempt, also of the same
/// execution: sweeping up after one cannot touch the next.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) keys: Keys,
    pub(super) name: String,
}

pub(super) enum Answer {
    Granted(Box<Granted>),
    Refused { remaining: Duration },
}

/// How often a command with an unknown outcome is sent before giving up, the first time included.
const TRIES: u32 = 3;

/// Asks for the lease, repeating the request while its outcome is unknown: the script gives the same holder the
/// same token. Gives up with a sweep.
pub(super) async fn acquire(link: &Arc<Link>, request: &LeaseRequest) -> Result<Answer, LeaseError> {
    let job = &request.job;
    let term = Term::new(request.ttl, request.grace, request.max_hold).map_err(|margin| {
        LeaseError::TtlTooShort {
            job: job.clone(),
            ttl: request.ttl,
            margin,
        }
    })?;
    let holder = Holder {
        keys: Keys::new(&link.prefix, job),
        name: format!(
            "{}:{}:{}",
            request.owner.node,
            request.owner.execution,
            Uuid::now_v7()
        ),
    };
    let started = Moment::now();
    let mut maybe_taken = false;
    let mut last = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(term.retry().min(link.response_timeout() / 5)).await;
        }
        let sent = Moment::now();
        let floor = request.floor.get();
        let asked = link
            .run(async |conn| scripts::acquire(conn, &holder.keys, &holder.name, term.ttl_ms(), floor).await)
            .await;
        match asked {
            Ok(Found::Held { token }) => {
                let deadline = term.deadline(sent);
                if deadline.remaining(Moment::now()).is_zero() {
                    sweep(link, holder, term);
                    return Err(LeaseError::Late { job: job.clone() });
                }
                return Ok(Answer::Granted(Box::new(Granted {
                    token,
                    term,
                    deadline,
                    cap: term.cap(started),
                    holder,
                })));
            }
            Ok(Found::Refused { remaining_ms }) => return Ok(refused(request, remaining_ms)),
            Err(Failed::Refused(cause)) => {
                if maybe_taken {
                    sweep(link, holder, term);
                }
                return Err(link.refused(job, cause));
            }
            Err(failed) => {
                maybe_taken |= matches!(failed, Failed::Unknown(_));
                last = Some(failed.into_cause());
            }
        }
    }
    if maybe_taken {
        sweep(link, holder, term);
    }
    Err(unreachable(request, started, last))
}

fn unreachable(request: &LeaseRequest, started: Moment, last: Option<RedisError>) -> LeaseError {
    LeaseError::Unreachable {
        job: request.job.clone(),
        after: started.elapsed(),
        cause: last.unwrap_or_else(|| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))),
    }
}

fn refused(request: &LeaseRequest, remaining_ms: i64) -> Answer {
    let remaining = u64::try_from(remaining_ms).map(Duration::from_millis);
    if remaining.is_err() {
        tracing::error!(
            job = %request.job,
            "the job's lock in Redis has no expiry: it was not set by this program; delete the key by hand"
        );
    }
    Answer::Refused {
        remaining: remaining.unwrap_or(request.ttl),
    }
}

/// Deletes, in the background, what an acquire may have left. Repeated until Redis answers, then once more: a
/// request still on its way in a dropped connection may arrive after the first delete.
pub(super) fn sweep(link: &Arc<Link>, holder: Holder, term: Term) {
    let link = Arc::clone(link);
    tokio::spawn(async move {
        let started = Moment::now();
        let mut answers = 0;
        while answers < 2 && started.elapsed() < term.ttl() * 2 {
            if release_once(&link, &holder).await.is_ok() {
                answers += 1;
            }
            tokio::time::sleep(term.retry()).await;
        }
    });
}

/// One compare-and-delete.
pub(super) async fn release_once(link: &Link, holder: &Holder) -> Result<bool, Failed> {
    link.run(async |conn| scripts::release(conn, &holder.keys, &holder.name).await)
        .await
}

/// The words of `lease_acquire_total{result}`.
pub const ACQUIRE_RESULTS: [&str; 3] = [HELD, REFUSED, ERROR];

const HELD: &str = "held";
const REFUSED: &str = "refused";
const ERROR: &str = "error";

/// Counts an answer.
pub(super) fn record(request: &LeaseRequest, started: Moment, answer: &Result<Answer, LeaseError>) {
    let result = match answer {
        Ok(Answer::Granted(_)) => HELD,
        Ok(Answer::Refused { .. }) => REFUSED,
        Err(_error) => ERROR,
    };
    metric::lease_acquire(request.job.as_str(), result);
    metric::lease_acquire_duration(request.job.as_str(), started.elapsed());
}
