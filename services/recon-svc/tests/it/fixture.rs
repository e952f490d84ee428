//! A world of one's own, and recon-svc pointed at it.

use std::path::PathBuf;
use std::time::Duration;

use eidos_devnet::quickstart::{Endpoints, Report, compare, read_findings, recon_config};
use eidos_devnet::{Devnet, DevnetOptions};
use eidos_devnet::{Fault, Manifest, MovementFault, Trap};
use eidos_testkit::{Anvil, AnvilOptions, ChildProcess, Command, ScratchDir, TestDb, TestRedis};
use eidos_types::{Clock, SystemClock};
use serde_json::Value;
use sqlx::PgPool;

const WALLETS: usize = 40;
const WITHIN: Duration = Duration::from_secs(90);
/// devnet wants the chain to be old enough that young and old deposits can be told apart.
const GENESIS_AGE: chrono::TimeDelta = chrono::TimeDelta::hours(3);

pub(crate) struct Fixture {
    pub(crate) world: Devnet,
    pub(crate) jobs: TestDb,
    books: TestDb,
    redis: TestRedis,
    anvil: Anvil,
    dir: ScratchDir,
}

impl Fixture {
    pub(crate) async fn new(faults: &[Fault], traps: &[Trap]) -> Self {
        Self::on_node(&[], faults, traps).await
    }

    /// With further arguments of the node.
    pub(crate) async fn on_node(node_args: &[&str], faults: &[Fault], traps: &[Trap]) -> Self {
        Self::build(node_args, faults, &[], traps).await
    }

    /// With faults of single movements.
    pub(crate) async fn with_movements(
        faults: &[Fault],
        movements: &[MovementFault],
        traps: &[Trap],
    ) -> Self {
        Self::build(&[], faults, movements, traps).await
    }

    async fn build(
        node_args: &[&str],
        faults: &[Fault],
        movements: &[MovementFault],
        traps: &[Trap],
    ) -> Self {
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
        let options = DevnetOptions {
            faults: faults.to_vec(),
            movements: movements.to_vec(),
            traps: traps.to_vec(),
            ..DevnetOptions::clean(WALLETS)
        };
        let world = Devnet::build(11, &anvil.url(), pool, options).await.unwrap();
        let redis = TestRedis::shared().await;
        let dir = ScratchDir::create("recon").unwrap();
        let fixture = Self {
            world,
            jobs,
            books,
            redis,
            anvil,
            dir,
        };
        fixture.write_config();
        fixture
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

    /// Takes the price of this token out of the configuration.
    pub(crate) fn without_price(&self, token: &str) {
        self.without_lines(&format!("    {token}: {{ usdc:"));
    }

    /// Takes the lines that begin like this out of the configuration.
    pub(crate) fn without_lines(&self, beginning: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.lines().any(|line| line.starts_with(beginning)), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with(beginning));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        std::fs::write(self.config(), text).unwrap();
    }

