//! `aggregation_profile`: the names of the other services' tables and columns, and the codes in them (ruling 16).
//!
//! Statements are written once, with logical names in braces (`SELECT k.{klines.open} FROM {klines} k`), and rendered with
//! quoted identifiers.

use std::collections::BTreeMap;

use eidos_core::ident::SqlIdent;
use eidos_pg::Sql;
use eidos_settings::{Problems, SourceName};
use serde::{Deserialize, Serialize};

/// What a column holds, which decides the declarations it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or key.
    Text,
    /// A code or count.
    Number,
    /// Epoch milliseconds.
    Ms,
    /// Money: `NUMERIC`, never a float.
    Money,
}

use Kind::{Money, Ms, Number, Text};

/// A table as the statements know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its key in the settings and in statements.
    pub key: &'static str,
    /// Its columns.
    pub columns: &'static [(&'static str, Kind)],
}

/// Tables of the market service.
pub const MARKET_TABLES: &[Definition] = &[
    Definition {
        key: "klines",
        columns: &[
            ("market", Text),
            ("interval", Text),
            ("open_time", Ms),
            ("open", Money),
            ("high", Money),
            ("low", Money),
            ("close", Money),
            ("volume", Money),
            ("quote_volume", Money),
            ("trade_count", Number),
            ("close_time", Ms),
        ],
    },
    Definition {
        key: "market_trades",
        columns: &[
            ("trade_id", Text),
            ("market", Text),
            ("price", Money),
            ("amount", Money),
            ("quote_amount", Money),
            ("timestamp", Ms),
            ("created_at", Ms),
        ],
    },
    Definition {
        key: "markets",
        columns: &[
            ("symbol", Text),
            ("quote_token", Text),
            ("status", Number),
            ("created_at", Ms),
        ],
    },
];

/// Tables of the trading service.
pub const TRADING_TABLES: &[Definition] = &[
    Definition {
        key: "trades",
        columns: &[
            ("market", Text),
            ("maker_wallet", Text),
            ("taker_wallet", Text),
            ("amount", Money),
            ("quote_amount", Money),
            ("maker_fee", Money),
            ("taker_fee", Money),
            ("fee_token", Text),
            ("settlement_status", Number),
            ("matched_at", Ms),
        ],
    },
    Definition {
        key: "orders",
        columns: &[
            ("market", Text),
            ("wallet", Text),
            ("status", Number),
            ("created_at", Ms),
            ("updated_at", Ms),
        ],
    },
    Definition {
        key: "deposits",
        columns: &[
            ("token", Text),
            ("amount", Money),
            ("status", Number),
            ("credited_at", Ms),
        ],
    },
    Definition {
        key: "withdrawals",
        columns: &[
            ("token", Text),
            ("amount", Money),
            ("status", Number),
            ("confirmed_at", Ms),
        ],
    },
    Definition {
        key: "balances",
        columns: &[("wallet", Text), ("created_at", Ms)],
    },
];

/// Another name for a table or some of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableNames {
    /// The table, `schema.table` allowed.
    pub name: String,
    /// Column of the documents → its name here.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

/// Codes of the database, which are not those of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    /// Status of a market that trades.
    pub market_active: Vec<i64>,
    /// Settlement status of a trade that was rolled back.
    pub trade_rolled_back: Vec<i64>,
    /// Status of an order that is open.
    pub order_open: Vec<i64>,
    /// Status of a cancelled order.
    pub order_cancelled: Vec<i64>,
    /// Status of a credited deposit.
    pub deposit_credited: Vec<i64>,
    /// Status of a confirmed withdrawal.
    pub withdrawal_confirmed: Vec<i64>,
}

/// Section `aggregation_profile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregationProfile {
    /// The database of candles, public trades and markets.
    pub market_source: SourceName,
    /// Candles.
    pub klines: TableNames,
    /// Public trades.
    pub market_trades: TableNames,
    /// Markets.
    pub markets: TableNames,
    /// The database of trades, orders, deposits, withdrawals and balances.
    pub trading_source: SourceName,
    /// Trades.
    pub trades: TableNames,
    /// Orders.
    pub orders: TableNames,
    /// Deposits.
    pub deposits: TableNames,
    /// Withdrawals.
    pub withdrawals: TableNames,
    /// Balances: a user is new when the first balance is.
    pub balances: TableNames,
    /// Codes.
    pub codes: Codes,
}

/// The names of one database, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    names: BTreeMap<String, SqlIdent>,
    definitions: &'static [Definition],
}

impl Schema {
    /// Renders a statement: each `{table}` and `{table.column}` becomes its name here.
    #[must_use]
    pub fn render(&self, template: &'static str) -> Sql {
        Sql::filled(template, |word| self.names.get(word))
    }

    /// Returns a table's or column's name here; `None`: no statement knows it.
    #[must_use]
    pub fn name(&self, key: &str) -> Option<&SqlIdent> {
        self.names.get(key)
    }

