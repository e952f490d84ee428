//! The command line of the devnet.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use eidos_devnet::bulk;
use eidos_devnet::market::{Market, MarketOptions};
use eidos_devnet::matching::{Matching, MatchingOptions, Misbehaviour, Topics};
use eidos_devnet::neighbours;
use eidos_devnet::quickstart::{self, Options, nodes};
use eidos_sandbox::Sandbox;
use eidos_types::{Clock as _, SystemClock};
use sqlx::PgPool;

/// A local exchange with an oracle: chain traffic, books, planted faults and traps.
#[derive(Debug, Parser)]
#[command(name = "devnet", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start private servers, build a devnet, reconcile it and compare the findings with what was planted.
    Quickstart {
        /// Leave recon-svc running and print its URLs.
        #[arg(long)]
        serve: bool,
        /// Fill years of history and run every job of every service once.
        #[arg(long)]
        all: bool,
        /// With --all: rows of each table and month.
        #[arg(long, default_value_t = 300)]
        rows_per_month: u64,
        /// The same seed gives the same devnet.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// How many wallets.
        #[arg(long, default_value_t = 50)]
        wallets: usize,
        /// Folder of the servers' data and of the report.
        #[arg(long, default_value = ".sandbox", env = "EIDOS_SANDBOX_DIR")]
        dir: PathBuf,
    },
    /// Scrape every service with a real Prometheus and see each alert rule silent and firing.
    Alerts {
        /// The same seed gives the same devnet.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// Write the tables to this page.
        #[arg(long)]
        page: Option<PathBuf>,
        /// Write what each panel showed to this page.
        #[arg(long)]
        dashboards: Option<PathBuf>,
        /// Where servers keep their data and logs go.
        #[arg(long, default_value = ".sandbox", env = "EIDOS_SANDBOX_DIR")]
        dir: PathBuf,
    },
    /// Run the devnet on go-ethereum, Hardhat, Ganache and anvil, and compare the findings with what was planted.
    Nodes {
        /// Only these: geth, hardhat, ganache, anvil.
        only: Vec<String>,
        /// The same seed gives the same devnet.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// How many wallets.
        #[arg(long, default_value_t = 50)]
        wallets: usize,
        /// Write the table to this page.
        #[arg(long)]
        page: Option<PathBuf>,
        /// Where servers keep their data.
        #[arg(long, default_value = ".sandbox", env = "EIDOS_SANDBOX_DIR")]
        dir: PathBuf,
    },
    /// Make many accounts on chain and in the books, and serve both until Ctrl-C.
    Bulk {
        /// Pairs of wallet and token.
        #[arg(long, default_value_t = 1_000_000)]
        accounts: u64,
        /// Where servers keep their data.
        #[arg(long, default_value = ".sandbox", env = "EIDOS_SANDBOX_DIR")]
        dir: PathBuf,
        /// End when everything is made, instead of serving.
        #[arg(long)]
        exit: bool,
    },
    /// Fill an exchange's tables with two weeks of markets, then trade each minute until Ctrl-C.
    Market(MarketArgs),
    /// Run a matching engine and a trading service on an exchange's tables until Ctrl-C.
    Matching {
        /// The trading service's database, as its owner.
        #[arg(long)]
        trading_url: String,
        /// Kafka brokers; without, requests come over gRPC only.
        #[arg(long)]
        brokers: Option<String>,
        /// The beginning of the topics' names.
        #[arg(long, default_value = "")]
        topic_prefix: String,
        /// The port of the gRPC server on loopback; without, a free one.
        #[arg(long)]
        port: Option<u16>,
        /// The same seed gives the same faults.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// What goes wrong, such as `drop_events=50,retry_later=100`: shares per mille.
        #[arg(long, default_value = "")]
        misbehave: Misbehaviour,
    },
}

