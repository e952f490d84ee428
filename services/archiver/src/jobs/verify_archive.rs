//! `verify-archive`: reads exports again, every byte of them, because nobody notices rot before the day it matters.

use std::fmt::Write;

use eidos_archive_store::{ArchiveStore, ManifestRef};
use eidos_disposal::{DisposalError, unit};
use eidos_runtime::{Job, JobContext, JobError, Observation};
use eidos_telemetry::metric;
use eidos_types::TimeRange;
use serde::{Deserialize, Serialize};

use crate::store::units::{self, Exported};

/// What a caller may ask of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyParams {
    /// Only exports of this table.
    pub table: Option<String>,
    /// Only exports of this month (or instant) and later.
    pub since: Option<String>,
    /// At most this many, those that were not read for the longest time first.
    pub sample: Option<u32>,
}

/// The job.
#[derive(Debug)]
pub struct VerifyArchive {
    /// Where exports are.
    pub store: ArchiveStore,
}

/// What a run found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// Exports read in full and found as they were.
    pub sound: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes read for it.
    pub bytes: u64,
    /// Exports that no longer prove what they proved.
    pub rotten: Vec<Rotten>,
    /// Exports that could not be read, so that nothing is known about them; the next run begins with them.
    pub unread: Vec<Unread>,
    /// Exports that were not reached in this run's time; the next run begins with them.
    pub left: u64,
    /// Whether anything was read.
    pub dry_run: bool,
}

/// A rotten export.
#[derive(Debug, Clone, Serialize)]
pub struct Rotten {
    /// Its table.
    pub table: String,
    /// Its unit.
    pub unit_id: uuid::Uuid,
    /// Partition, or table and month.
    pub unit_name: String,
    /// How far its disposal is: `dropped` means that there is no other copy here.
    pub state: String,
    /// What was found.
    pub rot: String,
}

/// An export that could not be read: a key that is gone, an object that was moved to a slower class, a store that is down.
#[derive(Debug, Clone, Serialize)]
pub struct Unread {
    /// Its table.
    pub table: String,
    /// Its unit.
    pub unit_id: uuid::Uuid,
    /// Partition, or table and month.
    pub unit_name: String,
    /// What the store said.
    pub why: String,
}

/// So many in a row that cannot be read are not about the exports: the store is down, or refuses us.
const UNREAD_IN_A_ROW: usize = 5;
/// How many of each kind an error names; the report has all.
const NAMED: usize = 5;

/// Rot and exports that cannot be read end a run as a failure, so that somebody looks.
#[derive(Debug, thiserror::Error)]
#[error("{}", message(.0))]
struct Unproved(VerifyReport);

fn message(report: &VerifyReport) -> String {
    let (rotten, unread) = (&report.rotten, &report.unread);
    let mut text = format!(
        "{} exports are rotten and {} could not be read; see docs/runbooks/archive-rot.md",
        rotten.len(),
        unread.len()
    );
    for one in rotten.iter().take(NAMED) {
        let _ = write!(
            text,
            "; {} {} ({}): {}",
            one.unit_name, one.unit_id, one.state, one.rot
        );
    }
    for one in unread.iter().take(NAMED) {
        let _ = write!(
            text,
            "; {} {} was not read: {}",
            one.unit_name, one.unit_id, one.why
        );
    }
    text
}

/// Refuses a table without any export: that nothing of it is rotten would read as if something had been verified.
fn known(exported: &[(String, String)], table: &str) -> Result<(), String> {
    let (wanted_schema, wanted) = units::parts(Some(table));
    let is_it = |(schema, name): &(String, String)| {
        wanted.as_ref() == Some(name) && wanted_schema.as_ref().is_none_or(|wanted| wanted == schema)
    };
    if exported.iter().any(is_it) {
        return Ok(());
    }
    let tables: Vec<&str> = exported.iter().map(|(_, name)| name.as_str()).collect();
    let list = if tables.is_empty() {
        "there is no export of any table yet".to_owned()
    } else {
        format!("there are exports of {}", tables.join(", "))
    };
    Err(format!(
        "there is no export of a table '{table}' to verify: {list}"
    ))
}

impl Job for VerifyArchive {
    const NAME: &'static str = "verify-archive";
    type Params = VerifyParams;
    type Report = VerifyReport;

    fn validate_params(&self, params: &VerifyParams) -> Result<(), String> {
        let since = params.since.as_deref().map(TimeRange::parse_start);
        since.transpose().map(|_| ())
    }

