//! [`Parent`]: a partitioned table, as much of it as creating partitions needs.

use eidos_core::ident::SqlIdent;
use eidos_disposal::catalogue::{self, Relation, RelationKind, TableShape};
use sqlx::PgConnection;

use crate::domain::layout::{Covered, check_unit};
use eidos_disposal::DisposalError;

/// A table that is partitioned by ranges of one `BIGINT` key of epoch milliseconds.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Its name.
    pub relation: Relation,
    /// Its identity.
    pub oid: u32,
    /// The partition key's column, unquoted.
    pub key: String,
    /// Its columns, unquoted, without generated ones: what is copied when rows move.
    pub columns: Vec<String>,
    /// Attached partitions, the default one not among them.
    pub partitions: Vec<Covered>,
    /// The default partition.
    pub default: Option<DefaultPartition>,
    /// Tables with foreign keys on this one.
    pub referenced_by: Vec<String>,
    /// Identifies columns, names and types.
    pub fingerprint: String,
}

/// The partition that takes what no other does.
#[derive(Debug, Clone)]
pub struct DefaultPartition {
    /// Its name.
    pub relation: Relation,
    /// Its identity.
    pub oid: u32,
}

impl Parent {
    /// Reads a table's layout from the catalogue.
    ///
    /// # Errors
    /// [`DisposalError::Refused`], by name, where the table does not exist, is not partitioned in the expected way,
    /// or has bounds in another unit; [`DisposalError::Sql`].
    pub async fn read(conn: &mut PgConnection, table: &SqlIdent) -> Result<Self, DisposalError> {
        let Some(shape) = catalogue::read_table(conn, table).await? else {
            return Err(refused(format!(
                "table {} does not exist in this database; create it, or take it out of jobs.partition-manage.tables",
                table.as_str()
            )));
        };
        Self::from_shape(shape)
    }

    fn from_shape(shape: TableShape) -> Result<Self, DisposalError> {
        let fingerprint = shape.columns_fingerprint();
        let relation = shape.relation.clone();
        let Some(layout) = shape.partitioning else {
            return Err(refused(format!(
                "{relation} is not partitioned by range; make it so, or take it out of jobs.partition-manage.tables"
            )));
        };
        let default = match layout.default {
            Some(partition) if partition.kind != RelationKind::Table => {
                return Err(refused(format!(
                    "the default partition {} of {relation} is no plain table; make it one, or take {relation} out \
                     of jobs.partition-manage.tables",
                    partition.relation
                )));
            }
            Some(partition) => Some(DefaultPartition {
                relation: partition.relation,
                oid: partition.oid,
            }),
            None => None,
        };
        let partitions: Vec<Covered> = layout
            .partitions
            .iter()
            .map(|partition| Covered {
                name: partition.relation.name.clone(),
                lower_ms: partition.bounds.lower,
                upper_ms: partition.bounds.upper,
            })
            .collect();
        check_unit(&partitions).map_err(|wrong| refused(format!("{relation}: {wrong}")))?;
        Ok(Self {
            oid: shape.oid,
            key: layout.key_column,
            columns: shape
                .columns
                .iter()
                .filter(|column| !column.generated)
                .map(|column| column.name.clone())
                .collect(),
            partitions,
            default,
            referenced_by: shape
                .referenced_by
                .iter()
                .map(|reference| reference.table.plain())
                .collect(),
            fingerprint,
            relation,
        })
    }
}

fn refused(what: String) -> DisposalError {
    DisposalError::refused("layout", what)
}
