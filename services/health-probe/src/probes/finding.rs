//! [`Finding`]: what a probe found before its time was looked at.

use std::io;

use crate::domain::observation::Seen;
use crate::domain::verdict::Verdict;

/// What a probe found before anybody looked at the time.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) seen: Seen,
    pub(super) why: String,
}

impl Finding {
    pub(super) const fn good() -> Self {
        Self {
            seen: Seen::Good,
            why: String::new(),
        }
    }

    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self {
            seen: Seen::Failed,
            why: why.into(),
        }
    }

    pub(super) fn degraded(why: impl Into<String>) -> Self {
        Self {
            seen: Seen::Degraded,
            why: why.into(),
        }
    }

    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self {
            seen: Seen::Unknown,
            why: why.into(),
        }
    }

    /// What an error says: one of this process (no file descriptor is left) says nothing of the target.
    pub(super) fn of_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut is_ours = false;
        let mut cause = Some(error);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            is_ours |= error.downcast_ref::<io::Error>().is_some_and(is_ours_alone);
            cause = error.source();
        }
        if is_ours {
            Self::unknown(format!("the probe could not be made: {text}"))
        } else {
            Self::failed(text)
        }
    }
}

impl From<Verdict> for Finding {
    fn from(verdict: Verdict) -> Self {
        Self {
            seen: verdict.seen(),
            why: verdict.why(),
        }
    }
}

/// EMFILE, ENFILE and ENOMEM.
fn is_ours_alone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 12))
}
