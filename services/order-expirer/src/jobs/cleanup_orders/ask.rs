//! Asks the engine: requests are committed, then sent, as many as its window allows; answers are committed as they come.
//!
//! Over gRPC the engine names the window. A topic does not, so over Kafka the window is kept here: of the requests that the
//! topic has, at most `expiry.kafka.window` may be such that neither the engine nor the order's row said anything.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_runtime::{JobContext, JobError};
use eidos_telemetry::metric;

use super::candidates::Candidates;
use super::{CleanupOrders, CleanupReport};
use crate::domain::life::{Verdict, after_verdict};
use crate::jobs::stored;
use crate::sources::engine::{Answers, OrderVerdict};
use crate::sources::transport::{Conversation, TransportError};
use crate::store::requests::{self, Answer, Request};

/// What is left of a run's time when it stops asking: enough to commit the last answers and to unlink keys.
const RESERVE: Duration = Duration::from_secs(3);
/// The first pause before another stream; it doubles.
const RECONNECT: Duration = Duration::from_millis(200);
/// How often our own window is counted while it is full.
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// The next sequence number of requests on a topic.
const SEQUENCE: &str = "sequence";

/// A request without an answer.
struct InFlight {
    request: Request,
    /// Its place in the order of sending.
    place: u64,
}

/// One run's conversation with the engine.
struct Asking<'a> {
    job: &'a CleanupOrders,
    ctx: &'a JobContext,
    candidates: Candidates<'a>,
    in_flight: BTreeMap<String, InFlight>,
    /// How often a request was sent in this run, beyond the first time.
    repeated: BTreeMap<String, u32>,
    window: usize,
    places: u64,
    reserve: Duration,
    /// The next sequence number. `None`: requests have none.
    sequence: Option<i64>,
}

/// Why the conversation ended.
enum End {
    /// There is nothing left to ask for, or no time.
    Done,
    /// The stream is of no use any more. `answered`: it gave answers before.
    Broken { error: TransportError, answered: bool },
}

/// Asks for everything that is due, within the run's limits.
pub(super) async fn run(
    job: &CleanupOrders,
    ctx: &JobContext,
    report: &mut CleanupReport,
) -> Result<(), JobError> {
    let mut asking = Asking {
        job,
        ctx,
        candidates: Candidates::new(job, ctx).await?,
        in_flight: BTreeMap::new(),
        repeated: BTreeMap::new(),
        window: job.matching.initial_window as usize,
        places: 0,
        reserve: RESERVE.min(ctx.budget_left() / 4),
        sequence: first_number(job, ctx).await?,
    };
    let mut failures = 0;
    loop {
        let end = match ctx.unless_cancelled(job.transport.open()).await? {
            Ok(mut stream) => asking.converse(&mut stream, report).await?,
            Err(error) => End::Broken {
                error,
                answered: false,
            },
        };
        let End::Broken { error, answered } = end else {
            return Ok(());
        };
        report.stream_failed(error.to_string());
        tracing::warn!(%error, answered, unanswered = asking.in_flight.len(), "a conversation with the matching engine failed");
        failures = if answered { 0 } else { failures + 1 };
        if error.is_refusal() {
            asking.release_all(report);
            return Err(JobError::fail(error));
        }
        if failures >= job.matching.max_failures || asking.is_over() {
            asking.release_all(report);
            // An engine that answered some of this run's requests is not away; the rest is asked again by the next run.
            return if answered
                || report
                    .verdicts
                    .keys()
                    .any(|word| *word != Verdict::Unanswered.as_str())
            {
                Ok(())
            } else {
                Err(JobError::retry(error))
            };
        }
        asking.put_back(report);
        let pause = RECONNECT * 2_u32.saturating_pow(failures);
        ctx.unless_cancelled(tokio::time::sleep(pause)).await?;
    }
}

/// The sequence number that this run begins with: above every one that was used, and not below the clock.
async fn first_number(job: &CleanupOrders, ctx: &JobContext) -> Result<Option<i64>, JobError> {
    if !job.transport.is_numbered() {
        return Ok(None);
    }
    let stored: Option<i64> = ctx.load_checkpoint(SEQUENCE).await?;
    let clock_us = ctx.clock().now().timestamp_micros();
    Ok(Some(stored.unwrap_or(1).max(clock_us)))
}

