//! [`Silences`]: reads what an Alertmanager silences, for the other receivers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eidos_alerting::{Alert, Silence, SilencesOf};
use eidos_runtime::{Worker, WorkerContext};
use tokio::sync::watch;

/// How often silences are read.
pub(crate) const READ_EVERY: Duration = Duration::from_secs(5);

/// What is silenced now. Shared by all workers.
#[derive(Debug)]
pub(crate) struct Silenced {
    /// What each Alertmanager said last; `None`: it did not answer, so it silences nothing.
    known: Mutex<BTreeMap<String, Option<Vec<Silence>>>>,
    /// How many of them have not been asked yet.
    unasked: watch::Sender<usize>,
}

impl Silenced {
    /// By that many servers.
    pub(crate) fn by(servers: usize) -> Self {
        Self {
            known: Mutex::default(),
            unasked: watch::Sender::new(servers),
        }
    }

    /// Whether a silence covers the alert.
    pub(crate) fn covers(&self, alert: &Alert) -> bool {
        let known = self.known();
        let mut silences = known.values().flatten().flatten();
        silences.any(|silence| silence.covers(alert))
    }

    /// Waits until every server was asked once, whatever it answered.
    pub(crate) async fn was_asked(&self) {
        let mut unasked = self.unasked.subscribe();
        // The sender is ours: it cannot be gone.
        let _asked = unasked.wait_for(|unasked| *unasked == 0).await;
    }

    fn note(&self, server: &str, silences: Option<Vec<Silence>>) {
        let is_new = self.known().insert(server.to_owned(), silences).is_none();
        if is_new {
            self.unasked
                .send_modify(|unasked| *unasked = unasked.saturating_sub(1));
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Option<Vec<Silence>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker of one Alertmanager.
pub(crate) struct Silences {
    name: String,
    server: SilencesOf,
    silenced: Arc<Silenced>,
}

impl Silences {
    pub(crate) fn new(server: SilencesOf, silenced: Arc<Silenced>) -> Self {
        Self {
            name: format!("silences-{}", server.name()),
            server,
            silenced,
        }
    }
}

impl Worker for Silences {
    fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self, ctx: &WorkerContext) -> anyhow::Result<()> {
        let mut answered = true;
        while !ctx.is_cancelled() {
            let silences = ctx.beating(self.server.read()).await;
            if let Err(error) = &silences
                && answered
            {
                tracing::warn!(server = self.server.name(), %error, "its silences are not known: it silences nothing here");
            }
            answered = silences.is_ok();
            self.silenced.note(self.server.name(), silences.ok());
            tokio::select! {
                () = ctx.cancelled() => {}
                () = tokio::time::sleep(READ_EVERY) => {}
            }
        }
        Ok(())
    }
}
