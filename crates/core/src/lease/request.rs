//! [`LeaseRequest`]: what is leased, for whom, for how long.

use std::time::Duration;

use eidos_types::{ExecutionId, JobName, NodeId};

use crate::epoch::Epoch;

/// Who wants a lease: one execution of one process start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub node: NodeId,
    /// The execution.
    pub execution: ExecutionId,
}

/// What to lease, for whom, for how long.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// The job.
    pub job: JobName,
    /// The holder-to-be.
    pub owner: Owner,
    /// How long the key lives without renewal: the time until a crashed holder's job is free again. More than
    /// one second plus `grace`.
    pub ttl: Duration,
    /// Renew until released. Without it the lease ends after `ttl` (a basic lock).
    pub watchdog: bool,
    /// The holder gives up after this long, however well renewals go: the job's timeout plus its grace.
    pub max_hold: Duration,
    /// How long before the key's end the holder must have stopped: the time a cancelled run may take.
    pub grace: Duration,
    /// The epoch stored for the job; the token will be higher.
    pub floor: Epoch,
}
