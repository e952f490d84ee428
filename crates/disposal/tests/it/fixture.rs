//! Two databases, a folder of objects, and runs of a job with a fence of their own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use eidos_archive_store::{ArchiveFormat, ArchiveStore, ArchiveStoreSettings};
use eidos_core::db::{DatabaseSettings, JobsDb, connect_external, connect_jobs};
use eidos_core::fence::{MintRequest, mint};
use eidos_core::migrations::{install_external_fence, install_external_freeze};
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{self, TableShape};
use eidos_disposal::partition::{DropQuota, PartitionIdentity, PartitionPolicy, UnitOutcome};
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::unit::{Unit, UnitState};
use eidos_plan::Approval;
use eidos_runtime::{JobContext, Standalone};
use eidos_settings::{SecuritySection, SourceName};
use eidos_testkit::{ScratchDir, TestDb, accept_archive_store};
use eidos_types::{Clock, ExecutionId, JobName, NodeId, SharedClock, Slot, SystemClock};
use sqlx::{AssertSqlSafe, PgPool};

pub(crate) use crate::run::Run;

pub(crate) const TABLE: &str = "eidos_risk_audit_logs";
/// First instants of January, February, March and April 2024, UTC.
pub(crate) const MONTHS: [i64; 4] = [
    1_704_067_200_000,
    1_706_745_600_000,
    1_709_251_200_000,
    1_711_929_600_000,
];
pub(crate) const JANUARY: &str = "eidos_risk_audit_logs_2024_01";
/// The store's folder below the test's.
const OBJECTS: &str = "objects";
const ROWS_PER_MONTH: i64 = 400;

pub(crate) struct Fixture {
    pub(crate) jobs: TestDb,
    pub(crate) books: TestDb,
    pub(crate) jobs_db: JobsDb,
    pub(crate) external: PgPool,
    pub(crate) store: ArchiveStore,
    pub(crate) settings: DisposalSettings,
    dir: ScratchDir,
}

impl Fixture {
    /// The audit log, with rows in January, February and March 2024.
    pub(crate) async fn new() -> Self {
        let fixture = Self::bare().await;
        fixture
            .sql(&format!(
                "CREATE TABLE {TABLE} (id BIGINT NOT NULL, created_at BIGINT NOT NULL, actor VARCHAR(64), \
                     amount NUMERIC(36,18) NOT NULL DEFAULT 0, detail JSONB, seen BOOLEAN NOT NULL DEFAULT false, \
                     PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)"
            ))
            .await;
        for (month, bounds) in MONTHS.windows(2).enumerate() {
            fixture
                .sql(&format!(
                    "CREATE TABLE {TABLE}_2024_0{} PARTITION OF {TABLE} FOR VALUES FROM ({}) TO ({})",
                    month + 1,
                    bounds[0],
                    bounds[1]
                ))
                .await;
            fixture
                .sql(&format!(
                    "INSERT INTO {TABLE} SELECT {month} * 1000 + i, {} + i * 1000, \
                         CASE WHEN i % 7 = 0 THEN NULL WHEN i % 5 = 0 THEN '' ELSE 'actor ' || i END, \
                         (i::numeric + 0.000000000000000001) * CASE WHEN i % 2 = 0 THEN -1 ELSE 1 END, \
                         CASE WHEN i % 3 = 0 THEN NULL ELSE jsonb_build_object('n', i, 't', E'l1\\nl2') END, i % 2 = 0 \
                     FROM generate_series(0, {ROWS_PER_MONTH} - 1) AS i",
                    bounds[0]
                ))
                .await;
        }
        fixture
    }

    /// Databases and a folder, and no table.
    pub(crate) async fn bare() -> Self {
        let (jobs, books) = (TestDb::migrated().await, TestDb::empty().await);
        install_external_fence(books.pool()).await.unwrap();
        install_external_freeze(books.pool()).await.unwrap();
        let jobs_db = connect_jobs(DatabaseSettings::new(jobs.url().into()), "disposal-test")
            .await
            .unwrap();
        let external = connect_external(DatabaseSettings::new(books.url().into()), "disposal-test", "risk")
            .await
            .unwrap();
        let dir = ScratchDir::create("disposal").unwrap();
        std::fs::create_dir(dir.path().join(OBJECTS)).unwrap();
        let mut archive = ArchiveStoreSettings::at(format!("file://{}", dir.path().join(OBJECTS).display()));
        archive.part_bytes = 64 * 1024;
        let store = ArchiveStore::open(&archive, &SecuritySection::unencrypted())
            .await
            .unwrap();
        accept_archive_store(jobs.pool(), &store.location()).await;
        Self {
            jobs,
            books,
            jobs_db,
            external,
            store,
            settings: DisposalSettings {
                // The longest that settings allow: the catalogue is read within it too, on a busy machine.
                lock_timeout: Duration::from_millis(500),
                lock_attempts: 3,
                lock_backoff: Duration::from_millis(10),
                lock_backoff_max: Duration::from_millis(50),
                ..DisposalSettings::default()
            },
            dir,
        }
    }

