//! W3C trace context (`traceparent`) in and out of headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct HeaderReader<'a>(&'a HeaderMap);

impl Extractor for HeaderReader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeaderWriter<'a>(&'a mut HeaderMap);

impl Injector for HeaderWriter<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(key.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            self.0.insert(name, value);
        }
    }
}

/// Writes the span's trace context into the headers of an outgoing request.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderWriter(headers));
    });
}

/// Reads the caller's trace context from the headers of an incoming request; an empty one if there is none.
#[must_use]
pub fn extract(headers: &HeaderMap) -> Context {
    opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(&HeaderReader(headers)))
}

/// Makes `span` a child of the caller's span.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    // Fails only when no OpenTelemetry layer is installed, that is, when traces are off.
    let _traces_are_off = span.set_parent(extract(headers));
}

/// Makes `span` a child of the span that `traceparent` names, for carriers that are not header maps. Text that is not a
/// `traceparent` changes nothing.
pub fn continue_from_text(span: &Span, traceparent: &str) {
    if let Ok(value) = HeaderValue::from_str(traceparent) {
        continue_from(
            span,
            &HeaderMap::from_iter([(HeaderName::from_static("traceparent"), value)]),
        );
    }
}

/// The span's `traceparent`, for carriers that are not header maps; `None` when traces are off.
#[must_use]
pub fn traceparent(span: &Span) -> Option<String> {
    let mut headers = HeaderMap::new();
    inject(span, &mut headers);
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_trace_goes_out_and_comes_back() {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let caller = tracing::info_span!("caller");
            let mut headers = HeaderMap::new();
            inject(&caller, &mut headers);
            let served = tracing::info_span!("served");
            continue_from(&served, &headers);
            let trace_of = |span: &Span| span.context().span().span_context().trace_id();
            assert_eq!(trace_of(&served), trace_of(&caller));
            let text = traceparent(&caller).unwrap();
            assert_eq!(headers["traceparent"], text);
            let read = tracing::info_span!("read");
            continue_from_text(&read, &text);
            assert_eq!(trace_of(&read), trace_of(&caller));
            let unrelated = tracing::info_span!(parent: None, "unrelated");
            continue_from_text(&unrelated, "no traceparent\n");
            assert_ne!(trace_of(&unrelated), trace_of(&caller));
        });
    }
}
