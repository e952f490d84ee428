//! The tokens both sides speak about: the books' token table against the chain's settings.

use eidos_chain::TokenSettings;
use eidos_types::Address;
use sqlx::{PgPool, Row};

use super::SourceError;
use crate::dimensions::balance::schema::{Schema, TableId};

/// The token table's rows for this chain.
pub async fn from_books(
    pool: &PgPool,
    schema: &Schema,
    chain_id: u64,
) -> Result<Vec<TokenSettings>, SourceError> {
    let what = "the token table";
    let sql = schema.sql(
        TableId::TokenConfigs,
        "SELECT {symbol}::text AS symbol, {contract_address}::text AS address, {decimals}::bigint AS decimals \
         FROM {table} WHERE {chain_id}::bigint = $1 ORDER BY 1",
    );
    let rows = sqlx::query(sql)
        .bind(i64::try_from(chain_id).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await
        .map_err(SourceError::reading(what))?;
    rows.iter()
        .map(|row| {
            let symbol: String = row.try_get("symbol").map_err(SourceError::reading(what))?;
            let address: Option<String> = row.try_get("address").map_err(SourceError::reading(what))?;
            let decimals: i64 = row.try_get("decimals").map_err(SourceError::reading(what))?;
            let bad = |detail: String| SourceError::BadRow {
                table: schema.name(TableId::TokenConfigs).to_owned(),
                detail: format!("{symbol}: {detail}"),
            };
            let address = parse_address(address.as_deref().unwrap_or_default()).map_err(bad)?;
            let decimals = u8::try_from(decimals).map_err(|_range| bad(format!("decimals {decimals}")))?;
            Ok(TokenSettings {
                symbol,
                address,
                decimals,
            })
        })
        .collect()
}

/// The chain's own coin has no contract: empty and zero both mean it.
fn parse_address(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Ok(Address::ZERO);
    }
    text.parse()
        .map_err(|error: eidos_types::ParseHexError| error.to_string())
}

/// The tokens of a run: the configured ones, or the books' if none are. Where both exist they must agree.
///
/// # Errors
/// One sentence per disagreement, each with its fix.
pub fn agree(
    configured: &[TokenSettings],
    books: &[TokenSettings],
    table: &str,
    chain_id: u64,
) -> Result<Vec<TokenSettings>, Vec<String>> {
    if configured.is_empty() {
        return if books.is_empty() {
            Err(vec![format!(
                "no tokens: chain.tokens is empty and {table} has no row for chain.chain_id = {chain_id}; correct the \
                 id, or fill one of them"
            )])
        } else {
            Ok(books.to_vec())
        };
    }
    let mut problems = Vec::new();
    for theirs in books {
        match configured.iter().find(|ours| ours.symbol == theirs.symbol) {
            None => problems.push(format!(
                "token {} is in {table} but not in chain.tokens: its balances would not be compared; add it \
                 (address {}, decimals {})",
                theirs.symbol, theirs.address, theirs.decimals
            )),
            Some(ours) if ours != theirs => problems.push(format!(
                "token {}: chain.tokens says address {} decimals {}, {table} says {} and {}; correct one of them",
                ours.symbol, ours.address, ours.decimals, theirs.address, theirs.decimals
            )),
            Some(_) => {}
        }
    }
    if problems.is_empty() {
        Ok(configured.to_vec())
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(symbol: &str, byte: u8, decimals: u8) -> TokenSettings {
        TokenSettings {
            symbol: symbol.into(),
            address: Address::new([byte; 20]),
            decimals,
        }
    }

    #[test]
    fn unknown_and_contradicting_tokens_are_refused_by_name() {
        let (usdc, weth) = (token("USDC", 1, 6), token("WETH", 2, 18));
        assert_eq!(
            agree(&[], std::slice::from_ref(&usdc), "t", 1),
            Ok(vec![usdc.clone()])
        );
        assert_eq!(
            agree(&[usdc.clone(), weth.clone()], std::slice::from_ref(&usdc), "t", 1).map(|list| list.len()),
            Ok(2)
        );
        let unknown = agree(std::slice::from_ref(&usdc), &[usdc.clone(), weth], "t", 1).unwrap_err();
        assert!(unknown[0].contains("WETH"));
        let wrong = agree(&[token("USDC", 1, 18)], &[usdc], "t", 1).unwrap_err();
        assert!(wrong[0].contains("decimals 18"));
        assert!(agree(&[], &[], "tokens", 1).unwrap_err()[0].contains("tokens"));
    }
}
