//! A move as one statement: pick, delete, insert, and count all three.
//!
//! ```text
//! picked   the next rows by (completion, id), locked; SKIP LOCKED never waits for anybody
//! gone     DELETE by key, and every condition again: RETURNING is what the row is now, not what it was when picked
//! stored   INSERT of exactly these rows into the archive
//! ```
//!
//! The caller compares the three counts before it commits. Conditions on other tables are subqueries with OFFSET 0:
//! the planner then probes them row by row through an index and cannot turn a small batch into a join over a large
//! table, whatever its statistics say; the keys of the DELETE are an array for the same reason, and its conditions are
//! written so that no index fits them: the planner once preferred to read the whole index of finished rows per batch.

use eidos_disposal::catalogue::Relation;
use eidos_pg::bounds::{EARLIEST_MS, LATEST_MS};
use eidos_pg::{Sql, sql};
use eidos_types::ident::SqlIdent;

use crate::profile::MoveRule;

/// The column of an archive table that says when a row was finished, epoch ms; it is partitioned by it.
pub const COMPLETED_AT: &str = "archive_completed_at";
/// The column of an archive table that says when a row was moved, epoch ms.
pub const ARCHIVED_AT: &str = "archived_at";

/// A foreign key from elsewhere to the table: a row it points at stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The other table.
    pub table: Relation,
    /// Pairs of its column and ours.
    pub columns: Vec<(SqlIdent, SqlIdent)>,
}

/// What decides which rows move, as SQL.
#[derive(Debug, Clone)]
pub struct Statements<'a> {
    /// The rule.
    pub rule: &'a MoveRule,
    /// The columns that move: all of the hot table.
    pub columns: &'a [SqlIdent],
    /// Foreign keys to the table.
    pub references: &'a [Reference],
    /// Ranges of completion time that a legal hold covers, [from, to).
    pub held: &'a [(i64, i64)],
}

/// How the rows of a batch are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// The next `$4` after (`$2`, `$3`), stepping over locked ones.
    Next,
    /// Those of `$4`, an array of ids, waiting for locks (the session's `lock_timeout` bounds that).
    These,
}

/// What leads to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The index on completion time.
    Time,
    /// The primary key.
    Key,
}

