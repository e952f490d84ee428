//! Between the application layer and the wire. Absent values are empty or zero, as in the proto.

use eidos_proto::common::v1::{PaginationRequest, PaginationResponse};
use eidos_proto::jobs::v1 as wire;
use eidos_types::Instant;
use serde_json::Value;
use tonic::{Code, Status};

use crate::api::{
    ApiError, ExecutionView, JobView, PageRequest, PageView, RecordView, StatisticView, TokenTotals,
};

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let code = match &error {
            ApiError::Unauthenticated => Code::Unauthenticated,
            ApiError::Forbidden { .. } => Code::PermissionDenied,
            ApiError::NotFound(_) => Code::NotFound,
            ApiError::Busy { .. } | ApiError::Conflict(_) | ApiError::Stale { .. } => {
                Code::FailedPrecondition
            }
            ApiError::Malformed(_) | ApiError::Invalid(_) | ApiError::TooLarge { .. } => {
                Code::InvalidArgument
            }
            ApiError::Unavailable(_) => Code::Unavailable,
        };
        Self::new(code, error.detail())
    }
}

/// Empty text is "not given".
pub(super) fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Zero is "not given".
pub(super) fn given_instant(field: &str, epoch_ms: i64) -> Result<Option<Instant>, ApiError> {
    if epoch_ms == 0 {
        return Ok(None);
    }
    Instant::from_ms(epoch_ms)
        .map(Some)
        .map_err(|error| ApiError::Invalid(format!("{field}: {error}")))
}

/// As [`given_instant`], in epoch milliseconds.
pub(super) fn given_ms(field: &str, epoch_ms: i64) -> Result<Option<i64>, ApiError> {
    Ok(given_instant(field, epoch_ms)?.map(Instant::ms))
}

pub(super) fn page_request(pagination: Option<PaginationRequest>) -> Result<PageRequest, ApiError> {
    let pagination = pagination.unwrap_or_default();
    let page = u32::try_from(pagination.page);
    let size = u32::try_from(pagination.page_size);
    match (page, size) {
        (Ok(page), Ok(size)) => PageRequest::new(page, size),
        _ => Err(ApiError::Invalid(format!(
            "pagination must not be negative: page {}, page_size {}",
            pagination.page, pagination.page_size
        ))),
    }
}

pub(super) fn pagination(view: PageView) -> PaginationResponse {
    PaginationResponse {
        total: view.total,
        page: small(view.page),
        page_size: small(view.page_size),
        total_pages: small(view.total_pages),
        has_next: view.has_next,
        has_previous: view.has_previous,
    }
}

pub(super) fn job_status(view: JobView) -> wire::JobStatus {
    let last = view.last_execution;
    let millis = |instant: chrono::DateTime<chrono::Utc>| instant.timestamp_millis();
    wire::JobStatus {
        job_name: view.job,
        enabled: view.enabled,
        cron: view.cron,
        timeout_seconds: i32::try_from(view.timeout_ms / 1000).unwrap_or(i32::MAX),
        is_locked: view.running,
        last_status: last.as_ref().map(|last| last.status.clone()).unwrap_or_default(),
        last_started_at: last.as_ref().and_then(|last| last.started_at).map_or(0, millis),
        last_finished_at: last.as_ref().and_then(|last| last.finished_at).map_or(0, millis),
        last_duration_ms: last
            .as_ref()
            .and_then(|last| last.duration_ms)
            .unwrap_or_default(),
        last_error: last
            .as_ref()
            .and_then(|last| last.error_message.clone())
            .unwrap_or_default(),
        paused: view.paused,
        paused_by: view.paused_by.unwrap_or_default(),
        paused_reason: view.paused_reason.unwrap_or_default(),
        next_run_at: view.next_run_at.map_or(0, millis),
        last_success_at: view.last_success_at.map_or(0, millis),
        last_execution_id: last.map(|last| last.execution_id).unwrap_or_default(),
    }
}

pub(super) fn execution(view: ExecutionView) -> wire::JobExecution {
    let millis =
        |instant: Option<chrono::DateTime<chrono::Utc>>| instant.map_or(0, |at| at.timestamp_millis());
    let progress = view.progress;
    wire::JobExecution {
        id: view.row_id,
        job_name: view.job,
        status: view.status,
        started_at: millis(view.started_at),
        finished_at: millis(view.finished_at),
        duration_ms: view.duration_ms.unwrap_or_default(),
        error_message: view.error_message.unwrap_or_default(),
        result: view.result.map(fields).unwrap_or_default(),
        execution_id: view.execution_id,
        failure_kind: view.failure_kind.unwrap_or_default(),
        trigger: view.trigger,
        attempt: view.attempt,
        slot: millis(view.slot),
        dry_run: view.dry_run,
        progress_done: progress.map_or(0, |progress| i64::try_from(progress.done).unwrap_or(i64::MAX)),
        progress_total: progress
            .and_then(|progress| progress.total)
            .map_or(0, |total| i64::try_from(total).unwrap_or(i64::MAX)),
        node_id: view.node.unwrap_or_default(),
    }
}

/// The report's top-level fields: text as it is, everything else as JSON.
fn fields(report: Value) -> std::collections::HashMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    match report {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, text(value)))
            .collect(),
        Value::Null => std::collections::HashMap::new(),
        other => std::iter::once(("report".to_owned(), text(other))).collect(),
    }
}

pub(super) fn token_totals(totals: TokenTotals) -> wire::ReconciliationSummary {
    wire::ReconciliationSummary {
        token: totals.token,
        checked_count: totals.checked,
        mismatched_count: totals.mismatched,
        total_diff: totals.total_diff,
    }
}

pub(super) fn record(view: RecordView) -> wire::ReconciliationRecord {
    wire::ReconciliationRecord {
        id: view.id,
        job_type: view.job_type,
        reconcile_type: view.reconcile_type,
        status: view.status,
        wallet_address: view.wallet_address,
        token: view.token,
        offchain_value: view.offchain_value,
        onchain_value: view.onchain_value,
        diff_value: view.diff_value,
        created_at: view.created_at,
    }
}

pub(super) fn statistic(view: StatisticView) -> wire::StatisticsData {
    wire::StatisticsData {
        stat_type: view.stat_type,
        stat_date: view.stat_date.format("%Y-%m-%d").to_string(),
        stat_hour: view.stat_hour,
        market: view.market,
        metric_name: view.metric_name,
        metric_value: view.metric_value,
    }
}

fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_becomes_a_map_of_text() {
        let map = fields(json!({ "token": "USDC", "checked": 12, "by_token": { "a": 1 } }));
        assert_eq!(map["token"], "USDC");
        assert_eq!(map["checked"], "12");
        assert_eq!(map["by_token"], r#"{"a":1}"#);
    }
}
