//! Whether a partition may leave its table. Plan and apply ask the same functions, so that a plan counts as blocked what
//! a run would refuse, and nothing is frozen that could not leave.

use std::collections::BTreeSet;
use std::time::Duration;

use eidos_types::ident::SqlIdent;
use sqlx::PgConnection;

use crate::DisposalError;
use crate::catalogue::{
    self, Dependencies, FREEZE_FUNCTION, Partition, QUARANTINE_SCHEMA, Relation, RelationKind, TableShape,
};

/// What keeps something where it is: a metric's label, and a sentence.
type Obstacle = (&'static str, String);

/// Whether a partition of `parent` may be taken from it, and later dropped. `archived`: its rows are exported first.
///
/// # Errors
/// [`DisposalError::Refused`] names everything that is in the way, and what to do about it; the first gives the label.
pub fn may_leave(
    parent: &TableShape,
    partition: &Partition,
    found: &Dependencies,
    archived: bool,
) -> Result<(), DisposalError> {
    let mut obstacles = Vec::new();
    if partition.kind != RelationKind::Table {
        obstacles.push((
            "kind",
            "is no ordinary table (partitioned again, or foreign) and is not disposed of".to_owned(),
        ));
    }
    if archived && let Err(error) = parent.archive_columns() {
        obstacles.push(("type", format!("cannot be archived: {error}")));
    }
    let partitions = parent.partitioning.iter().flat_map(|layout| &layout.partitions);
    let newest = partitions.max_by_key(|partition| partition.bounds.upper.unwrap_or(i64::MAX));
    if newest.is_some_and(|newest| newest.oid == partition.oid) {
        obstacles.push((
            "newest",
            "is the newest partition, and the newest one is never removed; create the following months first"
                .to_owned(),
        ));
    }
    obstacles.extend(parent.referenced_by.iter().map(|key| {
        (
            "referenced",
            format!(
                "is referenced by foreign key {} of {}; drop that constraint first",
                key.name,
                key.table.plain()
            ),
        )
    }));
    if found.row_security {
        obstacles.push((
            "rights",
            format!(
                "is under row security that applies to this login: rows would be left out. Let it pass (ALTER ROLE .. BYPASSRLS), \
                 or ALTER TABLE {} NO FORCE ROW LEVEL SECURITY",
                partition.relation
            ),
        ));
    }
    obstacles.extend(shared(&partition.relation, found));
    obstacles.extend(of_sequences(parent, found));
    obstacles.extend(of_keys(&parent.relation, found));
    refuse_obstacles(&partition.relation.name, &parent.relation, &obstacles)
}

/// Whether a table that rests in quarantine may be dropped: nothing outside of it may go with it, or be in the way.
///
/// # Errors
/// [`DisposalError::Refused`], as [`may_leave`].
pub fn may_be_dropped(
    name: &str,
    parent: &Relation,
    resting: &Relation,
    found: &Dependencies,
) -> Result<(), DisposalError> {
    let mut obstacles: Vec<Obstacle> = shared(resting, found).collect();
    obstacles.extend(found.sequences.iter().filter(|sequence| !sequence.identity).map(|sequence| {
        let held = sequence.relation();
        let freed = Relation::new(&parent.schema, &held.name);
        let moved = if held.schema == parent.schema {
            String::new()
        } else {
            format!("; ALTER SEQUENCE {held} SET SCHEMA {}", SqlIdent::quoting(&parent.schema))
        };
        (
            "sequence",
            format!(
                "owns the sequence {}, which may number the rows of the whole table and would be dropped with it; run: ALTER \
                 SEQUENCE {held} OWNED BY NONE{moved}; ALTER SEQUENCE {freed} OWNED BY {parent}.{}. Then it is dropped",
                held.plain(),
                SqlIdent::quoting(&sequence.column)
            ),
        )
    }));
    refuse_obstacles(name, parent, &obstacles)
}

/// What others made of the table.
fn shared<'a>(table: &'a Relation, found: &'a Dependencies) -> impl Iterator<Item = Obstacle> + 'a {
    let dependents = (!found.dependents.is_empty()).then(|| {
        (
            "referenced",
            format!(
                "is used by {}, which would keep it from being dropped; drop that, or make it use the whole table",
                found.dependents.join(", ")
            ),
        )
    });
    let extension = found.extension.iter().map(move |extension| {
        (
            "referenced",
            format!(
                "belongs to the extension {extension}; ALTER EXTENSION {} DROP TABLE {table} first",
                SqlIdent::quoting(extension)
            ),
        )
    });
    let publications = found.publications.iter().map(move |publication| {
        (
            "publication",
            format!(
                "is named in the publication {publication}, whose subscribers know no table in quarantine; ALTER PUBLICATION \
                 {} DROP TABLE {table} first",
                SqlIdent::quoting(publication)
            ),
        )
    });
    let rights = (!found.may_alter).then(|| {
        (
            "rights",
            "belongs to a role that this service's role is no member of; GRANT it, or ALTER TABLE .. OWNER TO"
                .to_owned(),
        )
    });
    dependents
        .into_iter()
        .chain(extension)
        .chain(publications)
        .chain(rights)
}

/// An identity cannot be given to another table. It goes with its own, unless it is where everybody's ids come from.
fn of_sequences(parent: &TableShape, found: &Dependencies) -> Vec<Obstacle> {
    let identities = found.sequences.iter().filter(|sequence| sequence.identity);
    identities
        .filter(|sequence| {
            let column = parent.column(&sequence.column);
            column.is_none_or(|column| column.default.is_none() && !column.identity)
        })
        .map(|sequence| {
            (
                "sequence",
                format!(
                    "has the identity sequence {}, and the column {} of the table has neither identity nor default: whoever \
                     writes may take ids from that sequence, and it would go. Give the table a sequence or identity of its \
                     own that begins higher, or ALTER TABLE .. ALTER COLUMN {} DROP IDENTITY",
                    sequence.relation().plain(),
                    sequence.column,
                    SqlIdent::quoting(&sequence.column)
                ),
            )
        })
        .collect()
}

/// A frozen table cannot follow what happens to the rows it references.
fn of_keys<'a>(parent: &'a Relation, found: &'a Dependencies) -> impl Iterator<Item = Obstacle> + 'a {
    found.references.iter().filter_map(|key| {
        let actions = key.actions();
        (!actions.is_empty()).then(|| {
            let target = key.target().plain();
            (
                "cascade",
                format!(
                    "has foreign key {} to {target} {}: while it is frozen, the same statement on {target} would fail for \
                     everybody. Make it NO ACTION, or drop it ({})",
                    key.name,
                    actions.join(" "),
                    parent.plain()
                ),
            )
        })
    })
}

fn refuse_obstacles(name: &str, parent: &Relation, obstacles: &[Obstacle]) -> Result<(), DisposalError> {
    let Some((reason, _)) = obstacles.first() else {
        return Ok(());
    };
    let what: Vec<&str> = obstacles.iter().map(|(_, what)| what.as_str()).collect();
    Err(DisposalError::refused(
        reason,
        format!("{name} of {} {}", parent.plain(), what.join("; and it ")),
    ))
}

/// The locks on the way to quarantine and to the drop, for a plan. `lock_timeout` is how long each attempt may last.
#[must_use]
pub fn locks_to_leave(
    parent: &TableShape,
    partition: &Partition,
    found: &Dependencies,
    lock_timeout: Duration,
) -> Vec<String> {
    let at_most = format!("at most {} ms at a time", lock_timeout.as_millis());
    let default = parent
        .partitioning
        .as_ref()
        .and_then(|layout| layout.default.as_ref());
    let exclusive: Vec<String> = std::iter::once(&parent.relation)
        .chain(default.map(|default| &default.relation))
        .chain([&partition.relation])
        .map(Relation::plain)
        .collect();
    let mut locks = vec![
        format!(
            "SHARE ROW EXCLUSIVE on {}, for a moment (freeze)",
            partition.relation.plain()
        ),
        format!("ACCESS EXCLUSIVE on {}, {at_most} (detach)", exclusive.join(", ")),
    ];
    if let Some(referenced) = referenced_tables(found) {
        locks.push(format!(
            "SHARE ROW EXCLUSIVE on {referenced}, which its rows reference, {at_most} (detach)"
        ));
        locks.push(format!("ACCESS EXCLUSIVE on {referenced}, {at_most} (drop)"));
    }
    locks.extend(
        found
            .sequences
            .iter()
            .filter(|sequence| !sequence.identity)
            .map(|sequence| {
                format!(
                    "SHARE ROW EXCLUSIVE on the sequence {}, which stays, {at_most} (detach)",
                    sequence.relation().plain()
                )
            }),
    );
    locks
}

/// The locks of a drop from quarantine, for a plan.
#[must_use]
pub fn locks_to_drop(resting: &str, found: &Dependencies, lock_timeout: Duration) -> Vec<String> {
    let own = format!("ACCESS EXCLUSIVE on {resting}, which nobody else uses");
    let others = referenced_tables(found).map(|referenced| {
        format!(
            "ACCESS EXCLUSIVE on {referenced}, which its rows reference, at most {} ms at a time",
            lock_timeout.as_millis()
        )
    });
    std::iter::once(own).chain(others).collect()
}

/// The tables that the foreign keys of a table lead to, each once.
fn referenced_tables(found: &Dependencies) -> Option<String> {
    let tables: BTreeSet<String> = found.references.iter().map(|key| key.target().plain()).collect();
    let tables: Vec<String> = tables.into_iter().collect();
    (!tables.is_empty()).then(|| tables.join(", "))
}

/// What a reader of a plan should know about a partition that may leave: what stays, and what waits for its drop.
#[must_use]
pub fn notes_on_leaving(parent: &TableShape, partition: &Partition, found: &Dependencies) -> Vec<String> {
    let name = partition.relation.plain();
    let sequences = found.sequences.iter().filter(|sequence| !sequence.identity).map(|sequence| {
        format!(
            "{name} owns the sequence {}; it stays and is owned by {} from then on, or by nobody where schema or owner differ",
            sequence.relation().plain(),
            parent.relation.plain()
        )
    });
    let keys = referenced_tables(found).map(|referenced| {
        format!("until {name} is dropped, rows of {referenced} that its rows reference cannot be deleted, as before")
    });
    sequences.chain(keys).collect()
}

/// What [`room`] asks.
const ROOM: &str = "\
    SELECT to_regprocedure($1) IS NOT NULL, \
           (SELECT has_schema_privilege(n.oid, 'CREATE') FROM pg_namespace n WHERE n.nspname = $2), \
           (SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c WHERE c.oid = $3::bigint::oid), \
           ARRAY(SELECT p.pubname::text FROM pg_publication p WHERE p.puballtables ORDER BY 1)";

/// Whether this database is set up for partitions of `parent` to be frozen and put into quarantine. Gives what a reader of
/// a plan should know about it.
///
/// # Errors
/// [`DisposalError::Refused`] says what is missing; [`DisposalError::Sql`].
pub async fn room(conn: &mut PgConnection, parent: &TableShape) -> Result<Vec<String>, DisposalError> {
    let function = format!("public.{FREEZE_FUNCTION}()");
    let (has_function, may_create, may_alter, publications): (bool, Option<bool>, Option<bool>, Vec<String>) =
        sqlx::query_as(ROOM)
            .bind(&function)
            .bind(QUARANTINE_SCHEMA)
            .bind(i64::from(parent.oid))
            .fetch_one(conn)
            .await
            .map_err(DisposalError::sql("look for the place of quarantine"))?;
    let apply = "have its owner run eidosctl prepare --disposal (migrations/foreign/freeze.sql)";
    let missing = match (has_function, may_create, may_alter) {
        (false, ..) => format!("this database has no function {function}; {apply}"),
        (_, None, _) => format!("this database has no schema {QUARANTINE_SCHEMA}; {apply}"),
        (_, Some(false), _) => format!(
            "this service's role may not create tables in {QUARANTINE_SCHEMA}; GRANT CREATE ON SCHEMA {QUARANTINE_SCHEMA} to it"
        ),
        (.., Some(false)) => format!(
            "{} belongs to a role that this service's role is no member of: its partitions cannot be detached",
            parent.relation.plain()
        ),
        _ => return Ok(publications.iter().map(|name| of_all_tables(name)).collect()),
    };
    Err(DisposalError::refused("setup", missing))
}

fn of_all_tables(publication: &str) -> String {
    format!(
        "the publication {publication} is FOR ALL TABLES, and so of those in {QUARANTINE_SCHEMA}: a subscriber that refreshes it \
         meanwhile looks for them on its side. FOR TABLES IN SCHEMA leaves them out"
    )
}

/// What a partition shares with others, which is nothing if it is gone: the caller looks for it.
pub(super) async fn dependencies_of(
    conn: &mut PgConnection,
    oid: u32,
) -> Result<Dependencies, DisposalError> {
    let found = catalogue::dependencies(conn, oid).await?;
    found.ok_or_else(|| {
        DisposalError::refused(
            "removed",
            format!("the table with oid {oid} is gone; make a new plan"),
        )
    })
}
