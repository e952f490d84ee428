//! What `scripts/test-nodes` does: the devnet on every kind of EVM node, and a table of what came out.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use eidos_chain::{Addressing, ChainReader, ChainSettings, LadderReport, Rung, StateCheck, TokenSettings};
use eidos_sandbox::EvmProgram;
use sqlx::PgPool;

use super::programs::Programs;
use super::servers::Servers;
use super::{compare, read_findings, recon_config, say, write_private};
use crate::devnet::{Devnet, DevnetOptions};

/// What came out on one node.
#[derive(Debug)]
struct Outcome {
    client_version: String,
    reader: LadderReport,
    rungs: Vec<(Rung, Result<(), String>)>,
    planted: usize,
    found: usize,
    missed: Vec<String>,
    false_breaks: usize,
    traps: usize,
    checked: u64,
    seconds: u64,
}

impl Outcome {
    const fn is_clean(&self) -> bool {
        self.planted == self.found && self.false_breaks == 0
    }
}

/// Which nodes: `None` is anvil.
const NODES: [(&str, Option<EvmProgram>); 4] = [
    ("geth", Some(EvmProgram::Geth)),
    ("hardhat", Some(EvmProgram::Hardhat)),
    ("ganache", Some(EvmProgram::Ganache)),
    ("anvil", None),
];

/// Runs the devnet of `seed` on the nodes named in `only` (all, if it is empty) and writes the table to `page`, if one is
/// named. `true` means that on each of them everything planted was found and nothing else.
///
/// # Errors
/// If a program of ours is missing or the page cannot be written; a node that fails is a row of the table.
pub async fn run(
    dir: &Path,
    seed: u64,
    wallets: usize,
    only: &[String],
    page: Option<&Path>,
) -> anyhow::Result<bool> {
    let programs = Programs::beside_this_one()?;
    let mut rows = Vec::new();
    for (name, program) in NODES {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        say(&format!(
            "\n{name}: building the devnet of seed {seed} and reconciling it"
        ));
        let outcome = on_node(&programs, dir, program, seed, wallets).await;
        match &outcome {
            Ok(outcome) => say(&format!(
                "{name}: {}: {} of {} found, {} false, {} s",
                outcome.client_version, outcome.found, outcome.planted, outcome.false_breaks, outcome.seconds
            )),
            Err(error) => say(&format!("{name}: {error:#}")),
        }
        rows.push((name, outcome));
    }
    let table = table(seed, wallets, &rows);
    say(&format!("\n{table}"));
    if let Some(page) = page {
        std::fs::write(page, page_of(&table)).with_context(|| format!("cannot write {}", page.display()))?;
    }
    Ok(rows
        .iter()
        .all(|(_name, outcome)| outcome.as_ref().is_ok_and(Outcome::is_clean)))
}

async fn on_node(
    programs: &Programs,
    dir: &Path,
    program: Option<EvmProgram>,
    seed: u64,
    wallets: usize,
) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let servers = Servers::start(dir, program).await?;
    programs.migrate(&servers.jobs_url()).await?;
    let pool = PgPool::connect(&servers.exchange_url()).await?;
    let devnet = Devnet::build(seed, &servers.evm_url(), pool, DevnetOptions::complete(wallets)).await?;
    let config = dir.join("recon-svc.yaml");
    write_private(&config, &recon_config(&devnet, &servers.endpoints()))?;
    say(&programs.reconcile(&config, &["--full"]).await?);
    let jobs = PgPool::connect(&servers.jobs_url()).await?;
    let report = compare(
        devnet.manifest(),
        read_findings(&jobs).await?,
        devnet.cut_block()?.number,
    );
    let settings = reader_settings(&devnet, &servers.evm_url());
    let reader = ChainReader::connect(&settings).await?;
    Ok(Outcome {
        client_version: devnet.node().client_version().await?,
        reader: reader.ladder_report(),
        rungs: served_rungs(&settings).await,
        planted: report.planted.len(),
        found: report.found.len(),
        missed: report
            .missed
            .iter()
            .map(|missed| format!("{}: {}", missed.planted.class.as_str(), missed.because))
            .collect(),
        false_breaks: report.false_breaks.len(),
        traps: report.traps.len(),
        checked: report.checked.unwrap_or_default(),
        seconds: started.elapsed().as_secs(),
    })
}

