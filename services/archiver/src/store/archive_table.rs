//! The archive tables: created like their source, partitioned by month of completion, kept in step, never updated.

use std::time::Duration;

use eidos_core::fence::ExternalFence;
use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue::{self, Relation, TableShape};
use eidos_disposal::settings::DisposalSettings;
use eidos_disposal::{DisposalError, new_partition};
use eidos_pg::{Sql, sql};
use eidos_runtime::{JobContext, JobError};
use eidos_types::Month;
use sqlx::PgConnection;

use crate::domain::drift::{self, Change, SeenColumn};
use crate::profile::MoveRule;
use crate::store::batch::{set_lock_timeout, sql_error};
use crate::store::statement::{ARCHIVED_AT, COMPLETED_AT};
use crate::store::units;

/// The trigger that keeps archived rows as they were, and its function.
const FINAL: &str = "eidos_archive_final";

/// What must happen to an archive table before rows can move into it, as statements.
///
/// # Errors
/// [`DisposalError::Refused`] when a person must settle something first: a column's type changed, a name is taken.
pub fn wanted_changes(
    rule: &MoveRule,
    source: &TableShape,
    archive: Option<&TableShape>,
) -> Result<Vec<Sql>, DisposalError> {
    let Some(archive) = archive else {
        return create_statements(rule, source);
    };
    let partitioned = archive
        .partitioning
        .as_ref()
        .is_some_and(|partitioning| partitioning.key_column == COMPLETED_AT);
    if !partitioned {
        return Err(DisposalError::refused(
            "archive_table",
            format!(
                "{} is no archive of ours: it is not partitioned by {COMPLETED_AT}; rename it, or set \
             archive_profile.{}.archive to another name",
                rule.archive, rule.name
            ),
        ));
    }
    let changes = drift::changes(&seen(source), &seen(archive), &[COMPLETED_AT, ARCHIVED_AT]).map_err(|changed| {
        let statements = changed.iter().map(|column| {
            let (name, declared) = (SqlIdent::quoting(&column.name), Sql::from_server(&column.source));
            sql!("ALTER TABLE {} ALTER COLUMN {name} TYPE {declared}", rule.archive; name, declared)
        });
        DisposalError::refused("changed", format!(
            "columns of {} have another type than in {}; changing them rewrites the archive, so a person does it, when \
             it suits: {}",
            rule.table,
            rule.archive,
            Sql::join(statements, "; ")
        ))
    })?;
    Ok(changes
        .into_iter()
        .map(|change| match change {
            Change::Add { name, declaration } => {
                let (name, declared) = (SqlIdent::quoting(name), Sql::from_server(declaration));
                sql!("ALTER TABLE {} ADD COLUMN {name} {declared}", rule.archive; name, declared)
            }
            Change::AllowNull { name } => {
                sql!(
                    "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
                    rule.archive,
                    SqlIdent::quoting(name)
                )
            }
        })
        .collect())
}

fn create_statements(rule: &MoveRule, source: &TableShape) -> Result<Vec<Sql>, DisposalError> {
    if let Some(taken) = source
        .columns
        .iter()
        .find(|column| [COMPLETED_AT, ARCHIVED_AT].contains(&column.name.as_str()))
    {
        return Err(DisposalError::refused(
            "archive_table",
            format!(
                "{} has a column {}, which the archive needs for itself; rename it",
                rule.table, taken.name
            ),
        ));
    }
    // Only what identifies a row is NOT NULL: a column the source drops later must be able to stay empty.
    let columns = source.columns.iter().map(|column| {
        let must = [rule.id.name(), rule.key.name()].contains(&column.name.as_str());
        let null = if must { " NOT NULL" } else { "" };
        sql!("{}{null}", column.declared(); null)
    });
    let (archive, id, key) = (&rule.archive, &rule.id, &rule.key);
    let function = archive.sibling(FINAL);
    Ok(vec![
        sql!(
            "CREATE TABLE {archive} ({}, {COMPLETED_AT} bigint NOT NULL, {ARCHIVED_AT} bigint NOT NULL, \
             PRIMARY KEY ({COMPLETED_AT}, {id})) PARTITION BY RANGE ({COMPLETED_AT})",
            Sql::join(columns, ", ");
            archive, COMPLETED_AT, ARCHIVED_AT, id
        ),
        sql!("CREATE INDEX ON {archive} ({key})"; archive, key),
        sql!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION '%.% is an archive: its rows are final', TG_TABLE_SCHEMA, TG_TABLE_NAME \
             USING ERRCODE = 'object_not_in_prerequisite_state', \
             HINT = 'See docs/runbooks/archive-data.md, \"A row of the archive must change\".'; END $$";
            function
        ),
        sql!(
            "CREATE TRIGGER {FINAL} BEFORE UPDATE OR DELETE ON {archive} FOR EACH ROW EXECUTE FUNCTION {function}()";
            FINAL, archive, function
        ),
    ])
}