impl Asking<'_> {
    fn is_over(&self) -> bool {
        self.ctx.budget_left() <= self.reserve
    }

    /// Sends and reads until there is nothing left to do, or the stream breaks.
    async fn converse(
        &mut self,
        stream: &mut Conversation,
        report: &mut CleanupReport,
    ) -> Result<End, JobError> {
        let (mut answered, mut more) = (false, true);
        self.follow(None).await?;
        loop {
            self.ctx.check_cancelled()?;
            while more && stream.has_room() && self.in_flight.len() < self.window && !self.is_over() {
                let limit = u64::from(self.job.settings.requests_per_run);
                if report.sent >= limit {
                    (more, report.cut_short) = (false, true);
                    break;
                }
                more = match self.send(stream, report).await? {
                    Ok(more) => more,
                    Err(error) => return Ok(End::Broken { error, answered }),
                };
            }
            let is_paused = self.window == 0 && more;
            let is_stuck = is_paused && self.in_flight.is_empty() && !self.until_room().await?;
            if is_stuck
                || self.is_over()
                || (self.in_flight.is_empty() && !is_paused && !(more && stream.has_room()))
            {
                report.cut_short |= more;
                report.paused_by_engine |= is_paused;
                self.release_all(report);
                return Ok(End::Done);
            }
            if self.in_flight.is_empty() && self.job.transport.own_window().is_some() {
                continue;
            }
            let paused_for = is_paused.then(|| self.ctx.budget_left().saturating_sub(self.reserve));
            match self.ctx.unless_cancelled(stream.answers(paused_for)).await? {
                Ok(answers) => {
                    answered |= !answers.verdicts.is_empty();
                    let named = answers.window;
                    self.record(answers, report).await?;
                    self.follow(named).await?;
                }
                Err(error) if is_paused && error.is_timeout() => report.paused_by_engine = true,
                Err(error) => return Ok(End::Broken { error, answered }),
            }
        }
    }

    /// Sets the window: the one that the engine named, or what is left of our own.
    async fn follow(&mut self, named: Option<u32>) -> Result<(), JobError> {
        if let Some(own) = self.job.transport.own_window() {
            let pool = self.ctx.jobs_db().control();
            let unsettled = requests::unsettled(pool, i64::from(own))
                .await
                .map_err(stored("count requests about which nothing is known"))?;
            let unsettled = u32::try_from(unsettled).unwrap_or(own);
            self.window = own.saturating_sub(unsettled) as usize;
        } else if let Some(named) = named {
            self.window = named as usize;
        }
        Ok(())
    }

    /// Waits until our own window is open, at most as long as an answer is waited for. False: it stayed closed. True at once
    /// where the engine names the window: its next message opens it.
    async fn until_room(&mut self) -> Result<bool, JobError> {
        if self.job.transport.own_window().is_none() {
            return Ok(true);
        }
        let until = tokio::time::Instant::now() + self.job.matching.answer_timeout;
        while self.window == 0 && !self.is_over() {
            if tokio::time::Instant::now() >= until {
                return Ok(false);
            }
            self.ctx.unless_cancelled(tokio::time::sleep(COUNT_EVERY)).await?;
            self.follow(None).await?;
        }
        Ok(self.window > 0)
    }

    /// Commits and sends the next requests. False: there are no more.
    async fn send(
        &mut self,
        stream: &mut Conversation,
        report: &mut CleanupReport,
    ) -> Result<Result<bool, TransportError>, JobError> {
        let room = self.window.saturating_sub(self.in_flight.len());
        let most = room.min(self.job.settings.page_orders as usize);
        let batch = self.candidates.next(most, report).await?;
        if batch.is_empty() {
            return Ok(Ok(false));
        }
        let first_number = self.take_numbers(batch.len());
        self.write_ahead(&batch).await?;
        for request in &batch {
            report.asked_for(
                &request.order_id,
                &request.market,
                self.job.settings.report_orders,
            );
            self.places += 1;
            let in_flight = InFlight {
                request: request.clone(),
                place: self.places,
            };
            self.in_flight.insert(request.idempotency_id(), in_flight);
        }
        report.sent += batch.len() as u64;
        let size = self.job.matching.batch_orders as usize;
        for (message, place) in batch.chunks(size).zip((0_i64..).step_by(size)) {
            let number = first_number.map(|first| first.saturating_add(place));
            if let Err(error) = stream.send(message, number) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(true))
    }

    /// Returns the first of `count` sequence numbers, which [`Self::write_ahead`] makes durable as used.
    fn take_numbers(&mut self, count: usize) -> Option<i64> {
        let next = self.sequence.as_mut()?;
        let first = *next;
        *next = first.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        Some(first)
    }

    /// Makes durable what is about to be sent: a crash after this repeats the same ids.
    async fn write_ahead(&self, batch: &[Request]) -> Result<(), JobError> {
        let (rules, now_ms) = (self.job.settings.rules(), self.ctx.slot().ms());
        let again: Vec<i64> = batch
            .iter()
            .map(|request| now_ms.saturating_add(rules.resend.pause_ms(&request.order_id, request.sends + 1)))
            .collect();
        let mut step = self.ctx.step().await?;
        requests::sent(step.conn(), batch, &again, self.ctx.clock().now_ms())
            .await
            .map_err(stored("record what is sent"))?;
        if let Some(next) = self.sequence {
            step.save_checkpoint(SEQUENCE, &next).await?;
        }
        Ok(step.commit().await?)
    }

    /// Commits answers. Those to a request that nobody waits for say nothing.
    async fn record(&mut self, answers: Answers, report: &mut CleanupReport) -> Result<(), JobError> {
        let (rules, now_ms) = (self.job.settings.rules(), self.ctx.slot().ms());
        let mut stored_answers = Vec::with_capacity(answers.verdicts.len());
        for OrderVerdict {
            idempotency_id,
            verdict,
            reason,
            retry_after_ms,
        } in answers.verdicts
        {
            let Some(InFlight { request, .. }) = self.in_flight.remove(&idempotency_id) else {
                continue;
            };
            let tries = (request.facts.epoch, request.sends + 1);
            let (state, next_attempt_ms) =
                after_verdict(&request.order_id, tries, verdict, retry_after_ms, now_ms, &rules);
            *report.verdicts.entry(verdict.as_str()).or_default() += 1;
            metric::expiry_verdicts(verdict.as_str(), 1);
            let epoch = request.epoch();
            let order_id = request.order_id;
            stored_answers.push(Answer {
                order_id,
                epoch,
                state,
                verdict,
                reason,
                next_attempt_ms,
            });
        }
        if stored_answers.is_empty() {
            return Ok(());
        }
        let mut step = self.ctx.step().await?;
        requests::answer(step.conn(), &stored_answers)
            .await
            .map_err(stored("record answers"))?;
        Ok(step.commit().await?)
    }

    /// Queues requests without an answer again, in the order in which they were sent; those that were sent often enough in
    /// this run are left to the next one.
    fn put_back(&mut self, report: &mut CleanupReport) {
        let mut unanswered: Vec<InFlight> = std::mem::take(&mut self.in_flight).into_values().collect();
        unanswered.sort_by_key(|one| one.place);
        let mut again = Vec::new();
        for InFlight { mut request, .. } in unanswered {
            let repeated = self.repeated.entry(request.order_id.clone()).or_default();
            *repeated += 1;
            if *repeated < self.job.matching.max_failures {
                request.sends += 1;
                again.push(request);
            } else {
                count_unanswered(1, report);
            }
        }
        self.candidates.put_back(again.into_iter());
        self.window = self.window.clamp(1, self.job.matching.initial_window as usize);
    }

    /// Leaves what has no answer to the next runs.
    fn release_all(&mut self, report: &mut CleanupReport) {
        count_unanswered(std::mem::take(&mut self.in_flight).len() as u64, report);
    }
}

fn count_unanswered(count: u64, report: &mut CleanupReport) {
    if count > 0 {
        let word = Verdict::Unanswered.as_str();
        *report.verdicts.entry(word).or_default() += count;
        metric::expiry_verdicts(word, count);
    }
}
