//! Reconciliation records and statistics, as existing gRPC clients ask for them.

use std::sync::Arc;

use eidos_runtime::ServiceDeps;
use eidos_server::{
    ApiError, PageRequest, ReconciliationTotals, RecordPage, RecordQuery, Reports, StatisticView,
    StatisticsQuery, TokenTotals,
};
use eidos_types::Address;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::PgPool;

use crate::settings::ReconSettings;
use crate::store::reports;

/// Most figures one call returns.
const MAX_STATISTICS: i64 = 10_000;
/// What reconciliation records can be about.
const DIMENSIONS: [&str; 6] = [
    "balance",
    "deposit",
    "withdrawal",
    "settlement",
    "fee_account",
    "solvency",
];
/// How an account can compare.
const RECORD_STATUSES: [&str; 3] = ["matched", "mismatched", "ignored"];

/// Refuses filters that no record can match: "nothing" would read as "all is well".
fn check(query: &RecordQuery) -> Result<(), ApiError> {
    one_of("job_type", query.job_type.as_deref(), &DIMENSIONS)?;
    one_of("status", query.status.as_deref(), &RECORD_STATUSES)?;
    if let Some(wallet) = &query.wallet_address {
        let address: Result<Address, _> = wallet.to_ascii_lowercase().parse();
        address.map_err(|_not_hex| {
            ApiError::Invalid(format!(
                "wallet_address '{wallet}' is not an address: 0x and 40 hex digits"
            ))
        })?;
    }
    match (query.from_ms, query.until_ms) {
        (Some(from), Some(until)) if until <= from => Err(ApiError::Invalid(format!(
            "end_time {until} is not after start_time {from}"
        ))),
        _ => Ok(()),
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

/// The reports of this service.
pub fn reports(deps: &ServiceDeps<ReconSettings>) -> Arc<dyn Reports> {
    Arc::new(Stored(deps.jobs_db.read().clone()))
}

/// Read from the jobs database.
#[derive(Debug)]
struct Stored(PgPool);

impl Reports for Stored {
    fn totals<'a>(&'a self, query: &'a RecordQuery) -> BoxFuture<'a, Result<ReconciliationTotals, ApiError>> {
        async move {
            check(query)?;
            let by_token = reports::totals(&self.0, query)
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
        .boxed()
    }

    fn records<'a>(
        &'a self,
        query: &'a RecordQuery,
        page: PageRequest,
    ) -> BoxFuture<'a, Result<RecordPage, ApiError>> {
        async move {
            check(query)?;
            let total = reports::count(&self.0, query)
                .await
                .map_err(ApiError::sql("count reconciliation records"))?;
            let records = reports::records(&self.0, query, page)
                .await
                .map_err(ApiError::sql("list reconciliation records"))?;
            Ok(RecordPage {
                records,
                pagination: page.view(total),
            })
        }
        .boxed()
    }

    fn statistics<'a>(
        &'a self,
        query: &'a StatisticsQuery,
    ) -> BoxFuture<'a, Result<Vec<StatisticView>, ApiError>> {
        async move {
            let figures = reports::statistics(&self.0, query, MAX_STATISTICS + 1)
                .await
                .map_err(ApiError::sql("read statistics"))?;
            if i64::try_from(figures.len()).unwrap_or(i64::MAX) > MAX_STATISTICS {
                return Err(ApiError::Invalid(format!(
                    "more than {MAX_STATISTICS} figures match; narrow the dates, the market or the metrics"
                )));
            }
            Ok(figures)
        }
        .boxed()
    }
}
