//! Structured logs to standard error and, where an endpoint is given, spans over OTLP.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::TelemetryError;
use crate::trace_lines::WithTraceId;

/// How much is traced and for how long an export is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceOptions {
    /// Share of new traces that is recorded, 0.0 to 1.0; a caller's decision is honoured.
    pub sample_ratio: f64,
    /// One batch of spans is given up after this time; a slow collector must not hold a shutdown.
    pub export_timeout: Duration,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            sample_ratio: 1.0,
            export_timeout: Duration::from_secs(5),
        }
    }
}

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
    provider: SdkTracerProvider,
    timeout: Duration,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(self.timeout) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Installs the process's logger and tracer. With an OTLP endpoint it must run inside a tokio runtime.
///
/// # Errors
/// [`TelemetryError`] for a filter or endpoint that is not understood, or when called twice.
pub fn init(options: &TelemetryOptions) -> Result<TelemetryGuard, TelemetryError> {
    init_with(options, TraceOptions::default())
}

/// [`init`] with its own sampling and export limit.
///
/// Traces always exist, so that log lines carry their ids and callees continue them; without an OTLP endpoint
/// they are not sent anywhere.
///
/// # Errors
/// Those of [`init`].
pub fn init_with(options: &TelemetryOptions, traces: TraceOptions) -> Result<TelemetryGuard, TelemetryError> {
    let filter = EnvFilter::try_new(&options.log_level).map_err(|error| TelemetryError::LogLevel {
        level: options.log_level.clone(),
        reason: error.to_string(),
    })?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = tracer_provider(options, traces)?;
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer(options.service.clone()));
    // Traces do not depend on the log level. Libraries' spans below INFO stay out: the exporter's own transport
    // would trace itself.
    tracing_subscriber::registry()
        .with(lines(options.log_format, std::io::stderr).with_filter(filter))
        .with(spans.with_filter(LevelFilter::INFO))
        .try_init()
        .map_err(|_already| TelemetryError::Twice { what: "the logger" })?;
    Ok(TelemetryGuard {
        provider,
        timeout: traces.export_timeout,
    })
}

fn lines<W>(format: LogFormat, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .map_event_format(WithTraceId::json)
            .boxed(),
        LogFormat::Text => layer.with_ansi(false).map_event_format(WithTraceId::text).boxed(),
    }
}

fn tracer_provider(
    options: &TelemetryOptions,
    traces: TraceOptions,
) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder()
        .with_service_name(options.service.clone())
        .with_attribute(KeyValue::new("service.version", options.version.clone()))
        .with_attribute(KeyValue::new(
            "deployment.environment.name",
            options.environment.clone(),
        ))
        .build();
    let ratio = Sampler::TraceIdRatioBased(traces.sample_ratio);
    let mut provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(ratio)));
    if let Some(endpoint) = &options.otlp_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(traces.export_timeout)
            .build()
            .map_err(|source| TelemetryError::Otlp {
                endpoint: endpoint.clone(),
                source,
            })?;
        provider = provider.with_batch_exporter(exporter);
    }
    Ok(provider.build())
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

    /// What a layer wrote.
    #[derive(Clone, Default)]
    struct Page(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_carry_the_ids_of_the_trace_they_belong_to() {
        for (format, shape) in [
            (LogFormat::Json, "\"trace_id\":\""),
            (LogFormat::Text, "trace_id="),
        ] {
            let page = Page::default();
            let writer = page.clone();
            let provider = SdkTracerProvider::builder().build();
            let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
            let subscriber = tracing_subscriber::registry()
                .with(lines(format, move || writer.clone()))
                .with(spans);
            let trace_id = tracing::subscriber::with_default(subscriber, || {
                tracing::info!(job = "x", "outside");
                let span = tracing::info_span!("run");
                let _entered = span.enter();
                tracing::info!(job = "x", "inside");
                let context = tracing_opentelemetry::OpenTelemetrySpanExt::context(&span);
                opentelemetry::trace::TraceContextExt::span(&context)
                    .span_context()
                    .trace_id()
            });
            let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
            let written: Vec<&str> = text.lines().collect();
            assert_eq!(written.len(), 2, "{text}");
            assert!(!written[0].contains("trace_id"), "{text}");
            assert!(written[1].contains(&format!("{shape}{trace_id}")), "{text}");
            assert!(written.iter().all(|line| line.contains('Z')), "UTC: {text}");
            if format == LogFormat::Json {
                for line in written {
                    let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(parsed["job"], "x");
                }
            }
        }
    }
}
