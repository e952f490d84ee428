//! The one loop of a process. It only decides what to look at and hands it to tasks: nothing in it waits for a
//! database, a lock or a job, so its ticks say that the process is alive.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_core::trigger;
use eidos_settings::Overlap;
use eidos_telemetry::metric;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::error::chain;
use crate::health::SCHEDULER_LOOP;
use crate::registry::{RegisteredJob, Registry};
use crate::runner::Runner;
use crate::schedule::sleep_until;

/// Most pending triggers looked at in one poll; the rest waits for the next one.
const TRIGGERS_PER_POLL: u32 = 50;
/// How often the tables are searched for what stopped nodes left behind.
const RESCUE_EVERY: Duration = Duration::from_secs(5);
/// Longest answer of one poll before it is given up.
const POLL_TIMEOUT: Duration = Duration::from_secs(15);

/// Drives the jobs of one process.
pub(crate) struct Dispatcher {
    pub(crate) runner: Runner,
    pub(crate) registry: Arc<Registry>,
    /// Wakes the loop when this process has accepted a trigger.
    pub(crate) wake: Arc<Notify>,
    /// Everything that was started.
    pub(crate) tasks: TaskTracker,
}

/// When the next poll of a kind is due, and whether the last one is still under way.
struct Poll {
    every: Duration,
    due: Instant,
    under_way: Arc<tokio::sync::Semaphore>,
}

impl Dispatcher {
    /// Turns until it is stopped.
    pub(crate) async fn run(self: Arc<Self>) {
        let poll_every = self.runner.scheduler.poll_interval;
        let mut triggers = Poll::every(poll_every);
        let mut rescue = Poll::every(RESCUE_EVERY.max(poll_every));
        while !self.runner.stopping.is_cancelled() {
            let now = self.runner.clock.now();
            self.runner.health.tick(SCHEDULER_LOOP);
            metric::loop_ticked(SCHEDULER_LOOP, now);
            for job in self.registry.iter().filter(|job| job.section.enabled) {
                self.consider_slots(job, now);
            }
            triggers.start_if_due(|permit| self.spawn_polling(permit, Self::poll_triggers));
            rescue.start_if_due(|permit| self.spawn_polling(permit, Self::poll_rescue));
            let nap = self.nap(now, poll_every);
            tokio::select! {
                () = self.runner.stopping.cancelled() => {}
                () = self.wake.notified() => triggers.due = Instant::now(),
                () = tokio::time::sleep(nap) => {}
            }
        }
        self.runner.health.loop_ended(SCHEDULER_LOOP);
    }

    fn consider_slots(self: &Arc<Self>, job: &Arc<RegisteredJob>, now: DateTime<Utc>) {
        let due = job.next_slot().is_some_and(|slot| slot.instant() <= now);
        if !due || !job.pause_left().is_zero() {
            return;
        }
        match job.take() {
            Some(busy) => {
                let (dispatcher, job) = (Arc::clone(self), Arc::clone(job));
                self.tasks.spawn(async move {
                    dispatcher.runner.run_due_slots(&job).await;
                    drop(busy);
                    dispatcher.wake.notify_one();
                });
            }
            None if job.section.overlap == Overlap::Replace => self.runner.supersede(job),
            None => {}
        }
    }

    /// Until the next slot of a job that is free, but never longer than a poll interval.
    fn nap(&self, now: DateTime<Utc>, longest: Duration) -> Duration {
        self.registry
            .iter()
            .filter(|job| job.section.enabled && !job.is_busy())
            .map(|job| {
                sleep_until(job.next_slot(), now, longest)
                    .max(job.pause_left())
                    .min(longest)
            })
            .min()
            .unwrap_or(longest)
            // The clock may be a moment behind the timer.
            .max(Duration::from_millis(1))
    }

    fn spawn_polling<F, Fut>(self: &Arc<Self>, permit: tokio::sync::OwnedSemaphorePermit, poll: F)
    where
        F: FnOnce(Arc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), eidos_core::CoreError>> + Send + 'static,
    {
        let dispatcher = Arc::clone(self);
        self.tasks.spawn(async move {
            match tokio::time::timeout(POLL_TIMEOUT, poll(dispatcher)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = %chain(&error), "polling failed; it is repeated"),
                Err(_elapsed) => tracing::warn!("polling took longer than {POLL_TIMEOUT:?}; it is repeated"),
            }
            drop(permit);
        });
    }

    /// Starts what was asked for, by whichever replica.
    async fn poll_triggers(self: Arc<Self>) -> Result<(), eidos_core::CoreError> {
        let pool = self.runner.jobs_db.control();
        let pending = trigger::pending(pool, &self.registry.names(), TRIGGERS_PER_POLL).await?;
        for pending in pending {
            let Some(job) = self.registry.get(pending.job.as_str()).cloned() else {
                continue;
            };
            if self.runner.stopping.is_cancelled() || !job.pause_left().is_zero() {
                continue;
            }
            let Some(busy) = job.take() else { continue };
            let dispatcher = Arc::clone(&self);
            self.tasks.spawn(async move {
                dispatcher.runner.run_trigger(&job, pending).await;
                drop(busy);
                dispatcher.wake.notify_one();
            });
        }
        Ok(())
    }

    /// Closes the runs of stopped nodes and continues interrupted slots.
    async fn poll_rescue(self: Arc<Self>) -> Result<(), eidos_core::CoreError> {
        let locked = self.registry.locked_names();
        if locked.is_empty() {
            return Ok(());
        }
        let found = self.runner.look_for_abandoned(&locked).await?;
        for orphan in found.running {
            let Some(job) = self.registry.get(orphan.job.as_str()).cloned() else {
                continue;
            };
            let Some(busy) = job.take() else { continue };
            let dispatcher = Arc::clone(&self);
            self.tasks.spawn(async move {
                if let Err(error) = dispatcher.runner.close_orphan(&job, orphan.execution_id).await {
                    tracing::warn!(job = %job.name, %error, "the run of a stopped node is not closed yet");
                }
                drop(busy);
            });
        }
        for interrupted in found.interrupted {
            let Some(again) = interrupted.resumed() else {
                continue;
            };
            let Some(job) = self.registry.get(&interrupted.job_name).cloned() else {
                continue;
            };
            if self.runner.stopping.is_cancelled() || !job.section.enabled || !job.pause_left().is_zero() {
                continue;
            }
            let Some(busy) = job.take() else { continue };
            let dispatcher = Arc::clone(&self);
            self.tasks.spawn(async move {
                dispatcher.runner.continue_slot(&job, again).await;
                drop(busy);
                dispatcher.wake.notify_one();
            });
        }
        Ok(())
    }
}

impl Poll {
    fn every(every: Duration) -> Self {
        Self {
            every,
            due: Instant::now(),
            under_way: Arc::new(tokio::sync::Semaphore::new(1)),
        }
    }

    fn start_if_due(&mut self, start: impl FnOnce(tokio::sync::OwnedSemaphorePermit)) {
        if Instant::now() < self.due {
            return;
        }
        // One at a time: a slow database must not collect polls.
        if let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() {
            self.due = Instant::now() + self.every;
            start(permit);
        }
    }
}
