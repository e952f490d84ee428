//! Reading the history for the API.

use eidos_core::db::JobsDb;
use eidos_runtime::take_rendered;
use eidos_types::{ExecutionId, JobName};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::ApiError;
use super::views::{ExecutionPage, ExecutionView, PageView, instant};
use crate::sql;

/// Most rows on one page (the contract of the gRPC interface).
const MAX_PAGE_SIZE: u32 = 100;
const DEFAULT_PAGE_SIZE: u32 = 20;
/// Deepest row a page may start at: beyond it, narrow the time range instead of counting rows.
const MAX_OFFSET: i64 = 1_000_000;

/// Which executions.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExecutionQuery {
    pub(crate) job: Option<String>,
    pub(crate) status: Option<String>,
    /// Started at or after, epoch ms.
    pub(crate) from_ms: Option<i64>,
    /// Started before, epoch ms.
    pub(crate) until_ms: Option<i64>,
}

/// Which part of a list: 1-based page, 1 to 100 rows, 20 unless told.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest {
    pub(crate) page: u32,
    pub(crate) page_size: u32,
}

impl PageRequest {
    /// Zero means "not given"; a larger page size is cut to what is allowed.
    pub(crate) fn new(page: u32, page_size: u32) -> Result<Self, ApiError> {
        let page_size = if page_size == 0 {
            DEFAULT_PAGE_SIZE
        } else {
            page_size.min(MAX_PAGE_SIZE)
        };
        let request = Self {
            page: page.max(1),
            page_size,
        };
        if request.offset() > MAX_OFFSET {
            return Err(ApiError::Invalid(format!(
                "page {page} starts beyond row {MAX_OFFSET}; narrow the time range instead"
            )));
        }
        Ok(request)
    }

    /// Rows before the page.
    #[must_use]
    pub fn offset(self) -> i64 {
        i64::from(self.page - 1) * i64::from(self.page_size)
    }

    /// Most rows on the page.
    #[must_use]
    pub fn limit(self) -> i64 {
        i64::from(self.page_size)
    }

    /// Where this page lies in `total` rows.
    #[must_use]
    pub fn view(self, total: i64) -> PageView {
        let pages = total.div_euclid(self.limit()) + i64::from(total.rem_euclid(self.limit()) > 0);
        PageView {
            total,
            page: self.page,
            page_size: self.page_size,
            total_pages: u32::try_from(pages).unwrap_or(u32::MAX),
            has_next: i64::from(self.page) < pages,
            has_previous: self.page > 1,
        }
    }
}

pub(super) async fn page(
    db: &JobsDb,
    query: &ExecutionQuery,
    page: PageRequest,
) -> Result<ExecutionPage, ApiError> {
    let total: i64 = sqlx::query_scalar(sql::COUNT_EXECUTIONS)
        .bind(query.job.as_deref())
        .bind(query.status.as_deref())
        .bind(query.from_ms)
        .bind(query.until_ms)
        .fetch_one(db.read())
        .await
        .map_err(ApiError::sql("count executions"))?;
    let rows = sqlx::query(sql::EXECUTIONS)
        .bind(query.job.as_deref())
        .bind(query.status.as_deref())
        .bind(query.from_ms)
        .bind(query.until_ms)
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(db.read())
        .await
        .map_err(ApiError::sql("list executions"))?;
    let mut executions = views(&rows)?;
    for execution in &mut executions {
        // A list is for choosing one; what it printed comes with it alone.
        execution.rendered = None;
    }
    Ok(ExecutionPage {
        executions,
        pagination: page.view(total),
    })
}

// What a caller has just written must be found: these read from the primary.

pub(super) async fn execution(db: &JobsDb, id: ExecutionId) -> Result<Option<ExecutionView>, ApiError> {
    let row = sqlx::query(sql::EXECUTION)
        .bind(id.as_uuid())
        .fetch_optional(db.control())
        .await
        .map_err(ApiError::sql("read an execution"))?;
    row.as_ref().map(view).transpose()
}

pub(super) async fn latest(db: &JobsDb, jobs: &[JobName]) -> Result<Vec<ExecutionView>, ApiError> {
    let names: Vec<&str> = jobs.iter().map(JobName::as_str).collect();
    let rows = sqlx::query(sql::LATEST)
        .bind(names)
        .fetch_all(db.control())
        .await
        .map_err(ApiError::sql("read the jobs' last executions"))?;
    views(&rows)
}

pub(super) async fn last_report(db: &JobsDb, job: &str) -> Result<Option<ExecutionView>, ApiError> {
    let row = sqlx::query(sql::LAST_REPORT)
        .bind(job)
        .fetch_optional(db.control())
        .await
        .map_err(ApiError::sql("read a job's last report"))?;
    row.as_ref().map(view).transpose()
}

fn views(rows: &[PgRow]) -> Result<Vec<ExecutionView>, ApiError> {
    rows.iter().map(view).collect()
}

fn view(row: &PgRow) -> Result<ExecutionView, ApiError> {
    decode(row).map_err(ApiError::sql("decode an execution"))
}

fn decode(row: &PgRow) -> Result<ExecutionView, sqlx::Error> {
    let progress: Option<serde_json::Value> = row.try_get("progress")?;
    let mut result: Option<serde_json::Value> = row.try_get("result")?;
    let rendered = result.as_mut().and_then(take_rendered);
    Ok(ExecutionView {
        execution_id: row.try_get::<Uuid, _>("execution_id")?.to_string(),
        job: row.try_get("job_name")?,
        status: row.try_get("status")?,
        trigger: row.try_get("trigger")?,
        slot: row.try_get::<Option<i64>, _>("slot_ms")?.and_then(instant),
        started_at: instant(row.try_get("started_at")?),
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.and_then(instant),
        duration_ms: row.try_get("duration_ms")?,
        failure_kind: row.try_get("failure_kind")?,
        error_message: row.try_get("error_message")?,
        attempt: row.try_get("attempt")?,
        dry_run: row.try_get("dry_run")?,
        progress: progress.and_then(|progress| serde_json::from_value(progress).ok()),
        params: row.try_get("params")?,
        result,
        rendered,
        idempotency_key: row.try_get("idempotency_key")?,
        node: row
            .try_get::<Option<Uuid>, _>("node_id")?
            .map(|node| node.to_string()),
        cancel_requested_by: row.try_get("cancel_requested_by")?,
        row_id: row.try_get("id")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_say_where_they_are() {
        let page = PageRequest::new(0, 0).unwrap();
        assert_eq!((page.page, page.page_size, page.offset()), (1, 20, 0));
        assert_eq!(PageRequest::new(3, 5000).unwrap().page_size, 100);
        assert!(PageRequest::new(u32::MAX, 100).is_err());

        let last = PageRequest::new(3, 20).unwrap().view(41);
        assert_eq!(
            (last.total_pages, last.has_next, last.has_previous),
            (3, false, true)
        );
        let none = PageRequest::new(1, 20).unwrap().view(0);
        assert_eq!(
            (none.total_pages, none.has_next, none.has_previous),
            (0, false, false)
        );
    }
}
