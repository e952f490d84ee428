//! The neighbours' tables as this deployment names them (ruling 16).
//!
//! A profile gives every table and column a name; each can be overridden. Statements are written once, with
//! logical names in braces (`SELECT {wallet} FROM {table}`), and rendered with quoted identifiers. At start the
//! profile is checked against the catalogue ([`check`]): a mismatch is a refusal that names table and column,
//! never an empty success.

pub mod check;
mod tables;

use std::collections::BTreeMap;

use eidos_pg::{Sql, SqlPart};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tables::{DEFINITIONS, Definition};

pub use eidos_core::ident::{SqlIdent, SqlIdentError};

/// Which naming generation the neighbours use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileName {
    /// `eidos_trading_balances` and so on.
    EidosDocs,
    /// `trading_balances` and so on.
    EidosCode,
}

/// How wallets are written in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalletCase {
    /// Always lower case; an index on the wallet can be used.
    Lower,
    /// Checksummed or mixed: compared in lower case, at the price of a sort.
    Mixed,
}

/// Another name for a table or some of its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableOverride {
    /// The table's name, `schema.table` allowed.
    #[serde(default)]
    pub name: Option<String>,
    /// Logical column → its name here.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

/// The neighbours' status integers. Three encodings exist (database, proto, Kafka); these are the database's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusCodes {
    /// Withdrawal requested, processing or submitted: debited.
    pub withdrawal_debited: Vec<i16>,
    /// Withdrawal seen mined.
    pub withdrawal_confirmed: Vec<i16>,
    /// Deposit seen or confirmed, not credited.
    pub deposit_waiting: Vec<i16>,
    /// Deposit in the balance.
    pub deposit_credited: Vec<i16>,
    /// Batch pending or submitted.
    pub batch_open: Vec<i16>,
    /// Trade matched, pending or submitted.
    pub trade_open: Vec<i16>,
    /// Trade in settled balances.
    pub trade_settled: Vec<i16>,
    /// `maker_side` of a buyer.
    pub side_buy: i16,
    /// Entries of the balance log for a deposit.
    pub ledger_deposit: Vec<i16>,
    /// Those for the debit of a withdrawal.
    pub ledger_withdrawal: Vec<i16>,
    /// Those for a withdrawal that was given back.
    pub ledger_refund: Vec<i16>,
    /// Those for a settled trade.
    pub ledger_settlement: Vec<i16>,
    /// Others that change the settled balance, such as a fee or a rollback.
    pub ledger_other: Vec<i16>,
}

/// The `schema_profile` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaProfileSection {
    /// Naming generation.
    pub profile: ProfileName,
    /// How wallets are written.
    pub wallet_case: WalletCase,
    /// Logical table → other names.
    #[serde(default)]
    pub tables: BTreeMap<String, TableOverride>,
    /// Status integers.
    pub status_codes: StatusCodes,
    /// Base or quote part of a market symbol → token symbol, where they differ (`BTC` → `WBTC`).
    #[serde(default)]
    pub market_tokens: BTreeMap<String, String>,
}

/// Which database a table lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Home {
    /// The trading service's.
    Trading,
    /// The chain service's.
    Chain,
    /// The admin service's.
    Admin,
}

/// The tables that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableId {
    /// One row per wallet and token.
    Balances,
    /// Every change of a balance.
    BalanceLogs,
    /// Sub-accounts' balances, with their wallet.
    SubaccountBalances,
    /// Deposits as the trading service knows them.
    Deposits,
    /// Withdrawals.
    Withdrawals,
    /// Trades.
    Trades,
    /// Trades that the archiver has moved; it creates the table with its first move.
    TradesArchive,
    /// Settlement batches as the trading service knows them.
    SettlementBatches,
    /// The platform's own fees.
    FeeAccounts,
    /// Withdrawal transactions as the chain service knows them.
    ChainWithdrawals,
    /// Settlement batches as the chain service knows them.
    ChainBatches,
    /// Deposits as the chain service knows them.
    ChainDeposits,
    /// How far the indexer is.
    BlockCheckpoints,
    /// Symbol, contract and decimals of each token.
    TokenConfigs,
}

/// One table with its names here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Where it lives.
    pub home: Home,
    /// The settings' name of it.
    pub key: &'static str,
    /// Its name.
    pub name: SqlIdent,
    /// Logical column → its name.
    pub columns: BTreeMap<&'static str, SqlIdent>,
}

/// Every table with its names here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    tables: BTreeMap<TableId, Table>,
    /// How wallets are written.
    pub wallet_case: WalletCase,
    /// Status integers.
    pub codes: StatusCodes,
    /// Market part → token symbol.
    pub market_tokens: BTreeMap<String, String>,
}

impl TableId {
    /// True for a table that may be missing.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::TradesArchive)
    }
}

