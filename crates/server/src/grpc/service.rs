//! `eidos.jobs.v1.JobsService` over the application layer.

use std::sync::Arc;

use chrono::NaiveDate;
use eidos_proto::jobs::v1::jobs_service_server::JobsService;
use eidos_proto::jobs::v1::{
    CancelExecutionRequest, CancelExecutionResponse, GetExecutionRequest, GetExecutionResponse,
    GetJobReportRequest, GetJobReportResponse, GetJobStatusRequest, GetJobStatusResponse,
    GetReconciliationReportRequest, GetReconciliationReportResponse, GetStatisticsRequest,
    GetStatisticsResponse, ListJobExecutionsRequest, ListJobExecutionsResponse, ListJobStatusRequest,
    ListJobStatusResponse, ListReconciliationRecordsRequest, ListReconciliationRecordsResponse,
    PauseJobRequest, PauseJobResponse, ResumeJobRequest, ResumeJobResponse, TriggerJobRequest,
    TriggerJobResponse,
};
use eidos_telemetry::{metric, trace_context};
use eidos_types::Instant;
use serde_json::Value;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::convert::{self, given, given_instant, given_ms};
use crate::Caller;
use crate::api::{Api, ApiError, ExecutionQuery, RecordQuery, StatisticsQuery, TriggerInput};
use crate::auth::Authenticator;

/// The service.
#[derive(Clone)]
pub(crate) struct JobsGrpc {
    api: Api,
    auth: Arc<Authenticator>,
}

type Answer<T> = Result<Response<T>, Status>;

/// The methods of the service, as `grpc_requests_total{method}` names them.
const METHODS: [&str; 12] = [
    "GetJobStatus",
    "ListJobStatus",
    "TriggerJob",
    "ListJobExecutions",
    "GetReconciliationReport",
    "ListReconciliationRecords",
    "GetStatistics",
    "GetExecution",
    "GetJobReport",
    "CancelExecution",
    "PauseJob",
    "ResumeJob",
];

/// The word of `grpc_requests_total{code}` for a request that succeeded.
const OK: &str = "ok";

impl JobsGrpc {
    /// The service, with the counter of every method at zero: one that first appears with a request shows no increase.
    pub(crate) fn new(api: Api, auth: Arc<Authenticator>) -> Self {
        for method in METHODS {
            metric::grpc_requests_from_zero(method, OK);
        }
        Self { api, auth }
    }

    /// Identity, trace and metrics around one call.
    async fn answer<Req, Res, Fut>(
        &self,
        method: &'static str,
        request: Request<Req>,
        handler: impl FnOnce(Caller, Req) -> Fut + Send,
    ) -> Answer<Res>
    where
        Fut: Future<Output = Result<Res, ApiError>> + Send,
    {
        debug_assert!(METHODS.contains(&method), "{method} is missing in METHODS");
        let (metadata, _extensions, message) = request.into_parts();
        let span = tracing::info_span!("grpc", method, code = tracing::field::Empty);
        trace_context::continue_from(&span, metadata.as_ref());
        let answering = async {
            let caller = self.caller(&metadata).ok_or(ApiError::Unauthenticated)?;
            handler(caller, message).await
        };
        let answer = answering.instrument(span.clone()).await.map_err(Status::from);
        let code = answer
            .as_ref()
            .map_or_else(|status| code_label(status.code()), |_| OK);
        span.record("code", code);
        metric::grpc_request(method, code);
        answer.map(Response::new)
    }

    fn caller(&self, metadata: &MetadataMap) -> Option<Caller> {
        self.auth.caller(
            metadata
                .get("authorization")
                .and_then(|value| value.to_str().ok()),
        )
    }
}

#[tonic::async_trait]
impl JobsService for JobsGrpc {
    async fn get_job_status(&self, request: Request<GetJobStatusRequest>) -> Answer<GetJobStatusResponse> {
        self.answer("GetJobStatus", request, async |caller, request| {
            let view = self.api.job(&caller, &request.job_name).await?;
            Ok(GetJobStatusResponse {
                status: Some(convert::job_status(view)),
            })
        })
        .await
    }

    async fn list_job_status(&self, request: Request<ListJobStatusRequest>) -> Answer<ListJobStatusResponse> {
        self.answer("ListJobStatus", request, async |caller, _request| {
            let views = self.api.jobs(&caller).await?;
            Ok(ListJobStatusResponse {
                statuses: views.into_iter().map(convert::job_status).collect(),
            })
        })
        .await
    }

    async fn trigger_job(&self, request: Request<TriggerJobRequest>) -> Answer<TriggerJobResponse> {
        self.answer("TriggerJob", request, async |caller, request| {
            caller.needs(eidos_settings::Role::Operator)?;
            let input = TriggerInput {
                idempotency_key: given(request.idempotency_key),
                params: params(&request.params_json)?,
                dry_run: request.dry_run,
                slot: given_instant("slot", request.slot)?.map(Instant::slot),
            };
            let accepted = self
                .api
                .trigger(&caller, &request.job_name, input, current_trace())
                .await?;
            let message = if accepted.created {
                "accepted"
            } else {
                "this key was accepted before"
            };
            Ok(TriggerJobResponse {
                accepted: true,
                message: message.to_owned(),
                execution_id: accepted.execution_id,
                created: accepted.created,
            })
        })
        .await
    }

    async fn list_job_executions(
        &self,
        request: Request<ListJobExecutionsRequest>,
    ) -> Answer<ListJobExecutionsResponse> {
        self.answer("ListJobExecutions", request, async |caller, request| {
            let query = ExecutionQuery {
                job: given(request.job_name),
                status: given(request.status),
                from_ms: given_ms("start_time", request.start_time)?,
                until_ms: given_ms("end_time", request.end_time)?,
            };
            let page = convert::page_request(request.pagination)?;
            let found = self.api.executions(&caller, &query, page).await?;
            Ok(ListJobExecutionsResponse {
                executions: found.executions.into_iter().map(convert::execution).collect(),
                pagination: Some(convert::pagination(found.pagination)),
            })
        })
        .await
    }

