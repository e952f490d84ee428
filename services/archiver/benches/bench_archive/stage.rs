//! The servers, and databases with rows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use eidos_core::migrations;
use eidos_devnet::neighbours;
use eidos_sandbox::{Durability, Postgres, PostgresOptions, Redis, RedisOptions, ScratchDir};
use eidos_testkit::accept_archive_store;
use eidos_types::{Clock, SystemClock};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// Times in the tables are spread over the month that begins here (2024-01-01, epoch ms).
pub(crate) const MONTH_MS: i64 = 1_704_067_200_000;
/// The month that ends it.
pub(crate) const NEXT_MONTH_MS: i64 = 1_706_745_600_000;

/// PostgreSQL and Redis of the benchmark alone.
pub(crate) struct Stage {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    scratch: ScratchDir,
}

impl Stage {
    /// Starts the servers.
    pub(crate) async fn build() -> anyhow::Result<Self> {
        Ok(Self {
            postgres: Postgres::start(PostgresOptions {
                durability: Durability::Fast,
                ..PostgresOptions::default()
            })
            .await?,
            redis: Redis::start(RedisOptions::default()).await?,
            scratch: ScratchDir::create("bench-archive")?,
        })
    }

    /// A folder of its own for `name`.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.scratch.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A database with the neighbours' tables and what disposal needs there, as its owner.
    pub(crate) async fn exchange(&self, name: &str) -> anyhow::Result<PgPool> {
        self.postgres.create_database(name).await?;
        let pool = pool(&self.postgres.url(name)).await?;
        neighbours::install(&pool).await?;
        migrations::install_external_fence(&pool).await?;
        migrations::install_external_freeze(&pool).await?;
        Ok(pool)
    }

    /// A jobs database.
    pub(crate) async fn jobs(&self, name: &str) -> anyhow::Result<PgPool> {
        self.postgres.create_database(name).await?;
        let pool = pool(&self.postgres.url(name)).await?;
        migrations::migrate(&pool, SystemClock::default().now()).await?;
        accept_archive_store(&pool, &format!("file://{}", self.folder("store")?.display())).await;
        Ok(pool)
    }

    /// Settings of both services for one exchange and one jobs database, with further YAML.
    pub(crate) fn settings(&self, exchange: &str, jobs: &str, further: &str) -> anyhow::Result<PathBuf> {
        let (exchange, jobs, redis) = (
            self.postgres.url(exchange),
            self.postgres.url(jobs),
            self.redis.url(),
        );
        let folder = self.folder("store")?;
        let text = format!(
            r#"service: {{ name: bench, env: dev }}
databases:
  jobs: {{ url: "{jobs}" }}
  trading: {{ url: "{exchange}" }}
  market: {{ url: "{exchange}" }}
  chain: {{ url: "{exchange}" }}
  risk: {{ url: "{exchange}" }}
  admin: {{ url: "{exchange}" }}
redis: {{ url: "{redis}" }}
archive_store: {{ url: "file://{store}" }}
{further}"#,
            store = folder.display(),
        );
        let file = folder.with_extension("yaml");
        std::fs::write(&file, text)?;
        Ok(file)
    }
}

/// The archiver of this build, or another program beside it.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_archiver")).with_file_name(name);
    ensure!(
        path.is_file(),
        "{} is missing: scripts/bench builds it",
        path.display()
    );
    Ok(path)
}

/// Some connections as the owner.
pub(crate) async fn pool(url: &str) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(6)
        .acquire_timeout(Duration::from_secs(30))
        .connect(url)
        .await
        .context("the benchmark's PostgreSQL does not answer")
}

/// `rows` settled trades of January 2024, analysed.
pub(crate) async fn fill_trades(exchange: &PgPool, rows: u64) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO eidos_trading_trades (id, trade_id, market, maker_order_id, taker_order_id, maker_wallet, taker_wallet,
             price, amount, quote_amount, maker_fee, taker_fee, fee_token, maker_side, settlement_status, batch_id, tx_hash,
             matched_at, settled_at, created_at, updated_at)
         SELECT n, 'trade-' || n, CASE n % 3 WHEN 0 THEN 'BTC-USDC' WHEN 1 THEN 'ETH-USDC' ELSE 'ARB-USDC' END,
                'maker-' || n, 'taker-' || n, '0x' || md5(n::text) || 'aaaaaaaa', '0x' || md5((n + 1)::text) || 'bbbbbbbb',
                60000 + (n % 100000) * 0.000000000000000001, 0.001 + (n % 977) * 0.0000001, 60 + (n % 977) * 0.006,
                0.06 + (n % 13) * 0.000000000000000001, 0.06, 'USDC', 1 + n % 2, 3, 'batch-' || n / 500, '0x' || md5(n::text) || md5((n + 7)::text),
                at, at + 60000, at, at + 60000
         FROM (SELECT n, $2::bigint + ($3::bigint - $2::bigint - 120000) * n / $1::bigint AS at FROM generate_series(1, $1::bigint) AS n) AS row",
    )
    .bind(i64::try_from(rows)?)
    .bind(MONTH_MS)
    .bind(NEXT_MONTH_MS)
    .execute(exchange)
    .await?;
    sqlx::query("VACUUM (ANALYZE) eidos_trading_trades")
        .execute(exchange)
        .await?;
    Ok(())
}