impl Statements<'_> {
    /// Completion time of the row called `alias`: written as an index on it must be.
    #[must_use]
    pub fn completion(rule: &MoveRule, alias: &'static str) -> Sql {
        let columns: Vec<Sql> = rule
            .completion
            .iter()
            .map(|column| sql!("{alias}{column}"; alias, column))
            .collect();
        match columns.as_slice() {
            [only] => only.clone(),
            several => sql!("COALESCE({})", Sql::join(several, ", ")),
        }
    }

    /// The status of finished rows: an index may have exactly this as its predicate.
    #[must_use]
    pub fn finished(rule: &MoveRule, alias: &'static str) -> Sql {
        Self::in_codes(rule, &sql!("{alias}{}", rule.status; alias))
    }

    fn in_codes(rule: &MoveRule, status: &Sql) -> Sql {
        sql!("{status} IN ({})", Sql::join(&rule.finished, ", "); status)
    }

    /// Everything that must hold for a row to move, as of `$1` (exclusive, epoch ms), with `$5` the ids that stay. Rows
    /// that are found `By::Key` are only judged by it: no index must be chosen because of it.
    fn eligible(&self, by: By) -> Sql {
        let rule = self.rule;
        let (completion, finished) = match by {
            By::Time => (Self::completion(rule, "s."), Self::finished(rule, "s.")),
            By::Key => (
                sql!("({} + 0)", Self::completion(rule, "s.")),
                Self::in_codes(rule, &sql!("(s.{} + 0)", rule.status)),
            ),
        };
        let mut all = vec![
            finished,
            sql!("{completion} < $1 AND {completion} >= {EARLIEST_MS}"; completion, EARLIEST_MS),
            sql!("s.{} <> ALL ($5::bigint[])", rule.id),
        ];
        for (from, to) in self.held {
            all.push(sql!("NOT ({completion} >= {from} AND {completion} < {to})"; completion, from, to));
        }
        for child in &rule.children {
            all.push(sql!(
                "NOT EXISTS (SELECT 1 FROM {} c WHERE c.{} = s.{} OFFSET 0)",
                child.table,
                child.column,
                child.names
            ));
        }
        for reference in self.references {
            let pairs = reference.columns.iter();
            let pairs = pairs.map(|(theirs, ours)| sql!("c.{theirs} = s.{ours}"; theirs, ours));
            all.push(sql!(
                "NOT EXISTS (SELECT 1 FROM {} c WHERE {} OFFSET 0)",
                reference.table,
                Sql::join(pairs, " AND ")
            ));
        }
        Sql::join(all, "\n      AND ")
    }

    /// Finds rows in the order they move; locks them unless `plain`.
    fn pick(&self, pick: Pick, select: &Sql) -> Sql {
        let rule = self.rule;
        let completion = Self::completion(rule, "s.");
        let (which, by, limit, lock) = match pick {
            Pick::Next => (
                sql!("({completion}, s.{}) > ($2::bigint, $3::bigint)", rule.id; completion),
                By::Time,
                " LIMIT $4::bigint",
                "FOR UPDATE OF s SKIP LOCKED",
            ),
            Pick::These => (
                sql!(
                    "s.{} = ANY ($4::bigint[]) AND $2::bigint IS NULL AND $3::bigint IS NULL",
                    rule.id
                ),
                By::Key,
                "",
                "FOR UPDATE OF s",
            ),
        };
        sql!(
            "SELECT {select} FROM ONLY {table} s\n    WHERE {which}\n      AND {eligible}\n    \
             ORDER BY {completion}, s.{id}{limit} {lock}";
            select, which, completion, limit, lock, table = rule.table, id = rule.id,
            eligible = self.eligible(by)
        )
    }

    /// The move. Parameters: `$1` cutoff, `$2`/`$3` position, `$4` rows or ids, `$5` ids that stay, `$6` now (ms).
    /// Returns one row: picked, gone, stored, completion and id of the last picked.
    #[must_use]
    pub fn move_batch(&self, pick: Pick) -> Sql {
        let rule = self.rule;
        let columns = self.column_list("");
        sql!(
            "WITH picked AS MATERIALIZED (\n    {picked}\n), gone AS (\n    \
             DELETE FROM ONLY {table} s WHERE s.{id} = ANY (ARRAY(SELECT id FROM picked))\n      AND {eligible}\n    \
             RETURNING {returned}, {completion} AS {COMPLETED_AT}\n), stored AS (\n    \
             INSERT INTO {archive} ({columns}, {COMPLETED_AT}, {ARCHIVED_AT})\n    \
             SELECT {columns}, {COMPLETED_AT}, $6::bigint FROM gone RETURNING 1\n)\n\
             SELECT (SELECT count(*) FROM picked) AS picked, (SELECT count(*) FROM gone) AS gone, \
             (SELECT count(*) FROM stored) AS stored, last.completed AS last_completed, last.id AS last_id \
             FROM (SELECT) AS one LEFT JOIN \
             (SELECT completed, id FROM picked ORDER BY completed DESC, id DESC LIMIT 1) AS last ON TRUE";
            COMPLETED_AT, columns, ARCHIVED_AT, picked = self.pick(pick, &self.key_select()),
            table = rule.table, id = rule.id, eligible = self.eligible(By::Key),
            returned = self.column_list("s."), completion = Self::completion(rule, "s."),
            archive = rule.archive
        )
    }

    /// Locks the next rows and returns their ids: what [`Statements::settle_copies`] then looks at in a snapshot that
    /// is younger than the locks. Parameters as [`Statements::move_batch`], without `$6`.
    #[must_use]
    pub fn lock_batch(&self, pick: Pick) -> Sql {
        sql!(
            "SELECT id FROM (\n    {}\n) AS picked",
            self.pick(pick, &self.key_select())
        )
    }

    /// Of the rows `$1` (ids, locked): those whose copy is in the archive already. Equal in every byte → the hot row
    /// goes. Returns the ids that went, and those whose copy says something else.
    #[must_use]
    pub fn settle_copies(&self) -> Sql {
        let rule = self.rule;
        sql!(
            "WITH pairs AS MATERIALIZED (\n    \
             SELECT s.{id} AS id, (ROW({hot})::record *= ROW({cold})::record) AS same FROM ONLY {table} s\n    \
             JOIN {archive} a ON a.{COMPLETED_AT} = {completion} AND a.{id} = s.{id}\n    \
             WHERE s.{id} = ANY ($1::bigint[])\n), gone AS (\n    \
             DELETE FROM ONLY {table} s WHERE s.{id} = ANY (ARRAY(SELECT id FROM pairs WHERE same)) RETURNING s.{id} AS id\n)\n\
             SELECT coalesce((SELECT array_agg(id::bigint) FROM gone), '{{}}') AS gone, \
             coalesce((SELECT array_agg(id::bigint ORDER BY id) FROM pairs WHERE NOT same), '{{}}') AS differing";
            COMPLETED_AT, id = rule.id, table = rule.table, archive = rule.archive,
            hot = self.column_list("s."), cold = self.column_list("a."),
            completion = Self::completion(rule, "s.")
        )
    }

    /// Completion and id of the next row after (`$2`, `$3`) that may move before `$1`; no lock. `$4` is how many, `$5`
    /// as ever.
    #[must_use]
    pub fn peek(&self) -> Sql {
        let rule = self.rule;
        let completion = Self::completion(rule, "s.");
        sql!(
            "SELECT {completion}::bigint AS completed, s.{id}::bigint AS id FROM ONLY {table} s\n    \
             WHERE ({completion}, s.{id}) > ($2::bigint, $3::bigint)\n      AND {eligible}\n    \
             ORDER BY {completion}, s.{id} LIMIT $4::bigint";
            completion, id = rule.id, table = rule.table, eligible = self.eligible(By::Time)
        )
    }

    /// How many finished rows have a completion time that is none: NULL, before [`EARLIEST_MS`] or from [`LATEST_MS`]
    /// on. Counts to 1001 of each.
    #[must_use]
    pub fn implausible(rule: &MoveRule) -> Sql {
        let completion = Self::completion(rule, "s.");
        let finished = Self::finished(rule, "s.");
        let table = &rule.table;
        sql!(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM ONLY {table} s WHERE {finished} AND {completion} < {EARLIEST_MS} \
             LIMIT 1001) AS early) + (SELECT count(*) FROM (SELECT 1 FROM ONLY {table} s WHERE {finished} \
             AND {completion} >= {LATEST_MS} LIMIT 1001) AS late) + (SELECT count(*) FROM (SELECT 1 FROM ONLY {table} s \
             WHERE {finished} AND {completion} IS NULL LIMIT 1001) AS missing)";
            table, finished, completion, EARLIEST_MS, LATEST_MS
        )
    }

    fn key_select(&self) -> Sql {
        sql!(
            "s.{}::bigint AS id, {}::bigint AS completed",
            self.rule.id,
            Self::completion(self.rule, "s.")
        )
    }

    fn column_list(&self, alias: &'static str) -> Sql {
        let columns = self.columns.iter();
        Sql::join(columns.map(|column| sql!("{alias}{column}"; alias, column)), ", ")
    }
}

