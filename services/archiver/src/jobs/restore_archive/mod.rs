//! `restore-archive`: exported rows back in a table, and proof that they are what was exported.
//!
//! ```text
//! find the units ── by table and window, from their rows
//!   └─ per unit, one fenced transaction in the database it came from
//!        ├─ side      COPY into <table>_restored, or find that it is all there
//!        └─ original  COPY into a temporary table, insert what is missing; without the table's triggers, or not at all
//!             └─ digest of what the table holds now = digest of the manifest, else roll back
//! ```
//!
//! The store gives out no row of a part whose hash is wrong, and the digest is taken from the table after the copy, so
//! a restore that ends well is equal row by row. Running it again finds everything there and does nothing.

mod columns;
mod original;
mod params;
mod side;
mod triggers;
pub(crate) mod work;

use std::fmt::Write;

use eidos_archive_store::{ArchiveStore, ManifestRef};
use eidos_core::db::connect_external;
use eidos_core::fence::ExternalFence;
use eidos_disposal::catalogue::Relation;
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::{DisposalError, source_connection};
use eidos_plan::audit::{self, Act};
use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_settings::{SourceName, SuiteSettings};
use eidos_telemetry::metric;
use serde::Serialize;
use sqlx::PgPool;

pub use crate::store::triggers::Fired;
pub use params::{Into, RestoreParams, Triggers};
use work::Work;

use crate::store::units::{self, Exported};

/// `disposal_rows_total{action}` of rows that are brought back.
const RESTORE: &str = "restore";

/// The job.
#[derive(Debug)]
pub struct RestoreArchive {
    /// Where exports are.
    pub store: ArchiveStore,
    /// Timeouts of locks and long statements.
    pub disposal: DisposalSettings,
    /// The databases that units come from.
    pub suite: SuiteSettings,
}

/// What became of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The unit.
    pub unit_id: uuid::Uuid,
    /// Partition, or table and month.
    pub unit_name: String,
    /// The table the rows are in now.
    pub into: String,
    /// Rows of the export.
    pub rows: u64,
    /// Rows this run put there.
    pub inserted: u64,
    /// `restored`, `was there`, or `would be restored`.
    pub outcome: &'static str,
    /// What an INSERT fires there and was disabled meanwhile; of a dry run, what would be, or what is in the way.
    pub triggers: Vec<Fired>,
}

/// What a run did.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// Whether anything was changed.
    pub dry_run: bool,
    /// Unit by unit.
    pub units: Vec<Restored>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Job for RestoreArchive {
    const NAME: &'static str = "restore-archive";
    type Params = RestoreParams;
    type Report = RestoreReport;

    fn validate_params(&self, params: &RestoreParams) -> Result<(), String> {
        params.window().map(|_| ())
    }

    async fn run(&self, ctx: &JobContext, params: RestoreParams) -> Result<RestoreReport, JobError> {
        let units = self.find(ctx, &params).await?;
        let mut report = RestoreReport {
            dry_run: ctx.dry_run(),
            units: Vec::new(),
            notes: Vec::new(),
        };
        if ctx.dry_run() {
            report.units = units.iter().map(|unit| would_be(unit, params.into)).collect();
            if params.into == Into::Original {
                self.look(&mut report, &units, params.triggers).await?;
            }
            return Ok(report);
        }
        let (source, pool) = self.connect(&units).await?;
        let fence = ctx.raised_in(&pool).await?;
        let total = units.len() as u64;
        for (at, unit) in units.iter().enumerate() {
            ctx.check_cancelled()?;
            let window: Vec<&Exported> = units
                .iter()
                .filter(|other| (other.lower_ms, other.upper_ms) == (unit.lower_ms, unit.upper_ms))
                .collect();
            let restored = self.restore(ctx, &fence, source, unit, &window, &params).await?;
            metric::disposal_rows(
                ctx.job().as_str(),
                source.as_str(),
                &unit.table,
                RESTORE,
                restored.inserted,
            );
            report.notes.extend(silenced(&restored));
            report.units.push(restored);
            ctx.progress(at as u64 + 1, Some(total));
        }
        pool.close().await;
        if params.into == Into::Original {
            report.notes.push(
                "the retention still applies: place a legal hold on what must stay, or it leaves again with the next run"
                    .to_owned(),
            );
        }
        Ok(report)
    }

    /// The counter of every table that can be restored exists at zero: one that first appears with restored rows shows no
    /// increase.
    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        for (source, table) in units::exported_from(seen.jobs_db().read()).await? {
            if let Some(source) = source_named(&source) {
                metric::disposal_rows(Self::NAME, source.as_str(), &table, RESTORE, 0);
            }
        }
        Ok(())
    }

    fn render(&self, report: &RestoreReport) -> String {
        let mut text = String::new();
        for unit in &report.units {
            let _ = writeln!(
                text,
                "{} {}: {} rows {} {} ({} inserted)",
                unit.unit_name, unit.unit_id, unit.rows, unit.outcome, unit.into, unit.inserted
            );
        }
        for note in &report.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text.trim_end().to_owned()
    }
}

