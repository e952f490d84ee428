//! One attempt under supervision: it ends by itself, or it is told to stop and why, or it is dropped.

use std::any::Any;
use std::time::Duration;

use eidos_core::execution::FailureKind;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::cancel::Cancellation;
use crate::job::RunReport;
use crate::{CancelReason, JobError};

/// How long a dropped run may take to be gone. A run that is not gone by then is inside code that never yields.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// What a run may use up and what stops it.
pub(crate) struct Limits {
    /// Cancelled when the lease is lost; never, for a job without one.
    pub(crate) lost: CancellationToken,
    /// When the budget is used up.
    pub(crate) deadline: Instant,
    /// How long a cancelled run may take to return.
    pub(crate) grace: Duration,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The report, or why there is none.
    pub(crate) outcome: Result<RunReport, Failure>,
    /// What is left of the attempt.
    pub(crate) remains: Remains,
}

/// Why there is no report.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    /// True if another attempt may succeed.
    pub(crate) retryable: bool,
    /// What was done all the same.
    pub(crate) report: Option<RunReport>,
}

/// What may still be running of an attempt that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Nothing: its future returned. The lease may be released.
    Nothing,
    /// Its future ignored the cancellation and was dropped; threads it started may still work. The lease is left to
    /// lapse instead of being released.
    Detached,
    /// It cannot even be dropped: only the end of the process ends it.
    Stuck,
}

type Task = JoinHandle<Result<RunReport, JobError>>;

/// Waits for `task` within its limits. Whatever happens, the answer says so; a panic is an answer too.
pub(crate) async fn supervise(mut task: Task, cancellation: &Cancellation, limits: &Limits) -> Ended {
    let reason = tokio::select! {
        biased;
        () = limits.lost.cancelled() => CancelReason::LeaseLost,
        reason = cancellation.cancelled() => reason,
        () = sleep_until(limits.deadline) => CancelReason::Timeout,
        joined = &mut task => return ended(joined, None),
    };
    cancellation.cancel(reason.clone());
    if let Ok(joined) = timeout(limits.grace, &mut task).await {
        return ended(joined, Some(&reason));
    }
    task.abort();
    let remains = match timeout(DROP_TIMEOUT, &mut task).await {
        Ok(_dropped) => Remains::Detached,
        Err(_elapsed) => Remains::Stuck,
    };
    let message = format!(
        "{reason}; it did not stop within {:?} and was abandoned",
        limits.grace
    );
    Ended {
        outcome: Err(Failure {
            kind: kind_of(&reason),
            message,
            retryable: false,
            report: None,
        }),
        remains,
    }
}

fn ended(joined: Result<Result<RunReport, JobError>, JoinError>, stopped: Option<&CancelReason>) -> Ended {
    let outcome = match joined {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(failure(error, stopped)),
        Err(panicked) => Err(panic_failure(panicked)),
    };
    Ended {
        outcome,
        remains: Remains::Nothing,
    }
}

/// An error that follows from a cancellation is reported as the cancellation: a job that was stopped often fails with
/// whatever it was waiting for.
fn failure(error: JobError, stopped: Option<&CancelReason>) -> Failure {
    let message = error.to_string();
    let (error, report) = match error {
        JobError::Reported {
            error,
            report,
            rendered,
        } => (
            *error,
            Some(RunReport {
                json: report,
                rendered,
            }),
        ),
        error => (error, None),
    };
    let error = error.without_report();
    let kind = match (error, stopped) {
        (JobError::Fenced, _) => FailureKind::Fenced,
        (JobError::LeaseLost, _) => FailureKind::LeaseLost,
        (JobError::Cancelled(reason), _) | (_, Some(reason)) => kind_of(reason),
        (JobError::Retry(_) | JobError::Fail(_) | JobError::Reported { .. }, None) => FailureKind::Error,
    };
    let retryable = kind == FailureKind::Error && matches!(error, JobError::Retry(_));
    Failure {
        kind,
        message,
        retryable,
        report,
    }
}

const fn kind_of(reason: &CancelReason) -> FailureKind {
    match reason {
        CancelReason::Timeout => FailureKind::Timeout,
        CancelReason::LeaseLost => FailureKind::LeaseLost,
        CancelReason::Shutdown => FailureKind::Shutdown,
        CancelReason::Operator { .. } | CancelReason::Superseded => FailureKind::Cancelled,
    }
}