    /// New sessions of the job, which have what was set for their role or database meanwhile.
    pub(crate) async fn reconnect(&mut self) {
        self.external = connect_external(
            DatabaseSettings::new(self.books.url().into()),
            "disposal-test",
            "risk",
        )
        .await
        .unwrap();
    }

    /// From now on the job is another role, which has what `attributes` and `settings` (`ALTER ROLE .. SET`) say.
    pub(crate) async fn work_as(&mut self, attributes: &str, settings: &[&str]) -> Login {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let role = format!("login_{}_{number}", std::process::id());
        self.sql(&format!("CREATE ROLE {role} LOGIN {attributes}")).await;
        for setting in settings {
            self.sql(&format!("ALTER ROLE {role} SET {setting}")).await;
        }
        let url = self.books.url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let (_superuser, place) = rest.split_once('@').unwrap();
        let url = format!("{scheme}://{role}@{place}");
        self.external = connect_external(DatabaseSettings::new(url.into()), "disposal-test", "risk")
            .await
            .unwrap();
        Login(role)
    }

    /// A run for this slot, the newest one: earlier runs may not write any more.
    pub(crate) async fn run_at(&self, slot: &str) -> Run {
        self.run_with(slot, Arc::new(SystemClock::default())).await
    }

    /// A run two years later, with this clock.
    pub(crate) async fn run_with(&self, slot: &str, clock: SharedClock) -> Run {
        let job: JobName = "data-cleanup".parse().unwrap();
        let real = SystemClock::default();
        let execution = ExecutionId::new(&real);
        let request = MintRequest {
            job: job.clone(),
            floor: 0,
            node: NodeId::new(&real),
            execution,
            now_ms: real.now_ms(),
        };
        let minted = mint(self.jobs.pool(), &request).await.unwrap();
        let ctx = JobContext::standalone(Standalone {
            job,
            execution,
            slot: Slot::at(slot.parse().unwrap()),
            dry_run: false,
            requested_by: None,
            fence: Some(minted.fence),
            jobs_db: self.jobs_db.clone(),
            clock,
            budget: Duration::from_mins(5),
        });
        let external = ctx.raised_in(&self.external).await.unwrap();
        Run {
            ctx,
            external,
            quota: DropQuota::new(self.settings.drops_per_run),
            policy: PartitionPolicy {
                source: SourceName::Risk,
                archive: Some(ArchiveFormat::Parquet),
                quarantine_days: 7,
                held_with: Vec::new(),
            },
            store: Some(self.store.clone()),
            settings: self.settings.clone(),
        }
    }

    /// 1 January 2026: everything in the table is old.
    pub(crate) async fn run(&self) -> Run {
        self.run_at("2026-01-01T00:00:00Z").await
    }

    /// Eight days later: what was put into quarantine by [`Fixture::run`] is due.
    pub(crate) async fn later_run(&self) -> Run {
        self.run_at("2026-01-09T00:00:00Z").await
    }

    /// A statement on the exchange's database, with an ordinary, writable session.
    pub(crate) async fn sql(&self, statement: &str) {
        self.try_sql(statement).await.unwrap();
    }

