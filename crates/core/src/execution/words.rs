//! The closed vocabularies of the history table. Lower case in the database (ruling 9).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::CoreError;

/// A word that is not in the vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not one of: {allowed}")]
pub struct UnknownWord {
    /// The word, cut to 80 characters.
    pub word: String,
    /// What would be accepted.
    pub allowed: String,
}

/// Parses a stored word or names the column that holds an unknown one.
pub(crate) fn stored<T: FromStr<Err = UnknownWord>>(
    column: &'static str,
    text: &str,
) -> Result<T, CoreError> {
    text.parse()
        .map_err(|UnknownWord { .. }| CoreError::stored(column, text))
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every word, in the order of the documents.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stored word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| UnknownWord {
                    word: text.chars().take(80).collect(),
                    allowed: [$($word),*].join(", "),
                })
            }
        }
    };
}

words!(
    /// The state of an execution.
    Status {
        /// Waits for a replica to start it (manual triggers).
        Pending = "pending",
        /// Runs.
        Running = "running",
        /// Ended with a report.
        Success = "success",
        /// Ended without one; [`FailureKind`] says why.
        Failed = "failed",
        /// Will not run; its message says why.
        Skipped = "skipped",
    }
);

words!(
    /// Why an execution failed, for alerts.
    FailureKind {
        /// The job returned an error.
        Error = "error",
        /// It ran longer than its budget.
        Timeout = "timeout",
        /// Its lease was lost.
        LeaseLost = "lease_lost",
        /// Its node stopped without finishing it.
        Orphaned = "orphaned",
        /// It panicked.
        Panic = "panic",
        /// Its process was told to stop.
        Shutdown = "shutdown",
        /// A newer run had replaced it.
        Fenced = "fenced",
        /// A person or a newer run cancelled it.
        Cancelled = "cancelled",
    }
);

words!(
    /// What started an execution.
    Trigger {
        /// Its slot.
        Schedule = "schedule",
        /// A person or program, through the API.
        Manual = "manual",
        /// A slot that was missed.
        CatchUp = "catch_up",
        /// `run <job>` in a terminal.
        Cli = "cli",
    }
);

impl Trigger {
    pub(crate) fn from_stored(text: &str) -> Result<Self, CoreError> {
        stored("eidos_jobs_executions.trigger", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruling_9_words_are_lower_case_and_come_back() {
        for kind in FailureKind::ALL {
            assert_eq!(kind.as_str().parse::<FailureKind>().unwrap(), *kind);
            assert_eq!(
                serde_json::to_string(kind).unwrap(),
                format!("\"{}\"", kind.as_str())
            );
        }
        for status in Status::ALL {
            assert_eq!(status.as_str(), status.as_str().to_lowercase());
        }
        let error = "SUCCESS".parse::<Status>().unwrap_err().to_string();
        assert!(error.contains("SUCCESS") && error.contains("success"), "{error}");
    }
}
