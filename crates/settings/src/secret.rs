//! How a secret stays out of pages, errors and `Debug`.
//!
//! Secrets are `secrecy::SecretString`, whose `Debug` prints nothing and which cannot be serialized by accident:
//! a settings struct says how with `#[serde(serialize_with = "eidos_settings::secret::masked")]` and its kin.
//! Values that are shown before they have a type (a value of the wrong type in an error) are masked by the name
//! of their key and by their look ([`shown`]).

use secrecy::{ExposeSecret, SecretString};
use serde::Serializer;

/// What is shown in place of a secret.
pub const MASK: &str = "********";

/// Serializes the mask.
///
/// # Errors
/// Those of the serializer.
pub fn masked<S: Serializer>(_secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(MASK)
}

/// Serializes the mask, or nothing if there is no secret.
///
/// # Errors
/// Those of the serializer.
pub fn masked_option<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => masked(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Serializes a URL without its password and parameters: enough to see where it points.
///
/// # Errors
/// Those of the serializer.
pub fn masked_url<S: Serializer>(url: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask_url(url.expose_secret()))
}

/// Like [`masked_url`], or nothing if there is no URL.
///
/// # Errors
/// Those of the serializer.
pub fn masked_url_option<S: Serializer>(
    url: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match url {
        Some(url) => masked_url(url, serializer),
        None => serializer.serialize_none(),
    }
}

/// Parameters of a URL that say how it is used and are worth seeing.
const PUBLIC_PARAMETERS: [&str; 3] = ["sslmode", "ssl-mode", "sslrootcert"];

/// `postgres://user:pw@host/db?sslmode=require&x=y` → `postgres://user:********@host/db?sslmode=require&********`.
///
/// Anything that does not look like that is masked whole. Where user info is ambiguous, more is masked.
#[must_use]
pub fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return MASK.to_owned();
    };
    // The last '@' ends the user info, whatever characters a password contains unescaped.
    let (user_info, rest) = match rest.rsplit_once('@') {
        Some((user_info, rest)) => (Some(user_info), rest),
        None => (None, rest),
    };
    let (place, parameters) = match rest.split_once('?') {
        Some((place, parameters)) => (place, Some(parameters)),
        None => (rest, None),
    };
    let authority = place.split('/').next().unwrap_or_default();
    if !is_host_and_port(authority)
        || !scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    {
        return MASK.to_owned();
    }
    let mut masked = format!("{scheme}://");
    if let Some(user_info) = user_info {
        if let Some((user, _password)) = user_info.split_once(':') {
            masked.push_str(user);
            masked.push(':');
        }
        masked.push_str(MASK);
        masked.push('@');
    }
    // A database name is worth seeing; a longer path may be a key (as RPC providers have it).
    let path = &place[authority.len()..];
    masked.push_str(authority);
    masked.push_str(if path.len() <= 64 && is_database_scheme(scheme) {
        path
    } else {
        ""
    });
    if path.len() > 1 && !is_database_scheme(scheme) {
        masked.push('/');
        masked.push_str(MASK);
    }
    if let Some(parameters) = parameters {
        masked.push('?');
        masked.push_str(&mask_parameters(parameters));
    }
    masked
}

fn is_database_scheme(scheme: &str) -> bool {
    matches!(scheme, "postgres" | "postgresql" | "redis" | "rediss")
}

fn is_host_and_port(authority: &str) -> bool {
    let port = authority
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    port.is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn mask_parameters(parameters: &str) -> String {
    let shown: Vec<String> = parameters
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if PUBLIC_PARAMETERS.contains(&name) => parameter.to_owned(),
            _ => MASK.to_owned(),
        })
        .collect();
    shown.join("&")
}

/// Key names whose values are never shown, alone or behind another word (`metrics_token`).
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "credential",
    "credentials",
    "private_key",
    "api_key",
    "apikey",
    "access_key",
    "webhook",
    "dsn",
];

/// True if the value at `key` is a secret by the name of its last step (the list's name for an entry of a list).
#[must_use]
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let name = last_name(&key);
    // A list of webhooks is a list of secrets; the section `chain.tokens` is none.
    let one = if name.ends_with("webhooks") {
        "webhook"
    } else {
        name
    };
    SECRET_NAMES.iter().any(|secret| {
        one.strip_suffix(secret)
            .is_some_and(|before| before.is_empty() || before.ends_with('_'))
    })
}

/// The last step that is no index of a list.
fn last_name(key: &str) -> &str {
    key.rsplit('.')
        .find(|step| !step.bytes().all(|byte| byte.is_ascii_digit()))
        .unwrap_or(key)
}

/// True if what stands at `key` may be a secret although it should be something else: `auth.tokens` written as text, or
/// a token in the place of a role.
#[must_use]
pub fn may_hold_secret(key: &str) -> bool {
    is_secret_key(key) || key == "auth" || key.starts_with("auth.")
}

/// The text as it may be shown for `key`: masked if the key names a secret or the text is a URL with credentials,
/// cut to 80 characters.
#[must_use]
pub fn shown(key: &str, text: &str) -> String {
    let name = last_name(key);
    if text == MASK || text.is_empty() {
        return text.to_owned();
    }
    if is_secret_key(key) {
        return MASK.to_owned();
    }
    if name == "url" || name.ends_with("_url") || name.ends_with("_urls") {
        return if text.contains(MASK) {
            text.to_owned()
        } else {
            mask_url(text)
        };
    }
    if text.contains("://") && text.contains('@') && !text.contains(MASK) {
        return mask_url(text);
    }
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}
