//! [`Dependencies`]: what a table shares with the rest of the database, read from `pg_depend` in both directions.
//!
//! What goes with a table without a word (its indexes, defaults, statistics, policies, rules) is its own business. What
//! others use, and what would keep the table from being dropped, is not.

use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;
use serde::Deserialize;
use serde_json::Value;
use sqlx::{PgConnection, Row};

use super::Relation;
use crate::DisposalError;

/// Everything that depends on the table, or on what goes with it, and does not go with it. A sequence that it owns is told
/// apart ([`TIES`]): it does not have to go.
const DEPENDENTS: &str = "\
    WITH RECURSIVE own (classid, objid) AS ( \
        SELECT 'pg_class'::regclass::oid, $1::bigint::oid \
      UNION \
        SELECT d.classid, d.objid FROM own o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid \
        WHERE d.deptype IN ('a', 'i', 'P', 'S') \
          AND NOT (d.deptype = 'a' AND d.classid = 'pg_class'::regclass \
                   AND EXISTS (SELECT FROM pg_class s WHERE s.oid = d.objid AND s.relkind = 'S')) \
    ) \
    SELECT DISTINCT CASE \
             WHEN k.contype = 'f' THEN format('foreign key %s of %s', k.conname, (SELECT format('%s.%s', n.nspname, c.relname) \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.conrelid)) \
             WHEN v.ev_class IS NOT NULL THEN (SELECT i.type || ' ' || i.identity \
                 FROM pg_identify_object('pg_class'::regclass, v.ev_class, 0) i) \
             ELSE (SELECT i.type || ' ' || i.identity FROM pg_identify_object(d.classid, d.objid, d.objsubid) i) END \
    FROM own o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid AND d.deptype = 'n' \
    LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid \
    LEFT JOIN pg_rewrite v ON d.classid = 'pg_rewrite'::regclass AND v.oid = d.objid \
    WHERE NOT EXISTS (SELECT FROM own x WHERE x.classid = d.classid AND x.objid = d.objid) ORDER BY 1";

/// The other direction, and what `pg_depend` has no say in. A foreign key to a partitioned table has a row of its own for
/// each partition there; they are left out.
const TIES: &str = "\
    SELECT \
      (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', s.relname, 'column', a.attname, \
                  'identity', d.deptype = 'i') ORDER BY s.oid), '[]') \
         FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
         JOIN pg_namespace n ON n.oid = s.relnamespace \
         JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid \
          AND d.deptype IN ('a', 'i')) AS sequences, \
      (SELECT coalesce(jsonb_agg(jsonb_build_object('name', k.conname, 'schema', n.nspname, 'table', r.relname, \
                  'on_delete', k.confdeltype, 'on_update', k.confupdtype) ORDER BY k.conname), '[]') \
         FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace \
        WHERE k.conrelid = c.oid AND k.contype = 'f' \
          AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid)) AS keys, \
      ARRAY(SELECT p.pubname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid \
             WHERE r.prrelid = c.oid ORDER BY 1) AS publications, \
      (SELECT e.extname::text FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid \
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_extension'::regclass \
          AND d.deptype = 'e' LIMIT 1) AS extension, \
      pg_has_role(c.relowner, 'USAGE') AS may_alter, \
      (c.relrowsecurity AND row_security_active(c.oid)) AS row_security \
    FROM pg_class c WHERE c.oid = $1::bigint::oid";

/// A sequence that is dropped together with a table, or moves with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OwnedSequence {
    schema: String,
    name: String,
    /// The column that owns it, unquoted.
    pub column: String,
    /// Whether it is the machinery of an identity column, which has no other owner.
    pub identity: bool,
}

/// A foreign key from a table to another one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reference {
    /// The constraint's name.
    pub name: String,
    schema: String,
    table: String,
    on_delete: String,
    on_update: String,
}

/// What a table shares with the rest of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependencies {
    /// What would have to be dropped before it: type and name, a line each.
    pub dependents: Vec<String>,
    /// Sequences that would move and go with it.
    pub sequences: Vec<OwnedSequence>,
    /// Foreign keys from it to other tables.
    pub references: Vec<Reference>,
    /// Publications that name it.
    pub publications: Vec<String>,
    /// The extension it belongs to.
    pub extension: Option<String>,
    /// Whether this role may alter it.
    pub may_alter: bool,
    /// Whether row security may hide rows from this role.
    pub row_security: bool,
}

