//! Reconciliation records and statistics, as existing gRPC clients ask for them.

use chrono::NaiveDate;
use eidos_settings::Role;
use eidos_types::Address;

use super::views::{ReconciliationTotals, RecordPage, RecordView, StatisticView, TokenTotals};
use super::{Api, ApiError, Caller, PageRequest};
use crate::sql;

/// Most figures one call returns.
const MAX_STATISTICS: i64 = 10_000;

/// Which reconciliation records. Empty text and zero mean "any", as in the proto.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordQuery {
    pub(crate) job_type: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) wallet_address: Option<String>,
    /// Written at or after, epoch ms.
    pub(crate) from_ms: Option<i64>,
    /// Written before, epoch ms.
    pub(crate) until_ms: Option<i64>,
}

/// Which statistics.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatisticsQuery {
    pub(crate) stat_type: Option<String>,
    pub(crate) from: Option<NaiveDate>,
    /// Included.
    pub(crate) upto: Option<NaiveDate>,
    pub(crate) market: Option<String>,
    pub(crate) metrics: Vec<String>,
}

/// What reconciliation records can be about.
const DIMENSIONS: [&str; 5] = ["balance", "deposit", "withdrawal", "settlement", "solvency"];
/// How an account can compare.
const RECORD_STATUSES: [&str; 3] = ["matched", "mismatched", "ignored"];

impl RecordQuery {
    /// Refuses filters that no record can match: "nothing" would read as "all is well".
    fn check(&self) -> Result<(), ApiError> {
        one_of("job_type", self.job_type.as_deref(), &DIMENSIONS)?;
        one_of("status", self.status.as_deref(), &RECORD_STATUSES)?;
        if let Some(wallet) = &self.wallet_address {
            let address: Result<Address, _> = wallet.to_ascii_lowercase().parse();
            address.map_err(|_not_hex| {
                ApiError::Invalid(format!(
                    "wallet_address '{wallet}' is not an address: 0x and 40 hex digits"
                ))
            })?;
        }
        match (self.from_ms, self.until_ms) {
            (Some(from), Some(until)) if until <= from => Err(ApiError::Invalid(format!(
                "end_time {until} is not after start_time {from}"
            ))),
            _ => Ok(()),
        }
    }
}

fn one_of(key: &str, value: Option<&str>, allowed: &[&str]) -> Result<(), ApiError> {
    match value {
        Some(value) if !allowed.contains(&value) => Err(ApiError::Invalid(format!(
            "{key} '{value}' is unknown; use {}",
            allowed.join(", ")
        ))),
        _ => Ok(()),
    }
}

impl Api {
    /// Counts and differences by token.
    pub(crate) async fn reconciliation_totals(
        &self,
        caller: &Caller,
        query: &RecordQuery,
    ) -> Result<ReconciliationTotals, ApiError> {
        caller.needs(Role::Viewer)?;
        query.check()?;
        let by_token: Vec<TokenTotals> = sqlx::query_as(sql::RECONCILIATION_TOTALS)
            .bind(query.job_type.as_deref())
            .bind(query.from_ms)
            .bind(query.until_ms)
            .fetch_all(self.db.read())
            .await
            .map_err(ApiError::sql("sum reconciliation records"))?;
        let differing: Vec<&TokenTotals> = by_token.iter().filter(|token| token.mismatched > 0).collect();
        let total_diff = match differing.as_slice() {
            [] => "0".to_owned(),
            [only] => only.total_diff.clone(),
            _ => String::new(),
        };
        Ok(ReconciliationTotals {
            checked: by_token.iter().map(|token| token.checked).sum(),
            mismatched: by_token.iter().map(|token| token.mismatched).sum(),
            total_diff,
            by_token,
        })
    }

    /// The records themselves, newest first.
    pub(crate) async fn reconciliation_records(
        &self,
        caller: &Caller,
        query: &RecordQuery,
        page: PageRequest,
    ) -> Result<RecordPage, ApiError> {
        caller.needs(Role::Viewer)?;
        query.check()?;
        let total: i64 = sqlx::query_scalar(sql::COUNT_RECONCILIATION_RECORDS)
            .bind(query.job_type.as_deref())
            .bind(query.status.as_deref())
            .bind(query.wallet_address.as_deref())
            .bind(query.from_ms)
            .bind(query.until_ms)
            .fetch_one(self.db.read())
            .await
            .map_err(ApiError::sql("count reconciliation records"))?;
        let records: Vec<RecordView> = sqlx::query_as(sql::RECONCILIATION_RECORDS)
            .bind(query.job_type.as_deref())
            .bind(query.status.as_deref())
            .bind(query.wallet_address.as_deref())
            .bind(query.from_ms)
            .bind(query.until_ms)
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(self.db.read())
            .await
            .map_err(ApiError::sql("list reconciliation records"))?;
        Ok(RecordPage {
            records,
            pagination: page.view(total),
        })
    }

    /// Stored figures, oldest first.
    pub(crate) async fn statistics(
        &self,
        caller: &Caller,
        query: &StatisticsQuery,
    ) -> Result<Vec<StatisticView>, ApiError> {
        caller.needs(Role::Viewer)?;
        let figures: Vec<StatisticView> = sqlx::query_as(sql::STATISTICS)
            .bind(query.stat_type.as_deref())
            .bind(query.from)
            .bind(query.upto)
            .bind(query.market.as_deref())
            .bind(&query.metrics)
            .bind(MAX_STATISTICS + 1)
            .fetch_all(self.db.read())
            .await
            .map_err(ApiError::sql("read statistics"))?;
        if i64::try_from(figures.len()).unwrap_or(i64::MAX) > MAX_STATISTICS {
            return Err(ApiError::Invalid(format!(
                "more than {MAX_STATISTICS} figures match; narrow the dates, the market or the metrics"
            )));
        }
        Ok(figures)
    }
}
