//! The service as a process: a jobs database, one neighbour's database that serves as every other source, Redis, and a
//! folder for archives.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use eidos_testkit::{ChildProcess, Command, ScratchDir, TestDb, TestRedis, accept_archive_store};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

pub(crate) const WITHIN: Duration = Duration::from_secs(90);
/// Tokens of the API, by role.
pub(crate) const VIEWER: &str = "viewer-token-of-these-tests-0123456789";
pub(crate) const OPERATOR: &str = "operator-token-of-these-tests-0123456789";

pub(crate) struct Fixture {
    pub(crate) jobs: TestDb,
    pub(crate) books: TestDb,
    redis: TestRedis,
    dir: ScratchDir,
    /// Further YAML, appended to the configuration.
    more: String,
}

impl Fixture {
    /// Both databases with fence and freeze, without any table of the neighbours. `more` are further sections.
    pub(crate) async fn new(more: &str) -> Self {
        let (jobs, books) = (TestDb::migrated().await, TestDb::empty().await);
        eidos_core::migrations::install_external_fence(books.pool())
            .await
            .unwrap();
        eidos_core::migrations::install_external_freeze(books.pool())
            .await
            .unwrap();
        let fixture = Self {
            jobs,
            books,
            redis: TestRedis::shared().await,
            dir: ScratchDir::create("retention").unwrap(),
            more: more.to_owned(),
        };
        fixture.write_config();
        accept_store(&fixture.jobs, &fixture.archive_dir()).await;
        fixture
    }

    /// Where archives go.
    pub(crate) fn archive_dir(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("retention-manager.yaml")
    }

    fn write_config(&self) {
        std::fs::create_dir_all(self.archive_dir()).unwrap();
        let mut yaml = format!(
            "service:\n  name: retention-manager\n  http_port: 0\n  grpc_port: 0\n\
             telemetry:\n  log_level: info\n  log_format: text\n\
             redis:\n  url: \"{}\"\n  lock_prefix: \"{}\"\n  response_timeout: 500ms\n\
             auth:\n  tokens:\n    - {{ name: vera, role: viewer, token: {VIEWER} }}\n    \
             - {{ name: otto, role: operator, token: {OPERATOR} }}\n\
             archive_store:\n  url: \"file://{}\"\n\
             databases:\n  jobs:\n    url: \"{}\"\n",
            self.redis.url(),
            self.redis.prefix(),
            self.archive_dir().display(),
            self.jobs.url(),
        );
        for source in ["trading", "market", "chain", "risk", "admin"] {
            writeln!(yaml, "  {source}:\n    url: \"{}\"", self.books.url()).unwrap();
        }
        yaml.push_str(&self.more);
        std::fs::write(self.config(), yaml).unwrap();
    }

    /// `retention-manager <args>` with further settings as `SECTION__KEY`.
    pub(crate) fn command(&self, args: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_retention-manager"))
            .args(args.iter().copied())
            .env("EIDOS_CONFIG", self.config());
        for (key, value) in settings {
            command = command.env(format!("EIDOS__{key}"), value);
        }
        command
    }

    /// `retention-manager run <job> --format json <args>`: how it ended and what it printed.
    pub(crate) async fn run(
        &self,
        job: &str,
        args: &[&str],
        settings: &[(&str, &str)],
    ) -> (ExitStatus, ChildProcess) {
        let args = [&["run", job, "--format", "json"], args].concat();
        self.command(&args, settings).run(WITHIN).await
    }

    /// As [`Self::run`], and it must succeed: its report.
    pub(crate) async fn report(&self, job: &str, args: &[&str], settings: &[(&str, &str)]) -> Value {
        let (status, child) = self.run(job, args, settings).await;
        assert!(
            status.success(),
            "{status}\n{}\n{}",
            child.stdout(),
            child.stderr()
        );
        report_of(&child)
    }

    /// The neighbour's database.
    pub(crate) fn books(&self) -> &PgPool {
        self.books.pool()
    }
}

pub(crate) fn report_of(child: &ChildProcess) -> Value {
    let text = child.stdout();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value.get("report").cloned().unwrap_or(value)
}

/// Statements of a test.
pub(crate) async fn sql(pool: &PgPool, statements: &str) {
    let mut session = pool.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(&mut *session)
        .await
        .unwrap_or_else(|error| panic!("{error}: {statements}"));
    // A session reports its counts of changed rows with a delay of up to ten seconds, and some plans ask for them.
    sqlx::query("SELECT pg_stat_force_next_flush()")
        .execute(&mut *session)
        .await
        .unwrap();
}

/// One number.
pub(crate) async fn count(pool: &PgPool, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_one(pool)
        .await
        .unwrap_or_else(|error| panic!("{error}: {query}"))
}

/// Exports may go to this folder.
pub(crate) async fn accept_store(jobs: &TestDb, folder: &std::path::Path) {
    accept_archive_store(jobs.pool(), &format!("file://{}", folder.display())).await;
}