fn panic_failure(error: JoinError) -> Failure {
    let message = match error.try_into_panic() {
        Ok(payload) => format!("the job panicked: {}", panic_text(&*payload)),
        Err(error) => format!("the job's task ended without a result: {error}"),
    };
    Failure {
        kind: FailureKind::Panic,
        message,
        retryable: false,
        report: None,
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits(deadline: Duration) -> Limits {
        Limits {
            lost: CancellationToken::new(),
            deadline: Instant::now() + deadline,
            grace: Duration::from_millis(50),
        }
    }

    fn report() -> RunReport {
        RunReport {
            json: json!({ "ok": true }),
            rendered: "ok".to_owned(),
        }
    }

    async fn kind(
        future: impl Future<Output = Result<RunReport, JobError>> + Send + 'static,
    ) -> (FailureKind, Remains) {
        let ended = supervise(
            tokio::spawn(future),
            &Cancellation::default(),
            &limits(Duration::from_millis(200)),
        )
        .await;
        (ended.outcome.unwrap_err().kind, ended.remains)
    }

    #[tokio::test]
    async fn a_report_is_a_success() {
        let ended = supervise(
            tokio::spawn(async { Ok(report()) }),
            &Cancellation::default(),
            &limits(Duration::from_secs(5)),
        )
        .await;
        assert_eq!(ended.outcome.unwrap().rendered, "ok");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_with_its_message() {
        let ended = supervise(
            tokio::spawn(async { panic!("index {} of 3", 7) }),
            &Cancellation::default(),
            &limits(Duration::from_secs(5)),
        )
        .await;
        let failure = ended.outcome.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Panic);
        assert!(failure.message.contains("index 7 of 3"), "{}", failure.message);
    }

    #[tokio::test]
    async fn only_retry_errors_are_retryable() {
        let errors: [(fn() -> JobError, bool); 4] = [
            (|| JobError::retry("busy"), true),
            (|| JobError::fail("wrong"), false),
            (|| JobError::retry("busy").with_report(&1, "one".to_owned()), true),
            (
                || JobError::fail("wrong").with_report(&1, "one".to_owned()),
                false,
            ),
        ];
        for (error, retryable) in errors {
            assert_eq!(failure(error(), None).retryable, retryable);
            assert!(!failure(error(), Some(&CancelReason::Shutdown)).retryable);
        }
    }

    #[tokio::test]
    async fn what_was_done_is_kept_with_the_failure() {
        let failed = failure(JobError::fail("1 of 2").with_report(&2, "two".to_owned()), None);
        assert_eq!(
            (failed.kind, failed.message.as_str()),
            (FailureKind::Error, "1 of 2")
        );
        assert_eq!(failed.report.unwrap().rendered, "two");
        let fenced = failure(JobError::Fenced.with_report(&2, "two".to_owned()), None);
        assert_eq!(fenced.kind, FailureKind::Fenced);
    }

    #[tokio::test]
    async fn a_run_that_ignores_its_timeout_is_dropped() {
        let (kind, remains) = kind(std::future::pending()).await;
        assert_eq!((kind, remains), (FailureKind::Timeout, Remains::Detached));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_that_never_yields_is_stuck() {
        let (kind, remains) = kind(async {
            std::thread::sleep(Duration::from_secs(4));
            std::future::pending().await
        })
        .await;
        assert_eq!((kind, remains), (FailureKind::Timeout, Remains::Stuck));
    }

    #[tokio::test]
    async fn a_lost_lease_wins_over_everything_else() {
        let cancellation = Cancellation::default();
        let limits = limits(Duration::ZERO);
        limits.lost.cancel();
        let seen = cancellation.clone();
        let task = tokio::spawn(async move {
            seen.token().cancelled().await;
            Err(JobError::retry("connection closed"))
        });
        let ended = supervise(task, &cancellation, &limits).await;
        assert_eq!(ended.outcome.unwrap_err().kind, FailureKind::LeaseLost);
        assert_eq!(cancellation.reason(), Some(CancelReason::LeaseLost));
    }

    #[tokio::test]
    async fn an_operators_cancellation_is_named_as_such() {
        let cancellation = Cancellation::default();
        cancellation.cancel(CancelReason::Operator {
            by: "alice".to_owned(),
        });
        let task = tokio::spawn(async { std::future::pending().await });
        let ended = supervise(task, &cancellation, &limits(Duration::from_mins(1))).await;
        let failure = ended.outcome.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Cancelled);
        assert!(failure.message.contains("alice"), "{}", failure.message);
    }
}