impl Schema {
    /// Resolves a profile and its overrides.
    ///
    /// # Errors
    /// Every unknown table or column and every bad name, each with its key path.
    pub fn resolve(section: &SchemaProfileSection) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let known: Vec<&str> = DEFINITIONS.iter().map(|definition| definition.key).collect();
        for key in section.tables.keys().filter(|key| !known.contains(&key.as_str())) {
            problems.push(format!(
                "tables.{key}: no such table; known are {}",
                known.join(", ")
            ));
        }
        let tables = DEFINITIONS
            .iter()
            .map(|definition| (definition.id, resolve_table(definition, section, &mut problems)))
            .filter_map(|(id, table)| Some((id, table?)))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            tables,
            wallet_case: section.wallet_case,
            codes: section.status_codes.clone(),
            market_tokens: section.market_tokens.clone(),
        })
    }

    /// Renders a statement over one table: `{table}` and `{column}` become quoted names. Other braces stay.
    #[must_use]
    pub fn sql(&self, id: TableId, template: impl SqlPart) -> Sql {
        let table = self.tables.get(&id);
        Sql::filled(template, |word| match word {
            "table" => table.map(|table| &table.name),
            column => table?.columns.get(column),
        })
    }

    /// All tables.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &Table)> {
        self.tables.iter().map(|(id, table)| (*id, table))
    }

    /// Checks whether a table that may be missing is there.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn exists(&self, conn: &mut PgConnection, id: TableId) -> Result<bool, sqlx::Error> {
        let name = self.tables.get(&id).map(|table| table.name.to_string());
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(name)
            .fetch_one(conn)
            .await
    }

    /// One table's name, for messages.
    #[must_use]
    pub fn name(&self, id: TableId) -> &str {
        self.tables.get(&id).map_or("?", |table| table.name.as_str())
    }

    /// The two token symbols of a market: `BTC-USDC` is base and quote.
    #[must_use]
    pub fn market_symbols<'a>(&'a self, market: &'a str) -> Option<(&'a str, &'a str)> {
        let (base, quote) = market.split_once(['-', '/', '_'])?;
        let token = |part: &'a str| self.market_tokens.get(part).map_or(part, String::as_str);
        Some((token(base), token(quote)))
    }
}

fn resolve_table(
    definition: &Definition,
    section: &SchemaProfileSection,
    problems: &mut Vec<String>,
) -> Option<Table> {
    let default_name = match section.profile {
        ProfileName::EidosDocs => format!("eidos_{}", definition.name),
        ProfileName::EidosCode => definition.name.to_owned(),
    };
    let none = TableOverride::default();
    let other = section.tables.get(definition.key).unwrap_or(&none);
    for column in other
        .columns
        .keys()
        .filter(|key| !definition.columns.contains(&key.as_str()))
    {
        problems.push(format!(
            "tables.{}.columns.{column}: no such column; known are {}",
            definition.key,
            definition.columns.join(", ")
        ));
    }
    let mut ident = |path: String, text: &str| match text.parse::<SqlIdent>() {
        Ok(ident) => Some(ident),
        Err(error) => {
            problems.push(format!("{path}: {error}"));
            None
        }
    };
    let name = ident(
        format!("tables.{}.name", definition.key),
        other.name.as_deref().unwrap_or(&default_name),
    );
    let mut columns = BTreeMap::new();
    for logical in definition.columns {
        let text = other.columns.get(*logical).map_or(*logical, String::as_str);
        if let Some(column) = ident(format!("tables.{}.columns.{logical}", definition.key), text) {
            columns.insert(*logical, column);
        }
    }
    Some(Table {
        home: definition.home,
        key: definition.key,
        name: name?,
        columns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> SchemaProfileSection {
        SchemaProfileSection {
            profile: ProfileName::EidosDocs,
            wallet_case: WalletCase::Lower,
            tables: BTreeMap::new(),
            status_codes: StatusCodes {
                withdrawal_debited: vec![0, 1, 2],
                withdrawal_confirmed: vec![3],
                deposit_waiting: vec![0, 1],
                deposit_credited: vec![2],
                batch_open: vec![1, 2],
                trade_open: vec![0, 1, 2],
                trade_settled: vec![3],
                side_buy: 1,
                ledger_deposit: vec![1],
                ledger_withdrawal: vec![2],
                ledger_refund: vec![9],
                ledger_settlement: vec![7],
                ledger_other: vec![6, 8],
            },
            market_tokens: BTreeMap::from([("BTC".to_owned(), "WBTC".to_owned())]),
        }
    }

    #[test]
    fn ruling_16_both_generations_and_overrides() {
        let mut section = section();
        let sql = |section: &SchemaProfileSection| {
            Schema::resolve(section)
                .unwrap()
                .sql(TableId::Balances, "SELECT {wallet} FROM {table}")
                .to_string()
        };
        assert_eq!(sql(&section), "SELECT \"wallet\" FROM \"eidos_trading_balances\"");
        section.profile = ProfileName::EidosCode;
        assert_eq!(sql(&section), "SELECT \"wallet\" FROM \"trading_balances\"");
        let other = TableOverride {
            name: Some("app.accounts".into()),
            columns: BTreeMap::from([("wallet".into(), "owner".into())]),
        };
        section.tables.insert("balances".into(), other);
        assert_eq!(sql(&section), "SELECT \"owner\" FROM \"app\".\"accounts\"");
    }

    #[test]
    fn every_bad_name_is_reported_with_its_key() {
        let mut section = section();
        let other = TableOverride {
            name: Some("a; drop table b".into()),
            columns: BTreeMap::from([("wallett".into(), "x".into()), ("token".into(), "1x".into())]),
        };
        section.tables.insert("balances".into(), other);
        section.tables.insert("balance".into(), TableOverride::default());
        let problems = Schema::resolve(&section).unwrap_err().join("\n");
        for path in [
            "tables.balance:",
            "columns.wallett",
            "columns.token",
            "tables.balances.name",
        ] {
            assert!(problems.contains(path), "{path} in {problems}");
        }
    }

    #[test]
    fn market_symbols_are_mapped_to_token_symbols() {
        let schema = Schema::resolve(&section()).unwrap();
        assert_eq!(schema.market_symbols("BTC-USDC"), Some(("WBTC", "USDC")));
        assert_eq!(schema.market_symbols("BTCUSDC"), None);
    }
}
