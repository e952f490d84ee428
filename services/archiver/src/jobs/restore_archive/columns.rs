//! Whether the columns of an export still fit a table.

use eidos_archive_store::{Column, Manifest, PgType};
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::TableShape;

/// Columns of the export that the table does not have.
pub(super) fn absent<'a>(manifest: &'a Manifest, shape: &TableShape) -> Vec<&'a Column> {
    let here = |name: &str| shape.columns.iter().any(|column| column.name == name);
    manifest
        .columns
        .iter()
        .filter(|column| !here(&column.name))
        .collect()
}

/// Every column of the export must be in the table, with its type; what the table has beyond them must be able to stay
/// empty.
///
/// # Errors
/// [`DisposalError::Refused`] naming each column, with `advice` on what to do.
pub(super) fn fit(manifest: &Manifest, shape: &TableShape, advice: &str) -> Result<(), DisposalError> {
    let mut problems = Vec::new();
    for column in &manifest.columns {
        let wanted = column.pg_type.declaration();
        match shape.columns.iter().find(|here| here.name == column.name) {
            None => problems.push(format!("column {} ({wanted}) is gone", column.name)),
            // Compared as types: a declared precision of a time is not part of one.
            Some(here) if PgType::from_declaration(&here.declaration).as_ref() != Ok(&column.pg_type) => {
                problems.push(format!(
                    "column {} is {} now and was {wanted}",
                    column.name, here.declaration
                ));
            }
            Some(_) => {}
        }
    }
    for here in &shape.columns {
        let exported = manifest.columns.iter().any(|column| column.name == here.name);
        let fills_itself = here.nullable || here.default.is_some() || here.identity || here.generated;
        if !exported && !fills_itself {
            problems.push(format!(
                "column {} is new, NOT NULL and has no default",
                here.name
            ));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(DisposalError::refused(
        "columns",
        format!(
            "{} does not have the columns that {} was exported with: {}; {advice}",
            shape.relation,
            manifest.unit_name,
            problems.join("; ")
        ),
    ))
}