    pub(crate) async fn try_sql(&self, statement: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(self.books.pool())
            .await
            .map(|_done| ())
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.books.pool())
            .await
            .unwrap()
    }

    /// Rows seen through the parent.
    pub(crate) async fn rows(&self) -> i64 {
        self.count(&format!("SELECT count(*) FROM {TABLE}")).await
    }

    pub(crate) async fn jobs_sql(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(self.jobs.pool())
            .await
            .unwrap();
    }

    /// One text of our own tables.
    pub(crate) async fn jobs_text(&self, query: &str) -> String {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.jobs.pool())
            .await
            .unwrap()
    }

    /// States of all units, in the order they began.
    pub(crate) async fn states(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT state FROM eidos_jobs_disposal_units ORDER BY unit_id")
            .fetch_all(self.jobs.pool())
            .await
            .unwrap()
    }

    /// Actions of the audit, in their order.
    pub(crate) async fn acts(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT action FROM eidos_jobs_disposals ORDER BY id")
            .fetch_all(self.jobs.pool())
            .await
            .unwrap()
    }

    pub(crate) async fn shape(&self) -> TableShape {
        let mut conn = self.books.pool().acquire().await.unwrap();
        catalogue::read_table(&mut conn, &TABLE.parse().unwrap())
            .await
            .unwrap()
            .unwrap()
    }

    /// What a plan made now says about a partition.
    pub(crate) async fn identity(&self, run: &Run, partition: &str) -> PartitionIdentity {
        let shape = self.shape().await;
        let layout = shape.partitioning.as_ref().unwrap();
        let partition = layout
            .partitions
            .iter()
            .find(|found| found.relation.name == partition);
        PartitionIdentity::of(&shape, partition.unwrap(), &run.policy).unwrap()
    }

    /// Takes January as far as it goes.
    pub(crate) async fn advance(&self, run: &Run) -> Result<UnitOutcome, DisposalError> {
        let identity = self.identity(run, JANUARY).await;
        run.disposal().advance(&identity, &approval()).await
    }

    /// The only unit.
    pub(crate) async fn unit(&self) -> Unit {
        let id: uuid::Uuid =
            sqlx::query_scalar("SELECT unit_id FROM eidos_jobs_disposal_units ORDER BY unit_id DESC LIMIT 1")
                .fetch_one(self.jobs.pool())
                .await
                .unwrap();
        eidos_disposal::unit::by_id(self.jobs.pool(), id)
            .await
            .unwrap()
            .unwrap()
    }

    /// January frozen and nothing more.
    pub(crate) async fn frozen(&self) -> Unit {
        let run = self.run().await.without_store();
        assert_eq!(refusal(self.advance(&run).await), "store");
        self.unit().await
    }

    /// January exported and proved, and still attached: a hold came in between.
    pub(crate) async fn verified(&self) -> Unit {
        self.frozen().await;
        self.hold().await;
        let run = self.run().await;
        assert_eq!(refusal(self.advance(&run).await), "hold");
        self.lift().await;
        let unit = self.unit().await;
        assert_eq!(unit.state, UnitState::Verified);
        unit
    }

    /// Puts all of January under a legal hold.
    pub(crate) async fn hold(&self) {
        self.jobs_sql(&format!(
            "INSERT INTO eidos_jobs_legal_holds (hold_id, source, schema_name, table_name, from_ms, to_ms, reason, placed_by) \
             VALUES (gen_random_uuid(), 'risk', 'public', '{TABLE}', {}, {}, 'case 7', 'ada')",
            MONTHS[0], MONTHS[1]
        ))
        .await;
    }

    pub(crate) async fn lift(&self) {
        self.jobs_sql(
            "UPDATE eidos_jobs_legal_holds SET lifted_by = 'ada', lifted_at = now(), lift_reason = 'over'",
        )
        .await;
    }

    /// January at rest in quarantine, with a proved export.
    pub(crate) async fn quarantined(&self) -> Unit {
        let run = self.run().await;
        let outcome = self.advance(&run).await.unwrap();
        assert_eq!(outcome.unit.state, UnitState::Quarantined);
        outcome.unit
    }

    /// Every file of the object store, sorted.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().join(OBJECTS)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Removes every object, as nobody should.
    pub(crate) async fn store_emptied(&self) {
        for object in self.objects() {
            tokio::fs::remove_file(object).await.unwrap();
        }
    }

    /// The store's file system is not mounted: an empty folder is in its place.
    pub(crate) fn unmounted(&self) -> Unmounted {
        let point = self.dir.path().join(OBJECTS);
        let content = self.dir.path().join("not-mounted");
        std::fs::rename(&point, &content).unwrap();
        std::fs::create_dir(&point).unwrap();
        Unmounted { point, content }
    }

    /// A store in another folder of the same disk.
    pub(crate) async fn other_store(&self, name: &str) -> ArchiveStore {
        let url = format!("file://{}", self.dir.path().join(name).display());
        ArchiveStore::open(&ArchiveStoreSettings::at(url), &SecuritySection::unencrypted())
            .await
            .unwrap()
    }

    /// As before stores were accepted.
    pub(crate) async fn forget_stores(&self) {
        self.jobs_sql("DELETE FROM eidos_jobs_archive_stores").await;
    }

    pub(crate) fn manifests(&self) -> Vec<PathBuf> {
        let mut found = self.objects();
        found.retain(|path| path.ends_with("manifest.json"));
        found
    }
}

/// A role of one test.
pub(crate) struct Login(pub(crate) String);

impl Login {
    /// Removes it from the server.
    pub(crate) async fn gone(self, fixture: &Fixture) {
        fixture.external.close().await;
        fixture
            .sql(&format!(
                "REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}; DROP ROLE {0}",
                self.0
            ))
            .await;
    }
}

/// What is not in its place at the moment.
pub(crate) struct Unmounted {
    point: PathBuf,
    content: PathBuf,
}

impl Unmounted {
    pub(crate) fn restore(self) {
        std::fs::remove_dir(&self.point).unwrap();
        std::fs::rename(self.content, self.point).unwrap();
    }
}

pub(crate) fn approval() -> Approval {
    Approval {
        plan_digest: "0123".to_owned(),
        approved_by: "ada".to_owned(),
    }
}

/// The label of a refusal; any other outcome fails the test.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, DisposalError>) -> &'static str {
    let error = outcome.unwrap_err();
    error.refusal().unwrap_or_else(|| panic!("no refusal: {error:?}"))
}