/// The index without which every batch sorts the whole table: for the plan's warning.
#[must_use]
pub fn wanted_index(rule: &MoveRule) -> Sql {
    let completion = Statements::completion(rule, "");
    let completion = if rule.completion.len() > 1 {
        sql!("({completion})"; completion)
    } else {
        completion
    };
    let mut name = format!("idx_{}_completed", rule.table.name());
    while name.len() > 63 {
        name.pop();
    }
    sql!(
        "CREATE INDEX CONCURRENTLY {name} ON {table} ({completion}, {id}) WHERE {finished}";
        name = SqlIdent::quoting(name), table = rule.table, completion, id = rule.id,
        finished = Statements::finished(rule, "")
    )
}

#[cfg(test)]
mod tests {
    use eidos_settings::SourceName;

    use super::*;
    use crate::profile::Child;

    fn rule(completion: &[&str]) -> MoveRule {
        let ident = |text: &str| text.parse().unwrap();
        MoveRule {
            name: "orders",
            source: SourceName::Trading,
            table: ident("s.orders"),
            archive: ident("s.orders_archive"),
            id: ident("id"),
            key: ident("order_id"),
            status: ident("status"),
            finished: vec![3, 5],
            completion: completion.iter().map(|name| ident(name)).collect(),
            children: vec![Child {
                table: ident("s.trades"),
                column: ident("maker"),
                names: ident("order_id"),
            }],
        }
    }

    #[test]
    fn the_wanted_index_has_the_expression_and_the_predicate_of_the_statements() {
        let one = rule(&["updated_at"]);
        assert_eq!(
            wanted_index(&one).as_str(),
            "CREATE INDEX CONCURRENTLY \"idx_orders_completed\" ON \"s\".\"orders\" (\"updated_at\", \"id\") \
             WHERE \"status\" IN (3, 5)"
        );
        let two = rule(&["settled_at", "updated_at"]);
        let expression = "((COALESCE(\"settled_at\", \"updated_at\")), \"id\")";
        assert!(
            wanted_index(&two).as_str().contains(expression),
            "{}",
            wanted_index(&two)
        );
    }

    #[test]
    fn a_batch_is_deleted_by_its_keys_alone() {
        let rule = rule(&["updated_at"]);
        let columns = [SqlIdent::quoting("id"), SqlIdent::quoting("status")];
        let statements = Statements {
            rule: &rule,
            columns: &columns,
            references: &[],
            held: &[(10, 20)],
        };
        let sql = statements.move_batch(Pick::Next);
        let sql = sql.as_str();
        let delete = &sql[sql.find("DELETE").unwrap()..sql.find("RETURNING").unwrap()];
        assert!(
            !delete.contains("s.\"updated_at\" <"),
            "an index would fit: {delete}"
        );
        assert!(delete.contains("(s.\"status\" + 0) IN (3, 5)"), "{delete}");
        for part in [
            "NOT ((s.\"updated_at\" + 0) >= 10",
            "c.\"maker\" = s.\"order_id\" OFFSET 0",
            "<> ALL ($5",
        ] {
            assert!(delete.contains(part), "{part} in {delete}");
        }
        assert_eq!(sql.matches("SKIP LOCKED").count(), 1);
        assert!(
            !statements
                .move_batch(Pick::These)
                .as_str()
                .contains("SKIP LOCKED")
        );
    }
}
