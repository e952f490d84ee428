//! Files that settings name: certificates and keys are looked at when the settings are read, not at the first
//! connection.

use std::path::Path;

use secrecy::ExposeSecret;

use crate::transport::authority;
use crate::{Problems, SuiteSettings};

/// The largest PEM file that is read, in bytes.
const MAX_PEM_BYTES: u64 = 4 * 1024 * 1024;

/// Reports every file in force that is not there or holds nothing that could be used.
pub(super) fn check(suite: &SuiteSettings, problems: &mut Problems) {
    let security = &suite.security;
    let mut named = Vec::new();
    if security.grpc_tls() {
        named.push(("security.grpc.cert", &security.grpc.cert, "CERTIFICATE"));
        named.push(("security.grpc.key", &security.grpc.key, "PRIVATE KEY"));
        if security.grpc.client_auth {
            named.push(("security.grpc.ca_cert", &security.grpc.ca_cert, "CERTIFICATE"));
        }
    }
    if security.postgres_tls() {
        named.push((
            "security.postgres.ca_cert",
            &security.postgres.ca_cert,
            "CERTIFICATE",
        ));
    }
    named.push(("security.redis.ca_cert", &suite.redis.ca_cert, "CERTIFICATE"));
    for (key, path, kind) in named {
        if let Some(path) = path {
            problems.pem_file(key, path, kind);
        }
    }
    for (source, database) in &suite.databases {
        let urls = [
            ("url", Some(&database.url)),
            ("replica_url", database.replica_url.as_ref()),
        ];
        for (name, url) in urls.into_iter().filter_map(|(name, url)| Some((name, url?))) {
            let path = authority(url.expose_secret());
            let Some(path) = path.filter(|path| security.postgres.ca_cert.as_ref() != Some(path)) else {
                continue;
            };
            if let Some(reason) = reason_against(&path, "CERTIFICATE") {
                problems.add(
                    format!("databases.{source}.{name}"),
                    format!("names the authority's certificate '{path}' (sslrootcert), which {reason}"),
                    "give the path of a readable PEM file",
                );
            }
        }
    }
}

impl Problems {
    /// Reports a PEM file that is not there, cannot be read or has no block of `kind` (such as `CERTIFICATE` or
    /// `PRIVATE KEY`).
    pub fn pem_file(&mut self, key: &str, path: &str, kind: &str) {
        if let Some(reason) = reason_against(path, kind) {
            self.push(crate::Problem {
                key: key.to_owned(),
                value: Some(path.to_owned()),
                origin: None,
                reason,
                fix: Some("give the path of a readable PEM file".to_owned()),
            });
        }
    }
}

/// What is wrong with a PEM file, as the rest of a sentence; `None`: it can be used.
fn reason_against(path: &str, kind: &str) -> Option<String> {
    let file = Path::new(path);
    let metadata = match std::fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some("does not exist".to_owned());
        }
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    if !metadata.is_file() {
        return Some("is not a file".to_owned());
    }
    if metadata.len() > MAX_PEM_BYTES {
        return Some(format!("is larger than {MAX_PEM_BYTES} bytes"));
    }
    match std::fs::read(file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            // `-----BEGIN EC PRIVATE KEY-----` and `-----BEGIN TRUSTED CERTIFICATE-----` count.
            let found = text.lines().any(|line| {
                line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{kind}-----"))
            });
            (!found).then(|| format!("holds no {}", kind.to_lowercase()))
        }
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}
