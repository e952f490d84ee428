//! [`LogSink`]: alerts as lines of the log.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{SendError, Sink};
use crate::{Notice, NoticeKind, Severity};

/// Writes each notice as one line. Whatever else is down, whoever reads the log sees the alert.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSink;

impl Sink for LogSink {
    fn name(&self) -> &'static str {
        "log"
    }

    fn delivers_within(&self) -> Duration {
        Duration::ZERO
    }

    fn confirm<'a>(&'a self, _notice: &'a Notice) -> BoxFuture<'a, Result<String, SendError>> {
        std::future::ready(Ok("written".to_owned())).boxed()
    }

    fn send<'a>(&'a self, notice: &'a Notice, _now_ms: i64) -> BoxFuture<'a, Result<(), SendError>> {
        let alert = &notice.alert;
        let labels = serde_json::to_string(&alert.labels).unwrap_or_default();
        let annotations = serde_json::to_string(&alert.annotations).unwrap_or_default();
        let (event, severity) = (notice.kind.as_str(), alert.severity.as_str());
        let (name, episode) = (&alert.name, &alert.episode);
        match (notice.kind, alert.severity) {
            (NoticeKind::Resolved, _) => {
                tracing::info!(alert = %name, %event, %severity, %episode, labels, annotations, "alert");
            }
            (_, Severity::Warning) => {
                tracing::warn!(alert = %name, %event, %severity, %episode, labels, annotations, "alert");
            }
            (_, Severity::Critical) => {
                tracing::error!(alert = %name, %event, %severity, %episode, labels, annotations, "alert");
            }
        }
        std::future::ready(Ok(())).boxed()
    }
}