    async fn get_reconciliation_report(
        &self,
        request: Request<GetReconciliationReportRequest>,
    ) -> Answer<GetReconciliationReportResponse> {
        self.answer("GetReconciliationReport", request, async |caller, request| {
            let query = RecordQuery {
                job_type: given(request.job_type.clone()),
                from_ms: given_ms("start_time", request.start_time)?,
                until_ms: given_ms("end_time", request.end_time)?,
                ..RecordQuery::default()
            };
            let totals = self.api.reconciliation_totals(&caller, &query).await?;
            Ok(GetReconciliationReportResponse {
                job_type: request.job_type,
                start_time: request.start_time,
                end_time: request.end_time,
                total_checked: totals.checked,
                matched_count: totals.checked - totals.mismatched,
                mismatched_count: totals.mismatched,
                total_diff: totals.total_diff,
                by_token: totals.by_token.into_iter().map(convert::token_totals).collect(),
            })
        })
        .await
    }

    async fn list_reconciliation_records(
        &self,
        request: Request<ListReconciliationRecordsRequest>,
    ) -> Answer<ListReconciliationRecordsResponse> {
        self.answer("ListReconciliationRecords", request, async |caller, request| {
            let query = RecordQuery {
                job_type: given(request.job_type),
                status: given(request.status),
                wallet_address: given(request.wallet_address),
                from_ms: given_ms("start_time", request.start_time)?,
                until_ms: given_ms("end_time", request.end_time)?,
            };
            let page = convert::page_request(request.pagination)?;
            let found = self.api.reconciliation_records(&caller, &query, page).await?;
            Ok(ListReconciliationRecordsResponse {
                records: found.records.into_iter().map(convert::record).collect(),
                pagination: Some(convert::pagination(found.pagination)),
            })
        })
        .await
    }

    async fn get_statistics(&self, request: Request<GetStatisticsRequest>) -> Answer<GetStatisticsResponse> {
        self.answer("GetStatistics", request, async |caller, request| {
            let query = StatisticsQuery {
                stat_type: given(request.stat_type),
                from: date("start_date", &request.start_date)?,
                upto: date("end_date", &request.end_date)?,
                market: given(request.market),
                metrics: request.metric_names,
            };
            let figures = self.api.statistics(&caller, &query).await?;
            Ok(GetStatisticsResponse {
                data: figures.into_iter().map(convert::statistic).collect(),
            })
        })
        .await
    }

    async fn get_execution(&self, request: Request<GetExecutionRequest>) -> Answer<GetExecutionResponse> {
        self.answer("GetExecution", request, async |caller, request| {
            let view = self.api.execution(&caller, &request.execution_id).await?;
            Ok(GetExecutionResponse {
                execution: Some(convert::execution(view)),
            })
        })
        .await
    }

    async fn get_job_report(&self, request: Request<GetJobReportRequest>) -> Answer<GetJobReportResponse> {
        self.answer("GetJobReport", request, async |caller, request| {
            let view = self.api.report(&caller, &request.job_name).await?;
            Ok(GetJobReportResponse {
                report_json: view.report.to_string(),
                execution: Some(convert::execution(view.execution)),
            })
        })
        .await
    }

    async fn cancel_execution(
        &self,
        request: Request<CancelExecutionRequest>,
    ) -> Answer<CancelExecutionResponse> {
        self.answer("CancelExecution", request, async |caller, request| {
            let view = self.api.cancel(&caller, &request.execution_id).await?;
            Ok(CancelExecutionResponse {
                execution: Some(convert::execution(view.execution)),
            })
        })
        .await
    }

    async fn pause_job(&self, request: Request<PauseJobRequest>) -> Answer<PauseJobResponse> {
        self.answer("PauseJob", request, async |caller, request| {
            let view = self
                .api
                .pause(&caller, &request.job_name, &request.reason)
                .await?;
            Ok(PauseJobResponse {
                status: Some(convert::job_status(view)),
            })
        })
        .await
    }

    async fn resume_job(&self, request: Request<ResumeJobRequest>) -> Answer<ResumeJobResponse> {
        self.answer("ResumeJob", request, async |caller, request| {
            let view = self
                .api
                .resume(&caller, &request.job_name, &request.reason)
                .await?;
            Ok(ResumeJobResponse {
                status: Some(convert::job_status(view)),
            })
        })
        .await
    }
}

fn params(text: &str) -> Result<Option<Value>, ApiError> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_str(text);
    parsed
        .map(Some)
        .map_err(|error| ApiError::Invalid(format!("params_json is not JSON: {error}")))
}

fn date(field: &str, text: &str) -> Result<Option<NaiveDate>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let shown: String = text.chars().take(40).collect();
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .map(Some)
        .map_err(|_not_a_date| {
            ApiError::Invalid(format!("{field} '{shown}' is not a date; write YYYY-MM-DD"))
        })
}

fn current_trace() -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    trace_context::inject(&tracing::Span::current(), &mut headers);
    headers
}

fn code_label(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => OK,
        tonic::Code::InvalidArgument => "invalid_argument",
        tonic::Code::NotFound => "not_found",
        tonic::Code::PermissionDenied => "permission_denied",
        tonic::Code::Unauthenticated => "unauthenticated",
        tonic::Code::FailedPrecondition => "failed_precondition",
        tonic::Code::Unavailable => "unavailable",
        _ => "other",
    }
}
