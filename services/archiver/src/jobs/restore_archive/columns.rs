//! Whether the columns of an export still fit a table.

use eidos_archive_store::Manifest;
use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::TableShape;

/// Every column of the export must be in the table, with its type; what the table has beyond them must be able to stay
/// empty.
///
/// # Errors
/// [`DisposalError::Refused`] naming each column.
pub(super) fn fit(manifest: &Manifest, shape: &TableShape) -> Result<(), DisposalError> {
    let mut problems = Vec::new();
    for column in &manifest.columns {
        let wanted = column.pg_type.declaration();
        match shape.columns.iter().find(|here| here.name == column.name) {
            None => problems.push(format!("column {} ({wanted}) is gone", column.name)),
            Some(here) if here.declaration != wanted => problems.push(format!(
                "column {} is {} now and was {wanted}",
                column.name, here.declaration
            )),
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
            "{} has changed since {} was exported: {}; restore with --into side, and copy what you need from there",
            shape.relation,
            manifest.unit_name,
            problems.join("; ")
        ),
    ))
}
