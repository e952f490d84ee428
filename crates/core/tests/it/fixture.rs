//! A migrated jobs database with one job, and the calls tests make all the time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use eidos_core::db::{DatabaseSettings, JobsDb, connect_jobs};
use eidos_core::execution::{self, Execution};
use eidos_core::fence::Fence;
use eidos_core::start::{Attempt, Run, Starter};
use eidos_core::{execution::Trigger, start};
use eidos_testkit::TestDb;
use eidos_types::{Clock, ExecutionId, JobName, NodeId, Slot, SystemClock};
use sqlx::PgPool;

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Fixture {
    pub(crate) db: TestDb,
    pub(crate) jobs: JobsDb,
    pub(crate) job: JobName,
    pub(crate) clock: SystemClock,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_settings| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut DatabaseSettings)) -> Self {
        let db = TestDb::migrated().await;
        let mut settings = DatabaseSettings::new(db.url().into());
        change(&mut settings);
        let jobs = connect_jobs(settings, "core-test").await.unwrap();
        Self {
            db,
            jobs,
            job: "reconciliation".parse().unwrap(),
            clock: SystemClock::default(),
        }
    }

    pub(crate) fn control(&self) -> &PgPool {
        self.jobs.control()
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId::new(&self.clock)
    }

    pub(crate) fn starter(&self, token: u64) -> Starter {
        Starter {
            job: self.job.clone(),
            execution: ExecutionId::new(&self.clock),
            node: self.node(),
            token,
        }
    }

    /// A running execution with an epoch, without a claim.
    pub(crate) async fn run(&self) -> Run {
        self.run_for(None, 1).await
    }

    /// Attempt `number` for `slot`.
    pub(crate) async fn run_for(&self, slot: Option<Slot>, number: u32) -> Run {
        let attempt = Attempt {
            slot,
            trigger: Trigger::Schedule,
            number,
            idempotency_key: None,
            params: None,
            dry_run: false,
        };
        start::attempt(self.control(), &self.starter(0), &attempt, &self.clock)
            .await
            .unwrap()
    }

    pub(crate) async fn row(&self, fence: &Fence) -> Execution {
        execution::get(self.jobs.read(), fence.execution())
            .await
            .unwrap()
            .unwrap()
    }

    /// A slot that many minutes before now.
    pub(crate) fn slot(&self, minutes_ago: i64) -> Slot {
        let now = self.clock.now();
        Slot::at(now - TimeDelta::minutes(minutes_ago))
    }

    /// A table a job might write to.
    pub(crate) async fn effects_table(&self) {
        sqlx::query("CREATE TABLE effects (note TEXT NOT NULL)")
            .execute(self.db.pool())
            .await
            .unwrap();
    }

    pub(crate) async fn effects(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT note FROM effects ORDER BY note")
            .fetch_all(self.db.pool())
            .await
            .unwrap()
    }
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}
