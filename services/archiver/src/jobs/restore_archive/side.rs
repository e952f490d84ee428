//! Into a table beside the original, made from the manifest.

use eidos_archive_store::ContentDigest;
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{Relation, TableShape};
use sqlx::PgConnection;

use super::columns;
use super::work::{Done, Work};
use crate::store::archive_table::read_relation;
use crate::store::side_table;
use crate::store::stage::Content;
use crate::store::units::Exported;

const UNIQUE_VIOLATION: &str = "23505";

/// What the side table of `table` is called; PostgreSQL's 63 bytes are kept by cutting the table's name.
pub(super) fn name(table: &str) -> String {
    let kept: String = table.chars().take(54).collect();
    format!("{kept}_restored")
}

/// Restores the `at`th unit of those that share its window: they go into the same table, one after the other.
pub(super) async fn restore(work: &Work<'_>, window: &[&Exported], at: usize) -> Result<Done, DisposalError> {
    let side = Relation {
        schema: work.unit.schema.clone(),
        name: name(&work.unit.table),
    };
    let done = |inserted| Done {
        table: side.to_string(),
        inserted,
        silenced: Vec::new(),
    };
    let mut step = work.fence.step_alone().await?;
    work.set_limits(step.conn()).await?;
    match read_relation(step.conn(), &side).await? {
        Some(shape) => widen(work, step.conn(), &side, shape).await?,
        None => {
            side_table::create(work, step.conn(), &side).await?;
        }
    }
    let (expected_before, expected_after) = (expected(&window[..at])?, expected(&window[..=at])?);
    let found = side_table::digest(work, step.conn(), &side).await?;
    for there in at + 1..=window.len() {
        if found == expected(&window[..there])? {
            return Ok(done(0));
        }
    }
    if found != expected_before {
        return Err(DisposalError::refused(
            "restore",
            format!(
                "{side} holds {} rows between {} and {} that are neither none nor those of {}; drop or rename {side}, then \
                 restore again",
                found.rows,
                eidos_types::rfc3339(work.unit.lower_ms),
                eidos_types::rfc3339(work.unit.upper_ms),
                work.unit.unit_name
            ),
        ));
    }
    let copied = side_table::fill(work, step.conn(), &side).await;
    let inserted = copied.map_err(|error| twice(work, &side, error))?;
    let after = side_table::digest(work, step.conn(), &side).await?;
    if after != expected_after {
        return Err(DisposalError::refused(
            "restore",
            format!(
                "{side} holds {} rows with digest {} after copying {} rows of {} with digest {}; nothing was kept",
                after.rows, after.digest, inserted, work.unit.unit_name, work.manifest.content_digest
            ),
        ));
    }
    step.commit().await?;
    Ok(done(inserted))
}

/// Months that were exported before and after a column came share one side table: it has the columns of all of them.
async fn widen(
    work: &Work<'_>,
    conn: &mut PgConnection,
    side: &Relation,
    shape: TableShape,
) -> Result<(), DisposalError> {
    let absent = columns::absent(work.manifest, &shape);
    for column in &absent {
        side_table::add_column(conn, side, column).await?;
    }
    let shape = if absent.is_empty() {
        Some(shape)
    } else {
        read_relation(conn, side).await?
    };
    let advice = format!("drop or rename {side}, then restore this one again");
    shape.map_or(Ok(()), |shape| columns::fit(work.manifest, &shape, &advice))
}

/// A row that changed after it had been exported, and was exported again: both are evidence, and have one key.
fn twice(work: &Work<'_>, side: &Relation, error: DisposalError) -> DisposalError {
    if error.sqlstate().as_deref() != Some(UNIQUE_VIOLATION) {
        return error;
    }
    DisposalError::refused(
        "restore",
        format!(
            "{side} has a row of {} already, in another version ({error}): the month was exported more than once. Restore one export at a time with --unit, and rename {side} in between; this one is {}",
            work.unit.unit_name, work.unit.unit_id
        ),
    )
}

/// What the window holds when exactly these units are in it: digests of sets add up.
fn expected(units: &[&Exported]) -> Result<Content, DisposalError> {
    let mut content = Content {
        rows: 0,
        digest: ContentDigest::ZERO,
    };
    for unit in units {
        let digest: ContentDigest = unit.content_digest.parse().map_err(|_not_hex| {
            DisposalError::refused(
                "restore",
                format!("the digest of unit {} cannot be read", unit.unit_id),
            )
        })?;
        content.rows += unit.rows.unsigned_abs();
        content.digest = merged(content.digest, digest);
    }
    Ok(content)
}

fn merged(mut one: ContentDigest, other: ContentDigest) -> ContentDigest {
    one.merge(&other);
    one
}
