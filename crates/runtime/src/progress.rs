//! [`Progress`]: the latest word of a run about how far it is, coalesced until the next heartbeat.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared between the run, which sets it often, and the heartbeat, which writes it rarely.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    latest: Option<(u64, Option<u64>)>,
    written: bool,
}

impl Progress {
    /// Replaces what was noted before.
    pub(crate) fn set(&self, done: u64, total: Option<u64>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.latest != Some((done, total)) {
            *state = State {
                latest: Some((done, total)),
                written: false,
            };
        }
    }

    /// What was noted last.
    pub(crate) fn latest(&self) -> Option<(u64, Option<u64>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).latest
    }

    /// What has not been written yet, marking it as written.
    pub(crate) fn take_unwritten(&self) -> Option<(u64, Option<u64>)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = if state.written { None } else { state.latest };
        state.written = true;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_is_written_and_the_latest_stays_known() {
        let progress = Progress::default();
        assert_eq!(progress.take_unwritten(), None);
        progress.set(1, Some(10));
        progress.set(2, Some(10));
        assert_eq!(progress.take_unwritten(), Some((2, Some(10))));
        progress.set(2, Some(10));
        assert_eq!(progress.take_unwritten(), None);
        assert_eq!(progress.latest(), Some((2, Some(10))));
    }
}