    /// Writes lines into the section `reconciliation` of the configuration.
    pub(crate) fn rules(&self, lines: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains("\nreconciliation:\n"), "{text}");
        let text = text.replacen("\nreconciliation:\n", &format!("\nreconciliation:\n{lines}\n"), 1);
        std::fs::write(self.config(), text).unwrap();
    }

    /// `recon-svc run reconciliation <args>` with further settings as `SECTION__KEY`.
    pub(crate) fn command(&self, args: &[&str], settings: &[(&str, &str)]) -> Command {
        self.program(&["run", "reconciliation", "--format", "json"], args, settings)
    }

    /// `recon-svc explain --json <breaks>` with further settings.
    pub(crate) fn explain(&self, breaks: &str, settings: &[(&str, &str)]) -> Command {
        self.program(&["explain", "--json"], &[breaks], settings)
    }

    fn program(&self, program: &[&str], args: &[&str], settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
            .args(program.iter().copied())
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

    /// Starts `recon-svc serve` on free ports; it logs its addresses. No slot is due while a test looks.
    pub(crate) fn serve(&self) -> ChildProcess {
        self.serve_with(&[])
    }

    /// With further settings as `SECTION__KEY`.
    pub(crate) fn serve_with(&self, settings: &[(&str, &str)]) -> ChildProcess {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recon-svc"))
            .args(["serve"])
            .env("EIDOS_CONFIG", self.config())
            .env("EIDOS__REDIS__LOCK_PREFIX", self.redis.prefix())
            .env("EIDOS__SERVICE__HTTP_PORT", "0")
            .env("EIDOS__SERVICE__GRPC_PORT", "0")
            .env("EIDOS__TELEMETRY__LOG_LEVEL", "info")
            .env("EIDOS__JOBS__RECONCILIATION__CRON", "0 0 0 1 1 *");
        for (key, value) in settings {
            command = command.env(format!("EIDOS__{key}"), value);
        }
        command.spawn()
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

    /// Open breaks of balances: wallet, token, kind, severity.
    pub(crate) async fn open_breaks(&self) -> Vec<(String, String, String, String)> {
        sqlx::query_as(
            "SELECT wallet_address, token, kind, severity FROM eidos_jobs_breaks WHERE status = 'open' AND dimension IN ('balance', 'solvency') \
             ORDER BY 1, 2",
        )
        .fetch_all(self.jobs.pool())
        .await
        .unwrap()
    }

    /// Every open break of a jobs database, with everything that says what it is and how large.
    pub(crate) async fn every_open_break(jobs: &PgPool) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT concat_ws(' ', dimension, subject, kind, severity, direction, offchain_value, onchain_value, diff_value, onchain_exact) \
             FROM eidos_jobs_breaks WHERE status = 'open' ORDER BY 1",
        )
        .fetch_all(jobs)
        .await
        .unwrap()
    }

    /// The open breaks of a full run that has never seen this world before.
    pub(crate) async fn as_a_first_run_finds_it(&self, settings: &[(&str, &str)]) -> Vec<String> {
        let jobs = TestDb::migrated().await;
        let url = jobs.url();
        let mut settings = settings.to_vec();
        settings.push(("DATABASES__JOBS__URL", url.as_str()));
        self.reconcile(&["--full"], &settings).await;
        Self::every_open_break(jobs.pool()).await
    }

    /// Open breaks of a dimension of movements: movement, kind, severity.
    pub(crate) async fn open_movements(&self, dimension: &str) -> Vec<(String, String, String)> {
        sqlx::query_as(
            "SELECT subject, kind, severity FROM eidos_jobs_breaks WHERE status = 'open' AND dimension = $1 ORDER BY 1, 2",
        )
        .bind(dimension)
        .fetch_all(self.jobs.pool())
        .await
        .unwrap()
    }

    /// Changes the settled balance of some wallet with this token by `by`; nothing else moves. Returns the wallet.
    pub(crate) async fn edit(&self, token: &str, offset: i64, by: &str) -> String {
        sqlx::query_scalar(
            "UPDATE eidos_trading_balances SET settled_available = settled_available + $3::numeric WHERE id = \
                 (SELECT id FROM eidos_trading_balances WHERE token = $1 AND settled_available > CASE token WHEN 'USDC' THEN 200 ELSE 1 END \
                  ORDER BY id OFFSET $2 LIMIT 1) RETURNING wallet",
        )
        .bind(token)
        .bind(offset)
        .bind(by)
        .fetch_one(self.books.pool())
        .await
        .unwrap()
    }

    /// The first wallet with enough of this token to withdraw some; no sub-account has it.
    pub(crate) async fn wallet_with(&self, token: &str) -> eidos_types::Address {
        let wallet: String = sqlx::query_scalar(
            "SELECT wallet FROM eidos_trading_balances WHERE token = $1 AND settled_available > 1000 ORDER BY id LIMIT 1",
        )
        .bind(token)
        .fetch_one(self.books.pool())
        .await
        .unwrap();
        wallet.parse().unwrap()
    }

    /// Sets the indexer's last block.
    pub(crate) async fn indexed(&self, number: u64, hash: eidos_types::Hash32) {
        sqlx::query("UPDATE eidos_chain_block_checkpoints SET block_number = $1, block_hash = $2")
            .bind(i64::try_from(number).unwrap())
            .bind(hash.to_string())
            .execute(self.books.pool())
            .await
            .unwrap();
    }

    /// Moves the newest settled batch of the books to `block`, under an id that the chain does not know. Returns how
    /// many trades it has.
    pub(crate) async fn settled_above(&self, block: u64) -> u64 {
        let batch: String = sqlx::query_scalar(
            "SELECT batch_id::text FROM eidos_chain_settlement_batches ORDER BY block_number DESC LIMIT 1",
        )
        .fetch_one(self.books.pool())
        .await
        .unwrap();
        sqlx::query(
            "UPDATE eidos_chain_settlement_batches SET block_number = $1, batch_id = repeat('ab', 32) \
             WHERE batch_id = $2",
        )
        .bind(i64::try_from(block).unwrap())
        .bind(&batch)
        .execute(self.books.pool())
        .await
        .unwrap();
        let trades =
            sqlx::query("UPDATE eidos_trading_trades SET batch_id = repeat('ab', 32) WHERE batch_id = $1")
                .bind(&batch)
                .execute(self.books.pool())
                .await
                .unwrap();
        trades.rows_affected()
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
