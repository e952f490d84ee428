//! `quickstart --all`: after the reconciliation, years of history, and every job of every service through its own
//! program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use eidos_archive_store::{ArchiveStore, ArchiveStoreSettings};
use eidos_settings::{Input, SuiteOnly};
use serde_json::Value;
use sqlx::PgPool;
use tokio::process::Command;

use super::beside::Beside;
use super::disposal_config::{DisposalEndpoints, archiver_config, retention_config};
use super::programs::sibling;
use super::servers::Servers;
use super::summary::{Ran, conclude};
use super::what::{list_of, what_it_did};
use super::whereabouts::{Check, Storage};
use super::{say, write_private};
use crate::history::{self, HistoryManifest, HistoryPlan, HistoryTrap};
use crate::neighbours;

/// Far above what a job over a few hundred thousand rows takes.
const RUN_TIMEOUT: Duration = Duration::from_mins(10);

/// A service and its configuration.
#[derive(Debug, Clone)]
pub(super) struct Program {
    name: &'static str,
    path: PathBuf,
    pub(super) config: PathBuf,
}

impl Program {
    /// Writes the configuration into `dir`.
    pub(super) fn new(dir: &Path, name: &'static str, yaml: &str) -> anyhow::Result<Self> {
        let config = dir.join(format!("{name}.yaml"));
        write_private(&config, yaml)?;
        Ok(Self {
            name,
            path: sibling(name)?,
            config,
        })
    }
}

