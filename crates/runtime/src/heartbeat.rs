//! The heartbeat beside a run: says that it lives and how far it is, and asks whether it should stop.

use std::convert::Infallible;
use std::time::Duration;

use eidos_core::execution::{Heartbeat, heartbeat};
use eidos_core::fence::Fence;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::CancelReason;
use crate::cancel::Cancellation;
use crate::error::chain;
use crate::progress::Progress;

/// What a heartbeat needs.
pub(crate) struct Beating {
    pub(crate) control: PgPool,
    /// `None` for a job without a lock, whose rows are best effort: no heartbeat.
    pub(crate) fence: Option<Fence>,
    pub(crate) progress: Progress,
    pub(crate) cancellation: Cancellation,
    pub(crate) every: Duration,
}

/// Beats until it is dropped. A beat that fails is only logged: the lease and the fence guard the run, not this.
pub(crate) async fn beat(beating: Beating) -> Infallible {
    let Some(fence) = &beating.fence else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(beating.every).await;
        let progress = beating.progress.take_unwritten().map(as_json);
        match heartbeat(&beating.control, fence, progress.as_ref()).await {
            Ok(Heartbeat::Alive {
                cancel_requested_by: Some(by),
            }) => {
                beating.cancellation.cancel(CancelReason::Operator { by });
            }
            Ok(Heartbeat::Alive {
                cancel_requested_by: None,
            }) => {}
            Ok(Heartbeat::Replaced) => beating.cancellation.cancel(CancelReason::LeaseLost),
            Err(error) => tracing::warn!(job = %fence.job(), error = %chain(&error), "heartbeat not written"),
        }
    }
}

/// As it is stored: `{"done": n, "total": n|null}`.
pub(crate) fn as_json((done, total): (u64, Option<u64>)) -> Value {
    json!({ "done": done, "total": total })
}
