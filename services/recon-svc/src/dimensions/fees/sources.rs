//! The books' fees: the fee account's buckets, and what their settled trades paid.

use std::collections::BTreeMap;
use std::sync::Arc;

use eidos_types::{Address, Amount};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::verdict::Fees;
use crate::dimensions::balance::schema::{Schema, TableId};
use crate::dimensions::balance::sources::SourceError;
use crate::dimensions::balance::sources::changes::fee_totals;
use crate::dimensions::balance::sources::column;

/// An amount, or why it is none.
type Sum = Result<Amount, String>;

/// Reads fees.
#[derive(Debug, Clone)]
pub struct FeeRows {
    /// The tables.
    pub schema: Arc<Schema>,
    /// Whose account it is; `None`: nobody's withdrawals lessen it.
    pub recipient: Option<Address>,
    /// Fees of trades that are in no table any more, by token symbol.
    pub opening: BTreeMap<String, Amount>,
}

impl FeeRows {
    /// The fees of every token that the account or a trade has.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn all(&self, conn: &mut PgConnection) -> Result<Vec<Fees>, SourceError> {
        let booked: BTreeMap<String, Sum> = fee_totals(conn, &self.schema).await?.into_iter().collect();
        let mut paid: BTreeMap<String, Sum> = self
            .opening
            .iter()
            .map(|(token, amount)| (token.clone(), Ok(*amount)))
            .collect();
        add(&mut paid, self.paid(conn, TableId::Trades).await?);
        let archive = TableId::TradesArchive;
        if self
            .schema
            .exists(conn, archive)
            .await
            .map_err(SourceError::reading("the archive of trades"))?
        {
            add(&mut paid, self.paid(conn, archive).await?);
        }
        let withdrawn: BTreeMap<String, Sum> = self.withdrawn(conn).await?.into_iter().collect();
        let tokens: std::collections::BTreeSet<&String> =
            booked.keys().chain(paid.keys()).chain(withdrawn.keys()).collect();
        let of = |sums: &BTreeMap<String, Sum>, token: &String| {
            sums.get(token).cloned().unwrap_or(Ok(Amount::ZERO))
        };
        Ok(tokens
            .into_iter()
            .map(|token| Fees {
                token: token.clone(),
                booked: of(&booked, token),
                paid: of(&paid, token),
                withdrawn: of(&withdrawn, token),
            })
            .collect())
    }

    /// What the settled trades of a table paid.
    async fn paid(&self, conn: &mut PgConnection, table: TableId) -> Result<Vec<(String, Sum)>, SourceError> {
        let sql = self.schema.sql(
            table,
            "SELECT {fee_token}::text AS token, sum({maker_fee} + {taker_fee})::numeric AS total FROM {table} \
             WHERE {settlement_status} = ANY($1) GROUP BY 1 ORDER BY 1",
        );
        let rows = sqlx::query(sql)
            .bind(&self.schema.codes.trade_settled)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("the fees of trades"))?;
        sums(&rows)
    }

    /// What the fee recipient took out and was not given back.
    async fn withdrawn(&self, conn: &mut PgConnection) -> Result<Vec<(String, Sum)>, SourceError> {
        let codes = &self.schema.codes;
        let debited: Vec<i16> = codes
            .withdrawal_debited
            .iter()
            .chain(&codes.withdrawal_confirmed)
            .copied()
            .collect();
        let sql = self.schema.sql(
            TableId::Withdrawals,
            "SELECT {token}::text AS token, sum({amount})::numeric AS total FROM {table} \
             WHERE lower({wallet}) = $1 AND {status} = ANY($2) GROUP BY 1 ORDER BY 1",
        );
        let Some(recipient) = self.recipient else {
            return Ok(Vec::new());
        };
        let rows = sqlx::query(sql)
            .bind(recipient.to_string())
            .bind(&debited)
            .fetch_all(conn)
            .await
            .map_err(SourceError::reading("the withdrawals of the fee recipient"))?;
        sums(&rows)
    }
}

fn sums(rows: &[PgRow]) -> Result<Vec<(String, Sum)>, SourceError> {
    rows.iter()
        .map(|row| {
            let token: Option<String> = row.try_get("token")?;
            Ok((token.unwrap_or_default(), column::amount(row, "total")?))
        })
        .collect::<Result<_, _>>()
        .map_err(SourceError::reading("fees"))
}

fn add(sums: &mut BTreeMap<String, Sum>, more: Vec<(String, Sum)>) {
    for (token, amount) in more {
        let sum = sums.entry(token).or_insert(Ok(Amount::ZERO));
        *sum = sum.clone().and_then(|sum| {
            let added = sum.checked_add(amount?);
            added.map_err(|overflow| overflow.to_string())
        });
    }
}
