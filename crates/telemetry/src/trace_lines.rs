//! Log lines that name their trace, so that a reader gets from a line to the whole run and back.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Another format's lines with `trace_id` and `span_id` in front, inside a trace.
pub(crate) struct WithTraceId<F> {
    inner: F,
    json: bool,
}

impl<F> WithTraceId<F> {
    /// For a format whose lines are JSON objects.
    pub(crate) const fn json(inner: F) -> Self {
        Self { inner, json: true }
    }

    /// For a format whose lines are text.
    pub(crate) const fn text(inner: F) -> Self {
        Self { inner, json: false }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTraceId<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // The OpenTelemetry layer attaches the entered span to this thread.
        let current = Context::current();
        let span = current.span();
        let ids = span.span_context();
        if !ids.is_valid() {
            return self.inner.format_event(context, writer, event);
        }
        if !self.json {
            write!(writer, "trace_id={} span_id={} ", ids.trace_id(), ids.span_id())?;
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(
                writer,
                "{{\"trace_id\":\"{}\",\"span_id\":\"{}\",{rest}",
                ids.trace_id(),
                ids.span_id()
            ),
            None => writer.write_str(&line),
        }
    }
}
