//! What the catalogue shows before a plan is made: shapes, indexes, estimates, obstacles.

use eidos_disposal::DisposalError;
use eidos_disposal::catalogue::{self, OnDelete, Relation, TableShape};
use eidos_pg::{Sql, reading_grants};
use eidos_types::ident::SqlIdent;
use sqlx::PgConnection;

use crate::profile::MoveRule;
use crate::store::statement::{Reference, Statements, wanted_index};
use crate::store::{archive_table, estimates};

/// A table whose rows move, as it is now.
#[derive(Debug, Clone)]
pub struct MovedTable {
    /// The rule.
    pub rule: MoveRule,
    /// The hot table.
    pub relation: Relation,
    /// Its shape.
    pub shape: TableShape,
    /// The archive's shape; `None`: it will be created.
    pub archive: Option<TableShape>,
    /// Its columns.
    pub columns: Vec<SqlIdent>,
    /// Foreign keys that point at it.
    pub references: Vec<Reference>,
    /// Statements that bring the archive in step.
    pub changes: Vec<Sql>,
    /// Rows completed before this may move, epoch ms.
    pub cutoff_ms: i64,
    /// Rows that are due: counted if few, else the planner's estimate.
    pub estimate: Option<u64>,
    /// Finished rows without a believable completion time.
    pub implausible: u64,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Reads the hot table and compares it with what the profile promises.
///
/// # Errors
/// [`DisposalError::Refused`] naming table, column and key.
pub async fn find(conn: &mut PgConnection, rule: &MoveRule) -> Result<TableShape, DisposalError> {
    let shape = catalogue::read_table(conn, &rule.table).await?.ok_or_else(|| {
        DisposalError::refused(
            "profile",
            format!(
                "table {} does not exist in the {} database; set archive_profile.{}.table",
                rule.table, rule.source, rule.name
            ),
        )
    })?;
    let problems = check(rule, &shape);
    if !problems.is_empty() {
        return Err(DisposalError::refused("profile", problems.join("\n")));
    }
    Ok(shape)
}

/// Reads a table and its archive.
///
/// # Errors
/// [`DisposalError::Refused`] naming table, column and what to do.
pub async fn survey(
    conn: &mut PgConnection,
    rule: &MoveRule,
    cutoff_ms: i64,
) -> Result<MovedTable, DisposalError> {
    let shape = find(conn, rule).await?;
    let archive = catalogue::read_table(conn, &rule.archive).await?;
    let mut changes = archive_table::wanted_changes(rule, &shape, archive.as_ref())?;
    if archive.is_none() {
        // Who reads the table, such as recon-svc, still needs the rows that leave it.
        changes.extend(reading_grants(conn, shape.oid, &rule.archive).await?);
    }
    let references = references(rule, &shape)?;
    let columns = shape.columns.iter();
    let columns = columns.map(|column| SqlIdent::quoting(&column.name)).collect();
    let mut notes = Vec::new();
    missing_indexes(conn, rule, &mut notes).await?;
    for trigger in shape.triggers.iter().filter(|trigger| trigger.on_delete) {
        notes.push(format!(
            "{}: trigger {} ({}) fires for every row that moves, since a move deletes it here",
            rule.table, trigger.name, trigger.function
        ));
    }
    if let Err(error) = shape.archive_columns() {
        notes.push(format!(
            "{}: {error}. Its rows move, but will not leave the archive table until this is settled",
            rule.table
        ));
    }
    let due = estimates::due(conn, rule, cutoff_ms).await?;
    let implausible = estimates::implausible(conn, rule).await?;
    if implausible > 0 {
        notes.push(format!(
            "{}: {implausible} finished rows have no believable completion time (NULL, 0, seconds, or microseconds); they stay until \
             somebody corrects {}",
            rule.table,
            Statements::completion(rule, "")
        ));
    }
    Ok(MovedTable {
        rule: rule.clone(),
        relation: shape.relation.clone(),
        archive,
        columns,
        references,
        changes,
        cutoff_ms,
        estimate: Some(due),
        implausible,
        notes,
        shape,
    })
}

/// What the profile promises and the catalogue does not show: one sentence each, naming table and column.
#[must_use]
pub fn check(rule: &MoveRule, shape: &TableShape) -> Vec<String> {
    let table = rule.table.as_str();
    let mut problems = Vec::new();
    let mut demand = |key: String, name: &str, integer: bool| {
        let Some(column) = shape.columns.iter().find(|column| column.name == name) else {
            problems.push(format!(
                "table {table} has no column {name}; set archive_profile.{key}"
            ));
            return;
        };
        if integer && !["smallint", "integer", "bigint"].contains(&column.declaration.as_str()) {
            problems.push(format!(
                "column {name} of {table} is {}, not an integer; set archive_profile.{key}",
                column.declaration
            ));
        }
    };
    demand(format!("{}.id", rule.name), rule.id.name(), true);
    demand(format!("{}.key", rule.name), rule.key.name(), false);
    demand(format!("{}.status", rule.name), rule.status.name(), true);
    for column in &rule.completion {
        demand(format!("{}.completion", rule.name), column.name(), true);
    }
    if shape.primary_key != [rule.id.name()] {
        problems.push(format!(
            "the primary key of {table} is ({}), not ({}); set archive_profile.{}.id",
            shape.primary_key.join(", "),
            rule.id.as_str(),
            rule.name
        ));
    }
    if shape.partitioning.is_some() {
        problems.push(format!(
            "table {table} is partitioned; archive-data moves rows of plain tables, retention-manager disposes of partitions"
        ));
    }
    problems
}

/// Foreign keys from elsewhere: their rows keep ours, unless deleting ours would change theirs.
fn references(rule: &MoveRule, shape: &TableShape) -> Result<Vec<Reference>, DisposalError> {
    let mut references = Vec::new();
    for key in &shape.referenced_by {
        if key.on_delete != OnDelete::Refuse {
            return Err(DisposalError::refused(
                "foreign_key",
                format!(
                    "foreign key {} of {} deletes or changes its rows when one of {} is deleted, so a move would lose them; \
                 make it ON DELETE NO ACTION",
                    key.name, key.table, rule.table
                ),
            ));
        }
        references.push(Reference {
            table: key.table.clone(),
            columns: key
                .columns
                .iter()
                .zip(&key.referenced)
                .map(|(theirs, ours)| (SqlIdent::quoting(theirs), SqlIdent::quoting(ours)))
                .collect(),
        });
    }
    Ok(references)
}

/// Asks the planner, with sorting and scanning made unattractive: what it still does then, it cannot avoid.
async fn missing_indexes(
    conn: &mut PgConnection,
    rule: &MoveRule,
    notes: &mut Vec<String>,
) -> Result<(), DisposalError> {
    if !estimates::moves_by_index(conn, rule).await? {
        notes.push(format!(
            "{}: no index gives finished rows in the order they move, so every batch sorts the whole table: {}",
            rule.table,
            wanted_index(rule)
        ));
    }
    for child in &rule.children {
        if !estimates::finds_by_index(conn, child).await? {
            notes.push(format!(
                "{}: no index on {}, so every order reads the whole table: CREATE INDEX CONCURRENTLY ON {} ({})",
                child.table, child.column, child.table, child.column
            ));
        }
    }
    Ok(())
}
