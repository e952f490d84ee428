//! Poolers in front of PostgreSQL: what holds behind them, and what is refused. The real programs: Debian's `PgBouncer`,
//! or the one that `EIDOS_PGBOUNCER` names; with `EIDOS_POOLER=odyssey` Odyssey (`scripts/test-poolers`).

use std::time::Duration;

use eidos_core::CoreError;
use eidos_core::db::{DatabaseSettings, JobsDb, connect_external, connect_jobs, connect_read_only};
use eidos_core::migrations::{install_external_fence, migrate_url};
use eidos_testkit::{PoolMode, Pooler, PoolerBrand, PoolerOptions, TestDb, eventually, shared_postgres};
use eidos_types::{Clock, SystemClock};
use sqlx::{Connection, PgConnection, PgPool};

use crate::fixture::Fixture;

const GUARDS: [(&str, &str); 4] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("TimeZone", "UTC"),
];

struct Behind {
    fixture: Fixture,
    pooler: Pooler,
}

impl Behind {
    async fn new(mut options: PoolerOptions) -> Self {
        if std::env::var("EIDOS_POOLER").as_deref() == Ok("odyssey") {
            options.brand = PoolerBrand::Odyssey;
            // The lines are PgBouncer's own; Odyssey takes and drops start-up options as it is.
            options.config_lines.clear();
        }
        let fixture = Fixture::new().await;
        let pooler = Pooler::start(shared_postgres().await, options).await.unwrap();
        Self { fixture, pooler }
    }

    async fn in_mode(mode: PoolMode, lines: &[&str]) -> Self {
        Self::new(PoolerOptions {
            mode,
            config_lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..PoolerOptions::default()
        })
        .await
    }

    fn url(&self) -> String {
        self.fixture.db.url_via(self.pooler.port())
    }

    async fn connect(&self) -> Result<JobsDb, CoreError> {
        connect_jobs(DatabaseSettings::new(self.url().into()), "core-test").await
    }

    /// What a person reads who starts a service.
    async fn refusal(&self) -> String {
        self.connect().await.unwrap_err().to_string()
    }
}

async fn setting(conn: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)")
        .bind(name)
        .fetch_one(conn)
        .await
        .unwrap()
}

async fn assert_guarded(conn: &mut PgConnection, whose: &str) {
    for (name, expected) in GUARDS {
        assert_eq!(setting(conn, name).await, expected, "{whose}: {name}");
    }
}

async fn assert_all_guarded(behind: &Behind, jobs: &JobsDb) {
    let mut control = jobs.control().acquire().await.unwrap();
    assert_guarded(&mut control, "control").await;
    drop(control);
    let mut read = jobs.read().acquire().await.unwrap();
    assert_guarded(&mut read, "read").await;
    assert_eq!(setting(&mut read, "transaction_read_only").await, "on");
    drop(read);
    let fence = behind.fixture.run().await.fence;
    let mut step = fence.step(jobs).await.unwrap();
    assert_guarded(step.conn(), "step").await;
    step.commit().await.unwrap();
}

#[tokio::test]
async fn a_pooler_in_session_mode_needs_no_start_up_option_and_keeps_the_limits() {
    let behind = Behind::in_mode(PoolMode::Session, &[]).await;
    migrate_url(&behind.url().into(), SystemClock::default().now())
        .await
        .unwrap();
    let jobs = behind.connect().await.unwrap();
    assert_all_guarded(&behind, &jobs).await;
    let settings = DatabaseSettings::new(behind.url().into());
    let source = connect_read_only(settings, "core-test", "trading").await.unwrap();
    let mut reader = source.acquire().await.unwrap();
    assert_guarded(&mut reader, "source").await;
    assert_eq!(setting(&mut reader, "transaction_read_only").await, "on");
}

/// With this line `PgBouncer` drops the limits that come as start-up options, and says nothing.
#[tokio::test]
async fn a_pooler_that_ignores_start_up_options_cannot_remove_the_limits() {
    let ignores = "ignore_startup_parameters = extra_float_digits,options";
    let behind = Behind::in_mode(PoolMode::Session, &[ignores]).await;
    let jobs = behind.connect().await.unwrap();
    assert_all_guarded(&behind, &jobs).await;
}

