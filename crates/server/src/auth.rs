//! Bearer tokens to callers, in constant time.

use eidos_settings::AuthSection;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::Caller;

/// Tokens are kept and compared as digests of one length: neither their length nor a common prefix shows in the time a
/// comparison takes, and the tokens themselves are not in memory.
type TokenDigest = [u8; 32];

/// Who is who.
#[derive(Clone)]
pub(crate) struct Authenticator {
    callers: Vec<(TokenDigest, Caller)>,
    metrics: Option<TokenDigest>,
}

impl Authenticator {
    /// From section `auth`.
    pub(crate) fn new(section: &AuthSection) -> Self {
        let callers = section
            .tokens
            .iter()
            .map(|token| {
                (
                    digest_of(&token.token),
                    Caller {
                        name: token.name.clone(),
                        role: token.role,
                    },
                )
            })
            .collect();
        Self {
            callers,
            metrics: section.metrics_token.as_ref().map(digest_of),
        }
    }

    /// The caller behind an `Authorization` header; every known token is compared, whichever matches.
    pub(crate) fn caller(&self, authorization: Option<&str>) -> Option<Caller> {
        let given = digest(bearer(authorization)?);
        let mut found = None;
        for (known, caller) in &self.callers {
            if bool::from(known.ct_eq(&given)) {
                found = Some(caller);
            }
        }
        found.cloned()
    }

    /// Whether `/metrics` may be read with this header. Without a configured token anybody may.
    pub(crate) fn may_read_metrics(&self, authorization: Option<&str>) -> bool {
        let Some(wanted) = &self.metrics else { return true };
        let Some(token) = bearer(authorization) else {
            return false;
        };
        let matches: Choice = wanted.ct_eq(&digest(token));
        matches.into()
    }
}

/// `Bearer <token>`; the scheme's case does not matter (RFC 9110).
fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn digest_of(secret: &SecretString) -> TokenDigest {
    digest(secret.expose_secret())
}

fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eidos_settings::{ApiToken, Role};

    fn authenticator() -> Authenticator {
        let token = |name: &str, role, token: &str| ApiToken {
            name: name.to_owned(),
            role,
            token: token.into(),
        };
        Authenticator::new(&AuthSection {
            tokens: vec![
                token("ann", Role::Viewer, "v-token"),
                token("bob", Role::Operator, "o-token"),
            ],
            metrics_token: Some("m-token".into()),
        })
    }

    #[test]
    fn only_whole_known_tokens_are_callers() {
        let authenticator = authenticator();
        assert_eq!(authenticator.caller(Some("Bearer v-token")).unwrap().name, "ann");
        assert_eq!(
            authenticator.caller(Some("bearer o-token")).unwrap().role,
            Role::Operator
        );
        for header in [
            None,
            Some(""),
            Some("v-token"),
            Some("Bearer "),
            Some("Bearer v-toke"),
            Some("Bearer v-token2"),
            Some("Basic v-token"),
            Some("Bearer m-token"),
        ] {
            assert_eq!(authenticator.caller(header), None, "{header:?}");
        }
    }

    #[test]
    fn metrics_have_a_token_of_their_own() {
        let authenticator = authenticator();
        assert!(authenticator.may_read_metrics(Some("Bearer m-token")));
        assert!(!authenticator.may_read_metrics(Some("Bearer o-token")));
        assert!(!authenticator.may_read_metrics(None));
        let open = Authenticator::new(&AuthSection {
            tokens: vec![],
            metrics_token: None,
        });
        assert!(open.may_read_metrics(None));
    }
}