#[derive(Debug, Args)]
struct MarketArgs {
    /// The database of the market and the trading service, as its owner.
    #[arg(long)]
    url: String,
    /// The database is empty: create the tables first.
    #[arg(long)]
    install: bool,
    /// The same seed gives the same markets.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Leave out minutes.
    #[arg(long)]
    gaps: bool,
    /// Store what was left out, and trades of days ago, after so many minutes.
    #[arg(long)]
    late_after: Option<u32>,
    /// End when everything is filled.
    #[arg(long)]
    exit: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_unset| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(Cli::parse().command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Quickstart {
            serve,
            all,
            rows_per_month,
            seed,
            wallets,
            dir,
        } => {
            quickstart::run(Options {
                all: all.then_some(rows_per_month),
                seed,
                wallets,
                serve,
                dir,
            })
            .await
        }
        Command::Alerts {
            seed,
            page,
            dashboards,
            dir,
        } => {
            let pages = quickstart::alerts::Pages {
                tables: page,
                dashboards,
            };
            quickstart::alerts::run(&dir, seed, &pages).await
        }
        Command::Nodes {
            only,
            seed,
            wallets,
            page,
            dir,
        } => nodes::run(&dir.join("nodes"), seed, wallets, &only, page.as_deref()).await,
        Command::Bulk { accounts, dir, exit } => make_bulk(accounts, &dir, exit).await.map(|()| true),
        Command::Market(args) => trade(args).await.map(|()| true),
        Command::Matching {
            trading_url,
            brokers,
            topic_prefix,
            port,
            seed,
            misbehave,
        } => {
            let trading = PgPool::connect(&trading_url).await.context("--trading-url")?;
            let options = MatchingOptions {
                brokers,
                topics: Topics::prefixed(&topic_prefix),
                port,
                seed,
                misbehaviour: misbehave,
                ..MatchingOptions::new(trading)
            };
            serve_matching(options).await.map(|()| true)
        }
    }
}

/// Fills the markets, and trades until Ctrl-C.
async fn trade(args: MarketArgs) -> anyhow::Result<()> {
    let pool = PgPool::connect(&args.url).await.context("--url")?;
    if args.install {
        neighbours::install(&pool).await?;
    }
    let options = MarketOptions {
        seed: args.seed,
        now_ms: SystemClock::default().now_ms(),
        gaps: args.gaps,
    };
    let market = fill_market(&pool, options).await?;
    if args.exit {
        return Ok(());
    }
    tokio::select! {
        traded = keep_trading(market, args.late_after) => traded,
        interrupted = tokio::signal::ctrl_c() => interrupted.context("waiting for Ctrl-C"),
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the program talks to the person who started it"
)]
async fn fill_market(pool: &PgPool, options: MarketOptions) -> anyhow::Result<Market> {
    let market = Market::fill(pool, options).await?;
    let (from_ms, until_ms) = market.range();
    println!("{} from {from_ms} to {until_ms}", market.names().join(", "));
    for gap in market.gaps() {
        println!("missing: {} from {} to {}", gap.market, gap.from_ms, gap.to_ms);
    }
    Ok(market)
}

/// Trades each minute; after `late_after` minutes, what was left out arrives.
#[expect(
    clippy::print_stdout,
    reason = "the program talks to the person who started it"
)]
async fn keep_trading(mut market: Market, mut late_after: Option<u32>) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now_ms = SystemClock::default().now_ms();
        market.advance(now_ms).await?;
        let is_due = |minutes: u32| started.elapsed() >= Duration::from_mins(1) * minutes;
        if late_after.is_some_and(is_due) {
            late_after = None;
            let arrived = market.arrive_late(now_ms).await?;
            println!(
                "late: {} gaps, {} trades, {} deposit",
                arrived.gaps, arrived.trades, arrived.deposits
            );
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the program talks to the person who started it"
)]
async fn serve_matching(options: MatchingOptions) -> anyhow::Result<()> {
    let matching = Matching::start(options).await?;
    println!("the matching engine is at {}", matching.grpc_url());
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    matching.stop().await;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the program talks to the person who started it"
)]
async fn make_bulk(accounts: u64, dir: &std::path::Path, exit: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let sandbox = Sandbox::open(dir.join("bulk"))?;
    let postgres = sandbox.postgres().await?;
    postgres.fresh_database("eidos_exchange").await?;
    let pool = PgPool::connect(&postgres.url("eidos_exchange")).await?;
    let bulk = bulk::build(accounts, sandbox.dir(), &pool).await?;
    println!(
        "{accounts} accounts on chain and in the books after {} s\n  chain {} at {}, vault {}, cut at block {}\n  {}",
        started.elapsed().as_secs(),
        bulk.addresses.chain_id,
        bulk.anvil.url(),
        bulk.addresses.vault,
        bulk.cut.number,
        postgres.url("eidos_exchange"),
    );
    if !exit {
        tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
    }
    Ok(())
}