    async fn run(&self, ctx: &JobContext, params: VerifyParams) -> Result<VerifyReport, JobError> {
        let since = params
            .since
            .as_deref()
            .map(TimeRange::parse_start)
            .transpose()
            .map_err(JobError::fail)?;
        if let Some(table) = &params.table {
            known(&units::exported_tables(ctx.jobs_db().read()).await?, table).map_err(JobError::fail)?;
        }
        // Exports read for this slot already, by an attempt that was interrupted, are not read twice.
        let before = ctx.slot().instant();
        let limit = params.sample.map_or(i64::MAX, i64::from);
        let due = units::to_check(
            ctx.jobs_db().read(),
            params.table.as_deref(),
            since,
            before,
            limit,
        )
        .await?;
        let mut report = VerifyReport {
            dry_run: ctx.dry_run(),
            left: due.len() as u64,
            ..VerifyReport::default()
        };
        if ctx.dry_run() {
            return Ok(report);
        }
        let reserve = (ctx.budget_left() / 20).min(std::time::Duration::from_secs(30));
        let mut in_a_row = 0;
        for unit in &due {
            if ctx.budget_left() <= reserve || in_a_row == UNREAD_IN_A_ROW {
                break;
            }
            in_a_row = if self.check(ctx, unit, &mut report).await? {
                0
            } else {
                in_a_row + 1
            };
            report.left -= 1;
            ctx.progress(due.len() as u64 - report.left, Some(due.len() as u64));
        }
        if report.rotten.is_empty() && report.unread.is_empty() {
            Ok(report)
        } else {
            let text = self.render(&report);
            // What could not be read may be readable in a minute; rot does not heal.
            let again = report.rotten.is_empty();
            let unproved = Unproved(report.clone());
            let error = if again {
                JobError::retry(unproved)
            } else {
                JobError::fail(unproved)
            };
            Err(error.with_report(&report, text))
        }
    }

    async fn observe(&self, seen: &Observation<'_>) -> Result<(), JobError> {
        metric::archive_rot_units(units::rotten(seen.jobs_db().read()).await?);
        Ok(())
    }

    fn render(&self, report: &VerifyReport) -> String {
        if report.dry_run {
            return format!("{} exports would be read.", report.left);
        }
        let mut text = format!(
            "{} exports are sound ({} rows, {} bytes); {} were not reached.",
            report.sound, report.rows, report.bytes, report.left
        );
        for one in &report.rotten {
            let _ = write!(
                text,
                "\nROTTEN {} {} ({}): {}",
                one.unit_name, one.unit_id, one.state, one.rot
            );
        }
        for one in &report.unread {
            let _ = write!(text, "\nnot read {} {}: {}", one.unit_name, one.unit_id, one.why);
        }
        text
    }
}

impl VerifyArchive {
    /// Reads one export and writes down what was found. False if it could not be read: no news about it.
    async fn check(
        &self,
        ctx: &JobContext,
        export: &Exported,
        report: &mut VerifyReport,
    ) -> Result<bool, JobError> {
        let rot = match self.read(ctx, export).await {
            Ok((rows, bytes)) => {
                report.sound += 1;
                report.rows += rows;
                report.bytes += bytes;
                None
            }
            Err(Unsound::Rot(rot)) => Some(rot),
            Err(Unsound::Unread(why)) => {
                tracing::warn!(unit = %export.unit_id, table = export.table, why, "an export could not be read");
                report.unread.push(Unread {
                    table: export.table.clone(),
                    unit_id: export.unit_id,
                    unit_name: export.unit_name.clone(),
                    why,
                });
                return Ok(false);
            }
            Err(Unsound::Ended(error)) => return Err(error),
        };
        if let Some(rot) = &rot {
            tracing::error!(unit = %export.unit_id, table = export.table, rot, "an export is rotten");
            report.rotten.push(Rotten {
                table: export.table.clone(),
                unit_id: export.unit_id,
                unit_name: export.unit_name.clone(),
                state: export.state.clone(),
                rot: rot.clone(),
            });
        }
        let mut step = ctx.step().await?;
        unit::mark_checked(&mut step, ctx, export.unit_id, rot.as_deref()).await?;
        step.commit().await?;
        Ok(true)
    }

    async fn read(&self, ctx: &JobContext, unit: &Exported) -> Result<(u64, u64), Unsound> {
        let manifest = ManifestRef {
            key: unit.manifest_key.clone(),
            sha256: unit.manifest_sha256.clone(),
        };
        let verified = self
            .store
            .verify(&manifest, &ctx.cancelled())
            .await
            .map_err(|error| {
                if let Err(cancelled) = ctx.check_cancelled() {
                    return Unsound::Ended(cancelled);
                }
                if error.is_rot() {
                    Unsound::Rot(error.to_string())
                } else {
                    Unsound::Unread(DisposalError::from(error).to_string())
                }
            })?;
        let digest = verified.digest.to_string();
        if i64::try_from(verified.rows).ok() != Some(unit.rows) || digest != unit.content_digest {
            return Err(Unsound::Rot(format!(
                "its manifest and parts agree with each other ({} rows, digest {digest}) and not with what was verified \
                 before the drop ({} rows, digest {}): another export lies in its place",
                verified.rows, unit.rows, unit.content_digest
            )));
        }
        Ok((verified.rows, verified.stored_bytes))
    }
}

enum Unsound {
    Rot(String),
    Unread(String),
    /// The run was told to stop.
    Ended(JobError),
}
