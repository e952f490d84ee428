//! [`Silence`]: what people of an Alertmanager do not want to hear of.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use reqwest::Url;
use serde::Deserialize;

use super::SendError;
use super::alertmanager::{AlertmanagerSettings, api, labels};
use super::post::Poster;
use crate::Alert;

/// A regular expression may not need more than this when it is compiled.
const LARGEST_PATTERN: usize = 256 * 1024;

/// One silence: it covers the alerts that all of its matchers match.
#[derive(Debug, Clone)]
pub struct Silence {
    matchers: Vec<Matcher>,
}

#[derive(Debug, Clone)]
struct Matcher {
    label: String,
    pattern: Pattern,
    /// False: it matches what the pattern does not.
    is_equal: bool,
}

#[derive(Debug, Clone)]
enum Pattern {
    Text(String),
    Regex(Regex),
}

impl Silence {
    /// Whether it covers this alert, as it is now.
    #[must_use]
    pub fn covers(&self, alert: &Alert) -> bool {
        let labels = labels(alert, alert.severity);
        self.matchers.iter().all(|matcher| matcher.matches(&labels))
    }
}

impl Matcher {
    /// A label that an alert does not have is the empty text.
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let found = match &self.pattern {
            Pattern::Text(text) => text == value,
            Pattern::Regex(regex) => regex.is_match(value),
        };
        found == self.is_equal
    }
}

/// As the API has it; other keys are not read.
#[derive(Deserialize)]
struct Stored {
    status: Status,
    matchers: Vec<StoredMatcher>,
}

#[derive(Deserialize)]
struct Status {
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

const fn yes() -> bool {
    true
}

impl Stored {
    /// The silence, if it is active; an error names what is not understood.
    fn active(self) -> Option<Result<Silence, String>> {
        if self.status.state != "active" || self.matchers.is_empty() {
            return None;
        }
        let matchers = self.matchers.into_iter().map(Matcher::try_from);
        Some(
            matchers
                .collect::<Result<_, _>>()
                .map(|matchers| Silence { matchers }),
        )
    }
}

impl TryFrom<StoredMatcher> for Matcher {
    type Error = String;

    fn try_from(stored: StoredMatcher) -> Result<Self, String> {
        let pattern = if stored.is_regex {
            // Alertmanager matches whole values.
            let regex = RegexBuilder::new(&format!("^(?:{})$", stored.value))
                .size_limit(LARGEST_PATTERN)
                .build();
            Pattern::Regex(regex.map_err(|error| format!("{}=~{:?}: {error}", stored.name, stored.value))?)
        } else {
            Pattern::Text(stored.value)
        };
        Ok(Self {
            label: stored.name,
            pattern,
            is_equal: stored.is_equal,
        })
    }
}

/// The silences of one Alertmanager.
pub struct SilencesOf {
    name: String,
    url: Url,
    poster: Poster,
}

impl SilencesOf {
    /// Makes it; nothing is connected.
    ///
    /// # Errors
    /// If the URL is not one, or the HTTP client cannot be made.
    pub fn new(settings: &AlertmanagerSettings) -> Result<Self, String> {
        Ok(Self {
            name: settings.name.clone(),
            url: api(&settings.url, &["api", "v2", "silences"])?,
            poster: Poster::new(settings.timeout)?,
        })
    }

    /// The name of its sink.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads those that are active. One that is not understood covers nothing, and is logged.
    ///
    /// # Errors
    /// It does not answer, or not with silences.
    pub async fn read(&self) -> Result<Vec<Silence>, SendError> {
        let (json, _date) = self.poster.get_json(&self.url).await?;
        let stored: Vec<Stored> = serde_json::from_value(json)
            .map_err(|error| SendError::Later(format!("its silences are not understood: {error}")))?;
        let mut silences = Vec::new();
        for silence in stored.into_iter().filter_map(Stored::active) {
            match silence {
                Ok(silence) => silences.push(silence),
                Err(reason) => {
                    tracing::warn!(
                        sink = self.name,
                        reason,
                        "a silence is not understood: it silences nothing here"
                    );
                }
            }
        }
        Ok(silences)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{EpisodeId, Fingerprint, Severity};

    fn silence(matchers: &serde_json::Value) -> Option<Result<Silence, String>> {
        let stored = json!({"id": "x", "status": {"state": "active"}, "matchers": matchers});
        serde_json::from_value::<Stored>(stored).unwrap().active()
    }

    fn covers(matchers: &serde_json::Value) -> bool {
        let labels = BTreeMap::from([("target".to_owned(), "trading-1".to_owned())]);
        let alert = Alert {
            name: "TargetUnhealthy".to_owned(),
            labels: labels.clone(),
            annotations: BTreeMap::new(),
            severity: Severity::Critical,
            starts_at_ms: 0,
            episode: EpisodeId::of(&Fingerprint::of("TargetUnhealthy", &labels), 0),
        };
        silence(matchers).unwrap().unwrap().covers(&alert)
    }

    fn matcher(name: &str, value: &str, is_regex: bool, is_equal: bool) -> serde_json::Value {
        json!({"name": name, "value": value, "isRegex": is_regex, "isEqual": is_equal})
    }

    #[test]
    fn all_matchers_must_match_and_patterns_match_whole_values() {
        let name = matcher("alertname", "TargetUnhealthy", false, true);
        assert!(covers(&json!([name])));
        assert!(covers(&json!([
            name,
            matcher("target", "trading-.*", true, true)
        ])));
        assert!(!covers(&json!([name, matcher("target", "trading-", true, true)])));
        assert!(!covers(&json!([
            name,
            matcher("target", "trading-.*", true, false)
        ])));
        assert!(!covers(&json!([
            name,
            matcher("severity", "warning", false, true)
        ])));
        assert!(covers(&json!([matcher(
            "severity",
            "warning|critical",
            true,
            true
        )])));
        assert!(!covers(&json!([matcher("severity", "warn|crit", true, true)])));
        // A label that is missing is the empty text.
        assert!(covers(&json!([matcher("team", "", false, true)])));
        assert!(covers(&json!([matcher("team", "x", false, false)])));
        assert!(!covers(&json!([matcher("team", ".+", true, true)])));
        // Servers before 0.22 do not say isEqual.
        assert!(covers(
            &json!([{"name": "target", "value": "trading-1", "isRegex": false}])
        ));
    }

    #[test]
    fn what_is_not_active_or_not_understood_covers_nothing() {
        let expired = json!({"status": {"state": "expired"}, "matchers": [matcher("a", "", false, true)]});
        assert!(
            serde_json::from_value::<Stored>(expired)
                .unwrap()
                .active()
                .is_none()
        );
        assert!(silence(&json!([])).is_none(), "it would cover everything");
        let reason = silence(&json!([matcher("a", "(", true, true)]))
            .unwrap()
            .unwrap_err();
        assert!(reason.starts_with("a=~\"(\""), "{reason}");
        let huge = "a{1000}{1000}";
        assert!(
            silence(&json!([matcher("a", huge, true, true)]))
                .unwrap()
                .is_err()
        );
    }
}
