//! Section `security`: encryption of connections and archives.
//!
//! A part is in force when both `tls_enabled` and its own `enabled` are true. `postgres` and `redis` are then
//! applied to the URLs that do not say otherwise, when the settings are loaded: whoever connects sees the final URL.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Section `security`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecuritySection {
    /// The main switch.
    pub tls_enabled: bool,
    /// Between services.
    pub grpc: GrpcTls,
    /// To PostgreSQL.
    pub postgres: PostgresTls,
    /// To Redis.
    pub redis: RedisTls,
    /// To Nacos. Known so that the requirement's file loads; this suite does not use Nacos.
    pub nacos: NacosTls,
    /// Of archived data.
    pub archive_storage: ArchiveEncryption,
}

/// TLS of the gRPC server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcTls {
    /// Whether the gRPC server speaks TLS.
    pub enabled: bool,
    /// Path of the certificate chain (PEM).
    pub cert: Option<String>,
    /// Path of the private key (PEM).
    pub key: Option<String>,
    /// Path of the authority that client certificates are checked against.
    pub ca_cert: Option<String>,
    /// Whether clients must show a certificate.
    pub client_auth: bool,
}

/// How strictly a PostgreSQL connection is encrypted, as libpq names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server can.
    Prefer,
    /// Always, whoever answers.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for this very host.
    VerifyFull,
}

impl SslMode {
    /// The value of the `sslmode` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// True if no connection is ever made in plain text.
    pub fn always_encrypts(self) -> bool {
        self >= Self::Require
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// TLS to PostgreSQL, for URLs without `sslmode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresTls {
    /// Whether it is applied.
    pub enabled: bool,
    /// How strictly.
    pub sslmode: SslMode,
    /// Path of the authority's certificate (PEM).
    pub ca_cert: Option<String>,
}

/// TLS to Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTls {
    /// Whether `redis://` becomes `rediss://`.
    pub enabled: bool,
    /// Path of the authority's certificate (PEM); unset = the public authorities.
    pub ca_cert: Option<String>,
    /// Accepts any certificate; refused outside `dev`.
    pub skip_verify: bool,
}

/// TLS to Nacos; known, not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NacosTls {
    /// Whether it is on.
    pub enabled: bool,
    /// Path of the authority's certificate (PEM).
    pub ca_cert: Option<String>,
}

/// Encryption of archived data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveEncryption {
    /// Whether the object store is reached by HTTPS and told to encrypt.
    pub enabled: bool,
    /// `AES256` or `aws:kms`.
    pub s3_sse: String,
    /// Key of `aws:kms`.
    pub kms_key_id: Option<String>,
}

impl SecuritySection {
    /// Nothing is encrypted: for servers on the machine itself, as examples and tests have them.
    #[must_use]
    pub fn unencrypted() -> Self {
        Self {
            tls_enabled: false,
            grpc: GrpcTls {
                enabled: false,
                cert: None,
                key: None,
                ca_cert: None,
                client_auth: false,
            },
            postgres: PostgresTls {
                enabled: false,
                sslmode: SslMode::Prefer,
                ca_cert: None,
            },
            redis: RedisTls {
                enabled: false,
                ca_cert: None,
                skip_verify: false,
            },
            nacos: NacosTls {
                enabled: false,
                ca_cert: None,
            },
            archive_storage: ArchiveEncryption {
                enabled: false,
                s3_sse: "AES256".to_owned(),
                kms_key_id: None,
            },
        }
    }

    /// Whether the gRPC server speaks TLS.
    pub fn grpc_tls(&self) -> bool {
        self.tls_enabled && self.grpc.enabled
    }

    /// Whether PostgreSQL URLs without `sslmode` get one.
    pub fn postgres_tls(&self) -> bool {
        self.tls_enabled && self.postgres.enabled
    }

    /// Whether Redis URLs become `rediss://`.
    pub fn redis_tls(&self) -> bool {
        self.tls_enabled && self.redis.enabled
    }
}
