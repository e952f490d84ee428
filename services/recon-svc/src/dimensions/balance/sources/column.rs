//! Columns of the books as our own types.

use eidos_types::{Address, Amount};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::SourceError;
use crate::dimensions::balance::account::{TokenIndex, TokenList};
use crate::dimensions::balance::schema::{Schema, WalletCase};

/// A `NUMERIC` column, exactly. The inner error says why the value is no amount; NULL is none.
pub fn amount(row: &PgRow, column: &str) -> Result<Result<Amount, String>, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    let bytes = value.as_bytes().map_err(|cause| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: cause,
    });
    Ok(match bytes {
        Ok(bytes) => Amount::from_pg_numeric(bytes).map_err(|error| error.to_string()),
        Err(_null) => Err(format!("{column} is NULL")),
    })
}

/// A `NUMERIC` column that has to be an amount.
pub fn exact_amount(row: &PgRow, column: &str, table: &str, id: &str) -> Result<Amount, SourceError> {
    amount(row, column)
        .map_err(SourceError::reading("an amount"))?
        .map_err(|reason| bad_row(table, id, &format!("{column}: {reason}")))
}

/// A wallet column.
pub fn wallet(text: &str, table: &str) -> Result<Address, SourceError> {
    text.to_ascii_lowercase()
        .parse()
        .map_err(|error: eidos_types::ParseHexError| bad_row(table, text, &error.to_string()))
}

/// How the wallet column is compared with [`spellings`], so that an index on it can be used where there is one.
#[must_use]
pub const fn wallet_key(schema: &Schema) -> &'static str {
    match schema.wallet_case {
        WalletCase::Lower => "{wallet}",
        WalletCase::Mixed => "lower({wallet})",
    }
}

/// How a wallet may be written in the books: in lower case, or with the capitals of its checksum.
#[must_use]
pub fn spellings(wallet: Address) -> Vec<String> {
    vec![
        wallet.to_string(),
        eidos_chain::contracts::evm(&wallet).to_checksum(None),
    ]
}

/// A token column.
pub fn token(symbol: &str, tokens: &TokenList, table: &str, id: &str) -> Result<TokenIndex, SourceError> {
    tokens.by_symbol(symbol).ok_or_else(|| {
        let known: Vec<&str> = tokens.iter().map(|(_, token)| token.symbol.as_str()).collect();
        let detail = format!(
            "token '{symbol}' is unknown; known are {}; add it to the token table and to the chain's settings",
            known.join(", ")
        );
        bad_row(table, id, &detail)
    })
}

/// A row that cannot be understood.
pub fn bad_row(table: &str, id: &str, detail: &str) -> SourceError {
    SourceError::BadRow {
        table: table.to_owned(),
        detail: format!("{id}: {detail}"),
    }
}
