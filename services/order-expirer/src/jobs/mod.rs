//! The jobs of this service.

pub mod cleanup_orders;
pub mod expiry_sweep;
mod gauges;

use eidos_core::CoreError;
use eidos_runtime::JobError;

/// Says what was done when our own table, or the orders, did not answer.
fn stored(doing: &'static str) -> impl FnOnce(sqlx::Error) -> JobError {
    move |cause| CoreError::Sql { doing, cause }.into()
}