/// A slot as a command line has it.
pub(super) fn slot(epoch_ms: i64) -> anyhow::Result<String> {
    let slot: DateTime<Utc> = DateTime::from_timestamp_millis(epoch_ms).context("no such instant")?;
    Ok(slot.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The services, and where they work.
pub(super) struct Stage {
    pub(super) exchange: PgPool,
    pub(super) jobs: PgPool,
    retention: Program,
    archiver: Program,
    store: ArchiveStore,
    slot: String,
    pub(super) ran: Vec<Ran>,
}

/// Fills the history and runs everything. `reconciled` is the line of the reconciliation that ran before.
pub(super) async fn dispose(
    servers: &Servers,
    dir: &Path,
    seed: u64,
    rows_per_month: u64,
    reconciled: Ran,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    // Whole seconds, so that the instant reads the same as text.
    let slot_ms = crate::devnet::now_ms() / 1_000 * 1_000;
    let mut stage = Stage::build(servers, dir, slot_ms).await?;
    stage.ran.push(reconciled);
    let mut plan = HistoryPlan::complete(seed, slot_ms, rows_per_month);
    // An interrupted detach keeps the owner from being set, so it comes after the roles.
    plan.traps.remove(&HistoryTrap::PendingDetach);
    plan.with_facts = false;
    let mut manifest = history::fill(&stage.exchange, Some(&stage.jobs), &plan).await?;
    neighbours::install_disposal(&stage.exchange, &stage.jobs).await?;
    let (exchange, jobs) = (stage.exchange.clone(), stage.jobs.clone());
    history::set_trap(&exchange, Some(&jobs), &mut manifest, HistoryTrap::PendingDetach).await?;
    write_private(
        &dir.join("history.json"),
        &serde_json::to_string_pretty(&manifest)?,
    )?;
    let rows: u64 = manifest.added.iter().map(|(_, rows)| rows).sum();
    say(&format!(
        "\nFilled {rows} rows of {} months into {} tables, {} traps among them ({} s)",
        plan.months,
        manifest.added.len(),
        manifest.traps.len(),
        started.elapsed().as_secs()
    ));
    let before = stage.storage().before(&manifest, slot_ms).await?;
    stage.run_jobs(&manifest).await?;
    let mut checks = stage.storage().tables(&before, &manifest).await?;
    stage.refusals(&mut manifest).await?;
    checks.extend(stage.storage().traps(&manifest).await?);
    checks.extend(stage.no_leftovers(&manifest).await?);
    // After the tables were counted: these runs add executions.
    let (beside, market) = Beside::build(servers, &stage, dir, seed, true, None).await?;
    checks.extend(beside.expire(&mut stage).await?);
    checks.extend(beside.aggregate(&mut stage, market).await?);
    beside.engine.stop().await;
    conclude(
        dir,
        &stage.slot,
        &manifest,
        &stage.ran,
        &checks,
        started.elapsed(),
    )
}

impl Stage {
    pub(super) async fn build(servers: &Servers, dir: &Path, slot_ms: i64) -> anyhow::Result<Self> {
        let archive = std::path::absolute(dir.join("quickstart-archive"))?;
        if archive.exists() {
            std::fs::remove_dir_all(&archive).with_context(|| format!("emptying {}", archive.display()))?;
        }
        std::fs::create_dir_all(&archive)?;
        let endpoints = |role: &str, password: &str| DisposalEndpoints {
            jobs_database: servers.jobs_url_as(role, password),
            exchange_database: servers.exchange_url_as(role, password),
            redis: servers.redis_url(),
            archive_url: format!("file://{}", archive.display()),
        };
        let retention = endpoints(neighbours::RETENTION_ROLE, neighbours::RETENTION_PASSWORD);
        let archiver = endpoints(neighbours::ARCHIVER_ROLE, neighbours::ARCHIVER_PASSWORD);
        let settings = ArchiveStoreSettings::at(retention.archive_url.clone());
        let suite = eidos_settings::load::<SuiteOnly>(&Input::default())?;
        Ok(Self {
            exchange: PgPool::connect(&servers.exchange_url()).await?,
            jobs: PgPool::connect(&servers.jobs_url()).await?,
            retention: Program::new(dir, "retention-manager", &retention_config(&retention))?,
            archiver: Program::new(dir, "archiver", &archiver_config(&archiver))?,
            store: ArchiveStore::open(&settings, &suite.suite.security).await?,
            slot: slot(slot_ms)?,
            ran: Vec::new(),
        })
    }

    const fn storage(&self) -> Storage<'_> {
        Storage {
            exchange: &self.exchange,
            jobs: &self.jobs,
            store: &self.store,
        }
    }

    /// Runs every job of retention-manager and archiver through its own program.
    pub(super) async fn run_jobs(&mut self, manifest: &HistoryManifest) -> anyhow::Result<()> {
        let slot = self.slot.clone();
        self.retention(
            "partition-manage",
            &["run", "partition-manage", "--slot", &slot],
            true,
        )
        .await?;
        // As an operator does it: a store that no operator accepted takes no export.
        let location = self.store.location();
        let accept = [
            "store",
            "accept",
            "--location",
            &location,
            "--reason",
            "quickstart",
        ];
        self.archiver("archive-data", &accept).await?;
        self.retention("data-cleanup", &["plan", "--slot", &slot], true)
            .await?;
        let digest: Option<String> = sqlx::query_scalar(
            "SELECT result -> 'plan' ->> 'digest' FROM eidos_jobs_executions
             WHERE job_name = 'data-cleanup' AND dry_run ORDER BY started_at DESC, id DESC LIMIT 1",
        )
        .fetch_one(&self.jobs)
        .await?;
        let digest = format!("--plan={}", digest.context("the plan has no digest")?);
        self.retention("data-cleanup", &["apply", &digest], true).await?;
        // The first run moves rows into the archive; their expired months are seen by the next.
        for _run in 0..2 {
            self.archiver("archive-data", &["run", "archive-data", "--slot", &slot])
                .await?;
        }
        self.archiver("verify-archive", &["verify"]).await?;
        let month = manifest
            .traps
            .iter()
            .find(|trapped| trapped.trap == HistoryTrap::HugeJson)
            .map(|trapped| trapped.object.rsplitn(3, '_').take(2).collect::<Vec<_>>())
            .context("no month to restore")?;
        let range = month.into_iter().rev().collect::<Vec<_>>().join("-");
        let restore = ["restore", "--table", "eidos_risk_events", "--range", &range];
        self.archiver("restore-archive", &restore).await
    }

    /// The last traps: one more run of each job must refuse, by name, and touch nothing.
    async fn refusals(&mut self, manifest: &mut HistoryManifest) -> anyhow::Result<()> {
        let (exchange, jobs, slot) = (self.exchange.clone(), self.jobs.clone(), self.slot.clone());
        for (trap, job, named) in [
            (HistoryTrap::NanNumeric, "data-cleanup", "column amount"),
            (
                HistoryTrap::Namesake,
                "partition-manage",
                "has the name of a missing partition",
            ),
        ] {
            let trapped = history::set_trap(&exchange, Some(&jobs), manifest, trap).await?;
            neighbours::install_disposal(&exchange, &jobs).await?;
            self.retention(job, &["run", job, "--slot", &slot], false).await?;
            if let Some(ran) = self.ran.last_mut() {
                // One table with a problem: this one.
                ran.as_expected &= ran.what.starts_with("1 of ")
                    && ran.what.contains(trapped.table)
                    && ran.what.contains(named);
                ran.job = format!("{job} ({} planted: refused)", trapped.object);
            }
        }
        Ok(())
    }

    async fn retention(&mut self, job: &str, args: &[&str], succeeds: bool) -> anyhow::Result<()> {
        self.run(&self.retention.clone(), job, args, succeeds).await
    }

    async fn archiver(&mut self, job: &str, args: &[&str]) -> anyhow::Result<()> {
        self.run(&self.archiver.clone(), job, args, true).await
    }

    /// Runs a program, and notes the execution of `job` that it stored.
    pub(super) async fn run(
        &mut self,
        program: &Program,
        job: &str,
        args: &[&str],
        succeeds: bool,
    ) -> anyhow::Result<()> {
        let name = program.name;
        say(&format!("{name} {}", args.join(" ")));
        let mut command = Command::new(&program.path);
        command
            .args(args)
            .env("EIDOS_CONFIG", &program.config)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(RUN_TIMEOUT, command.output())
            .await
            .with_context(|| format!("{name} did not end within {} s", RUN_TIMEOUT.as_secs()))?
            .with_context(|| format!("{name} does not start"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let as_expected = output.status.success() == succeeds;
        if !as_expected {
            say(&format!(
                "{name} ended with {}\n{}{errors}",
                output.status,
                String::from_utf8_lossy(&output.stdout)
            ));
        }
        let mut ran = self
            .last_execution(job)
            .await
            .with_context(|| format!("{name} stored no execution of {job}; it said:\n{errors}"))?;
        ran.as_expected = as_expected;
        if let ["plan" | "apply" | "verify" | "restore" | "backfill", ..] = args {
            ran.job = format!("{job} ({})", args[0]);
        }
        self.ran.push(ran);
        Ok(())
    }

    async fn last_execution(&self, job: &str) -> anyhow::Result<Ran> {
        let (execution, status, duration_ms, dry_run, result, error): (
            uuid::Uuid,
            String,
            Option<i32>,
            bool,
            Option<Value>,
            Option<String>,
        ) = sqlx::query_as(
            "SELECT execution_id, status, duration_ms, dry_run, result, error_message FROM eidos_jobs_executions
             WHERE job_name = $1 ORDER BY started_at DESC, id DESC LIMIT 1",
        )
        .bind(job)
        .fetch_one(&self.jobs)
        .await?;
        let acts: Vec<(String, i64, Option<i64>)> = sqlx::query_as(
            // An act on a unit may be begun and concluded in two rows.
            "SELECT action, count(DISTINCT coalesce(unit_id::text, object_name)),
                    CASE WHEN action IN ('move', 'drain', 'restore') THEN sum(row_count)::bigint END
             FROM eidos_jobs_disposals WHERE execution_id = $1 GROUP BY action ORDER BY min(id)",
        )
        .bind(execution)
        .fetch_all(&self.jobs)
        .await?;
        let result = result.unwrap_or_default();
        let what = match error {
            Some(error) => error,
            None => what_it_did(job, dry_run, &result).unwrap_or_else(|| list_of(&acts)),
        };
        Ok(Ran {
            job: job.to_owned(),
            status,
            duration_ms: duration_ms.map_or(0, i64::from),
            what,
            as_expected: true,
        })
    }

    /// Nothing rests in quarantine that no unit knows, and no unit is stuck half way but the one that waits for a person.
    async fn no_leftovers(&self, manifest: &HistoryManifest) -> anyhow::Result<Vec<Check>> {
        let resting: Vec<String> = sqlx::query_scalar(
            "SELECT quarantine_table::text FROM eidos_jobs_disposal_units WHERE state = 'quarantined' AND quarantine_table IS NOT NULL",
        )
        .fetch_all(&self.jobs)
        .await?;
        let mut unknown = Vec::new();
        for pool in [&self.exchange, &self.jobs] {
            let there: Vec<String> = sqlx::query_scalar(
                "SELECT 'eidos_quarantine.' || relname FROM pg_class
                 WHERE relnamespace = 'eidos_quarantine'::regnamespace AND relkind IN ('r', 'p')",
            )
            .fetch_all(pool)
            .await?;
            unknown.extend(there.into_iter().filter(|table| !resting.contains(table)));
        }
        let refused = manifest
            .traps
            .iter()
            .filter(|trapped| trapped.trap == HistoryTrap::NanNumeric)
            .map(|trapped| trapped.object.clone());
        let stuck: Vec<String> = sqlx::query_scalar(
            "SELECT unit_name::text || ' ' || state FROM eidos_jobs_disposal_units
             WHERE state NOT IN ('quarantined', 'dropped', 'deleted', 'abandoned') AND unit_name <> ALL ($1)",
        )
        .bind(refused.collect::<Vec<_>>())
        .fetch_all(&self.jobs)
        .await?;
        Ok(vec![Check {
            about: "units".to_owned(),
            what: "each has come to rest, and quarantine holds nothing else".to_owned(),
            found: format!(
                "{} resting, {} unknown, {} half way {}",
                resting.len(),
                unknown.len(),
                stuck.len(),
                stuck.join(", ")
            ),
            holds: unknown.is_empty() && stuck.is_empty(),
        }])
    }
}
