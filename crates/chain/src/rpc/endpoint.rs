//! What of a URL may be shown: its endpoint, and never what is secret in it.

use reqwest::Url;

/// Scheme, host and port of an http or https URL; `None` for anything else.
pub(crate) fn endpoint_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    match (url.scheme(), url.port_or_known_default()) {
        (scheme @ ("http" | "https"), Some(port)) => Some(format!("{scheme}://{host}:{port}")),
        _ => None,
    }
}

/// The parts of the URL that must not be repeated: providers quote keys in their refusals.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of(url: &str) -> Self {
        let Ok(url) = Url::parse(url) else {
            return Self(Vec::new());
        };
        let looks_like_a_key = |part: &str| part.len() >= 8 && !part.chars().all(|c| c.is_ascii_lowercase());
        let mut parts: Vec<String> = url
            .path_segments()
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .chain(url.query_pairs().map(|(_name, value)| value.into_owned()))
            .filter(|part| looks_like_a_key(part))
            .collect();
        let login = [url.username(), url.password().unwrap_or_default()];
        parts.extend(
            login
                .into_iter()
                .filter(|part| part.len() >= 4)
                .map(str::to_owned),
        );
        Self(parts)
    }

    pub(super) fn hide(&self, words: String) -> String {
        self.0
            .iter()
            .fold(words, |words, secret| words.replace(secret.as_str(), "***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_the_url_is_hidden_in_words() {
        let secrets =
            Secrets::of("https://user:pass1@eth.example.com/ethereum/v3/Key12345678?token=abcdef123456");
        let words = "user's key Key12345678 (abcdef123456, pass1) is over its ethereum v3 limit".to_owned();
        assert_eq!(
            secrets.hide(words),
            "***'s key *** (***, ***) is over its ethereum v3 limit"
        );
    }

    #[test]
    fn an_endpoint_shows_neither_credentials_nor_path() {
        assert_eq!(
            endpoint_of("https://user:pass@eth.example.com/v3/secret-key?token=x"),
            Some("https://eth.example.com:443".to_owned())
        );
        assert_eq!(
            endpoint_of("http://127.0.0.1:8545"),
            Some("http://127.0.0.1:8545".to_owned())
        );
        for bad in ["", "127.0.0.1:8545", "ws://node", "ipc:///x", "http://"] {
            assert_eq!(endpoint_of(bad), None, "{bad}");
        }
    }
}
