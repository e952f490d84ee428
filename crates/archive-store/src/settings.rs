//! [`ArchiveStoreSettings`]: where archives are and how hard the store may be used.

use std::collections::BTreeMap;
use std::time::Duration;

use eidos_settings::{SecuritySection, duration_text, secret};
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use crate::place::{Place, Scheme};

/// Section `archive_store` of the services that export or restore. Every key has a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveStoreSettings {
    /// `file:///absolute/folder`, `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`; empty: that
    /// of `jobs.data-cleanup.archive_storage`. A new place takes exports after a person accepted it: `archiver store
    /// accept`, or `retention-manager store accept`.
    pub url: String,
    /// The endpoint of a store that is not the provider's own, as `https://minio.internal:9000`.
    pub endpoint: Option<String>,
    /// The region of S3; unset: `AWS_REGION`, then `us-east-1`.
    pub region: Option<String>,
    /// Key id (the account of Azure); unset: the environment, then the identity of the instance or pod.
    pub access_key_id: Option<String>,
    /// Its secret.
    #[serde(serialize_with = "secret::masked_option")]
    pub secret_access_key: Option<SecretString>,
    /// More options by their names in the `object_store` library, such as `google_service_account` or
    /// `azure_tenant_id`. Their values are never shown.
    #[serde(serialize_with = "masked_values")]
    pub options: BTreeMap<String, SecretString>,
    /// Whether an `http://` endpoint may be used.
    pub allow_http: bool,
    /// Path of the authority's certificate (PEM) of an endpoint with a private one; unset = those of the machine.
    pub ca_cert: Option<String>,
    /// The checksum that is sent with every object: `sha256`, or `none` for a store that does not know the header. Read-back
    /// verification does not depend on it.
    pub checksum: StoreChecksum,
    /// Encoded size at which a part is closed, in bytes, 4 KiB to 256 MiB. About four of them are held in memory.
    pub part_bytes: usize,
    /// Most rows of a Parquet row group, 1 to 1048576.
    pub row_group_rows: usize,
    /// 1 to 19.
    pub zstd_level: i32,
    /// Longest time for one request, body included, 100ms to 10m. A part must pass in it.
    #[serde(with = "duration_text")]
    pub request_timeout: Duration,
    /// Longest time to connect, 10ms to 1m.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// Attempts of one request, the first included, 1 to 20.
    pub attempts: usize,
    /// The first pause between attempts, 1ms to 1m; doubles, with jitter.
    #[serde(with = "duration_text")]
    pub retry_base: Duration,
    /// The longest pause, `retry_base` to 5m.
    #[serde(with = "duration_text")]
    pub retry_max: Duration,
}

/// Which checksum is sent with every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreChecksum {
    /// `x-amz-checksum-sha256`: bytes that were damaged in transit are refused by the server.
    Sha256,
    /// None: they are found when the export is read back.
    None,
}

impl Default for ArchiveStoreSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            options: BTreeMap::new(),
            allow_http: false,
            ca_cert: None,
            checksum: StoreChecksum::Sha256,
            part_bytes: 32 << 20,
            row_group_rows: 65_536,
            // In a profile of an export a quarter of the samples were level 3 of zstd (docs/benchmarks.md).
            zstd_level: 1,
            request_timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            attempts: 6,
            retry_base: Duration::from_millis(200),
            retry_max: Duration::from_secs(10),
        }
    }
}

fn masked_values<S: Serializer>(
    options: &BTreeMap<String, SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(options.keys().map(|key| (key, secret::MASK)))
}

/// A setting that cannot work, found without asking the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreProblem {
    /// The key below the section, as `part_bytes`.
    pub key: String,
    /// The value (never a credential).
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub fix: String,
}

impl StoreProblem {
    pub(crate) fn new(key: &str, value: impl Into<String>, reason: &str, fix: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: value.into(),
            reason: reason.to_owned(),
            fix: fix.to_owned(),
        }
    }
}

impl ArchiveStoreSettings {
    /// Returns the settings with every default, for one URL.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// Returns these settings with `jobs.data-cleanup.archive_storage` in place of an empty `url`.
    #[must_use]
    pub fn or_at(mut self, archive_storage: &str) -> Self {
        if self.url.is_empty() {
            archive_storage.clone_into(&mut self.url);
        }
        self
    }

