//! [`Cancellation`]: a cancellation token that knows why. One tree: process → run → attempt.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::CancelReason;

/// One node of the tree. Cancelling it cancels everything below, with the same reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancellation {
    token: CancellationToken,
    reason: Arc<OnceLock<CancelReason>>,
    parent: Option<Arc<Cancellation>>,
}

impl Cancellation {
    /// A node below this one.
    pub(crate) fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            reason: Arc::default(),
            parent: Some(Arc::new(self.clone())),
        }
    }

    /// Cancels; the first reason stands.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        // The reason is stored first: whoever wakes up finds it.
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    /// The token to wait on or to hand to others.
    pub(crate) const fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why, if it was cancelled.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.reason
            .get()
            .cloned()
            .or_else(|| self.parent.as_ref().and_then(|parent| parent.reason()))
    }

    /// Waits until it is cancelled and says why.
    pub(crate) async fn cancelled(&self) -> CancelReason {
        self.token.cancelled().await;
        // A token that was cancelled without a reason belongs to a process that is going away.
        self.reason().unwrap_or(CancelReason::Shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands_and_children_inherit_it() {
        let process = Cancellation::default();
        let run = process.child();
        assert_eq!(run.reason(), None);
        process.cancel(CancelReason::Shutdown);
        assert!(run.token().is_cancelled());
        assert_eq!(run.reason(), Some(CancelReason::Shutdown));

        let other = Cancellation::default();
        other.cancel(CancelReason::Timeout);
        other.cancel(CancelReason::LeaseLost);
        assert_eq!(other.reason(), Some(CancelReason::Timeout));
    }

    #[test]
    fn a_child_does_not_cancel_its_parent() {
        let run = Cancellation::default();
        run.child().cancel(CancelReason::Timeout);
        assert!(!run.token().is_cancelled());
    }
}