impl RestoreArchive {
    /// A pool of its own: a connection whose COPY ended early is never used again, since a failure ends the run.
    async fn connect(&self, units: &[Exported]) -> Result<(SourceName, PgPool), JobError> {
        let source = source_of(units)?;
        let section = self.suite.databases.get(&source).ok_or_else(|| {
            refused(format!(
                "databases.{source}.url is not set; the rows came from there"
            ))
        })?;
        let pool = connect_external(section, &self.suite.service.name, source).await?;
        Ok((source, pool))
    }

    /// What a dry run says about the triggers of the original.
    async fn look(
        &self,
        report: &mut RestoreReport,
        units: &[Exported],
        triggers: Triggers,
    ) -> Result<(), JobError> {
        let (_source, pool) = self.connect(units).await?;
        let mut conn = source_connection(&pool).await?;
        for (unit, planned) in units.iter().zip(&mut report.units) {
            let (into, fired) = original::look(&mut conn, unit).await?;
            let table = Relation::new(&unit.schema, &unit.table);
            let note = match triggers::allowed(&table, &fired, triggers) {
                Err(refusal) => Some(format!("{}: would be refused: {refusal}", unit.unit_name)),
                Ok(()) if fired.is_empty() => None,
                Ok(()) => Some(format!(
                    "{}: disabled meanwhile, under SHARE ROW EXCLUSIVE on {}: {}",
                    unit.unit_name,
                    into.relation.plain(),
                    triggers::listed(&fired)
                )),
            };
            report.notes.extend(note);
            planned.triggers = fired;
        }
        drop(conn);
        pool.close().await;
        Ok(())
    }

    async fn find(&self, ctx: &JobContext, params: &RestoreParams) -> Result<Vec<Exported>, JobError> {
        let range = params.window().map_err(JobError::fail)?;
        let source = params.source.map(SourceName::as_str);
        let table = Some(params.table.as_str()).filter(|table| !table.is_empty());
        let mut units = units::exported(ctx.jobs_db().read(), table, source, range).await?;
        if let Some(wanted) = params.unit {
            units.retain(|unit| unit.unit_id == wanted);
        }
        // A month that was brought back and left again was exported twice; one of two equal exports is enough.
        let all = units.clone();
        units.retain(|unit| {
            let equal = || all.iter().filter(|other| same_content(other, unit));
            let best = equal().rfind(|other| other.rot.is_none()).or(equal().next_back());
            best.is_some_and(|best| best.unit_id == unit.unit_id)
        });
        if units.is_empty() {
            return Err(refused(format!(
                "no verified export of {} lies in {}; what there is: SELECT table_name, unit_name, state FROM \
                 eidos_jobs_disposal_units WHERE archived",
                params.table, params.range
            )));
        }
        Ok(units)
    }

