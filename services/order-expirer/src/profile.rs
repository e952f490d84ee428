//! `expiry_profile`: the names of the trading service's orders table, and its status codes by name. A code of this table is
//! never a number of another encoding (ruling 16): protobuf and Kafka have their own.

use eidos_settings::{Problems, SourceName};
use eidos_types::ident::{SqlIdent, SqlIdentError};
use serde::{Deserialize, Serialize};

use crate::domain::life::Outcome;

/// Section `expiry_profile`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpiryProfile {
    /// Which database holds the orders.
    pub source: SourceName,
    /// The table.
    pub table: String,
    /// The primary key, one integer column.
    pub id: String,
    /// The business key.
    pub order_id: String,
    /// The owner.
    pub wallet: String,
    /// The market.
    pub market: String,
    /// The status.
    pub status: String,
    /// When the order expires, epoch ms; 0: never.
    pub expire_at: String,
    /// The quantity that is left.
    pub remaining: String,
    /// When the row changed last, epoch ms.
    pub updated_at: String,
    /// The status codes.
    pub codes: StatusCodes,
}

/// Status codes by name.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusCodes {
    /// Accepted, not in the book yet.
    pub pending: i64,
    /// In the book.
    pub open: i64,
    /// In the book, partly filled.
    pub partial: i64,
    /// Filled.
    pub filled: i64,
    /// Cancelled.
    pub cancelled: i64,
    /// Expired.
    pub expired: i64,
    /// Rejected.
    pub rejected: i64,
    /// Its cancellation is in progress.
    pub cancelling: i64,
}

/// What a status code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Pending, open or partly filled.
    Live,
    /// Its cancellation is in progress.
    Cancelling,
    /// It ended.
    Ended(Outcome),
    /// The profile does not know the code.
    Unknown,
}

impl StatusCodes {
    fn named(&self) -> [(&'static str, i64); 8] {
        [
            ("pending", self.pending),
            ("open", self.open),
            ("partial", self.partial),
            ("filled", self.filled),
            ("cancelled", self.cancelled),
            ("expired", self.expired),
            ("rejected", self.rejected),
            ("cancelling", self.cancelling),
        ]
    }

    /// Returns what a code means.
    #[must_use]
    pub fn meaning(&self, code: i64) -> Status {
        let name = self.named().into_iter().find(|(_, known)| *known == code);
        match name.map(|(name, _)| name) {
            Some("pending" | "open" | "partial") => Status::Live,
            Some("filled") => Status::Ended(Outcome::Filled),
            Some("cancelled") => Status::Ended(Outcome::Cancelled),
            Some("expired") => Status::Ended(Outcome::Expired),
            Some("rejected") => Status::Ended(Outcome::Rejected),
            Some("cancelling") => Status::Cancelling,
            _ => Status::Unknown,
        }
    }
}

/// The orders table with checked names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the profile")]
pub struct OrdersTable {
    pub source: SourceName,
    pub table: SqlIdent,
    pub id: SqlIdent,
    pub order_id: SqlIdent,
    pub wallet: SqlIdent,
    pub market: SqlIdent,
    pub status: SqlIdent,
    pub expire_at: SqlIdent,
    pub remaining: SqlIdent,
    pub updated_at: SqlIdent,
}

impl OrdersTable {
    /// Key, name and type category (`N`: number, `S`: text) of each column.
    #[must_use]
    pub fn columns(&self) -> [(&'static str, &SqlIdent, &'static str); 8] {
        [
            ("id", &self.id, "N"),
            ("order_id", &self.order_id, "S"),
            ("wallet", &self.wallet, "S"),
            ("market", &self.market, "S"),
            ("status", &self.status, "N"),
            ("expire_at", &self.expire_at, "N"),
            ("remaining", &self.remaining, "N"),
            ("updated_at", &self.updated_at, "N"),
        ]
    }
}

impl ExpiryProfile {
    /// Returns the table with checked names.
    ///
    /// # Errors
    /// One sentence for each name that cannot be used, with its key below `expiry_profile`.
    pub fn orders(&self) -> Result<OrdersTable, Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        let mut ident = |key: &'static str, text: &str, column: bool| {
            let parsed = text.parse().map_err(|error: SqlIdentError| error.to_string());
            let checked = parsed.and_then(|ident: SqlIdent| match ident.schema() {
                Some(_) if column => Err(format!("'{text}' is a table's name, not a column's")),
                _ => Ok(ident),
            });
            checked.unwrap_or_else(|problem| {
                problems.push((key, problem));
                SqlIdent::quoting("unusable")
            })
        };
        let table = OrdersTable {
            source: self.source,
            table: ident("table", &self.table, false),
            id: ident("id", &self.id, true),
            order_id: ident("order_id", &self.order_id, true),
            wallet: ident("wallet", &self.wallet, true),
            market: ident("market", &self.market, true),
            status: ident("status", &self.status, true),
            expire_at: ident("expire_at", &self.expire_at, true),
            remaining: ident("remaining", &self.remaining, true),
            updated_at: ident("updated_at", &self.updated_at, true),
        };
        if problems.is_empty() {
            Ok(table)
        } else {
            Err(problems)
        }
    }

    /// Reports names and codes that cannot be used.
    pub fn validate(&self, problems: &mut Problems) {
        for (key, reason) in self.orders().err().unwrap_or_default() {
            problems.add(
                format!("expiry_profile.{key}"),
                reason,
                "use the name the database shows",
            );
        }
        let codes = self.codes.named();
        for (index, (name, code)) in codes.iter().enumerate() {
            if let Some((other, _)) = codes[..index].iter().find(|(_, before)| before == code) {
                problems.add_value(
                    format!("expiry_profile.codes.{name}"),
                    code,
                    format!("is the code of {other} too"),
                    "give each status its own code",
                );
            }
        }
    }
}
