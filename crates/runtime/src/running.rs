//! [`Running`]: the executions under way in this process, so that they can be cancelled at once and counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use eidos_types::{ExecutionId, JobName};

use crate::CancelReason;
use crate::cancel::Cancellation;
use crate::progress::Progress;

/// Most traces remembered for runs that have not started yet.
const REMEMBERED_TRACES: usize = 1000;

/// Shared between the runner, which lists, and the API, which cancels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    runs: Mutex<HashMap<ExecutionId, Run>>,
    /// `traceparent` of the request that asked for a run which this process may start.
    traces: Mutex<HashMap<ExecutionId, http::HeaderMap>>,
}

#[derive(Debug)]
struct Run {
    job: JobName,
    cancellation: Cancellation,
    progress: Progress,
}

/// Keeps a run listed until it is dropped.
pub(crate) struct Listed {
    running: Running,
    execution: ExecutionId,
}

impl Running {
    /// Lists a run.
    pub(crate) fn list(
        &self,
        execution: ExecutionId,
        job: &JobName,
        cancellation: Cancellation,
        progress: Progress,
    ) -> Listed {
        self.runs().insert(
            execution,
            Run {
                job: job.clone(),
                cancellation,
                progress,
            },
        );
        Listed {
            running: self.clone(),
            execution,
        }
    }

    /// Cancels a run if it is under way here; otherwise its node learns it with the next heartbeat.
    pub(crate) fn cancel(&self, execution: ExecutionId, reason: CancelReason) {
        if let Some(run) = self.runs().get(&execution) {
            run.cancellation.cancel(reason);
        }
    }

    /// Cancels whatever run of `job` is under way here.
    pub(crate) fn supersede(&self, job: &JobName) {
        for run in self.runs().values().filter(|run| run.job == *job) {
            run.cancellation.cancel(CancelReason::Superseded);
        }
    }

    /// How far the only run is; `None` while there is none.
    pub(crate) fn progress(&self) -> Option<(u64, Option<u64>)> {
        self.runs().values().next().and_then(|run| run.progress.latest())
    }

    /// Remembers the trace of the request behind an execution, should this process start it.
    pub(crate) fn remember_trace(&self, execution: ExecutionId, headers: http::HeaderMap) {
        let mut traces = self.0.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if traces.len() < REMEMBERED_TRACES {
            traces.insert(execution, headers);
        }
    }

    /// The trace of the request behind an execution.
    pub(crate) fn take_trace(&self, execution: ExecutionId) -> Option<http::HeaderMap> {
        self.0
            .traces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&execution)
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Run>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.running.runs().remove(&self.execution);
    }
}
