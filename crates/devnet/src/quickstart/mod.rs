//! What `scripts/quickstart` does: private servers, a devnet, one full reconciliation, and the comparison of what
//! it found with what was planted.

pub mod alerts;
mod all;
mod beside;
mod beside_config;
mod candles;
mod config;
mod disposal_config;
mod expiry;
mod explained;
mod findings;
pub mod nodes;
mod output;
mod programs;
mod servers;
mod summary;
mod verdict;
mod what;
mod whereabouts;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use sqlx::PgPool;
use tracing::info;

use crate::devnet::{Devnet, DevnetOptions};
use crate::manifest::Trap;

pub use config::{Endpoints, Target, recon_config};

pub use explained::{Explanations, OpenBreak, WrongExplanation, judge as judge_explanations, open_breaks};
pub use findings::{DustFound, Finding, Findings, MovementFinding, read as read_findings};
pub use verdict::{ClassCount, Missed, MissedMovement, MovementReport, Report, compare};

pub(crate) use output::{say, write_private};
use programs::Programs;
use servers::Servers;

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seed of the devnet.
    pub seed: u64,
    /// How many wallets.
    pub wallets: usize,
    /// Keep serving until Ctrl-C.
    pub serve: bool,
    /// Go on with a history of so many rows per table and month, and every job of every service.
    pub all: Option<u64>,
    /// Folder of the servers' data and of the report, as `.sandbox`.
    pub dir: PathBuf,
}

/// Runs the quickstart and prints it. `true` means that everything planted was found and nothing else.
///
/// # Errors
/// If a server does not start, a program fails, or the devnet cannot be built.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    let started = Instant::now();
    // Before minutes pass.
    for name in options
        .all
        .iter()
        .flat_map(|_rows| ["retention-manager", "archiver", "order-expirer", "aggregator"])
    {
        programs::sibling(name)?;
    }
    let programs = Programs::beside_this_one()?;
    say(&format!(
        "Starting PostgreSQL, Redis, Kafka and an EVM node under {}",
        options.dir.display()
    ));
    let servers = Servers::start(&options.dir, None).await?;
    programs.migrate(&servers.jobs_url()).await?;
    say(&format!(
        "Building a devnet of {} wallets from seed {}",
        options.wallets, options.seed
    ));
    let pool = PgPool::connect(&servers.exchange_url())
        .await
        .context("connecting to the exchange's database")?;
    let devnet_options = DevnetOptions::complete(options.wallets);
    let mut devnet = Devnet::build(options.seed, &servers.evm_url(), pool, devnet_options).await?;
    describe(&devnet);
    let endpoints = servers.endpoints();
    let config = options.dir.join("recon-svc.yaml");
    write_private(&config, &recon_config(&devnet, &endpoints))?;
    write_private(
        &options.dir.join("manifest.json"),
        &serde_json::to_string_pretty(devnet.manifest())?,
    )?;

    say("\nReconciling: recon-svc run reconciliation --full\n");
    say(&programs.reconcile(&config, &["--full"]).await?);
    let jobs = PgPool::connect(&servers.jobs_url())
        .await
        .context("connecting to the jobs database")?;
    let block = devnet.cut_block()?.number;
    let mut report = compare(devnet.manifest(), read_findings(&jobs).await?, block);
    if devnet
        .manifest()
        .traps
        .iter()
        .any(|trapped| trapped.trap == Trap::LateCommit)
    {
        let later = late_commit(&mut devnet, &programs, &config, &jobs).await?;
        report.add_later(compare(devnet.manifest(), later, block));
    }
    let open = open_breaks(&jobs).await?;
    let ids: Vec<String> = open.iter().map(|open| open.id.to_string()).collect();
    report.explanations =
        judge_explanations(devnet.manifest(), &open, &programs.explain(&config, &ids).await?);
    let path = options.dir.join("quickstart-report.json");
    write_private(&path, &serde_json::to_string_pretty(&report)?)?;
    say(&report.table(started.elapsed()));
    say(&format!("Report: {}", path.display()));
    let mut is_clean = report.is_clean();
    if let Some(rows_per_month) = options.all {
        // It holds a snapshot of the books open.
        drop(devnet);
        let reconciled = summary::reconciled(&report, started.elapsed());
        is_clean &= all::dispose(&servers, &options.dir, options.seed, rows_per_month, reconciled).await?;
    }
    if options.serve {
        programs.serve(&config, &endpoints).await?;
    }
    Ok(is_clean)
}

/// Commits the rows that were written before the full run and invisible to it, then runs the hourly reconciliation: it
/// must read them and report nothing.
async fn late_commit(
    devnet: &mut Devnet,
    programs: &Programs,
    config: &Path,
    jobs: &PgPool,
) -> anyhow::Result<Findings> {
    devnet.commit_late().await?;
    info!("committed rows with timestamps from before the full run");
    say(
        "\nRows written before that run are committed only now. Reconciling what changed: recon-svc run reconciliation\n",
    );
    say(headline(&programs.reconcile(config, &[]).await?));
    read_findings(jobs).await
}

/// A report's first paragraph: the breaks below it are those of the full run, which were shown already.
fn headline(report: &str) -> &str {
    report.split("\n\n").next().unwrap_or(report)
}

fn describe(devnet: &Devnet) {
    let manifest = devnet.manifest();
    say(&format!(
        "  books, chain and oracle agreed about {} accounts; then {} faults were planted and {} traps set\n  \
         vault {} on chain {}, cut at block {}",
        devnet.ledger().pairs().len(),
        manifest.faults.len() + manifest.movements.len(),
        manifest.traps.len(),
        devnet.addresses().vault,
        devnet.addresses().chain_id,
        devnet.cut_block().map_or(0, |cut| cut.number),
    ));
}