fn reader_settings(devnet: &Devnet, url: &str) -> ChainSettings {
    let addresses = devnet.addresses();
    let mut settings = ChainSettings::new(url, addresses.chain_id, addresses.vault);
    settings.settlement = Some(addresses.settlement);
    settings.tokens = devnet
        .tokens()
        .values()
        .map(|token| TokenSettings {
            symbol: token.symbol.to_owned(),
            address: token.address,
            decimals: token.decimals,
        })
        .collect();
    settings
}

/// Each rung by itself: a start with a list that the node cannot serve is refused, and says why.
async fn served_rungs(settings: &ChainSettings) -> Vec<(Rung, Result<(), String>)> {
    let mut served = Vec::new();
    for rung in Rung::ALL {
        let mut settings = settings.clone();
        settings.bulk.rungs = vec![rung];
        let outcome = ChainReader::connect(&settings).await;
        served.push((rung, outcome.map(drop).map_err(|error| error.to_string())));
    }
    served
}

fn table(seed: u64, wallets: usize, rows: &[(&str, anyhow::Result<Outcome>)]) -> String {
    let mut out = format!(
        "Seed {seed}, {wallets} wallets, every class of fault and every trap.\n\n\
         | node | version | blocks by | state against header | rungs served | planted | found | false breaks | s |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    let mut notes = String::new();
    for (name, outcome) in rows {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                let _ = writeln!(
                    out,
                    "| {name} | failed: {} | | | | | | | |",
                    one_line(&format!("{error:#}"))
                );
                continue;
            }
        };
        let served = |wanted: bool| {
            let names = outcome
                .rungs
                .iter()
                .filter(move |(_rung, result)| result.is_ok() == wanted);
            names.map(|(rung, _)| rung.name()).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} ({} traps, {} accounts) | {} | {} | {} |",
            outcome.client_version,
            match outcome.reader.addressing {
                Addressing::Hash => "hash",
                Addressing::Number => "number",
            },
            match &outcome.reader.state_check {
                StateCheck::Proof => "proof",
                StateCheck::Nonces(_) => "nonces",
                StateCheck::Unknown | StateCheck::NotPossible(_) => "not possible",
            },
            served(true),
            outcome.planted,
            outcome.traps,
            outcome.checked,
            outcome.found,
            outcome.false_breaks,
            outcome.seconds,
        );
        for (rung, refusal) in &outcome.rungs {
            if let Err(words) = refusal {
                let _ = writeln!(notes, "- {name}, {}: {}", rung.name(), one_line(words));
            }
        }
        for missed in &outcome.missed {
            let _ = writeln!(notes, "- {name}, missed {}", one_line(missed));
        }
    }
    if !notes.is_empty() {
        let _ = write!(
            out,
            "\nWhat the nodes do not serve, in the reader's words:\n\n{notes}"
        );
    }
    out
}

fn one_line(words: &str) -> String {
    let words = words.replace(['\n', '|'], " ");
    words.chars().take(300).collect()
}

fn page_of(table: &str) -> String {
    let day = chrono::DateTime::from_timestamp_millis(crate::devnet::now_ms()).unwrap_or_default();
    format!(
        "# EVM nodes\n\n\
         The planted world of `crates/devnet` on nodes of other makers. Written by `scripts/test-nodes --page`, which belongs to\n\
         the check of a release, not to `scripts/test`. Last run: {}.\n\n\
         \"Blocks by hash\" is EIP-1898. \"State against header\" is how the reader knows that the node answers from the state of\n\
         the block and not from an older one: a Merkle proof of the Vault's account (`eth_getProof`), or the nonces of the\n\
         block's senders where no proof is offered; besides, `eth_syncing` is asked in each cut. A rung is a way to read many\n\
         balances; the reader takes the first that the node serves.\n\n{table}",
        day.format("%Y-%m-%d")
    )
}
