//! [`TestDb`]: a database per test.

use eidos_sandbox::Postgres;
use eidos_types::{Clock, SystemClock};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::OnceCell;

use crate::background;
use crate::servers::{shared_postgres, unique_name};

/// The database that every migrated one is a copy of.
const TEMPLATE: &str = "template_migrated";

/// Connections of a test's pool; the server has 200 for all tests that run at the same time.
const POOL_SIZE: u32 = 10;

/// A database of one test on the server of this test process: named after the test, dropped when the test passes,
/// kept for a day when it fails.
#[derive(Debug)]
pub struct TestDb {
    name: String,
    pool: PgPool,
    server: &'static Postgres,
}

impl TestDb {
    /// A database without any table.
    pub async fn empty() -> Self {
        Self::copy_of("template1").await
    }

    /// A database with our schema. It is migrated once for each test process and then copied, which takes a few
    /// hundredths of a second.
    pub async fn migrated() -> Self {
        static PREPARED: OnceCell<()> = OnceCell::const_new();
        PREPARED.get_or_init(|| background::run(prepare_template())).await;
        Self::copy_of(TEMPLATE).await
    }

    /// Its name, which begins with a number and the test's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of up to ten connections that belongs to the runtime of the test.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Its URL, for settings and for other processes.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The same database behind another port of this machine, that of a [`crate::TcpProxy`].
    #[must_use]
    pub fn url_via(&self, port: u16) -> String {
        self.server.url_via(port, &self.name)
    }

    /// Runs statements as they are, through the pool.
    ///
    /// # Panics
    /// With the statements, if the server refuses one.
    pub async fn sql(&self, statements: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.pool)
            .await;
        if let Err(error) = done {
            panic!("{statements}: {error}");
        }
    }

    /// Returns the one `BIGINT` that answers `question`.
    ///
    /// # Panics
    /// With the question, if there is no such answer.
    pub async fn number(&self, question: &str) -> i64 {
        let answer = sqlx::query_scalar(AssertSqlSafe(question.to_owned()))
            .fetch_one(&self.pool)
            .await;
        match answer {
            Ok(number) => number,
            Err(error) => panic!("{question}: {error}"),
        }
    }

    #[expect(
        clippy::print_stderr,
        reason = "libtest shows what a failed test printed with this macro"
    )]
    fn say_where_it_is(&self) {
        eprintln!(
            "the database of this test is {} in the data directory {}, kept for a day; to look into it run, not as \
             root, {}/postgres -D <data directory> -p 5555 -k '' -h 127.0.0.1",
            self.name,
            self.server.data_directory().display(),
            self.server.programs().display(),
        );
    }

    async fn copy_of(template: &'static str) -> Self {
        let name = unique_name(60);
        create(name.clone(), template).await;
        let server = shared_postgres().await;
        let url = server.url(&name);
        let options: PgConnectOptions = url
            .parse()
            .unwrap_or_else(|error| panic!("{url} is no PostgreSQL URL: {error}"));
        let pool = PgPoolOptions::new()
            .max_connections(POOL_SIZE)
            .connect_lazy_with(options);
        Self { name, pool, server }
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.server.keep_data();
            self.say_where_it_is();
        } else {
            let name = self.name.clone();
            background::spawn(async move {
                statement(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        }
    }
}

async fn prepare_template() {
    statement(format!("CREATE DATABASE {TEMPLATE}")).await;
    let url = shared_postgres().await.url(TEMPLATE);
    let pool = match PgPool::connect(&url).await {
        Ok(pool) => pool,
        Err(error) => panic!("cannot connect to {url}: {error}"),
    };
    if let Err(error) = eidos_core::migrations::migrate(&pool, SystemClock::default().now()).await {
        panic!("the migrations fail: {error}");
    }
    // Nobody may be connected to a template while it is copied.
    pool.close().await;
}

async fn create(name: String, template: &'static str) {
    background::run(async move { statement(format!("CREATE DATABASE {name} TEMPLATE {template}")).await })
        .await;
}

/// One statement on the maintenance database. The names in it are made by [`unique_name`] and need no quoting.
async fn statement(sql: String) {
    let url = shared_postgres().await.url("postgres");
    let mut connection = connect(&url).await;
    if let Err(error) = connection.execute(AssertSqlSafe(sql.clone())).await {
        panic!("{sql}: {error}");
    }
}

async fn connect(url: &str) -> PgConnection {
    match PgConnection::connect(url).await {
        Ok(connection) => connection,
        Err(error) => panic!("cannot connect to {url}: {error}"),
    }
}
