//! Structured logs to standard error and, where an endpoint is given, spans over OTLP.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::TelemetryError;

/// One batch of spans is given up after this time; a slow collector must not hold a shutdown.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for collectors.
    Json,
    /// For a person's eyes.
    Text,
}

/// What [`init`] needs to know.
#[derive(Debug, Clone)]
pub struct TelemetryOptions {
    /// The service's name, `service.name` of every span.
    pub service: String,
    /// Its version, `service.version`.
    pub version: String,
    /// The environment, `deployment.environment.name`.
    pub environment: String,
    /// A level or a `tracing` filter, such as `info,sqlx=warn`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The OTLP gRPC receiver; `None` sends nothing.
    pub otlp_endpoint: Option<String>,
}

/// Flushes pending spans when the process ends. Keep it until the very end of `main`.
#[derive(Debug)]
#[must_use = "spans that are still queued are lost when the guard is dropped early"]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(EXPORT_TIMEOUT)
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Installs the process's logger and tracer. With an OTLP endpoint it must run inside a tokio runtime.
///
/// # Errors
/// [`TelemetryError`] for a filter or endpoint that is not understood, or when called twice.
pub fn init(options: &TelemetryOptions) -> Result<TelemetryGuard, TelemetryError> {
    let filter = EnvFilter::try_new(&options.log_level).map_err(|error| TelemetryError::LogLevel {
        level: options.log_level.clone(),
        reason: error.to_string(),
    })?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = options
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| tracer_provider(options, endpoint))
        .transpose()?;
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer(options.service.clone())));
    tracing_subscriber::registry()
        .with(lines(options.log_format).with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|_already| TelemetryError::Twice { what: "the logger" })?;
    Ok(TelemetryGuard { provider })
}

fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
        LogFormat::Text => layer.with_ansi(false).boxed(),
    }
}

fn tracer_provider(options: &TelemetryOptions, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| TelemetryError::Otlp {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let resource = Resource::builder()
        .with_service_name(options.service.clone())
        .with_attribute(KeyValue::new("service.version", options.version.clone()))
        .with_attribute(KeyValue::new(
            "deployment.environment.name",
            options.environment.clone(),
        ))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_not_understood_is_refused_by_name() {
        let options = TelemetryOptions {
            service: "test".into(),
            version: "0".into(),
            environment: "dev".into(),
            log_level: "eidos=loud".into(),
            log_format: LogFormat::Json,
            otlp_endpoint: None,
        };
        let error = init(&options).unwrap_err().to_string();
        assert!(error.contains("eidos=loud") && error.contains("info"), "{error}");
    }
}
