//! What tokens are worth: configured prices, or the newest row per token of a table.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use eidos_pg::sql;
use rust_decimal::Decimal;
use sqlx::{PgPool, Row};

use super::SourceError;
use super::price_check::CLOCK_TOLERANCE;
use crate::dimensions::balance::schema::SqlIdent;
use crate::settings::{PriceSettings, PriceTable};
use eidos_recon::severity::Price;

/// Prices by token symbol.
#[derive(Debug, Clone, Default)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// The configured prices, and over them what the table says.
    pub async fn load(
        configured: &BTreeMap<String, PriceSettings>,
        table: Option<(&PriceTable, &PgPool)>,
        now: DateTime<Utc>,
    ) -> Result<Self, SourceError> {
        let mut prices: BTreeMap<String, Price> = configured
            .iter()
            .map(|(symbol, price)| {
                let price = Price {
                    usdc: price.usdc,
                    as_of: price.as_of,
                    source: price.source.clone(),
                };
                (symbol.clone(), price)
            })
            .collect();
        if let Some((table, pool)) = table {
            prices.extend(newest(table, pool, now).await?);
        }
        Ok(Self(prices))
    }

    /// One token's price.
    #[must_use]
    pub fn of(&self, symbol: &str) -> Option<&Price> {
        self.0.get(symbol)
    }

    /// The names that have a price.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The newest row per token that is not dated in the future: such a row would never be old, and would hide all later
/// ones.
async fn newest(
    table: &PriceTable,
    pool: &PgPool,
    now: DateTime<Utc>,
) -> Result<Vec<(String, Price)>, SourceError> {
    let what = "prices";
    let ident = |text: &str| {
        text.parse::<SqlIdent>().map_err(|error| SourceError::BadRow {
            table: table.table.clone(),
            detail: error.to_string(),
        })
    };
    let (name, symbol, price, time_ms) = (
        ident(&table.table)?,
        ident(&table.symbol_column)?,
        ident(&table.price_column)?,
        ident(&table.time_ms_column)?,
    );
    let sql = sql!(
        "SELECT DISTINCT ON ({symbol}) {symbol}::text AS symbol, {price}::text AS price, \
                {time_ms}::bigint AS time_ms FROM {name} WHERE {time_ms}::bigint <= $1 ORDER BY {symbol}, {time_ms} DESC";
        symbol, price, time_ms, name
    );
    let rows = sqlx::query(sql)
        .bind((now + CLOCK_TOLERANCE).timestamp_millis())
        .fetch_all(pool)
        .await
        .map_err(SourceError::reading(what))?;
    let mut prices = Vec::with_capacity(rows.len());
    for row in &rows {
        let symbol: String = row.try_get("symbol").map_err(SourceError::reading(what))?;
        let text: String = row.try_get("price").map_err(SourceError::reading(what))?;
        let time_ms: i64 = row.try_get("time_ms").map_err(SourceError::reading(what))?;
        let usdc = text.parse::<Decimal>().ok().filter(|usdc| *usdc > Decimal::ZERO);
        let as_of = DateTime::<Utc>::from_timestamp_millis(time_ms);
        // A price that cannot be read, or of nothing, is a missing price (ruling 25).
        if let (Some(usdc), Some(as_of)) = (usdc, as_of) {
            let price = Price {
                usdc,
                as_of: Some(as_of),
                source: table.table.clone(),
            };
            prices.push((symbol, price));
        }
    }
    Ok(prices)
}
