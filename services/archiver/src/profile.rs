//! `archive_profile`: the names of the trading service's orders and trades, and what makes them finished.

use eidos_core::ident::SqlIdent;
use eidos_settings::{Problems, SourceName};
use serde::{Deserialize, Serialize};

/// The longest name of an archive table: its partitions add `_YYYY_MM`, and PostgreSQL cuts names after 63 bytes.
const MAX_ARCHIVE_NAME: usize = 55;

/// Section `archive_profile`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveProfile {
    /// Which database holds the tables.
    pub source: SourceName,
    /// Orders.
    pub orders: OrdersProfile,
    /// Trades.
    pub trades: TradesProfile,
}

/// Names and codes of the orders table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersProfile {
    /// The table.
    pub table: String,
    /// Its archive; unset: `<table>_archive`.
    #[serde(default)]
    pub archive: Option<String>,
    /// The primary key, one integer column.
    pub id: String,
    /// The business key.
    pub key: String,
    /// The status column.
    pub status: String,
    /// Its values in finished rows.
    pub finished: Vec<i64>,
    /// Completion time: the first of these that is not NULL, epoch ms.
    pub completion: Vec<String>,
}

/// Names and codes of the trades table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TradesProfile {
    /// The table.
    pub table: String,
    /// Its archive; unset: `<table>_archive`.
    #[serde(default)]
    pub archive: Option<String>,
    /// The primary key, one integer column.
    pub id: String,
    /// The business key.
    pub key: String,
    /// The status column.
    pub status: String,
    /// Its values in finished rows.
    pub finished: Vec<i64>,
    /// Completion time: the first of these that is not NULL, epoch ms.
    pub completion: Vec<String>,
    /// The columns that hold the business keys of its orders.
    pub orders: Vec<String>,
}

/// How rows of one table become finished, and where they go then. All names are checked identifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveRule {
    /// `orders` or `trades`.
    pub name: &'static str,
    /// The database.
    pub source: SourceName,
    /// The hot table.
    pub table: SqlIdent,
    /// Its archive.
    pub archive: SqlIdent,
    /// The primary key.
    pub id: SqlIdent,
    /// The business key.
    pub key: SqlIdent,
    /// The status column.
    pub status: SqlIdent,
    /// Its values in finished rows.
    pub finished: Vec<i64>,
    /// Completion time, in order of preference.
    pub completion: Vec<SqlIdent>,
    /// Rows elsewhere that keep a row of this table where it is.
    pub children: Vec<Child>,
}

/// A column of another table that names rows of this one: as long as one does, the row stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The other table.
    pub table: SqlIdent,
    /// Its column.
    pub column: SqlIdent,
    /// The column of this table it names.
    pub names: SqlIdent,
}

impl ArchiveProfile {
    /// The rules in the order they are carried out: trades first, so that their orders can follow.
    ///
    /// # Errors
    /// One sentence per name that cannot be used, with its key below `archive_profile`.
    pub fn rules(&self) -> Result<[MoveRule; 2], Vec<(String, String)>> {
        let mut reader = Reader::default();
        let (orders, trades) = (&self.orders, &self.trades);
        let trades_rule = MoveRule {
            name: "trades",
            source: self.source,
            table: reader.ident("trades.table", &trades.table),
            archive: reader.archive("trades", &trades.table, trades.archive.as_deref()),
            id: reader.column("trades.id", &trades.id),
            key: reader.column("trades.key", &trades.key),
            status: reader.column("trades.status", &trades.status),
            finished: reader.codes("trades.finished", &trades.finished),
            completion: reader.columns("trades.completion", &trades.completion),
            children: Vec::new(),
        };
        let key = reader.column("orders.key", &orders.key);
        let children = reader
            .columns("trades.orders", &trades.orders)
            .into_iter()
            .map(|column| Child {
                table: trades_rule.table.clone(),
                column,
                names: key.clone(),
            })
            .collect();
        let orders_rule = MoveRule {
            name: "orders",
            source: self.source,
            table: reader.ident("orders.table", &orders.table),
            archive: reader.archive("orders", &orders.table, orders.archive.as_deref()),
            id: reader.column("orders.id", &orders.id),
            key,
            status: reader.column("orders.status", &orders.status),
            finished: reader.codes("orders.finished", &orders.finished),
            completion: reader.columns("orders.completion", &orders.completion),
            children,
        };
        if reader.problems.is_empty() {
            Ok([trades_rule, orders_rule])
        } else {
            Err(reader.problems)
        }
    }