impl OwnedSequence {
    /// Its name.
    #[must_use]
    pub fn relation(&self) -> Relation {
        Relation::new(&self.schema, &self.name)
    }
}

impl Reference {
    /// The referenced table.
    #[must_use]
    pub fn target(&self) -> Relation {
        Relation::new(&self.schema, &self.table)
    }

    /// What would be done to its own rows when a referenced one is deleted or changed, as it is declared: `ON DELETE
    /// CASCADE`. Empty: nothing.
    #[must_use]
    pub fn actions(&self) -> Vec<String> {
        [("DELETE", &self.on_delete), ("UPDATE", &self.on_update)]
            .into_iter()
            .filter_map(|(event, action)| {
                let action = match action.as_str() {
                    "c" => "CASCADE",
                    "n" => "SET NULL",
                    "d" => "SET DEFAULT",
                    _ => return None,
                };
                Some(format!("ON {event} {action}"))
            })
            .collect()
    }
}

/// Reads them in two statements. `None`: the table is gone.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn dependencies(conn: &mut PgConnection, oid: u32) -> Result<Option<Dependencies>, DisposalError> {
    let failed = || DisposalError::sql("read what depends on a table");
    let row = sqlx::query(TIES)
        .bind(i64::from(oid))
        .fetch_optional(&mut *conn)
        .await
        .map_err(failed())?;
    let Some(row) = row else { return Ok(None) };
    let dependents: Vec<Option<String>> = sqlx::query_scalar(DEPENDENTS)
        .bind(i64::from(oid))
        .fetch_all(conn)
        .await
        .map_err(failed())?;
    Ok(Some(Dependencies {
        // An object that vanished while it was asked about has no name.
        dependents: dependents.into_iter().flatten().collect(),
        sequences: list(row.try_get("sequences").map_err(failed())?)?,
        references: list(row.try_get("keys").map_err(failed())?)?,
        publications: row.try_get("publications").map_err(failed())?,
        extension: row.try_get("extension").map_err(failed())?,
        may_alter: row.try_get("may_alter").map_err(failed())?,
        row_security: row.try_get("row_security").map_err(failed())?,
    }))
}

fn list<T: serde::de::DeserializeOwned>(value: Value) -> Result<Vec<T>, DisposalError> {
    serde_json::from_value(value).map_err(|error| {
        DisposalError::sql("read what depends on a table")(sqlx::Error::Decode(error.into()))
    })
}

/// A statement that lets a sequence live on when its owner goes: the same column of `heir` owns it, or nobody.
fn kept(sequence: &OwnedSequence, heir: Option<&Relation>) -> Sql {
    let owner = heir.map_or_else(
        || Sql::constant("NONE"),
        |heir| sql!("{heir}.{}", SqlIdent::quoting(&sequence.column); heir),
    );
    sql!("ALTER SEQUENCE {} OWNED BY {owner}", sequence.relation(); owner)
}

/// Whether a table may own a sequence: the server demands one schema and one owner.
const MAY_OWN: &str = "\
    SELECT EXISTS (SELECT FROM pg_class t JOIN pg_namespace tn ON tn.oid = t.relnamespace \
                   JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = $5 AND NOT a.attisdropped, \
                        pg_class s JOIN pg_namespace sn ON sn.oid = s.relnamespace \
                   WHERE tn.nspname = $1 AND t.relname = $2 AND t.relkind IN ('r', 'p') \
                     AND sn.nspname = $3 AND s.relname = $4 AND s.relkind = 'S' \
                     AND s.relnamespace = t.relnamespace AND s.relowner = t.relowner)";

/// The statements that keep a table's sequences when it leaves `heir`, in their order.
///
/// # Errors
/// [`DisposalError::Sql`].
pub async fn keep_sequences(
    conn: &mut PgConnection,
    oid: u32,
    heir: &Relation,
) -> Result<Vec<Sql>, DisposalError> {
    let found = dependencies(conn, oid).await?;
    let mut statements = Vec::new();
    for sequence in found.iter().flat_map(|found| &found.sequences) {
        if sequence.identity {
            continue;
        }
        let fits: bool = sqlx::query_scalar(MAY_OWN)
            .bind(&heir.schema)
            .bind(&heir.name)
            .bind(&sequence.schema)
            .bind(&sequence.name)
            .bind(&sequence.column)
            .fetch_one(&mut *conn)
            .await
            .map_err(DisposalError::sql("look who may own a sequence"))?;
        statements.push(kept(sequence, fits.then_some(heir)));
    }
    Ok(statements)
}
