//! [`Reports`]: figures of a service's own tables, as existing gRPC clients ask for them.

use chrono::NaiveDate;
use eidos_settings::Role;
use futures::future::BoxFuture;

use super::views::PageView;
use super::{Api, ApiError, Caller, PageRequest};

/// Which reconciliation records. Empty text and zero mean "any", as in the proto.
#[derive(Debug, Clone, Default)]
pub struct RecordQuery {
    /// Such as `balance`.
    pub job_type: Option<String>,
    /// Such as `mismatched`.
    pub status: Option<String>,
    /// Of one account.
    pub wallet_address: Option<String>,
    /// Written at or after, epoch ms.
    pub from_ms: Option<i64>,
    /// Written before, epoch ms.
    pub until_ms: Option<i64>,
}

/// Which statistics.
#[derive(Debug, Clone, Default)]
pub struct StatisticsQuery {
    /// Such as `daily`.
    pub stat_type: Option<String>,
    /// The first day.
    pub from: Option<NaiveDate>,
    /// Included.
    pub upto: Option<NaiveDate>,
    /// Of one market.
    pub market: Option<String>,
    /// Names of figures; empty: every one.
    pub metrics: Vec<String>,
}

/// Counts and differences of the reconciliation records in a time range.
#[derive(Debug, Clone)]
pub struct ReconciliationTotals {
    /// Accounts compared.
    pub checked: i64,
    /// Those that differ.
    pub mismatched: i64,
    /// Of the only token that differs; empty when several do (tokens are never summed together), or if the size of one
    /// of its differences is not known.
    pub total_diff: String,
    /// The same by token.
    pub by_token: Vec<TokenTotals>,
}

/// One token's part of [`ReconciliationTotals`].
#[derive(Debug, Clone)]
pub struct TokenTotals {
    /// Its symbol.
    pub token: String,
    /// Accounts compared.
    pub checked: i64,
    /// Those that differ.
    pub mismatched: i64,
    /// Empty if the size of a difference is not known: a sum without it would be too small.
    pub total_diff: String,
}

/// A page of reconciliation records, newest first.
#[derive(Debug, Clone)]
pub struct RecordPage {
    /// The rows.
    pub records: Vec<RecordView>,
    /// Where they lie in the whole list.
    pub pagination: PageView,
}

/// One reconciliation record; amounts are exact decimal text.
#[derive(Debug, Clone)]
pub struct RecordView {
    /// The row's number.
    pub id: i64,
    /// Such as `balance`.
    pub job_type: String,
    /// `full` or `incremental`.
    pub reconcile_type: String,
    /// `matched`, `mismatched` or `ignored`.
    pub status: String,
    /// Empty: the vault as a whole.
    pub wallet_address: String,
    /// Its symbol.
    pub token: String,
    /// What the ledger says.
    pub offchain_value: String,
    /// What the chain says.
    pub onchain_value: String,
    /// On-chain minus off-chain.
    pub diff_value: String,
    /// Epoch ms.
    pub created_at: i64,
}

/// One stored figure.
#[derive(Debug, Clone)]
pub struct StatisticView {
    /// Such as `daily`.
    pub stat_type: String,
    /// UTC.
    pub stat_date: chrono::NaiveDate,
    /// 0 for a day's figure.
    pub stat_hour: i32,
    /// Empty: all.
    pub market: String,
    /// Its name.
    pub metric_name: String,
    /// Exact decimal text.
    pub metric_value: String,
}

/// What a service answers about its own tables. Without it, the questions are answered with "not found".
pub trait Reports: std::fmt::Debug + Send + Sync + 'static {
    /// Counts and differences by token.
    fn totals<'a>(&'a self, query: &'a RecordQuery) -> BoxFuture<'a, Result<ReconciliationTotals, ApiError>>;

    /// The records themselves, newest first.
    fn records<'a>(
        &'a self,
        query: &'a RecordQuery,
        page: PageRequest,
    ) -> BoxFuture<'a, Result<RecordPage, ApiError>>;

    /// Stored figures, oldest first.
    fn statistics<'a>(
        &'a self,
        query: &'a StatisticsQuery,
    ) -> BoxFuture<'a, Result<Vec<StatisticView>, ApiError>>;
}

impl Api {
    /// See [`Reports::totals`].
    pub(crate) async fn reconciliation_totals(
        &self,
        caller: &Caller,
        query: &RecordQuery,
    ) -> Result<ReconciliationTotals, ApiError> {
        self.reports_for(caller)?.totals(query).await
    }

    /// See [`Reports::records`].
    pub(crate) async fn reconciliation_records(
        &self,
        caller: &Caller,
        query: &RecordQuery,
        page: PageRequest,
    ) -> Result<RecordPage, ApiError> {
        self.reports_for(caller)?.records(query, page).await
    }

    /// See [`Reports::statistics`].
    pub(crate) async fn statistics(
        &self,
        caller: &Caller,
        query: &StatisticsQuery,
    ) -> Result<Vec<StatisticView>, ApiError> {
        self.reports_for(caller)?.statistics(query).await
    }

    fn reports_for(&self, caller: &Caller) -> Result<&dyn Reports, ApiError> {
        caller.needs(Role::Viewer)?;
        self.reports.as_deref().ok_or_else(|| {
            ApiError::NotFound(
                "this service has no records or figures to report; ask the one that writes them".to_owned(),
            )
        })
    }
}
