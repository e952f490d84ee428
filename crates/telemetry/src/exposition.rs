//! The Prometheus recorder: buckets per unit, descriptions from the catalogue, text on demand.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::catalogue::{Kind, catalogue};
use crate::{TelemetryError, metric};

/// Seconds, from a Redis round trip to a full reconciliation of half an hour.
const SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 900.0, 1800.0,
];

/// Renders the metrics of this process in Prometheus' text format.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

impl MetricsHandle {
    /// The text that `/metrics` answers.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricsHandle")
    }
}

/// Installs the process's metrics recorder and describes every metric of the catalogue.
///
/// # Errors
/// [`TelemetryError::Twice`] when a recorder is installed already.
pub fn install_metrics() -> Result<MetricsHandle, TelemetryError> {
    let mut builder = PrometheusBuilder::new();
    for description in catalogue()
        .iter()
        .filter(|description| description.kind == Kind::Histogram)
    {
        builder = builder.set_buckets_for_metric(Matcher::Full(description.name.to_owned()), SECONDS)?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_taken| TelemetryError::Twice {
        what: "the metrics recorder",
    })?;
    metric::describe_all();
    Ok(MetricsHandle(handle))
}
