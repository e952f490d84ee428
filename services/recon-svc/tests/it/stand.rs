//! A world of one's own, and recon-svc pointed at it.

use std::path::PathBuf;
use std::time::Duration;

use eidos_devnet::quickstart::{Endpoints, Report, compare, read_findings, recon_config};
use eidos_devnet::{Fault, Manifest, Trap};
use eidos_devnet::{World, WorldOptions};
use eidos_testkit::{Anvil, AnvilOptions, ChildProcess, Command, ScratchDir, TestDb, TestRedis};
use eidos_types::{Clock, SystemClock};
use serde_json::Value;
use sqlx::PgPool;

const WALLETS: usize = 40;
const WITHIN: Duration = Duration::from_secs(90);
/// devnet wants the chain to be old enough that young and old deposits can be told apart.
const GENESIS_AGE: chrono::TimeDelta = chrono::TimeDelta::hours(3);

pub(crate) struct Stand {
    pub(crate) world: World,
    pub(crate) jobs: TestDb,
    books: TestDb,
    redis: TestRedis,
    anvil: Anvil,
    dir: ScratchDir,
}

impl Stand {
    pub(crate) async fn new(faults: &[Fault], traps: &[Trap]) -> Self {
        Self::on_node(&[], faults, traps).await
    }

    /// With further arguments of the node.
    pub(crate) async fn on_node(node_args: &[&str], faults: &[Fault], traps: &[Trap]) -> Self {
        let genesis_s = (SystemClock::default().now() - GENESIS_AGE).timestamp();
        let anvil = Anvil::start(AnvilOptions {
            args: ["--timestamp", &genesis_s.to_string()]
                .iter()
                .chain(node_args)
                .map(Into::into)
                .collect(),
            ..AnvilOptions::default()
        })
        .await
        .unwrap();
        let (jobs, books) = (TestDb::migrated().await, TestDb::empty().await);
        let pool = PgPool::connect(&books.url()).await.unwrap();
        let options = WorldOptions {
            faults: faults.to_vec(),
            traps: traps.to_vec(),
            ..WorldOptions::clean(WALLETS)
        };
        let world = World::build(11, &anvil.url(), pool, options).await.unwrap();
        let redis = TestRedis::shared().await;
        let dir = ScratchDir::create("recon").unwrap();
        let stand = Self {
            world,
            jobs,
            books,
            redis,
            anvil,
            dir,
        };
        stand.write_config();
        stand
    }

    /// A world in which both sides agree.
    pub(crate) async fn clean() -> Self {
        Self::new(&[], &[]).await
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("recon-svc.yaml")
    }

    fn write_config(&self) {
        let endpoints = Endpoints {
            jobs_database: self.jobs.url(),
            exchange_database: self.books.url(),
            redis: self.redis.url().to_owned(),
            kafka: String::new(),
            rpc: self.anvil.url(),
            http_port: 1,
            grpc_port: 2,
        };
        std::fs::write(self.config(), recon_config(&self.world, &endpoints)).unwrap();
    }

    /// `recon-svc run reconciliation <args>` with further settings as `SECTION__KEY`.
    pub(crate) fn command(&self, args: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
            .args(["run", "reconciliation", "--format", "json"])
            .args(args.iter().copied())
            .env("EIDOS_CONFIG", self.config())
            .env("EIDOS__REDIS__LOCK_PREFIX", self.redis.prefix())
            .env(
                "EIDOS__RECONCILIATION__PAUSE_KEY_PREFIX",
                format!("{}:pause", self.redis.prefix()),
            )
            .env("EIDOS__JOBS__RECONCILIATION__LOCK__TTL", "12s")
            .env("EIDOS__REDIS__RESPONSE_TIMEOUT", "500ms");
        for (key, value) in settings {
            command = command.env(format!("EIDOS__{key}"), value);
        }
        command
    }

    /// Runs it and returns its report.
    pub(crate) async fn reconcile(&self, args: &[&str], settings: &[(&str, &str)]) -> Value {
        let (status, child) = self.command(args, settings).run(WITHIN).await;
        assert!(
            status.success(),
            "{status}\n{}\n{}",
            child.stdout(),
            child.stderr()
        );
        report_of(&child)
    }

    /// Runs it as soon as a killed process's lease has ended by itself.
    pub(crate) async fn reconcile_when_free(&self, args: &[&str], settings: &[(&str, &str)]) -> Value {
        const BUSY: i32 = 75;
        eidos_testkit::eventually("the dead process's lease ends", WITHIN, async || {
            let (status, child) = self.command(args, settings).run(WITHIN).await;
            match status.code() {
                Some(0) => Ok(report_of(&child)),
                Some(BUSY) => Err("busy"),
                _ => panic!("{status}\n{}\n{}", child.stdout(), child.stderr()),
            }
        })
        .await
    }

    /// What was planted, against the open breaks.
    pub(crate) async fn verdict(&self, manifest: &Manifest) -> Report {
        let findings = read_findings(self.jobs.pool()).await.unwrap();
        compare(manifest, findings, 0)
    }

    /// Open breaks: wallet, token, kind, severity.
    pub(crate) async fn open_breaks(&self) -> Vec<(String, String, String, String)> {
        sqlx::query_as(
            "SELECT wallet_address, token, kind, severity FROM eidos_jobs_breaks WHERE status = 'open' ORDER BY 1, 2",
        )
        .fetch_all(self.jobs.pool())
        .await
        .unwrap()
    }

    /// Changes the settled balance of some wallet with this token by `by`; nothing else moves. Returns the wallet.
    pub(crate) async fn edit(&self, token: &str, offset: i64, by: &str) -> String {
        sqlx::query_scalar(
            "UPDATE eidos_trading_balances SET settled_available = settled_available + $3::numeric WHERE id = \
                 (SELECT id FROM eidos_trading_balances WHERE token = $1 AND settled_available > 200 \
                  ORDER BY id OFFSET $2 LIMIT 1) RETURNING wallet",
        )
        .bind(token)
        .bind(offset)
        .bind(by)
        .fetch_one(self.books.pool())
        .await
        .unwrap()
    }

    pub(crate) fn books(&self) -> &PgPool {
        self.books.pool()
    }

    pub(crate) fn node_url(&self) -> String {
        self.anvil.url()
    }

    pub(crate) fn redis(&self) -> &TestRedis {
        &self.redis
    }

    /// Waits until the jobs database answers this question with true.
    pub(crate) async fn until(&self, what: &str, question: &'static str) {
        eidos_testkit::eventually(what, WITHIN, async || {
            let is_so: bool = sqlx::query_scalar(question)
                .fetch_one(self.jobs.pool())
                .await
                .unwrap();
            if is_so { Ok(()) } else { Err("not yet") }
        })
        .await;
    }
}

pub(crate) fn report_of(child: &ChildProcess) -> Value {
    let text = child.stdout();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value.get("report").cloned().unwrap_or(value)
}