#[tokio::test]
async fn the_server_ends_a_step_that_stands_still_behind_a_pooler() {
    let ignores = "ignore_startup_parameters = extra_float_digits,options";
    let behind = Behind::in_mode(PoolMode::Session, &[ignores]).await;
    let mut settings = DatabaseSettings::new(behind.url().into());
    settings.idle_in_transaction_timeout = Duration::from_millis(300);
    let jobs = connect_jobs(settings, "core-test").await.unwrap();
    behind.fixture.effects_table().await;
    let fence = behind.fixture.run().await.fence;
    let mut frozen = fence.step(&jobs).await.unwrap();
    sqlx::raw_sql("LOCK TABLE effects IN EXCLUSIVE MODE")
        .execute(frozen.conn())
        .await
        .unwrap();
    let url = behind.fixture.db.url();
    eventually(
        "the lock of a stopped process is gone",
        Duration::from_secs(10),
        async || {
            let lock = "BEGIN; LOCK TABLE effects IN ROW EXCLUSIVE MODE NOWAIT; COMMIT";
            sqlx::raw_sql(lock)
                .execute(&mut other(&url).await)
                .await
                .map(drop)
        },
    )
    .await;
    drop(frozen);
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused_by_name() {
    let ignores = "ignore_startup_parameters = extra_float_digits,options";
    // How many server sessions others have opened before, one after the other or in turn.
    for (others, lines) in [
        (0, vec![ignores]),
        (3, vec![ignores]),
        (3, vec![ignores, "server_round_robin = 1"]),
        (1, vec![ignores, "default_pool_size = 1"]),
    ] {
        let behind = Behind::in_mode(PoolMode::Transaction, &lines).await;
        hold_several(&behind.url(), others).await;
        let said = behind.refusal().await;
        for part in [
            "jobs database",
            "eidos@127.0.0.1",
            "pool_mode = session",
            "docs/poolers.md",
        ] {
            assert!(said.contains(part), "{lines:?}: {said}");
        }
        let settings = DatabaseSettings::new(behind.url().into());
        let error = connect_external(settings, "core-test", "trading")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("trading database"), "{error}");
        assert!(!error.is_retryable(), "{error}");
        let migrating = migrate_url(&behind.url().into(), SystemClock::default().now()).await;
        let said = migrating.unwrap_err().to_string();
        assert!(said.contains("pool_mode = session"), "{said}");
    }
}

/// A client that is none of ours.
async fn other(url: &str) -> PgConnection {
    let options = url.parse::<sqlx::postgres::PgConnectOptions>().unwrap();
    PgConnection::connect_with(&options.extra_float_digits(None))
        .await
        .unwrap()
}

/// Makes a pooler open that many server sessions, by as many transactions at once.
async fn hold_several(url: &str, sessions: usize) {
    let mut held = Vec::new();
    for _ in 0..sessions {
        let mut conn = other(url).await;
        sqlx::raw_sql("BEGIN; SELECT 1").execute(&mut conn).await.unwrap();
        held.push(conn);
    }
    for mut conn in held {
        sqlx::raw_sql("ROLLBACK").execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }
}

/// Nothing of ours may stay in a session that other clients get next.
#[tokio::test]
async fn a_refused_pooler_keeps_nothing_of_ours_in_its_sessions() {
    let ignores = "ignore_startup_parameters = extra_float_digits,options";
    let behind = Behind::in_mode(PoolMode::Transaction, &[ignores, "default_pool_size = 1"]).await;
    let _said = behind.refusal().await;
    let mut other = other(&behind.url()).await;
    let rows =
        sqlx::raw_sql("SELECT name FROM pg_settings WHERE source = 'session' AND name LIKE '%timeout%'")
            .fetch_all(&mut other)
            .await
            .unwrap();
    assert!(rows.is_empty(), "{} limits of ours", rows.len());
}

#[tokio::test]
async fn a_pooler_in_statement_mode_is_refused_by_name() {
    let ignores = "ignore_startup_parameters = extra_float_digits,options";
    let behind = Behind::in_mode(PoolMode::Statement, &[ignores]).await;
    let said = behind.refusal().await;
    assert!(said.contains("pool_mode = session"), "{said}");
}

/// The next client would get our limits, and we its named statements.
#[tokio::test]
async fn a_pooler_that_does_not_reset_its_sessions_is_refused_by_name() {
    let behind = Behind::new(PoolerOptions {
        reset: false,
        pool_size: 2,
        ..PoolerOptions::default()
    })
    .await;
    let said = behind.refusal().await;
    assert!(said.contains("server_reset_query = DISCARD ALL"), "{said}");
}