fn seen(table: &TableShape) -> Vec<SeenColumn> {
    table
        .columns
        .iter()
        .map(|column| SeenColumn {
            name: column.name.clone(),
            declaration: column.declaration.clone(),
            nullable: column.nullable,
        })
        .collect()
}

/// Carries out the changes in one fenced transaction.
///
/// # Errors
/// What the database said; a lock that was not given within `lock_timeout` is worth another try.
pub async fn change(
    fence: &ExternalFence,
    rule: &MoveRule,
    statements: &[Sql],
    lock_timeout: Duration,
) -> Result<(), DisposalError> {
    if statements.is_empty() {
        return Ok(());
    }
    let mut step = fence.step().await?;
    set_lock_timeout(step.conn(), lock_timeout).await?;
    for statement in statements {
        run(step.conn(), rule, statement).await?;
    }
    step.commit().await?;
    Ok(())
}

async fn run(conn: &mut PgConnection, rule: &MoveRule, statement: &Sql) -> Result<(), DisposalError> {
    let outcome = sqlx::query(statement).execute(conn).await;
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if code_of(&error).as_deref() == Some("42501") => Err(DisposalError::refused(
            "rights",
            format!(
                "this login may not change the archive of {} ({error}); grant it CREATE on the schema and the ownership of \
             {}, or run as its owner: {statement}",
                rule.table, rule.archive
            ),
        )),
        Err(error) => Err(sql_error("change an archive table", &rule.archive, error)),
    }
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Where rows of a month go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonthTable {
    /// Into a partition that was there.
    Existed,
    /// Into this new one.
    Created(String),
    /// Nowhere now: the month is being exported and dropped, and its unit has this state.
    Leaving(String),
}

/// Makes sure that the archive has a partition for the month.
///
/// # Errors
/// [`JobError::Fail`] naming what stands in the way: a table of that name that is no partition, other bounds.
pub async fn ensure_month(
    fence: &ExternalFence,
    ctx: &JobContext,
    rule: &MoveRule,
    month: Month,
    disposal: &DisposalSettings,
) -> Result<MonthTable, JobError> {
    // A month whose unit is open takes no more rows: a partition of the same name would be a second one to it.
    if let Some(state) = units::open_state(ctx, rule, month).await? {
        return Ok(MonthTable::Leaving(state));
    }
    let shape = {
        let mut conn = fence
            .pool()
            .acquire()
            .await
            .map_err(|error| sql_error("connect", &rule.archive, error))?;
        catalogue::read_table(&mut conn, &rule.archive).await?
    };
    let archive = shape.ok_or_else(|| {
        JobError::fail(DisposalError::refused(
            "archive_table",
            format!("{} is gone", rule.archive),
        ))
    })?;
    let covered = archive
        .partitioning
        .iter()
        .flat_map(|partitioning| &partitioning.partitions)
        .any(|partition| {
            partition
                .bounds
                .lower
                .is_none_or(|lower| lower <= month.start_ms())
                && partition.bounds.upper.is_none_or(|upper| upper >= month.end_ms())
        });
    if covered {
        return Ok(MonthTable::Existed);
    }
    let partition = Relation {
        schema: archive.relation.schema.clone(),
        name: month.partition(&archive.relation.name),
    };
    let bounds = (month.start_ms(), month.end_ms());
    new_partition::create(ctx, fence, disposal, &archive, &partition, bounds).await?;
    Ok(MonthTable::Created(partition.to_string()))
}

/// Reads a table by the name a unit's row has for it.
///
/// # Errors
/// [`DisposalError::Refused`] for a name this program would not write; otherwise what the database said.
pub async fn read_relation(
    conn: &mut PgConnection,
    relation: &Relation,
) -> Result<Option<TableShape>, DisposalError> {
    let name: SqlIdent = relation
        .plain()
        .parse()
        .map_err(|error: eidos_core::ident::SqlIdentError| {
            DisposalError::refused("name", error.to_string())
        })?;
    catalogue::read_table(conn, &name).await
}
