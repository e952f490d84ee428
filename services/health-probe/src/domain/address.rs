//! [`Address`]: where a probe goes, and how it asks.

use reqwest::Url;

/// The parsed `url` of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A GET request.
    Http(Url),
    /// A connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, without the address: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url: Url = text
            .trim()
            .parse()
            .map_err(|error| format!("is not a URL: {error}"))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        match (url.scheme(), host) {
            ("http" | "https", Some(_)) => Ok(Self::Http(url)),
            ("tcp", Some(host)) => {
                let port = url.port().ok_or("has no port; write tcp://host:port")?;
                // A connection has no path, and an address of version 6 no brackets.
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Ok(Self::Tcp { host, port })
            }
            ("http" | "https" | "tcp", None) => Err("names no host".to_owned()),
            (scheme, _) => Err(format!("has the unknown scheme {scheme}; use http, https or tcp")),
        }
    }

    /// The kind of probe, as metrics and alerts say it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp { .. } => "tcp",
        }
    }

    /// Whether the probe needs the network: without one, it says nothing of its target.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        match self {
            Self::Http(_) | Self::Tcp { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_refused_with_the_cure() {
        let tcp = Address::parse("tcp://[::1]:5432").unwrap();
        assert_eq!(
            tcp,
            Address::Tcp {
                host: "::1".to_owned(),
                port: 5432
            }
        );
        assert_eq!(
            Address::parse(" https://a.example/health ").unwrap().kind(),
            "http"
        );
        for (text, part) in [
            ("a.example", "is not a URL"),
            ("tcp://a.example", "write tcp://host:port"),
            ("tcp://:80", "is not a URL"),
            ("ftp://a.example", "unknown scheme ftp"),
            ("file:///etc", "unknown scheme file"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
