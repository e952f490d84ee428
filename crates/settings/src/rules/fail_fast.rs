//! What is fine on a developer's machine and refused anywhere else (`production-readiness.md` §1.1).

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};

use crate::transport::{password, sslmode};
use crate::{Problems, SslMode, SuiteSettings};

/// Secrets shorter than this can be guessed, in characters.
const MIN_SECRET_CHARS: usize = 32;

/// Texts of examples, templates and tutorials. Each is long enough not to occur in a random secret.
const PLACEHOLDERS: [&str; 20] = [
    "changeme",
    "change-me",
    "change_me",
    "change-this",
    "placeholder",
    "replace-me",
    "replace_me",
    "replaceme",
    "example",
    "exchange123",
    "password",
    "secret-key",
    "dev-secret",
    "dev-internal",
    "dev-token",
    "your-",
    "your_",
    "insecure",
    "12345678",
    "xxxxxxxx",
];

/// Reports every weak setting, each on its own.
pub(crate) fn check(suite: &SuiteSettings, problems: &mut Problems) {
    version(suite, problems);
    tokens(suite, problems);
    databases(suite, problems);
    redis(suite, problems);
    if suite.security.archive_storage.s3_sse == "aws:kms"
        && suite.security.tls_enabled
        && suite.security.archive_storage.enabled
        && suite.security.archive_storage.kms_key_id.is_none()
    {
        problems.add(
            "security.archive_storage.kms_key_id",
            "is missing for aws:kms",
            "name the KMS key, or use AES256",
        );
    }
}

fn version(suite: &SuiteSettings, problems: &mut Problems) {
    let version = suite.service.version.trim();
    if ["", "dev", "latest"].contains(&version.to_ascii_lowercase().as_str()) {
        problems.add_value(
            "service.version",
            version,
            format!(
                "does not say what is running, and service.env is {}",
                suite.service.env
            ),
            "set the released version, such as 1.4.2 (EIDOS__SERVICE__VERSION)",
        );
    }
}

fn tokens(suite: &SuiteSettings, problems: &mut Problems) {
    for (index, caller) in suite.auth.tokens.iter().enumerate() {
        secret(&format!("auth.tokens.{index}.token"), &caller.token, problems);
    }
    if let Some(token) = &suite.auth.metrics_token {
        secret("auth.metrics_token", token, problems);
    }
}

/// A secret this suite's operators choose: long, and not from a template.
fn secret(key: &str, secret: &SecretString, problems: &mut Problems) {
    let text = secret.expose_secret();
    let length = text.chars().count();
    if is_placeholder(text) {
        problems.add(
            key,
            "is a placeholder",
            "generate one, as with: openssl rand -hex 32",
        );
    } else if length < MIN_SECRET_CHARS {
        problems.add(
            key,
            format!("is too short: {length} characters of at least {MIN_SECRET_CHARS}"),
            "generate one, as with: openssl rand -hex 32",
        );
    }
}

/// True for texts of templates, and for texts of hardly any different characters.
fn is_placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let variety: BTreeSet<char> = lower.chars().collect();
    PLACEHOLDERS.iter().any(|word| lower.contains(word)) || (!text.is_empty() && variety.len() < 4)
}

fn databases(suite: &SuiteSettings, problems: &mut Problems) {
    for (source, database) in &suite.databases {
        let urls = [
            ("url", Some(&database.url)),
            ("replica_url", database.replica_url.as_ref()),
        ];
        for (name, url) in urls.into_iter().filter_map(|(name, url)| Some((name, url?))) {
            let key = format!("databases.{source}.{name}");
            let url = url.expose_secret();
            let mode = sslmode(url);
            let encrypted = [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];
            if !encrypted
                .iter()
                .any(|allowed| mode.as_deref() == Some(allowed.as_str()))
            {
                problems.add(
                    key.as_str(),
                    format!("is plain text: sslmode is {}", mode.as_deref().unwrap_or("not set")),
                    "add ?sslmode=verify-full (or verify-ca, require), or set security.tls_enabled and security.postgres.enabled",
                );
            }
            if password(url).is_some_and(|password| is_placeholder(&password)) {
                problems.add(
                    key,
                    "has a placeholder as its password",
                    "give the role a generated password",
                );
            }
        }
    }
}

fn redis(suite: &SuiteSettings, problems: &mut Problems) {
    let url = suite.redis.url.expose_secret();
    if !url.starts_with("rediss://") {
        problems.add(
            "redis.url",
            "is plain text",
            "use rediss://, or set security.tls_enabled and security.redis.enabled",
        );
    }
    if suite.security.redis.skip_verify && suite.security.redis_tls() || url.contains("#insecure") {
        problems.add(
            "security.redis.skip_verify",
            "accepts any certificate",
            "set it to false",
        );
    }
    match (&suite.redis.password, password(url)) {
        (Some(password), _) => secret("redis.password", password, problems),
        (None, Some(password)) => secret("redis.url", &SecretString::from(password), problems),
        (None, None) => {
            problems.add(
                "redis.password",
                "is missing",
                "set it (EIDOS__REDIS__PASSWORD), 32 characters or more",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_placeholder;

    #[test]
    fn templates_are_placeholders_and_random_text_is_not() {
        for text in [
            "changeme-changeme-changeme-changeme",
            "EXCHANGE123",
            "your-token-here",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "dev-internal-token-change-me",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["7f3c9a1be2d84650937fc1aa55e0d2b8", "Zt9!qLm2#vXw", ""] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
