//! `partition-manage` as a job in this process, over a jobs database and a neighbour's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eidos_core::db::{DatabaseSettings, connect_external, connect_jobs};
use eidos_core::fence::{MintRequest, mint};
use eidos_disposal::settings::DisposalSettings;
use eidos_runtime::{Job, JobContext, JobError, Standalone};
use eidos_settings::SourceName;
use eidos_testkit::TestDb;
use eidos_types::{ExecutionId, NodeId, SharedClock, Slot, SystemClock};
use retention_manager::jobs::partition_manage::{ManagedTable, Params, PartitionManage, Report};
use retention_manager::settings::PartitionManageOptions;
use sqlx::{AssertSqlSafe, PgPool};

use crate::fixture::sql;

/// What these tests make partitions of.
pub(crate) const EVENTS: &str = "\
    CREATE TABLE eidos_chain_events ( \
        id BIGSERIAL, created_at BIGINT NOT NULL, kind VARCHAR(20) NOT NULL DEFAULT 'swap', \
        amount NUMERIC(36,18) CHECK (amount >= 0), note TEXT, \
        twice NUMERIC(36,18) GENERATED ALWAYS AS (amount * 2) STORED, \
        PRIMARY KEY (created_at, id)) PARTITION BY RANGE (created_at); \
    CREATE INDEX idx_events_kind ON eidos_chain_events (kind, created_at)";
pub(crate) const TABLE: &str = "eidos_chain_events";
pub(crate) const DEFAULT: &str =
    "CREATE TABLE eidos_chain_events_default PARTITION OF eidos_chain_events DEFAULT";

pub(crate) struct JobFixture {
    pub(crate) jobs: TestDb,
    pub(crate) books: TestDb,
}

impl JobFixture {
    /// A neighbour's database with [`EVENTS`], and what else is said.
    pub(crate) async fn new(statements: &[&str]) -> Self {
        let fixture = Self {
            jobs: TestDb::migrated().await,
            books: TestDb::empty().await,
        };
        eidos_core::migrations::install_external_fence(fixture.pool())
            .await
            .unwrap();
        eidos_core::migrations::install_external_freeze(fixture.pool())
            .await
            .unwrap();
        sql(fixture.pool(), EVENTS).await;
        for statement in statements {
            sql(fixture.pool(), statement).await;
        }
        fixture
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.books.pool()
    }

    /// The job over these tables of the neighbour, as the service builds it.
    pub(crate) async fn job(&self, tables: &[&str]) -> PartitionManage {
        let external = async |url: String| {
            connect_external(DatabaseSettings::new(url.into()), "retention-manager", "chain")
                .await
                .unwrap()
        };
        let sources = BTreeMap::from([
            (SourceName::Chain, external(self.books.url()).await),
            (SourceName::Jobs, external(self.jobs.url()).await),
        ]);
        PartitionManage {
            sources: sources.into_iter().collect(),
            tables: tables
                .iter()
                .map(|table| ManagedTable {
                    source: if table.starts_with("eidos_jobs") {
                        SourceName::Jobs
                    } else {
                        SourceName::Chain
                    },
                    table: table.parse().unwrap(),
                    retention_months: None,
                })
                .collect(),
            options: PartitionManageOptions {
                daily_cron: None,
                tables: tables.iter().map(|table| (*table).to_owned()).collect(),
                months_ahead: 3,
                drain_max_rows: 5_000,
                drain_rows_per_run: 500_000,
                drain_months_back: 36,
            },
            disposal: DisposalSettings::default(),
            same_database: BTreeMap::new(),
        }
    }

    /// A run of this slot with the right to write.
    pub(crate) async fn context(&self, slot: &str, dry_run: bool) -> JobContext {
        let clock: SharedClock = Arc::new(SystemClock::default());
        let jobs_db = connect_jobs(DatabaseSettings::new(self.jobs.url().into()), "test")
            .await
            .unwrap();
        let execution = ExecutionId::new(&*clock);
        let request = MintRequest {
            job: PartitionManage::NAME.parse().unwrap(),
            floor: 0,
            node: NodeId::new(&*clock),
            execution,
            now_ms: clock.now_ms(),
        };
        let minted = mint(self.jobs.pool(), &request).await.unwrap();
        JobContext::standalone(Standalone {
            job: request.job,
            execution,
            slot: Slot::at(at(slot)),
            dry_run,
            requested_by: None,
            fence: Some(minted.fence),
            jobs_db,
            clock,
            budget: Duration::from_mins(5),
        })
    }

    /// Runs the job for this slot.
    pub(crate) async fn run(&self, job: &PartitionManage, slot: &str) -> Result<Report, JobError> {
        let ctx = self.context(slot, false).await;
        job.run(&ctx, Params::default()).await
    }

    /// Rows of the table, seen through the parent.
    pub(crate) async fn rows(&self) -> i64 {
        crate::fixture::count(self.pool(), "SELECT count(*) FROM eidos_chain_events").await
    }

    /// Attached partitions by lower bound: name and bounds as instants.
    pub(crate) async fn partitions(&self, table: &str) -> Vec<(String, String, String)> {
        let query = format!(
            "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i \
             JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = '{table}'::regclass"
        );
        let found: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(query))
            .fetch_all(self.pool())
            .await
            .unwrap();
        let mut bounds: Vec<(i64, i64, String)> = found
            .into_iter()
            .filter_map(|(name, bound)| {
                let digits: Vec<i64> = bound
                    .split(|letter: char| !letter.is_ascii_digit())
                    .filter_map(|part| part.parse().ok())
                    .collect();
                match digits.as_slice() {
                    [lower, upper] => Some((*lower, *upper, name)),
                    _ => None,
                }
            })
            .collect();
        bounds.sort_unstable();
        bounds
            .into_iter()
            .map(|(lower, upper, name)| (name, instant(lower), instant(upper)))
            .collect()
    }

    /// Fails unless the partitions of the table cover `[from, to)` without gap or overlap.
    pub(crate) async fn assert_tiles(&self, table: &str, from: &str, to: &str) {
        let partitions = self.partitions(table).await;
        let mut next = from.to_owned();
        for (name, lower, upper) in &partitions {
            assert_eq!(
                lower, &next,
                "{name} does not begin where the one before ends: {partitions:#?}"
            );
            next.clone_from(upper);
        }
        assert_eq!(next, to, "{partitions:#?}");
    }
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) fn ms(text: &str) -> i64 {
    at(text).timestamp_millis()
}

fn instant(epoch_ms: i64) -> String {
    eidos_types::rfc3339(epoch_ms)
}
