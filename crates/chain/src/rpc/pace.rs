//! How fast the node may be asked: one policy for every refusal that passes by itself.
//!
//! A node that refuses by rate is asked by half as many requests at once from then on, as long as the process lives;
//! all of them wait for the pause it asked for. A refused question is asked again until the budget of the read is
//! used up (`rpc.rate_limit_budget`, or the deadline of the run around it), an outage `rpc.max_attempts` times.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until};

use super::{NodeErrorKind, Patience, RpcError};
use crate::deadline;
use crate::lock::locked;
use crate::settings::RpcSettings;

/// The places in the queue, and when the node wants to be asked again.
#[derive(Debug)]
pub(super) struct Pace {
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests that may be under way at once.
    allowed: usize,
    /// Places that are to be taken away when they become free.
    surplus: usize,
    lowered_at: Option<Instant>,
    resume_at: Option<Instant>,
}

/// A place in the queue: the right to one request.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pace: &'a Pace,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.pace.take_surplus()
        {
            permit.forget();
        }
    }
}

impl Pace {
    pub(super) fn new(parallel_requests: usize) -> Self {
        Self {
            places: Semaphore::new(parallel_requests),
            state: Mutex::new(State {
                allowed: parallel_requests,
                surplus: 0,
                lowered_at: None,
                resume_at: None,
            }),
        }
    }

    /// Requests that may be under way at once now.
    pub(super) fn allowed(&self) -> usize {
        self.state().allowed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn take_surplus(&self) -> bool {
        let mut state = self.state();
        let taken = state.surplus > 0;
        state.surplus -= usize::from(taken);
        taken
    }

    /// Waits for a place and for the end of the node's pause, but no longer than `until`.
    pub(super) async fn place(&self, until: Instant) -> Result<Place<'_>, RpcError> {
        let permit = loop {
            let permit = self
                .places
                .acquire()
                .await
                .map_err(|error| RpcError::Broken(error.to_string()))?;
            if !self.take_surplus() {
                break permit;
            }
            permit.forget();
        };
        let place = Place {
            pace: self,
            permit: Some(permit),
        };
        loop {
            let now = Instant::now();
            let resume_at = self.state().resume_at;
            match resume_at {
                Some(at) if at > now && now < until => sleep_until(at.min(until)).await,
                _ => return Ok(place),
            }
        }
    }

    /// Makes all requests pause and lowers their number at once: one that began at `started` was refused by rate.
    /// Requests that were under way when the number was lowered do not lower it again.
    fn refused(&self, started: Instant, pause: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        state.resume_at = state.resume_at.max(Some(now + pause));
        let is_news = state.lowered_at.is_none_or(|lowered_at| started > lowered_at);
        if !is_news || state.allowed == 1 {
            return;
        }
        let fewer = state.allowed / 2;
        state.surplus += state.allowed - fewer;
        (state.allowed, state.lowered_at) = (fewer, Some(now));
        tracing::warn!(
            parallel_requests = fewer,
            pause_ms = pause.as_millis(),
            "the node limits the rate of requests; fewer are made at once while this process lives"
        );
    }
}

/// One question's way through refusals.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    pace: &'a Pace,
    patience: Patience,
    attempts_left: usize,
    settings: &'a RpcSettings,
    delays: ExponentialBackoff,
    /// When the last request began.
    started: Instant,
    /// The end of the budget.
    pub(super) until: Instant,
}

impl<'a> Retry<'a> {
    pub(super) fn new(pace: &'a Pace, settings: &'a RpcSettings, patience: Patience) -> Self {
        Self {
            pace,
            patience,
            attempts_left: settings.max_attempts.saturating_sub(1),
            settings,
            delays: delays(settings),
            started: Instant::now(),
            until: end_of_budget(settings),
        }
    }

    /// Begins the patience anew: a part of the question was answered.
    pub(super) fn progressed(&mut self) {
        self.delays = delays(self.settings);
        self.until = end_of_budget(self.settings);
    }

    /// Notes that a request begins.
    pub(super) fn begin(&mut self) {
        self.started = Instant::now();
    }

    /// Waits as the error demands. False if the question must not be asked again: it would not help, the attempts
    /// are used up, or the pause is longer than what is left of the budget.
    pub(super) async fn again(&mut self, error: &RpcError) -> bool {
        let is_rate_limit = error.is_rate_limit();
        if !is_rate_limit {
            if self.attempts_left == 0 || !error.passes_by_itself(self.patience) {
                return false;
            }
            self.attempts_left -= 1;
        }
        let planned = self.delays.next().unwrap_or_default();
        let pause = error.pause().map_or(planned, |wish| wish.max(planned));
        if Instant::now() + pause > self.until {
            return false;
        }
        if is_rate_limit || is_limit(error) {
            self.pace.refused(self.started, pause);
        }
        tracing::debug!(%error, pause_ms = pause.as_millis(), "the node is asked again");
        sleep(pause).await;
        true
    }
}

fn delays(settings: &RpcSettings) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(settings.retry_base)
        .with_max_delay(settings.retry_max)
        .without_max_times()
        .build()
}

fn end_of_budget(settings: &RpcSettings) -> Instant {
    let budget = Instant::now() + settings.rate_limit_budget;
    deadline::current().map_or(budget, |deadline| budget.min(deadline))
}

fn is_limit(error: &RpcError) -> bool {
    matches!(error, RpcError::Node(node) if node.kind == NodeErrorKind::LimitExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn concurrency_is_halved_once_per_round_and_never_below_one() {
        let pace = Pace::new(4);
        let far = Instant::now() + Duration::from_mins(1);
        let started = Instant::now();
        let places = [pace.place(far).await.unwrap(), pace.place(far).await.unwrap()];
        pace.refused(started, Duration::ZERO);
        pace.refused(started, Duration::ZERO);
        assert_eq!(pace.allowed(), 2, "requests of the same round lower it once");
        drop(places);
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            pace.refused(Instant::now(), Duration::ZERO);
        }
        assert_eq!(pace.allowed(), 1);
        let _only = pace.place(far).await.unwrap();
        let another = tokio::time::timeout(Duration::from_millis(50), pace.place(far)).await;
        assert!(another.is_err(), "one place is left, and it is taken");
    }

    #[tokio::test]
    async fn every_request_waits_for_the_pause_but_not_beyond_the_budget() {
        let pace = Pace::new(4);
        pace.refused(Instant::now(), Duration::from_millis(80));
        let started = Instant::now();
        drop(pace.place(started + Duration::from_mins(1)).await.unwrap());
        assert!(
            started.elapsed() >= Duration::from_millis(60),
            "{:?}",
            started.elapsed()
        );
        pace.refused(Instant::now(), Duration::from_hours(1));
        drop(
            pace.place(Instant::now() + Duration::from_millis(20))
                .await
                .unwrap(),
        );
    }
}