    async fn restore(
        &self,
        ctx: &JobContext,
        fence: &ExternalFence,
        source: SourceName,
        unit: &Exported,
        window: &[&Exported],
        params: &RestoreParams,
    ) -> Result<Restored, JobError> {
        let reference = ManifestRef {
            key: unit.manifest_key.clone(),
            sha256: unit.manifest_sha256.clone(),
        };
        let manifest = ctx
            .unless_cancelled(self.store.manifest(&reference))
            .await?
            .map_err(DisposalError::from)?;
        if manifest.content_digest.to_string() != unit.content_digest {
            return Err(refused(format!(
                "{}: its manifest has digest {}, what was verified before the drop had {}; nothing was restored",
                unit.unit_name, manifest.content_digest, unit.content_digest
            )));
        }
        let work = Work {
            ctx,
            fence,
            store: &self.store,
            disposal: &self.disposal,
            manifest: &manifest,
            unit,
        };
        let done = match params.into {
            Into::Side => {
                let at = window
                    .iter()
                    .position(|other| other.unit_id == unit.unit_id)
                    .unwrap_or_default();
                side::restore(&work, window, at).await?
            }
            Into::Original => original::restore(&work, params.triggers).await?,
        };
        let restored = Restored {
            unit_id: unit.unit_id,
            unit_name: unit.unit_name.clone(),
            into: done.table,
            rows: manifest.rows,
            inserted: done.inserted,
            outcome: if done.inserted == 0 {
                "were there:"
            } else {
                "restored into"
            },
            triggers: done.silenced,
        };
        if restored.inserted > 0 {
            self.record(ctx, source, unit, &restored).await?;
        }
        Ok(restored)
    }

    async fn record(
        &self,
        ctx: &JobContext,
        source: SourceName,
        unit: &Exported,
        restored: &Restored,
    ) -> Result<(), JobError> {
        let mut step = ctx.step().await?;
        let act = Act {
            unit_id: Some(unit.unit_id),
            source,
            table: Relation::new(&unit.schema, &unit.table),
            object: restored.into.clone(),
            action: "restore",
            rows: i64::try_from(restored.inserted).ok(),
            bytes: None,
            plan_digest: None,
            approved_by: ctx.requested_by().unwrap_or("policy").to_owned(),
            reason: format!("{} was brought back", unit.unit_name),
            evidence: serde_json::json!({
                "manifest_sha256": unit.manifest_sha256,
                "content_digest": unit.content_digest,
                "rows_of_the_export": restored.rows,
                "triggers_disabled": restored.triggers,
            }),
        };
        audit::record(&mut step, ctx, &act).await?;
        step.commit().await?;
        Ok(())
    }
}

/// Whether two units are exports of the same rows of the same month.
fn same_content(one: &Exported, other: &Exported) -> bool {
    (&one.source, &one.schema, &one.table, &one.unit_name)
        == (&other.source, &other.schema, &other.table, &other.unit_name)
        && one.content_digest == other.content_digest
}

fn silenced(restored: &Restored) -> Option<String> {
    (!restored.triggers.is_empty()).then(|| {
        format!(
            "{}: its rows went in without {}, which were disabled under a lock and are enabled again: what they keep in step \
             (balances, outboxes) was not touched",
            restored.unit_name,
            triggers::listed(&restored.triggers)
        )
    })
}

fn would_be(unit: &Exported, into: Into) -> Restored {
    Restored {
        unit_id: unit.unit_id,
        unit_name: unit.unit_name.clone(),
        into: match into {
            Into::Side => format!("{}.{}", unit.schema, side::name(&unit.table)),
            Into::Original => format!("{}.{}", unit.schema, unit.table),
        },
        rows: unit.rows.unsigned_abs(),
        inserted: 0,
        outcome: "would be restored into",
        triggers: Vec::new(),
    }
}

fn source_of(units: &[Exported]) -> Result<SourceName, JobError> {
    let mut sources: Vec<&str> = units.iter().map(|unit| unit.source.as_str()).collect();
    sources.dedup();
    let [only] = sources.as_slice() else {
        return Err(refused(format!(
            "tables of that name were exported from {}; add --source",
            sources.join(" and ")
        )));
    };
    source_named(only).ok_or_else(|| {
        refused(format!(
            "the unit comes from {only}, a source this program does not know"
        ))
    })
}

fn source_named(name: &str) -> Option<SourceName> {
    SourceName::ALL.into_iter().find(|source| source.as_str() == name)
}

fn refused(what: String) -> JobError {
    DisposalError::refused("restore", what).into()
}
