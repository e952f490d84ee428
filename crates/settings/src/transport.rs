//! Section `security` applied to the URLs, so that whoever connects sees the final one.

use secrecy::{ExposeSecret, SecretString};

use crate::{SslMode, SuiteSettings};

/// Adds `sslmode` and the authority to database URLs, and TLS to the Redis URL, where `security` asks for it.
pub(crate) fn apply(mut suite: SuiteSettings) -> SuiteSettings {
    if suite.security.postgres_tls() {
        let postgres = suite.security.postgres.clone();
        for database in suite.databases.values_mut() {
            for url in std::iter::once(&mut database.url).chain(database.replica_url.as_mut()) {
                *url = with_sslmode(url.expose_secret(), postgres.sslmode, postgres.ca_cert.as_deref());
            }
        }
    }
    if suite.security.redis_tls() {
        let redis = &suite.security.redis;
        let url = suite.redis.url.expose_secret();
        if let Some(rest) = url.strip_prefix("redis://") {
            let insecure = if redis.skip_verify { "#insecure" } else { "" };
            suite.redis.url = SecretString::from(format!("rediss://{rest}{insecure}"));
        }
    }
    // The authority counts for every encrypted connection, also where the URL itself says rediss://.
    if suite.redis.url.expose_secret().starts_with("rediss://") {
        suite.redis.ca_cert.clone_from(&suite.security.redis.ca_cert);
    }
    suite
}

fn with_sslmode(url: &str, mode: SslMode, authority: Option<&str>) -> SecretString {
    if sslmode(url).is_some() {
        return SecretString::from(url);
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    let authority = authority
        .map(|path| format!("&sslrootcert={}", percent_encoded(path)))
        .unwrap_or_default();
    SecretString::from(format!("{url}{separator}sslmode={mode}{authority}"))
}

/// The `sslmode` a client reads from the URL: the last one counts.
pub(crate) fn sslmode(url: &str) -> Option<String> {
    parameter(url, &["sslmode", "ssl-mode"])
}

/// The path of the authority's certificate that a client reads from the URL.
pub(crate) fn authority(url: &str) -> Option<String> {
    parameter(url, &["sslrootcert", "ssl-root-cert", "ssl-ca"])
}

fn parameter(url: &str, names: &[&str]) -> Option<String> {
    let parameters = after_user_info(url).split_once('?')?.1;
    parameters
        .split('&')
        .filter_map(|parameter| parameter.split_once('='))
        .map(|(name, value)| (percent_decoded(name), percent_decoded(value)))
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(_, value)| value)
        .next_back()
}

/// The password inside a URL.
pub(crate) fn password(url: &str) -> Option<String> {
    let (user_info, _) = url.split_once("://")?.1.rsplit_once('@')?;
    let (_, password) = user_info.split_once(':')?;
    Some(percent_decoded(password)).filter(|password| !password.is_empty())
}

fn after_user_info(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or_default() * 16 + hex(*low).unwrap_or_default());
                rest = after;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sslmode_counts_however_it_is_written() {
        assert_eq!(
            sslmode("postgres://u:p@h/db?sslmode=require").as_deref(),
            Some("require")
        );
        assert_eq!(
            sslmode("postgres://h/db?sslmode=require&ssl-mode=disable").as_deref(),
            Some("disable")
        );
        assert_eq!(
            sslmode("postgres://h/db?ssl%6Dode=disable").as_deref(),
            Some("disable")
        );
        assert_eq!(
            sslmode("postgres://u:p?sslmode=require@h/db"),
            None,
            "part of the password"
        );
        assert_eq!(password("redis://:p%40ss@h:1/").as_deref(), Some("p@ss"));
        assert_eq!(password("redis://h:1/"), None);
    }
}
