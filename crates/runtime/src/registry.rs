//! The jobs of this process, each with its settings, its schedule and its worker pool.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_settings::{JobSection, LockKind, SchedulerSection, SuiteSettings};
use eidos_types::{JobName, Slot};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::JobEntry;
use crate::retry::RetryRule;
use crate::schedule::Schedule;

/// A job that can be run.
#[derive(Debug)]
pub struct RegisteredJob {
    /// Its name.
    pub name: JobName,
    /// The job itself.
    pub entry: JobEntry,
    /// Its settings.
    pub section: JobSection,
    pub(crate) schedule: Schedule,
    /// Runs of jobs that name the same pool share its permits, so a long job can only starve its own kind.
    pub(crate) pool: Arc<Semaphore>,
    local: LocalState,
}

/// What this process knows about a job between two looks at the database.
#[derive(Debug)]
struct LocalState {
    /// True while a task of this process deals with the job: the lease would refuse a second one anyway.
    busy: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    /// The newest slot known to be claimed: a hint, the database decides.
    cursor: DateTime<Utc>,
    /// Not to be tried again before (lease refused, database away, paused).
    not_before: Instant,
}

/// Marks a job as dealt with by this process until it is dropped.
pub(crate) struct Busy(Arc<RegisteredJob>);

impl RegisteredJob {
    /// The first slot of its schedule after `instant`.
    #[must_use]
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<Slot> {
        self.schedule.next_after(instant)
    }

    /// Takes the job for one task of this process; `None` while another has it.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Busy> {
        let taken = self.local.busy.swap(true, Ordering::AcqRel);
        (!taken).then(|| Busy(Arc::clone(self)))
    }

    /// True while a task of this process has it.
    pub(crate) fn is_busy(&self) -> bool {
        self.local.busy.load(Ordering::Acquire)
    }

    /// The first slot that may be due.
    pub(crate) fn next_slot(&self) -> Option<Slot> {
        self.schedule.next_after(self.plan().cursor)
    }

    /// The newest slot known to be claimed.
    pub(crate) fn cursor(&self) -> DateTime<Utc> {
        self.plan().cursor
    }

    /// The database says that slots up to `cursor` are claimed. A cursor never moves back.
    pub(crate) fn note_cursor(&self, cursor: DateTime<Utc>) {
        let mut plan = self.local.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.cursor = plan.cursor.max(cursor);
    }

    /// What the database says at start, even if it is earlier than this process's clock: the slots between are missed.
    pub(crate) fn set_cursor(&self, cursor: DateTime<Utc>) {
        self.local
            .plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .cursor = cursor;
    }

    /// Leaves the job alone for a while.
    pub(crate) fn not_before(&self, pause: Duration) {
        self.local
            .plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .not_before = Instant::now() + pause;
    }

    /// How long the job must still be left alone.
    pub(crate) fn pause_left(&self) -> Duration {
        self.plan().not_before.saturating_duration_since(Instant::now())
    }

    /// True if runs are exclusive across replicas.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.section.lock.kind != LockKind::None
    }

    /// The retry rule of its settings.
    pub(crate) fn retry(&self) -> RetryRule {
        RetryRule {
            max_attempts: self.section.retry.max_attempts,
            base: Duration::from_millis(self.section.retry.base_ms),
            max: Duration::from_millis(self.section.retry.max_ms),
        }
    }

    fn plan(&self) -> Plan {
        *self.local.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.local.busy.store(false, Ordering::Release);
    }
}

/// All jobs of this process by name.
#[derive(Debug, Default)]
pub(crate) struct Registry(BTreeMap<JobName, Arc<RegisteredJob>>);

/// A service registered a job that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is not one.
    #[error("the service registers a job with an invalid name: {0}")]
    Name(#[from] eidos_types::JobNameError),
    /// Two jobs have one name.
    #[error("the service registers the job {0} twice")]
    Twice(JobName),
    /// No settings.
    #[error("jobs.{0} is missing in the settings: add the block to the service's settings.default.yaml")]
    NoSettings(JobName),
}

impl Registry {
    /// Joins the service's jobs with their settings.
    pub(crate) fn new(
        entries: Vec<JobEntry>,
        suite: &SuiteSettings,
        now: DateTime<Utc>,
    ) -> Result<Self, RegistryError> {
        let mut pools = Pools::new(&suite.scheduler);
        let mut jobs = BTreeMap::new();
        for entry in entries {
            let name: JobName = entry.name().parse()?;
            let section = suite
                .jobs
                .get(&name)
                .cloned()
                .ok_or_else(|| RegistryError::NoSettings(name.clone()))?;
            let mut lines = vec![section.cron.clone()];
            lines.extend(entry.extra_schedules());
            let job = RegisteredJob {
                name: name.clone(),
                pool: pools.named(&section.pool),
                schedule: Schedule::new(lines),
                entry,
                section,
                local: LocalState {
                    busy: AtomicBool::new(false),
                    plan: Mutex::new(Plan {
                        cursor: now,
                        not_before: Instant::now(),
                    }),
                },
            };
            if jobs.insert(name.clone(), Arc::new(job)).is_some() {
                return Err(RegistryError::Twice(name));
            }
        }
        Ok(Self(jobs))
    }

    /// The job of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<RegisteredJob>> {
        let name: JobName = name.parse().ok()?;
        self.0.get(&name)
    }

    /// All jobs by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<RegisteredJob>> {
        self.0.values()
    }

    /// The names of jobs whose runs are exclusive. Only they are continued and closed by other replicas: an interrupted
    /// run of a job without a lock is followed by the next slot.
    pub(crate) fn locked_names(&self) -> Vec<JobName> {
        let locked = self.0.values().filter(|job| job.is_locked());
        locked.map(|job| job.name.clone()).collect()
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<JobName> {
        self.0.keys().cloned().collect()
    }
}

/// One semaphore for each pool name in use.
struct Pools<'a> {
    scheduler: &'a SchedulerSection,
    made: BTreeMap<String, Arc<Semaphore>>,
}

impl<'a> Pools<'a> {
    const fn new(scheduler: &'a SchedulerSection) -> Self {
        Self {
            scheduler,
            made: BTreeMap::new(),
        }
    }

    fn named(&mut self, pool: &str) -> Arc<Semaphore> {
        let size = usize::try_from(self.scheduler.pool_size(pool))
            .unwrap_or(1)
            .max(1);
        let made = self
            .made
            .entry(pool.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(size)));
        Arc::clone(made)
    }
}
