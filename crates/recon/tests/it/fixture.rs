//! A database with the counters of a test, and runs on it.

use std::sync::Arc;
use std::time::Duration;

use eidos_core::db::{DatabaseSettings, JobsDb, connect_jobs};
use eidos_core::fence::{MintRequest, mint};
use eidos_recon::store::audit::{self, Verified};
use eidos_recon::store::edits::{self, Act, Editor, Refused};
use eidos_recon::store::listing::{self, BreakRow};
use eidos_runtime::{JobContext, Standalone};
use eidos_testkit::TestDb;
use eidos_types::{BreakId, Clock, ExecutionId, JobName, NodeId, Slot, SystemClock};
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

    /// Subject, state and version of every break, oldest first.
    pub(crate) async fn lives(&self) -> Vec<(String, String, i64)> {
        sqlx::query_as("SELECT subject, state, version FROM eidos_jobs_breaks ORDER BY first_seen, subject")
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// The newest break.
    pub(crate) async fn newest(&self) -> BreakId {
        let newest = "SELECT break_id FROM eidos_jobs_breaks ORDER BY first_seen DESC, break_id DESC LIMIT 1";
        let id: uuid::Uuid = sqlx::query_scalar(newest).fetch_one(self.pool()).await.unwrap();
        BreakId::from_uuid(id)
    }

    /// The events of a break, oldest first.
    pub(crate) async fn events(&self, id: BreakId) -> Vec<String> {
        sqlx::query_scalar("SELECT event FROM eidos_jobs_break_history WHERE break_id = $1 ORDER BY id")
            .bind(id.as_uuid())
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// A person's edit of the version that is there.
    pub(crate) async fn edit(&self, id: BreakId, act: Act<'_>) -> Result<BreakRow, Refused> {
        let version = listing::one(self.pool(), id).await.unwrap().unwrap().version;
        self.edit_seen(id, version, act).await
    }

    /// A person's edit of a version that he saw.
    pub(crate) async fn edit_seen(
        &self,
        id: BreakId,
        version: i64,
        act: Act<'_>,
    ) -> Result<BreakRow, Refused> {
        let mut tx = self.pool().begin().await.unwrap();
        let at = SystemClock::default().now();
        let editor = Editor {
            id,
            version,
            by: "ann",
            at,
        };
        let edited = edits::edit(&mut tx, editor, act).await.unwrap();
        tx.commit().await.unwrap();
        edited
    }

    /// What `eidosctl audit verify` reads.
    pub(crate) async fn verify(&self) -> Verified {
        let mut conn = self.pool().acquire().await.unwrap();
        audit::verify(&mut conn, None).await.unwrap()
    }

    /// Verifies, and wants no finding.
    pub(crate) async fn assert_verifies(&self) {
        let verified = self.verify().await;
        assert_eq!(verified.findings, [], "{verified:?}");
        assert_eq!(verified.links, verified.events);
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