#[tokio::test]
async fn a_session_with_named_statements_of_others_is_refused() {
    let behind = Behind::new(PoolerOptions {
        reset: false,
        pool_size: 2,
        config_lines: vec!["ignore_startup_parameters = extra_float_digits,options".to_owned()],
        ..PoolerOptions::default()
    })
    .await;
    let (mut one, mut two) = (other(&behind.url()).await, other(&behind.url()).await);
    for client in [&mut one, &mut two] {
        sqlx::query("SELECT 1").execute(client).await.unwrap();
    }
    one.close().await.unwrap();
    two.close().await.unwrap();
    let said = behind.refusal().await;
    assert!(said.contains("named statements of other clients"), "{said}");
}

/// An operator edits the pooler's configuration while services run.
#[tokio::test]
async fn no_step_runs_without_its_limits_when_a_pooler_changes_to_transaction_mode() {
    let ignores = "ignore_startup_parameters = extra_float_digits,options";
    let mut behind = Behind::in_mode(PoolMode::Session, &[ignores]).await;
    let mut settings = DatabaseSettings::new(behind.url().into());
    settings.acquire_timeout = Duration::from_millis(700);
    let jobs = connect_jobs(settings, "core-test").await.unwrap();
    let fence = behind.fixture.run().await.fence;
    let step = fence.step(&jobs).await.unwrap();
    step.commit().await.unwrap();
    behind.pooler.change_mode(PoolMode::Transaction).await.unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        // Somebody else's transactions keep moving the sessions around.
        hold_several(&behind.url(), 2).await;
        let (one, two) = tokio::join!(fence.step(&jobs), fence.step(&jobs));
        for step in [one, two] {
            match step {
                Ok(mut step) => {
                    assert_guarded(step.conn(), "step").await;
                    step.commit().await.unwrap();
                }
                Err(_refused) => refused += 1,
            }
        }
        if refused > 3 {
            break;
        }
    }
}

#[tokio::test]
async fn a_step_brings_its_own_limits_whatever_became_of_the_sessions() {
    let (fixture, external) = (Fixture::new().await, TestDb::empty().await);
    install_external_fence(external.pool()).await.unwrap();
    let mut settings = DatabaseSettings::new(external.url().into());
    settings.max_connections = 1;
    let pool = connect_external(settings, "core-test", "market").await.unwrap();
    let fence = fixture.run().await.fence.raised_in(&pool).await.unwrap();
    run(
        &pool,
        "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
    )
    .await;
    let mut step = fence.step().await.unwrap();
    assert_guarded(step.conn(), "step").await;
    step.commit().await.unwrap();
    let mut alone = fence.step_alone().await.unwrap();
    assert_guarded(alone.conn(), "step alone").await;
    alone.commit().await.unwrap();
}

#[tokio::test]
async fn a_session_without_our_limits_begins_no_step() {
    let (fixture, external) = (Fixture::new().await, TestDb::empty().await);
    install_external_fence(external.pool()).await.unwrap();
    let fence = fixture.run().await.fence;
    // A pool that is none of ours stands for a session that a pooler has put in our way.
    let error = fence.raise_in(external.pool()).await.unwrap_err();
    assert!(matches!(error, CoreError::LimitsMissing { .. }), "{error}");
    assert!(
        error.is_retryable() && error.to_string().contains("docs/poolers.md"),
        "{error}"
    );
    let mut settings = DatabaseSettings::new(external.url().into());
    settings.max_connections = 1;
    let pool = connect_external(settings, "core-test", "market").await.unwrap();
    let raised = fence.raised_in(&pool).await.unwrap();
    run(&pool, "RESET eidos.lock_timeout").await;
    let error = raised.step().await.err().expect("no limit, no step");
    assert!(matches!(error, CoreError::LimitsMissing { .. }), "{error}");
    // That session is gone, the next one is whole.
    raised.step().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_connection_whose_session_was_reset_does_not_come_out_of_a_pool() {
    let external = TestDb::empty().await;
    let mut settings = DatabaseSettings::new(external.url().into());
    settings.max_connections = 1;
    let pool = connect_external(settings, "core-test", "market").await.unwrap();
    run(&pool, "DISCARD ALL").await;
    let mut conn = pool.acquire().await.unwrap();
    assert_guarded(&mut conn, "after a reset").await;
}

async fn run(pool: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}