    /// Reports names and codes that cannot be used.
    pub fn validate(&self, problems: &mut Problems) {
        for (key, reason) in self.rules().err().unwrap_or_default() {
            problems.add(
                format!("archive_profile.{key}"),
                reason,
                "use the name the database shows",
            );
        }
    }
}

/// Reads names, collecting what is wrong with them.
#[derive(Default)]
struct Reader {
    problems: Vec<(String, String)>,
}

impl Reader {
    fn ident(&mut self, key: &str, text: &str) -> SqlIdent {
        text.parse()
            .unwrap_or_else(|error: eidos_core::ident::SqlIdentError| {
                self.problems.push((key.to_owned(), error.to_string()));
                placeholder()
            })
    }

    fn column(&mut self, key: &str, text: &str) -> SqlIdent {
        let column = self.ident(key, text);
        if column.schema().is_some() {
            self.problems.push((
                key.to_owned(),
                format!("'{text}' is a table's name, not a column's"),
            ));
        }
        column
    }

    fn columns(&mut self, key: &str, texts: &[String]) -> Vec<SqlIdent> {
        if texts.is_empty() {
            self.problems.push((key.to_owned(), "names no column".to_owned()));
        }
        texts.iter().map(|text| self.column(key, text)).collect()
    }

    fn codes(&mut self, key: &str, codes: &[i64]) -> Vec<i64> {
        if codes.is_empty() {
            self.problems.push((
                key.to_owned(),
                "names no status: nothing would ever be finished".to_owned(),
            ));
        }
        codes.to_vec()
    }

    fn archive(&mut self, table: &str, hot: &str, archive: Option<&str>) -> SqlIdent {
        let key = format!("{table}.archive");
        // What is wrong with the hot table's own name is told where that is set.
        let Ok(hot) = hot.parse::<SqlIdent>() else {
            return placeholder();
        };
        let name = match archive {
            Some(archive) => self.ident(&key, archive),
            None => SqlIdent::of(hot.schema(), &format!("{}_archive", hot.name())).unwrap_or_else(|error| {
                self.problems.push((key.clone(), error.to_string()));
                placeholder()
            }),
        };
        if name.name().len() > MAX_ARCHIVE_NAME {
            self.problems.push((
                key,
                format!(
                    "'{}' is longer than {MAX_ARCHIVE_NAME} bytes, which leaves no room for _YYYY_MM",
                    name.as_str()
                ),
            ));
        } else if name == hot {
            self.problems
                .push((key, format!("'{}' is the table itself", name.as_str())));
        }
        name
    }
}

fn placeholder() -> SqlIdent {
    // Only ever returned beside a problem, and a profile with problems makes no rules.
    match "unusable".parse() {
        Ok(ident) => ident,
        Err(_) => unreachable!("a plain word is an identifier"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> ArchiveProfile {
        let text = r#"{"source": "trading",
            "orders": {"table": "orders", "id": "id", "key": "order_id", "status": "status", "finished": [3],
                       "completion": ["updated_at"]},
            "trades": {"table": "s.trades", "id": "id", "key": "trade_id", "status": "st", "finished": [3, 5],
                       "completion": ["settled_at", "updated_at"], "orders": ["maker", "taker"]}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn trades_go_first_and_orders_wait_for_them() {
        let [trades, orders] = profile().rules().unwrap();
        assert_eq!((trades.name, orders.name), ("trades", "orders"));
        assert_eq!(trades.archive.to_string(), r#""s"."trades_archive""#);
        assert!(trades.children.is_empty());
        let columns: Vec<&str> = orders
            .children
            .iter()
            .map(|child| child.column.as_str())
            .collect();
        assert_eq!(columns, ["maker", "taker"]);
        assert!(
            orders
                .children
                .iter()
                .all(|child| child.names.as_str() == "order_id")
        );
    }

    #[test]
    fn every_unusable_name_is_reported_with_its_key() {
        let mut bad = profile();
        bad.orders.table = "x; drop table y".to_owned();
        bad.orders.finished.clear();
        bad.trades.archive = Some("s.trades".to_owned());
        bad.trades.completion = vec!["a.b".to_owned()];
        let found: Vec<String> = bad.rules().unwrap_err().into_iter().map(|(key, _)| key).collect();
        for key in [
            "orders.table",
            "orders.finished",
            "trades.archive",
            "trades.completion",
        ] {
            assert!(found.iter().any(|found| found == key), "{key} in {found:?}");
        }
        let mut long = profile();
        long.orders.table = "t".repeat(50);
        assert_eq!(long.rules().unwrap_err()[0].0, "orders.archive");
    }
}