    /// Returns everything that is wrong and can be seen without the store. An empty `url` is not a problem here: see
    /// [`Self::or_at`].
    #[must_use]
    pub fn problems(&self) -> Vec<StoreProblem> {
        let mut problems = Vec::new();
        if !self.url.is_empty() {
            problems.extend(Place::parse(&self.url).err());
        }
        problems.extend(self.endpoint_problem());
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            problems.push(StoreProblem::new(
                "access_key_id",
                "(hidden)",
                "and secret_access_key are not set together",
                "set both, or neither to use the environment or the identity of the instance",
            ));
        }
        self.size_problems(&mut problems);
        self.time_problems(&mut problems);
        problems
    }

    /// Returns what does not fit the encryption that `security.archive_storage` demands, if it is in force.
    pub(crate) fn encryption_problems(&self, security: &SecuritySection) -> Vec<StoreProblem> {
        let mut problems = Vec::new();
        if !demands_encryption(security) {
            return problems;
        }
        if let Some(endpoint) = self.endpoint.as_deref().filter(|url| !has_scheme(url, "https")) {
            problems.push(StoreProblem::new(
                "endpoint",
                secret::mask_url(endpoint),
                "is not encrypted, but security.archive_storage is enabled",
                "use an https:// endpoint",
            ));
        }
        let with_key = security.archive_storage.s3_sse == "aws:kms";
        let refusal = match Place::parse(&self.url).map(|place| place.scheme) {
            Ok(Scheme::File) => Some((
                "is a local folder, which cannot be told to encrypt, but security.archive_storage is enabled",
                "use s3://, az:// or gs://, or an encrypted file system and security.archive_storage.enabled: false",
            )),
            Ok(Scheme::Azure | Scheme::Google) if with_key => Some((
                "cannot be given a key of aws:kms",
                "make the key the default of the container or bucket and set security.archive_storage.s3_sse: AES256",
            )),
            Ok(Scheme::S3 | Scheme::Azure | Scheme::Google) | Err(_) => None,
        };
        if let Some((reason, fix)) = refusal {
            problems.push(StoreProblem::new("url", self.url.clone(), reason, fix));
        }
        problems
    }

    fn endpoint_problem(&self) -> Option<StoreProblem> {
        let endpoint = self.endpoint.as_deref()?;
        let refuse = |reason, fix| {
            Some(StoreProblem::new(
                "endpoint",
                secret::mask_url(endpoint),
                reason,
                fix,
            ))
        };
        let (https, http) = (has_scheme(endpoint, "https"), has_scheme(endpoint, "http"));
        if !https && !http {
            return refuse("is not an http or https URL", "use https://host:port");
        }
        if endpoint.contains('@') {
            return refuse(
                "holds credentials",
                "move them to access_key_id and secret_access_key",
            );
        }
        if http && !self.allow_http {
            return refuse(
                "is not encrypted",
                "use https://, or set allow_http: true for a private network",
            );
        }
        None
    }

    fn size_problems(&self, problems: &mut Vec<StoreProblem>) {
        let sizes = [
            ("part_bytes", self.part_bytes, 4 << 10, 256 << 20),
            ("row_group_rows", self.row_group_rows, 1, 1 << 20),
            ("attempts", self.attempts, 1, 20),
        ];
        for (key, value, least, most) in sizes {
            if !(least..=most).contains(&value) {
                let fix = format!("use {least} to {most}");
                problems.push(StoreProblem::new(key, value.to_string(), "is out of range", &fix));
            }
        }
        if !(1..=19).contains(&self.zstd_level) {
            problems.push(StoreProblem::new(
                "zstd_level",
                self.zstd_level.to_string(),
                "is out of range",
                "use 1 to 19; 3 is fast and nearly as small",
            ));
        }
    }

    fn time_problems(&self, problems: &mut Vec<StoreProblem>) {
        let (milli, second) = (Duration::from_millis(1), Duration::from_secs(1));
        let times = [
            ("request_timeout", self.request_timeout, milli * 100, second * 600),
            ("connect_timeout", self.connect_timeout, milli * 10, second * 60),
            ("retry_base", self.retry_base, milli, second * 60),
            ("retry_max", self.retry_max, self.retry_base, second * 300),
        ];
        for (key, value, least, most) in times {
            if !(least..=most).contains(&value) {
                let fix = format!("use {least:?} to {most:?}");
                problems.push(StoreProblem::new(
                    key,
                    format!("{value:?}"),
                    "is out of range",
                    &fix,
                ));
            }
        }
    }
}

/// Whether archives must be encrypted in flight and at rest.
pub(crate) const fn demands_encryption(security: &SecuritySection) -> bool {
    security.tls_enabled && security.archive_storage.enabled
}

fn has_scheme(url: &str, scheme: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(found, rest)| found.eq_ignore_ascii_case(scheme) && !rest.is_empty())
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
