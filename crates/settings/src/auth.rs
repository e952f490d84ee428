//! Who may call the API.

use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::secret;

/// What a caller may do. Each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Triggers, cancels, pauses and resumes; lifts operation pauses.
    Operator,
    /// Everything.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// Section `auth`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSection {
    /// The callers of the HTTP and gRPC API.
    pub tokens: Vec<ApiToken>,
    /// What `/metrics` asks for; unset = nothing.
    #[serde(serialize_with = "secret::masked_option")]
    pub metrics_token: Option<SecretString>,
}

/// One caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiToken {
    /// Who it is: appears as the author of triggers, pauses and cancellations.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The bearer token.
    #[serde(serialize_with = "secret::masked")]
    pub token: SecretString,
}
