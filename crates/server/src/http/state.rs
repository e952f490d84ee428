//! [`HttpState`]: what the handlers share, and what they answer with.

use std::sync::Arc;

use eidos_runtime::HealthRegistry;
use eidos_telemetry::MetricsHandle;

use crate::api::{Api, ApiError};
use crate::auth::Authenticator;

/// Largest request body in bytes; parameters of a job are small.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct HttpState {
    pub(crate) api: Api,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) health: HealthRegistry,
    /// `None` where another part of the process owns the recorder, as in tests.
    pub(crate) metrics: Option<MetricsHandle>,
}

/// What a handler returns.
pub(super) type Answer<T> = Result<T, ApiError>;
