//! `verify-archive`: reads exports again, every byte of them, because nobody notices rot before the day it matters.

use std::fmt::Write;

use eidos_archive_store::{ArchiveStore, ManifestRef};
use eidos_disposal::{DisposalError, unit};
use eidos_runtime::{Job, JobContext, JobError};
use eidos_telemetry::metric;
use serde::{Deserialize, Serialize};

use crate::domain::range::TimeRange;
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

/// Rot ends a run as a failure, so that somebody looks.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(.0))]
struct RotFound(Vec<Rotten>);

fn told(rotten: &[Rotten]) -> String {
    let mut text = format!(
        "{} of the exports read are rotten; see docs/runbooks/archive-rot.md",
        rotten.len()
    );
    for one in rotten.iter().take(5) {
        let _ = write!(
            text,
            "; {} {} ({}): {}",
            one.unit_name, one.unit_id, one.state, one.rot
        );
    }
    text
}

impl Job for VerifyArchive {
    const NAME: &'static str = "verify-archive";
    type Params = VerifyParams;
    type Report = VerifyReport;

    fn validate_params(&self, params: &VerifyParams) -> Result<(), String> {
        params
            .since
            .as_deref()
            .map(TimeRange::parse)
            .transpose()
            .map(|_| ())
    }

    async fn run(&self, ctx: &JobContext, params: VerifyParams) -> Result<VerifyReport, JobError> {
        let since = params
            .since
            .as_deref()
            .map(TimeRange::parse)
            .transpose()
            .map_err(JobError::fail)?;
        // Exports read for this slot already, by an attempt that was interrupted, are not read twice.
        let before = ctx.slot().instant();
        let limit = params.sample.map_or(i64::MAX, i64::from);
        let due = units::to_check(
            ctx.jobs_db().read(),
            params.table.as_deref(),
            since.map(|since| since.from_ms),
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
        for unit in &due {
            if ctx.budget_left() <= reserve {
                break;
            }
            self.check(ctx, unit, &mut report).await?;
            report.left -= 1;
            ctx.progress(report.sound + report.rotten.len() as u64, Some(due.len() as u64));
        }
        metric::archive_rot_units(units::rotten(ctx.jobs_db().read()).await?);
        if report.rotten.is_empty() {
            Ok(report)
        } else {
            Err(JobError::fail(RotFound(report.rotten)))
        }
    }

    fn render(&self, report: &VerifyReport) -> String {
        if report.dry_run {
            return format!("{} exports would be read.", report.left);
        }
        format!(
            "{} exports are sound ({} rows, {} bytes); {} were not reached.",
            report.sound, report.rows, report.bytes, report.left
        )
    }
}

impl VerifyArchive {
    async fn check(
        &self,
        ctx: &JobContext,
        export: &Exported,
        report: &mut VerifyReport,
    ) -> Result<(), JobError> {
        let rot = match self.read(ctx, export).await {
            Ok((rows, bytes)) => {
                report.sound += 1;
                report.rows += rows;
                report.bytes += bytes;
                None
            }
            Err(Unsound::Rot(rot)) => Some(rot),
            // The store could not be asked: no news about the export.
            Err(Unsound::Unknown(error)) => return Err(error),
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
        Ok(())
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
                    return Unsound::Unknown(cancelled);
                }
                if error.is_rot() {
                    Unsound::Rot(error.to_string())
                } else {
                    Unsound::Unknown(DisposalError::from(error).into())
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
    Unknown(JobError),
}
