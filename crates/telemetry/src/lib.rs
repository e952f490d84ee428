//! Logs, traces and the one catalogue of metrics.
//!
//! - [`init`] sets up logging and, where an endpoint is given, OTLP traces; the [`TelemetryGuard`] flushes them.
//! - [`mod@catalogue`] lists every metric of the suite: name, kind, unit, labels, meaning. [`metric`] has one typed
//!   function per metric, so that no other crate spells a metric's name or forgets a label.
//! - [`trace_context`] carries a trace across HTTP, gRPC and JSON-RPC.

mod catalogue;
mod exposition;
mod logs;
pub mod metric;
pub mod trace_context;
mod trace_lines;

pub use catalogue::{Kind, MetricDescription, catalogue};
pub use exposition::{MetricsHandle, install_metrics};
pub use logs::{LogFormat, TelemetryGuard, TelemetryOptions, TraceOptions, init, init_with};

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not one `tracing` understands.
    #[error(
        "log level '{level}' is not understood: {reason}; use a level such as info, or a filter such as info,sqlx=warn"
    )]
    LogLevel {
        /// The filter as it was given.
        level: String,
        /// What the parser said.
        reason: String,
    },
    /// A logger or recorder is there already.
    #[error("{what} is installed twice in this process")]
    Twice {
        /// The logger or the metrics recorder.
        what: &'static str,
    },
    /// The OTLP exporter could not be built.
    #[error(
        "traces cannot be sent to '{endpoint}': {source}; give an http:// or https:// address of an OTLP gRPC receiver"
    )]
    Otlp {
        /// The endpoint as it was given.
        endpoint: String,
        /// What the exporter said.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// A histogram's buckets were refused.
    #[error("the metrics recorder refused its buckets: {0}")]
    Buckets(#[from] metrics_exporter_prometheus::BuildError),
}
