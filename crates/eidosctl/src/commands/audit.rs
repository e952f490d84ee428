//! `audit verify`: whether the events of breaks are what was written.

use std::io::Write;

use anyhow::{Context as _, Result};
use eidos_core::migrations;
use eidos_recon::store::audit;

use super::database;
use crate::Failure;
use crate::cli::{AuditVerify, Format};
use crate::output;

/// The migration that began the chain.
const CHAIN_SINCE: i64 = 17;
const APPLIED: &str = "SELECT to_regclass('eidos_jobs_break_chain') IS NOT NULL";

pub(super) async fn verify(options: &AuditVerify, format: Format, out: &mut dyn Write) -> Result<()> {
    let url = database::url(options.database_url.as_deref(), options.config.as_deref())?;
    let mut connection = database::connect(&url).await?;
    let is_there: bool = sqlx::query_scalar(APPLIED)
        .fetch_one(&mut connection)
        .await
        .context("cannot look for the chain of events")?;
    if !is_there {
        return Err(Failure::Schema(format!(
            "this database has no chain of events, which migration {CHAIN_SINCE} begins; bring it to {} with: eidosctl migrate",
            migrations::expected_version()
        ))
        .into());
    }
    let verified = audit::verify(&mut connection, options.anchor)
        .await
        .context("the audit trail could not be read to its end")?;
    output::print(out, format, &serde_json::to_value(&verified)?, |out, _answer| {
        for finding in &verified.findings {
            writeln!(out, "{finding}")?;
        }
        let unnamed = verified.found - verified.findings.len() as u64;
        if unnamed > 0 {
            writeln!(out, "... and {unnamed} more")?;
        }
        writeln!(
            out,
            "{} links, {} events and {} breaks read",
            verified.links, verified.events, verified.breaks
        )?;
        match verified.head {
            Some(head) => writeln!(out, "last link: {head} (note it elsewhere, for --anchor)"),
            None => Ok(()),
        }
    })?;
    if verified.found == 0 {
        return Ok(());
    }
    Err(Failure::Tampered {
        found: verified.found,
    }
    .into())
}