    /// The tables of this database.
    pub(crate) const fn definitions(&self) -> &'static [Definition] {
        self.definitions
    }
}

impl AggregationProfile {
    /// Returns the names of the market service's tables.
    ///
    /// # Errors
    /// What is wrong, each with its key below `aggregation_profile`.
    pub fn market(&self) -> Result<Schema, Vec<(String, String)>> {
        read(MARKET_TABLES, &[&self.klines, &self.market_trades, &self.markets])
    }

    /// Returns the names of the trading service's tables.
    ///
    /// # Errors
    /// What is wrong, each with its key below `aggregation_profile`.
    pub fn trading(&self) -> Result<Schema, Vec<(String, String)>> {
        let tables = [
            &self.trades,
            &self.orders,
            &self.deposits,
            &self.withdrawals,
            &self.balances,
        ];
        read(TRADING_TABLES, &tables)
    }

    /// Reports names and codes that cannot be used.
    pub fn validate(&self, problems: &mut Problems) {
        let wrong = self.market().err().into_iter().chain(self.trading().err());
        for (key, reason) in wrong.flatten() {
            problems.add(
                format!("aggregation_profile.{key}"),
                reason,
                "use the name the database shows",
            );
        }
        for (code, values, consequence) in [
            (
                "market_active",
                &self.codes.market_active,
                "no market would be expected to have candles",
            ),
            (
                "order_open",
                &self.codes.order_open,
                "no open order would be counted",
            ),
            (
                "order_cancelled",
                &self.codes.order_cancelled,
                "no cancelled order would be counted",
            ),
            (
                "deposit_credited",
                &self.codes.deposit_credited,
                "no deposit would be added",
            ),
            (
                "withdrawal_confirmed",
                &self.codes.withdrawal_confirmed,
                "no withdrawal would be added",
            ),
        ] {
            if values.is_empty() {
                problems.add(
                    format!("aggregation_profile.codes.{code}"),
                    format!("names no status: {consequence}"),
                    "name the status as the database has it",
                );
            }
        }
    }
}

fn read(definitions: &'static [Definition], tables: &[&TableNames]) -> Result<Schema, Vec<(String, String)>> {
    let (mut names, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut take = |key: String, setting: String, text: &str, is_column: bool| match text.parse::<SqlIdent>()
    {
        Ok(ident) if is_column && ident.schema().is_some() => {
            wrong.push((setting, format!("'{text}' is a table's name, not a column's")));
        }
        Ok(ident) => {
            names.insert(key, ident);
        }
        Err(error) => wrong.push((setting, error.to_string())),
    };
    for (definition, table) in definitions.iter().zip(tables) {
        let key = definition.key;
        take(key.to_owned(), format!("{key}.name"), &table.name, false);
        for (column, _) in definition.columns {
            let setting = format!("{key}.columns.{column}");
            let text = table.columns.get(*column).map_or(*column, String::as_str);
            take(format!("{key}.{column}"), setting, text, true);
        }
    }
    for (definition, table) in definitions.iter().zip(tables) {
        let known = |name: &String| definition.columns.iter().any(|(column, _)| column == name);
        for column in table.columns.keys().filter(|name| !known(name)) {
            wrong.push((
                format!("{}.columns.{column}", definition.key),
                "is not a column that is read".to_owned(),
            ));
        }
    }
    if wrong.is_empty() {
        Ok(Schema { names, definitions })
    } else {
        Err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> AggregationProfile {
        let text = r#"{"market_source": "market",
            "klines": {"name": "m.klines", "columns": {"trade_count": "trades"}},
            "market_trades": {"name": "market_trades"}, "markets": {"name": "markets"},
            "trading_source": "trading", "trades": {"name": "t"}, "orders": {"name": "o"}, "deposits": {"name": "d"},
            "withdrawals": {"name": "w"}, "balances": {"name": "b"},
            "codes": {"market_active": [1], "trade_rolled_back": [5], "order_open": [1], "order_cancelled": [4], "deposit_credited": [2],
                      "withdrawal_confirmed": [3]}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn statements_are_rendered_with_the_names_of_this_installation() {
        let schema = profile().market().unwrap();
        let text = schema.render("SELECT k.{klines.open}, k.{klines.trade_count} FROM {klines} k");
        assert_eq!(
            text.as_str(),
            r#"SELECT k."open", k."trades" FROM "m"."klines" k"#
        );
    }

    #[test]
    fn every_unusable_name_is_reported_with_its_key() {
        let mut bad = profile();
        bad.klines.name = "x; drop table y".to_owned();
        bad.markets.columns.insert("symbol".to_owned(), "a.b".to_owned());
        bad.market_trades
            .columns
            .insert("side".to_owned(), "s".to_owned());
        let found: Vec<String> = bad
            .market()
            .unwrap_err()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(
            found,
            [
                "klines.name",
                "markets.columns.symbol",
                "market_trades.columns.side"
            ]
        );
    }
}
