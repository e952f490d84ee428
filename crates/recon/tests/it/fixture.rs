//! A database with the counters of a test, and runs on it.

use std::sync::Arc;
use std::time::Duration;

use eidos_core::db::{DatabaseSettings, JobsDb, connect_jobs};
use eidos_core::fence::{MintRequest, mint};
use eidos_runtime::{JobContext, Standalone};
use eidos_testkit::TestDb;
use eidos_types::{Clock, ExecutionId, JobName, NodeId, Slot, SystemClock};
use sqlx::PgPool;

use crate::counters::{Counters, TABLES};

pub(crate) struct Fixture {
    pub(crate) db: TestDb,
    jobs: JobsDb,
}

impl Fixture {
    /// Both tables with these rows.
    pub(crate) async fn with(rows: &'static str) -> Self {
        let db = TestDb::migrated().await;
        for statement in [TABLES, rows] {
            sqlx::raw_sql(statement).execute(db.pool()).await.unwrap();
        }
        let jobs = connect_jobs(DatabaseSettings::new(db.url().into()), "recon-test")
            .await
            .unwrap();
        Self { db, jobs }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.db.pool()
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters::new(self.pool().clone())
    }

    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(self.pool()).await.unwrap();
    }

    /// The right of a new run; earlier ones may not write any more.
    pub(crate) async fn run(&self) -> JobContext {
        self.context(false).await
    }

    /// A run that may not write.
    pub(crate) async fn dry_run(&self) -> JobContext {
        self.context(true).await
    }

    async fn context(&self, dry_run: bool) -> JobContext {
        let job: JobName = "counters-check".parse().unwrap();
        let clock = SystemClock::default();
        let execution = ExecutionId::new(&clock);
        let request = MintRequest {
            job: job.clone(),
            floor: 0,
            node: NodeId::new(&clock),
            execution,
            now_ms: clock.now_ms(),
        };
        let minted = mint(self.pool(), &request).await.unwrap();
        JobContext::standalone(Standalone {
            job,
            execution,
            slot: Slot::at(clock.now()),
            dry_run,
            requested_by: None,
            fence: (!dry_run).then_some(minted.fence),
            jobs_db: self.jobs.clone(),
            clock: Arc::new(clock),
            budget: Duration::from_mins(5),
        })
    }

    /// Subject, kind, status and occurrences of every break, oldest first.
    pub(crate) async fn breaks(&self) -> Vec<(String, String, String, i64)> {
        sqlx::query_as(
            "SELECT subject, kind, status, occurrences FROM eidos_jobs_breaks ORDER BY first_seen, subject",
        )
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }
}

/// A break that is seen once.
pub(crate) fn open(subject: &str, kind: &str) -> (String, String, String, i64) {
    (subject.to_owned(), kind.to_owned(), "open".to_owned(), 1)
}
